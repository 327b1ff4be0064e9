package cli

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/adafire/adafire/checkpoint"
	"github.com/adafire/adafire/convert"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/bench"
	"github.com/adafire/adafire/internal/job"
	"github.com/adafire/adafire/internal/npy"
	"github.com/adafire/adafire/models"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
	"github.com/spf13/cobra"
)

// Limits of the sizes that bench takes: beyond them a typing error is likelier
// than a wish.
const (
	maxBenchBatch = 4096
	maxBenchSide  = 4096
	maxBenchRuns  = 10000
)

// benchFlags say what to measure.
type benchFlags struct {
	arch, inputShape, model  string
	input, calibInput, calib string
	batch, classes, runs     int
	timesteps, maxSpike      int
	layers, train, kernels   bool
	conversion               bool
	logits, annLogits        string
	weights, schedule        string
	snns                     []string
}

func benchCommand(a *app) *cobra.Command {
	var b benchFlags
	cmd := &cobra.Command{
		Use:   "bench [--arch NAME | --model FILE]",
		Short: "measure the speed of ANN and SNN on this machine",
		Long: `Measures how fast networks run, and how near that is to what the machine can
do: its limits are measured first, multiply-adds on registers and a triad in
memory, all workers at once.

Without --arch and --model it prints the built-in table: the machine, 3x3
convolutions forward and backward, the neuron update, and ResNet-20 and VGG16
for 3x32x32 images: inference, a training step, and the spiking network.

Times are minimum, median and maximum of --runs calls after one to warm up;
rates are those of the median call. Where other programs run on the same cores,
look at the minimum and at the processor time (CPU), which waiting does not add
to, and compare only what was measured in one run. --arch measures untrained
weights: the time of the dense kernels does not depend on that, but density and
synaptic operations do.

The share of the triad is that of moving the inputs, outputs and weights of all
layers through memory once: above 100 %, caches keep them. Memory is what
weights and buffers hold after a run. --layers tells, per layer, the kernel that
computed it and the share of samples and timesteps that it computed by events
(of which "base": by their differences from the rounded mean over time), and the
density of the layer's spikes. --snn measures networks that are converted
already, all in turn, so that their times can be compared.

Arrays for --input and --calib-input are [N, H, W, C] or, as PyTorch and ONNX
have it, [N, C, H, W].`,
		Example: `  adafire bench
  adafire bench --arch resnet20 --input-shape 3x32x32 --batch 32 --T 8 --maxspike 4 --workers 2 --json -
  adafire bench --model ann.safetensors --input x.npy --calib-input c.npy --T 8 --weights i8 --layers
  adafire bench --model ann.safetensors --T 0 --snn i8.safetensors --snn f32.safetensors`,
		Args: positional(0, 0, ""),
	}
	f := cmd.Flags()
	choiceVar(f, &b.arch, "arch", "", models.Names(), "measure this network, untrained")
	textVar(f, &b.inputShape, "input-shape", "", "channels x height x width, as in 3x32x32", func(text string) error {
		_, err := parseInputShape(text)
		return err
	}, "input of --arch: channels x height x width (default: the network's usual one)")
	intVar(f, &b.classes, "classes", 0, 0, 100000, "outputs of --arch, 0 for the network's usual number")
	f.StringVar(&b.model, "model", "", "measure the ANN or SNN in `FILE`")
	f.StringVar(&b.input, "input", "", "measure on the samples in `FILE.npy`")
	f.StringVar(&b.calibInput, "calib-input", "", "convert with the samples in `FILE.npy` (default: those measured on)")
	choiceVar(f, &b.calib, "calib", convert.CalibrationLight, []string{convert.CalibrationNone, convert.CalibrationLight, convert.CalibrationPotential}, "calibration of the conversion")
	intVar(f, &b.batch, "batch", 0, 0, maxBenchBatch, "samples per call, 0 for 32 or all of --input")
	intVar(f, &b.timesteps, "timesteps", 8, 0, snn.MaxTimesteps, "timesteps T of the spiking network, 0 to leave it out")
	intVar(f, &b.maxSpike, "maxspike", 4, 1, snn.MaxBurst, "burst limit: most spikes of a neuron in a timestep")
	weightsVar(f, &b.weights, string(snn.F32))
	choiceVar(f, &b.schedule, "schedule", string(snn.ScheduleSync), []string{string(snn.ScheduleSync), string(snn.ScheduleAccumulate)}, "fire in every timestep, or once on the sum of all currents")
	f.StringArrayVar(&b.snns, "snn", nil, "also measure the spiking network in `FILE`, converted from the ANN measured or one like it; may be repeated")
	intVar(f, &b.runs, "runs", 5, 1, maxBenchRuns, "timed calls of each kind")
	f.BoolVar(&b.train, "train", false, "also measure a training step (the built-in table always does)")
	f.BoolVar(&b.layers, "layers", false, "also measure layer by layer")
	f.BoolVar(&b.conversion, "conversion", false, "also measure the search for thresholds and light calibration")
	f.BoolVar(&b.kernels, "kernels", false, "measure the machine and the kernels only")
	f.StringVar(&b.logits, "logits", "", "save the outputs of the spiking network (with --T 0: of the ANN) to `FILE.npy`")
	f.StringVar(&b.annLogits, "ann-logits", "", "save the outputs of the ANN to `FILE.npy`")
	cmd.RunE = a.run(func(s *session, _ []string) error {
		if err := b.check(s); err != nil {
			return err
		}
		subjects, err := b.subjects(s)
		if err != nil {
			return err
		}
		r := benchResult{Schema: 1, Command: s.commandName(), Version: moduleVersion(), Seed: s.Seed}
		s.Verbosef("measuring the machine")
		r.Machine = bench.MeasureMachine(s.Pool)
		r.Machine.Model = cpuModel()
		builtIn := b.arch == "" && b.model == ""
		if builtIn {
			s.Logf("kernels")
			if r.Kernels, err = bench.Convolutions(s.Ctx, s.Pool, r.Machine, b.runs); err != nil {
				return err
			}
			neurons, err := bench.Neurons(s.Ctx, b.runs)
			if err != nil {
				return err
			}
			r.Kernels = append(r.Kernels, neurons...)
		}
		o := bench.Options{Runs: b.runs, Timesteps: b.timesteps, MaxSpike: b.maxSpike, Calibration: b.calib, Weights: snn.Precision(b.weights), Schedule: snn.Schedule(b.schedule),
			Train: b.train || builtIn, Layers: b.layers, Conversion: b.conversion, Note: func(text string) { s.Logf("%s", text) }}
		for _, subject := range subjects {
			n, err := bench.Measure(s.Ctx, s.Pool, r.Machine, subject, o)
			if err != nil {
				return err
			}
			r.add(n)
		}
		if len(r.Networks) > 0 {
			if err := b.saveLogits(s, r.Networks[0]); err != nil {
				return err
			}
		}
		r.Seconds = s.Seconds()
		return s.Emit(r, r.write)
	})
	return cmd
}

