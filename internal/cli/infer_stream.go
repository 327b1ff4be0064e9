package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/adafire/adafire/checkpoint"
	"github.com/adafire/adafire/dataset/eventdata"
	"github.com/adafire/adafire/events"
	"github.com/adafire/adafire/events/codec"
	"github.com/adafire/adafire/events/represent"
	"github.com/adafire/adafire/task/stream"
	"github.com/adafire/adafire/tensor"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// streamFlags say how infer cuts a recording into windows.
type streamFlags struct {
	path               string
	window, step       float64 // ms
	kind, time, resize string
	bins               int
	minEvents          int
	rec                recordingFlags
}

func (t *streamFlags) register(f *pflag.FlagSet) {
	f.StringVar(&t.path, "stream", "", "classify windows of the recording `FILE`, or of standard input for -, as it is read")
	floatVar(f, &t.window, "window", 0, 0, 1e9, "milliseconds of a window, 0 for the length of the recordings that the network was trained on, else 100")
	floatVar(f, &t.step, "step", 0, 0, 1e9, "milliseconds from window to window, 0 for windows end to end")
	choiceVar(f, &t.kind, "represent", represent.Voxel, represent.Kinds(), "what a window becomes: that which the network was trained on")
	intVar(f, &t.bins, "bins", 0, 0, 1024, "bins of time of a window, for each polarity, 0 for half of the network's channels")
	choiceVar(f, &t.time, "voxel-time", "span", []string{"span", "max"}, "time of a voxel grid: from the start of the window, or as the method's authors have it")
	choiceVar(f, &t.resize, "resize", represent.Nearest, []string{represent.Nearest, represent.Bilinear}, "how a window is brought to the size of the network's input")
	intVar(f, &t.minEvents, "min-events", 1, 0, 1<<30, "do not classify windows of fewer events, but say so; 0 classifies empty ones too")
	t.rec.register(f)
}

// only says that a flag of streams was given without --stream.
func (t *streamFlags) only(s *session) error {
	var own pflag.FlagSet
	new(streamFlags).register(&own)
	given := ""
	own.VisitAll(func(f *pflag.Flag) {
		if s.Changed(f.Name) {
			given = f.Name
		}
	})
	if given == "" {
		return nil
	}
	return s.Usagef("--%s belongs to --stream, which is not given", given)
}

// arguments checks the arguments of infer: with --stream there are none.
func (t *streamFlags) arguments(cmd *cobra.Command, args []string) error {
	if t.path != "" {
		if len(args) > 0 {
			return &UsageError{Msg: fmt.Sprintf("argument %q: --stream reads one recording and nothing else", args[0]), cmd: cmd}
		}
		return nil
	}
	return positional(1, 1<<20, "at least one IMAGE, FOLDER or .npy file")(cmd, args)
}

// typicalMs is how long the recordings of a data set are, as their makers
// describe them (event_formats 8): windows of that length look like what the
// network was trained on.
var typicalMs = map[string]float64{
	"nmnist": 300, "nmnist-sim": 300, "ncaltech101": 300, "ncars": 100, "asldvs": 100, "cifar10dvs": 1300, "dvs128gesture": 6000, "action-recognition": 5000,
}

// loaderConvention is what the loaders of data sets read AEDAT 2 with.
var loaderConvention = map[string]string{"cifar10dvs": "cifar10dvs-spikingjelly", "action-recognition": "davis-jaer"}

// slowChunk is how many events are asked of standard input at once: the last of
// them decides when the first is looked at.
const slowChunk = 256