// check refuses combinations of flags before any work.
func (b *benchFlags) check(s *session) error {
	if b.arch != "" && b.model != "" {
		return s.Usagef("--arch makes a network, --model reads one: give one of them")
	}
	if b.kernels && (b.arch != "" || b.model != "") {
		return s.Usagef("--kernels leaves the networks out, --arch and --model name one: give one of them")
	}
	for flag, given := range map[string]bool{"input": b.input != "", "calib-input": b.calibInput != "",
		"logits": b.logits != "", "ann-logits": b.annLogits != "", "snn": len(b.snns) > 0} {
		if given && b.arch == "" && b.model == "" {
			return s.Usagef("--%s needs one network to be measured: give --arch or --model", flag)
		}
	}
	for _, flag := range []string{"input-shape", "classes"} {
		if s.Changed(flag) && b.arch == "" {
			return s.Usagef("--%s is for --arch", flag)
		}
	}
	if b.input != "" && s.Changed("input-shape") {
		return s.Usagef("--input has a shape of its own, --input-shape sets another: give one of them")
	}
	if b.timesteps == 0 && b.calibInput != "" {
		return s.Usagef("--timesteps 0 converts nothing, --calib-input is for the conversion")
	}
	for _, path := range []string{b.logits, b.annLogits} {
		if path == "" {
			continue
		}
		if err := s.CheckTarget(path); err != nil {
			return err
		}
	}
	return nil
}

// parseInputShape reads CxHxW.
func parseInputShape(text string) (graph.Shape, error) {
	parts := strings.Split(strings.ToLower(text), "x")
	if len(parts) != 3 {
		return nil, fmt.Errorf("input shape %q has %d parts, want channels x height x width, as in 3x32x32", text, len(parts))
	}
	var v [3]int
	for i, p := range parts {
		n, err := strconv.Atoi(p)
		if err != nil || n < 1 || n > maxBenchSide {
			return nil, fmt.Errorf("input shape %q: %q, want a whole number from 1 to %d", text, p, maxBenchSide)
		}
		v[i] = n
	}
	return graph.Shape{v[1], v[2], v[0]}, nil
}

// subjects makes what is to be measured.
func (b *benchFlags) subjects(s *session) ([]bench.Subject, error) {
	batch := cmp.Or(b.batch, bench.Batch)
	if b.kernels {
		return nil, nil
	}
	if b.arch == "" && b.model == "" {
		var list []bench.Subject
		for _, arch := range bench.Archs {
			one, err := bench.Build(arch, graph.Shape{32, 32, 3}, 10, batch, s.Seed)
			if err != nil {
				return nil, err
			}
			list = append(list, one)
		}
		return list, nil
	}
	var one bench.Subject
	var err error
	if b.model != "" {
		one, err = b.load(s)
	} else {
		one, err = b.untrained(s)
	}
	if err != nil {
		return nil, err
	}
	shape := one.Graph.InputNodes()[0].Shape
	if b.input != "" {
		if one.Input, err = readSamples(s, b.input, shape); err != nil {
			return nil, err
		}
		if n := one.Input.Shape[0]; b.batch > n {
			return nil, fmt.Errorf("%s: %d samples, want %d for --batch", b.input, n, b.batch)
		} else if b.batch > 0 {
			one.Input = one.Input.Rows(0, b.batch)
		}
	} else {
		one.Input = bench.RandomInput(shape, batch, s.Seed)
	}
	if b.calibInput != "" {
		if one.Calib, err = readSamples(s, b.calibInput, shape); err != nil {
			return nil, err
		}
	}
	for _, path := range b.snns {
		m, err := checkpoint.LoadModel(path)
		if err != nil {
			return nil, err
		}
		c, err := job.Spiking(path, m)
		if err != nil {
			return nil, err
		}
		net, err := c.Network()
		if err != nil {
			return nil, err
		}
		if in := m.Graph.InputNodes(); len(in) != 1 || !equalShape(in[0].Shape, shape) {
			return nil, fmt.Errorf("%s: a network of other inputs than %s", path, shape)
		}
		one.Others = append(one.Others, bench.Converted{Name: path, Net: net})
	}
	return []bench.Subject{one}, nil
}