// config is the configuration for a recording and a network's input.
func (t *streamFlags) config(s *session, path string, m *checkpoint.Model, h events.Header) (stream.Config, error) {
	in := m.Graph.InputNodes()[0].Shape
	c := stream.Config{Width: h.Width, Height: h.Height, MinEvents: int64(t.minEvents)}
	if len(in) != 3 || in[2]%2 != 0 {
		return c, fmt.Errorf("%s: the network takes samples of shape %v, want height, width and an even number of channels, half of them for each polarity", path, in)
	}
	data := eventdata.Normalise(m.Provenance.Dataset)
	if c.Width == 0 || c.Height == 0 {
		shape := eventdata.Describe(data).Shape
		if shape == nil {
			return c, withHint(fmt.Errorf("%s: does not say how large the sensor is", cmp.Or(h.Format, "the recording")), "give --sensor-width and --sensor-height")
		}
		c.Height, c.Width = shape[0], shape[1]
		s.Logf("the recording does not say how large the sensor is: taken to be %dx%d, that of %s", c.Width, c.Height, data)
	}
	bins := t.bins
	if t.kind == represent.Histogram || t.kind == represent.Surface {
		bins = 1
	}
	if bins = cmp.Or(bins, in[2]/2); 2*bins != in[2] {
		return c, s.Usagef("--represent %s with %d bins has %d channels, the network takes %d", t.kind, bins, 2*bins, in[2])
	}
	c.Represent = represent.Config{Kind: t.kind, Bins: bins, Time: t.time, Resize: t.resize}
	if t.time == "max" {
		c.Represent.Pad = represent.PadReference
	}
	switch {
	case in[0] == in[1]:
		c.Represent.Size = in[0]
	case in[0] != c.Height || in[1] != c.Width:
		return c, fmt.Errorf("%s: the network takes %dx%d pixels, the sensor has %dx%d: only square inputs are resized to", path, in[1], in[0], c.Width, c.Height)
	}
	window := t.window
	if window == 0 {
		if window = typicalMs[data]; window == 0 {
			window = 100
		}
		s.Logf("windows of %g ms (--window changes that)", window)
	}
	c.WindowUs = int64(window*1000 + 0.5)
	c.StepUs = int64(t.step*1000 + 0.5)
	if t.step == 0 {
		c.StepUs = c.WindowUs
	}
	if err := c.Validate(); err != nil {
		return c, s.Usagef("%v", err)
	}
	if t.path == "-" {
		c.Chunk = slowChunk
	}
	return c, nil
}

// open opens the recording, AEDAT 2 as the loader of the network's data set
// does. Waiting for standard input ends with the session.
func (t *streamFlags) open(s *session, data string) (*codec.Recording, error) {
	type opened struct {
		rec *codec.Recording
		err error
	}
	done := make(chan opened, 1)
	go func() {
		rec, err := t.rec.open(s, t.path)
		done <- opened{rec, err}
	}()
	var o opened
	select {
	case <-s.Ctx.Done():
		return nil, s.Ctx.Err()
	case o = <-done:
	}
	convention := loaderConvention[data]
	if o.err != nil || t.rec.convention != "" || convention == "" || !slices.Contains(o.rec.Format.Conventions, convention) {
		return o.rec, o.err
	}
	if t.path == "-" {
		s.Logf("the network was trained on %s, whose loader reads such files with --convention %s", data, convention)
		return o.rec, nil
	}
	o.rec.Close()
	t.rec.convention = convention
	s.Logf("read with --convention %s, as %s is", convention, data)
	return t.rec.open(s, t.path)
}

// A streamDecision is a line of the machine-readable result.
type streamDecision struct {
	Type      string   `json:"type"` // "window" or "quiet"
	Start     int64    `json:"start_us"`
	End       int64    `json:"end_us"`
	Events    int64    `json:"events"`
	Windows   int64    `json:"windows,omitempty"` // quiet: so many in a row
	Partial   bool     `json:"partial,omitempty"`
	Class     *int     `json:"class,omitempty"`
	Name      string   `json:"name,omitempty"`
	Softmax   float64  `json:"softmax,omitempty"`
	Timesteps int      `json:"timesteps,omitempty"`
	LatencyMS *float64 `json:"latency_ms,omitempty"`
	Top       []score  `json:"top,omitempty"`
}

// A streamSummary is the last line of the machine-readable result.
type streamSummary struct {
	Type        string        `json:"type"` // "summary"
	Schema      int           `json:"schema"`
	Command     string        `json:"command"`
	Model       string        `json:"model"`
	Stream      string        `json:"stream"`
	Format      string        `json:"format"`
	Width       int           `json:"width"`
	Height      int           `json:"height"`
	WindowUs    int64         `json:"window_us"`
	StepUs      int64         `json:"step_us"`
	Timesteps   int           `json:"T,omitempty"`
	Interrupted bool          `json:"interrupted,omitempty"`
	Error       string        `json:"error,omitempty"`
	Events      int64         `json:"events"`
	First       int64         `json:"first_us"`
	Last        int64         `json:"last_us"`
	Windows     int64         `json:"windows"`
	Classified  int64         `json:"classified"`
	Quiet       int64         `json:"quiet"`
	MeanSteps   float64       `json:"avg_timesteps,omitempty"`
	MedianMS    float64       `json:"latency_median_ms"`
	P95MS       float64       `json:"latency_p95_ms"`
	MaxMS       float64       `json:"latency_max_ms"`
	Late        int64         `json:"late_events"`
	Between     int64         `json:"events_between_windows"`
	Outside     int64         `json:"events_outside"`
	Seconds     float64       `json:"seconds"`
	Classes     []streamVotes `json:"classes"` // most windows first
	Remarks     []remark      `json:"remarks,omitempty"`
}