// untrained builds the network of --arch.
func (b *benchFlags) untrained(s *session) (bench.Subject, error) {
	info, err := models.Describe(b.arch)
	if err != nil {
		return bench.Subject{}, err
	}
	c := models.Config{Arch: b.arch, Input: info.Input, Classes: cmp.Or(b.classes, info.Classes), Seed: s.Seed}
	switch {
	case b.inputShape != "":
		if c.Input, err = parseInputShape(b.inputShape); err != nil {
			return bench.Subject{}, err
		}
	case b.input != "":
		a, err := npy.ReadFile(b.input)
		if err != nil {
			return bench.Subject{}, err
		}
		if len(a.Shape) != 4 {
			return bench.Subject{}, fmt.Errorf("%s: array of shape %v, want [N, H, W, C] or [N, C, H, W]", b.input, a.Shape)
		}
		// Colours or events come in few channels: fewer than pixels on a side.
		if c.Input = graph.Shape(a.Shape[1:]); a.Shape[1] < a.Shape[3] {
			c.Input = graph.Shape{a.Shape[2], a.Shape[3], a.Shape[1]}
		}
	}
	g, err := models.Build(c)
	if err != nil && b.inputShape != "" {
		return bench.Subject{}, s.Usagef("--arch %s with --input-shape %s: %v", b.arch, b.inputShape, err)
	} else if err != nil {
		return bench.Subject{}, err
	}
	return bench.Subject{Name: b.arch, Graph: g}, nil
}

// load reads the network of --model. A spiking network comes with settings of
// its own, which flags do not change.
func (b *benchFlags) load(s *session) (bench.Subject, error) {
	m, err := checkpoint.LoadModel(b.model)
	if err != nil {
		return bench.Subject{}, err
	}
	if len(m.Graph.InputNodes()) != 1 || len(m.Graph.Outputs) != 1 {
		return bench.Subject{}, fmt.Errorf("%s: the network has %d inputs and %d outputs, want one of each", b.model, len(m.Graph.InputNodes()), len(m.Graph.Outputs))
	}
	one := bench.Subject{Name: b.model, Graph: m.Graph}
	switch m.Kind {
	case checkpoint.KindANN, checkpoint.KindTrain:
		return one, nil
	case checkpoint.KindSNN:
	default:
		return one, fmt.Errorf("%s: holds a network of kind %q, want an ANN or an SNN", b.model, m.Kind)
	}
	for _, flag := range []string{"timesteps", "maxspike", "calib", "calib-input", "weights", "schedule"} {
		if s.Changed(flag) {
			return one, s.Usagef("--%s is for a conversion, %s is converted already", flag, b.model)
		}
	}
	c, err := job.Spiking(b.model, m)
	if err == nil {
		one.SNN, err = c.Network()
	}
	return one, err
}