// streamVotes counts the windows of a class.
type streamVotes struct {
	Class   int    `json:"class"`
	Name    string `json:"name,omitempty"`
	Windows int64  `json:"windows"`
}

// inferStream classifies a recording window by window.
func (s *session) inferStream(t *streamFlags, net *networkFlags, m *checkpoint.Model, timesteps, top int) error {
	rec, err := t.open(s, eventdata.Normalise(m.Provenance.Dataset))
	if err != nil {
		return err
	}
	defer rec.Close()
	cfg, err := t.config(s, net.path, m, rec.Header())
	if err != nil {
		return err
	}
	p, err := newPredictor(s, net.path, m, timesteps)
	if err != nil {
		return err
	}
	var votes []int64
	var steps int64
	var failed error
	mean, std := m.Provenance.Mean, m.Provenance.Std
	classify := func(ctx context.Context, x *tensor.Tensor) ([]float32, int, error) {
		normalise(x.Data, mean, std)
		y, exits, err := p.forward(ctx, x)
		if err != nil {
			return nil, 0, err
		}
		if exits == nil {
			return y.Data, p.timesteps, nil
		}
		return y.Data, exits[0], nil
	}
	// The first run of a network makes its buffers, which is no latency.
	if _, _, err := p.forward(s.Ctx, tensor.New(append([]int{1}, p.shape...)...)); err != nil {
		return err
	}
	out := m.Graph.Outputs[0].Shape
	votes = make([]int64, out.Channels())
	run := func(line func(any) error) error {
		sum, err := stream.Run(s.Ctx, rec, cfg, classify, func(d *stream.Decision) error {
			j := streamDecision{Type: "quiet", Start: d.StartUs, End: d.EndUs, Events: d.Events, Partial: d.Partial}
			if !d.Classified {
				j.Windows = d.Windows
				writeQuiet(s.Out, &j)
				return cmp.Or(line(j), s.app.stdout.failure())
			}
			j.Type, j.Top = "window", best(d.Logits, out, top, m.Provenance.Classes)
			ms := milliseconds(d.Latency)
			j.Class, j.Name, j.Softmax, j.Timesteps, j.LatencyMS = &j.Top[0].Class, j.Top[0].Name, j.Top[0].Softmax, d.Timesteps, &ms
			votes[*j.Class]++
			steps += int64(d.Timesteps)
			writeWindow(s.Out, &j)
			return cmp.Or(line(j), s.app.stdout.failure())
		})
		if sum == nil {
			return err
		}
		interrupted := errors.Is(err, context.Canceled) && s.Ctx.Err() != nil
		r := streamSummary{Type: "summary", Schema: 1, Command: s.commandName(), Model: net.path, Stream: t.path, Format: rec.Format.Name,
			Width: cfg.Width, Height: cfg.Height, WindowUs: cfg.WindowUs, StepUs: cfg.StepUs, Timesteps: p.timesteps, Interrupted: interrupted,
			Events: sum.Events, First: sum.FirstUs, Last: sum.LastUs, Windows: sum.Windows, Classified: sum.Classified, Quiet: sum.Quiet,
			MedianMS: milliseconds(sum.Latency.Quantile(0.5)), P95MS: milliseconds(sum.Latency.Quantile(0.95)), MaxMS: milliseconds(sum.Latency.Max()),
			Late: sum.Late, Between: sum.Between, Outside: sum.Outside, Seconds: sum.Elapsed.Seconds(), Classes: []streamVotes{}, Remarks: remarks(&sum.Stats)}
		if err != nil && !interrupted {
			// What has been decided so far stays; the error comes after it.
			failed, r.Error = err, describe(err)
		}
		if sum.Classified > 0 {
			r.MeanSteps = float64(steps) / float64(sum.Classified)
		}
		for class, n := range votes {
			if n > 0 {
				v := streamVotes{Class: class, Windows: n}
				if class < len(m.Provenance.Classes) {
					v.Name = m.Provenance.Classes[class]
				}
				r.Classes = append(r.Classes, v)
			}
		}
		slices.SortStableFunc(r.Classes, func(a, b streamVotes) int { return cmp.Compare(b.Windows, a.Windows) })
		s.reportSkipped(t.path, &sum.Stats)
		r.write(s.Out)
		return line(r)
	}
	if !s.JSON() {
		err = run(func(any) error { return nil })
	} else {
		err = s.WriteJSON(func(w io.Writer) error {
			e := json.NewEncoder(w)
			e.SetEscapeHTML(false)
			return run(e.Encode)
		})
	}
	if err == nil && s.Ctx.Err() != nil {
		return s.Interrupted("")
	}
	return cmp.Or(err, failed)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// normalise subtracts means and divides by deviations, per channel.
func normalise(x, mean, std []float32) {
	plain := func(list []float32, neutral float32) bool {
		return !slices.ContainsFunc(list, func(v float32) bool { return v != neutral })
	}
	if !plain(mean, 0) {
		for i := range x {
			x[i] -= mean[i%len(mean)]
		}
	}
	if !plain(std, 1) {
		for i := range x {
			x[i] /= std[i%len(std)]
		}
	}
}

func writeSpan(w io.Writer, d *streamDecision) {
	fmt.Fprintf(w, "%12.3f %12.3f ms  %9d events  ", float64(d.Start)/1000, float64(d.End)/1000, d.Events)
}

func writeQuiet(w io.Writer, d *streamDecision) {
	writeSpan(w, d)
	what := "too few to classify"
	if d.Events == 0 {
		what = "empty"
	}
	if d.Windows > 1 {
		what = fmt.Sprintf("%d empty windows", d.Windows)
	}
	fmt.Fprintf(w, "-  %s\n", what)
}

func writeWindow(w io.Writer, d *streamDecision) {
	writeSpan(w, d)
	fmt.Fprintf(w, "%5d  %6.2f %%  ", *d.Class, 100*d.Softmax)
	if d.Timesteps > 0 {
		fmt.Fprintf(w, "T=%-3d  ", d.Timesteps)
	}
	fmt.Fprintf(w, "%8.2f ms", *d.LatencyMS)
	if d.Name != "" {
		fmt.Fprintf(w, "  %s", oneLine(d.Name))
	}
	if d.Partial {
		fmt.Fprint(w, "  (the recording ends in this window)")
	}
	fmt.Fprintln(w)
}

func (r *streamSummary) write(w io.Writer) {
	long := float64(r.Last-r.First) / 1e6
	fmt.Fprintf(w, "%d events, %.3f s of %s in %.2f s (%.3g x real time)\n", r.Events, long, r.Format, r.Seconds, long/max(r.Seconds, 1e-9))
	fmt.Fprintf(w, "%d windows of %g ms every %g ms: %d classified, %d empty or with too few events\n",
		r.Windows, float64(r.WindowUs)/1000, float64(r.StepUs)/1000, r.Classified, r.Quiet)
	if r.Classified > 0 {
		fmt.Fprintf(w, "latency per window: median %.2f ms, 95 %% within %.2f ms, at most %.2f ms\n", r.MedianMS, r.P95MS, r.MaxMS)
		if r.Timesteps > 0 {
			fmt.Fprintf(w, "timesteps: %.2f on average, T=%d\n", r.MeanSteps, r.Timesteps)
		}
		v := r.Classes[0]
		fmt.Fprintf(w, "most frequent: class %d  %s  in %d windows (%.1f %%)\n", v.Class, oneLine(v.Name), v.Windows, 100*float64(v.Windows)/float64(r.Classified))
	}
	for _, c := range []struct {
		n    int64
		text string
	}{
		{r.Late, "events came later than the window they belong to was closed"},
		{r.Between, "events lie between windows"},
		{r.Outside, "events lie outside the sensor"},
	} {
		if c.n > 0 {
			fmt.Fprintf(w, "left out: %d %s\n", c.n, c.text)
		}
	}
}