// readSamples reads [N, shape] or, for images, [N, C, H, W].
func readSamples(s *session, path string, shape graph.Shape) (*tensor.Tensor, error) {
	a, err := npy.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if _, err := s.AddInput(path); err != nil {
		return nil, err
	}
	want := append([]int{0}, shape...)
	if len(a.Shape) > 0 {
		want[0] = a.Shape[0]
	}
	v, err := a.Float32()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	x, err := tensor.FromSlice(v, a.Shape...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if !equalShape(x.Shape, want) && len(shape) == 3 && equalShape(x.Shape, []int{want[0], shape[2], shape[0], shape[1]}) {
		if x, err = tensor.ChannelsLast(x); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	if want[0] == 0 || !equalShape(x.Shape, want) {
		return nil, fmt.Errorf("%s: array of shape %v, want one or more samples of shape %v or channels first", path, a.Shape, shape)
	}
	if i := x.FirstNonFinite(); i >= 0 {
		return nil, fmt.Errorf("%s: sample %d holds %g, want finite numbers", path, i/shape.Numel(), x.Data[i])
	}
	return x, nil
}

func equalShape(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func (b *benchFlags) saveLogits(s *session, n *bench.Network) error {
	out := n.SNNLogits
	if out == nil {
		out = n.ANNLogits
	}
	for _, f := range []struct {
		path string
		x    *tensor.Tensor
	}{{b.logits, out}, {b.annLogits, n.ANNLogits}} {
		if f.path == "" {
			continue
		}
		if err := s.WriteFile(f.path, func(w io.Writer) error { return npy.Write(w, f.x.Shape, f.x.Data) }); err != nil {
			return err
		}
	}
	return nil
}

// A benchResult is the machine-readable result. The figures of the first
// network also stand at the top.
type benchResult struct {
	Schema     int               `json:"schema"`
	Command    string            `json:"command"`
	Version    string            `json:"version"`
	Seed       uint64            `json:"seed"`
	Seconds    float64           `json:"seconds"`
	Machine    bench.Machine     `json:"machine"`
	Network    string            `json:"network,omitempty"`
	Batch      int               `json:"batch,omitempty"`
	ANN        *bench.ANN        `json:"ann,omitempty"`
	Winograd   *bench.ANN        `json:"ann_winograd,omitempty"`
	SNN        *bench.SNN        `json:"snn,omitempty"`
	Others     []*bench.SNN      `json:"snns,omitempty"`
	Train      *bench.Train      `json:"train,omitempty"`
	Conversion *bench.Conversion `json:"conversion,omitempty"`
	Layers     []bench.Layer     `json:"layers,omitempty"`
	Kernels    []bench.Kernel    `json:"kernels,omitempty"`
	Networks   []*bench.Network  `json:"networks,omitempty"`
}

func (r *benchResult) add(n *bench.Network) {
	if len(r.Networks) == 0 {
		r.Network, r.Batch, r.ANN, r.Winograd = n.Name, n.Batch, n.ANN, n.Winograd
		r.SNN, r.Others, r.Train, r.Layers, r.Conversion = n.SNN, n.Others, n.Train, n.Layers, n.Conversion
	}
	r.Networks = append(r.Networks, n)
}

// write prints the result for people.
func (r *benchResult) write(w io.Writer) error {
	m := &r.Machine
	fmt.Fprintf(w, "%s\nkernels %s, %d workers\n", cmp.Or(oneLine(m.Model), "processor unknown"), m.CPU, m.Workers)
	fmt.Fprintf(w, "multiply-adds: %.0f GFLOP/s on one core, %.0f on all workers\n", m.PeakGFLOPSCore, m.PeakGFLOPS)
	fmt.Fprintf(w, "triad: %.0f GB/s in memory on all workers; on one core %.0f, in L2 %.0f, in L1 %.0f\n",
		m.PeakGBps, m.PeakGBpsCore, m.PeakGBpsL2, m.PeakGBpsL1)
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', tabwriter.AlignRight)
	if len(r.Kernels) > 0 {
		fmt.Fprintf(t, "\n%-30s\t%-25s\tmin ms\tmedian\tmax\tCPU ms\tGFLOP/s\tof peak\tbest\tof peak\t\n", fmt.Sprintf("batch %d", bench.ConvBatch), "")
		for _, k := range r.Kernels {
			fmt.Fprintf(t, "%-30s\t%-25s\t%s", k.Name, k.Op, timesText(k.Times))
			if k.GFLOPS > 0 {
				fmt.Fprintf(t, "\t%.0f\t%.0f%%\t%.0f\t%.0f%%\t\n", k.GFLOPS, 100*k.Peak, k.Best, 100*k.BestPeak)
			} else {
				fmt.Fprintf(t, "\t%.2f G updates/s\t%.0f GB/s\t\t\t\n", k.Updates, k.GBps)
			}
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	for _, n := range r.Networks {
		if err := writeNetwork(w, n); err != nil {
			return err
		}
	}
	return nil
}

// timesText is four cells of a table.
func timesText(t bench.Times) string {
	return fmt.Sprintf("%.1f\t%.1f\t%.1f\t%.1f", t.Min, t.Median, t.Max, t.CPU)
}

func writeNetwork(w io.Writer, n *bench.Network) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\n%-24s\tmin ms\tmedian\tmax\tCPU ms\tsamples/s\tGFLOP/s\tof peak\tGB/s\tof triad\tMiB\t\n", fmt.Sprintf("%s, batch %d", oneLine(n.Name), n.Batch))
	row := func(name string, times bench.Times, samples, rate, peak float64) {
		fmt.Fprintf(t, "%-24s\t%s\t%.1f\t%.0f\t%.0f%%", name, timesText(times), samples, rate, 100*peak)
	}
	rest := func(x bench.Traffic, memory int64) {
		fmt.Fprintf(t, "\t%.1f\t%.0f%%\t%.0f\t\n", x.GBps, 100*x.Triad, float64(memory)/(1<<20))
	}
	if a := n.ANN; a != nil {
		row("ANN", a.Times, a.SamplesPerS, a.GFLOPS, a.Peak)
		rest(a.Traffic, a.Memory)
	}
	if a := n.Winograd; a != nil {
		row("ANN (Winograd)", a.Times, a.SamplesPerS, a.GFLOPS, a.Peak)
		rest(a.Traffic, a.Memory)
	}
	if a := n.Train; a != nil {
		row("training step", a.Times, a.SamplesPerS, a.GFLOPS, a.Peak)
		fmt.Fprint(t, "\t\t\t\t\n")
	}
	if c := n.Conversion; c != nil {
		for _, stage := range []struct {
			name  string
			times bench.Times
		}{{"search for thresholds", c.Search}, {"thresholds, with the ANN", c.Thresholds}, {"light calibration", c.Light}} {
			fmt.Fprintf(t, "%-24s\t%s\t%.1f\t\t\t\t\t\t\n", stage.name, timesText(stage.times), 1e3*float64(c.Samples)/stage.times.Median)
		}
	}
	spiking := n.Others
	if n.SNN != nil {
		spiking = append([]*bench.SNN{n.SNN}, spiking...)
	}
	for _, s := range spiking {
		row(spikingName(s), s.Times, s.SamplesPerS, s.GOPS, s.Peak)
		rest(s.Traffic, s.Memory)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, s := range spiking {
		name := spikingName(s)
		if s.Name != "" {
			name += " (" + oneLine(s.Name) + ")"
		}
		fmt.Fprintf(w, "%s: %.1f times the ANN's time, density %.3f, %.3f spikes per neuron and timestep, %.3g SOPs per sample, %.1f GSOP/s, kernels: %s, %.0f%% of the work by events (rates as if dense)\n",
			name, s.OverANN, s.Density, s.Spikes, s.SOPs, s.GSOPS, s.Kernel, 100*s.Events)
	}
	if len(n.Layers) == 0 {
		return nil
	}
	fmt.Fprintf(t, "\n%-24s\top\toutput\tMMACs\tANN ms\tGFLOP/s\tof peak\tSNN ms\tGOP/s\tof peak\tdensity\tMSOPs\tkernel\tby events\tbase\t\n", "layer")
	for _, l := range n.Layers {
		fmt.Fprintf(t, "%-24s\t%s\t%s\t%.1f\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", oneLine(l.Name), l.Op, graph.Shape(l.Shape), float64(l.MACs)/1e6,
			optional("%.2f", l.ANNMS), optional("%.0f", l.ANNGFLOPS), optional("%.0f%%", 100*l.ANNPeak),
			optional("%.2f", l.SNNMS), optional("%.0f", l.GOPS), optional("%.0f%%", 100*l.Peak),
			optional("%.3f", l.Density), optional("%.1f", l.SOPs/1e6), l.Kernel, optional("%.0f%%", 100*l.Events), optional("%.0f%%", 100*l.Base))
	}
	return t.Flush()
}

func spikingName(s *bench.SNN) string {
	name := fmt.Sprintf("SNN T=%d, maxspike %d, %s", s.Timesteps, s.MaxSpike, s.Weights)
	if s.Schedule != snn.ScheduleSync {
		name += ", " + string(s.Schedule)
	}
	return name
}

// optional is a cell that stays empty for 0.
func optional(format string, v float64) string {
	if v == 0 {
		return ""
	}
	return fmt.Sprintf(format, v)
}
