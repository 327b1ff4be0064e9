package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/adafire/adafire/events"
	"github.com/adafire/adafire/events/codec"
	"github.com/spf13/pflag"
)

// recordingFlags say how recordings are read.
type recordingFlags struct {
	format, convention, chip, order, unit, damage string
	width, height                                 int
}

func (r *recordingFlags) register(f *pflag.FlagSet) {
	choiceVar(f, &r.format, "format", "", formatNames(func(codec.Format) bool { return true }), "format of the recording (default: by its content)")
	f.StringVar(&r.convention, "convention", "", "how raw coordinates are turned: raw or a `NAME` of the format (default: origin at the top left)")
	choiceVar(f, &r.chip, "chip", "", codec.Chips(), "camera of an AEDAT 1 or 2 file that does not name it")
	choiceVar(f, &r.order, "order", "", []string{"txyp", "xypt"}, "columns of a text recording without a line of names")
	choiceVar(f, &r.unit, "time-unit", "", []string{"s", "us"}, "unit of the times of text and .npy (default: guessed)")
	choiceVar(f, &r.damage, "damage", "error", []string{"error", "skip", "strict"}, "what damage does: end the reading, be skipped and counted, or end it as steps back in time do")
	intVar(f, &r.width, "sensor-width", 0, 0, 65535, "`PIXELS`, 0 for what the file says")
	intVar(f, &r.height, "sensor-height", 0, 0, 65535, "`PIXELS`, 0 for what the file says")
}

func formatNames(keep func(codec.Format) bool) []string {
	var names []string
	for _, f := range codec.Formats() {
		if keep(f) && !slices.Contains(names, f.Name) {
			names = append(names, f.Name)
		}
	}
	return names
}

func (r *recordingFlags) options() codec.Options {
	return codec.Options{Format: r.format, Width: r.width, Height: r.height, Convention: r.convention, Chip: r.chip, Order: r.order, TimeUnit: r.unit,
		Mode: map[string]codec.Mode{"error": codec.Default, "skip": codec.Lenient, "strict": codec.Strict}[r.damage]}
}

// open opens a recording, or the standard input for "-".
func (r *recordingFlags) open(s *session, path string) (*codec.Recording, error) {
	o := r.options()
	if path == "-" {
		o.Name = "standard input"
		return codec.NewReader(s.In, o)
	}
	return codec.Open(path, o)
}

// A recordingFinding is the JSON form of what inspect says of a recording.
type recordingFinding struct {
	Format     string            `json:"format"`
	Title      string            `json:"title"`
	Convention string            `json:"convention,omitempty"`
	Meta       map[string]string `json:"meta,omitempty"`
	Events     int64             `json:"events"`
	Width      int               `json:"width"`
	Height     int               `json:"height"`
	SizeKnown  bool              `json:"size_known"` // else from the largest coordinates
	First      int64             `json:"first_us"`
	Last       int64             `json:"last_us"`
	On         float64           `json:"on_share"`
	MeanRate   float64           `json:"events_per_second"`
	PeakRate   float64           `json:"peak_events_per_second"`
	Back       int64             `json:"out_of_order"`
	Outside    int64             `json:"out_of_range"`
	Remarks    []remark          `json:"remarks,omitempty"`
	Error      string            `json:"error,omitempty"`
}

type remark struct {
	Kind  string `json:"kind"`
	Count int64  `json:"count"`
	First int64  `json:"first_offset"`
}

// inspectRecording reads a recording once from end to end.
func inspectRecording(s *session, r *recordingFlags, path string) (*finding, error) {
	rec, err := r.open(s, path)
	if err != nil {
		return nil, err
	}
	defer rec.Close()
	sum, err := events.Summarise(contextReader{s, rec}, 20)
	if err != nil {
		return nil, err
	}
	h := rec.Header()
	f := recordingFinding{Format: rec.Format.Name, Title: rec.Format.Title, Convention: h.Convention, Meta: h.Meta, Events: sum.Events,
		Width: sum.Width, Height: sum.Height, SizeKnown: sum.Known, First: sum.First, Last: sum.Last, On: sum.OnShare(), MeanRate: sum.MeanRate(),
		PeakRate: sum.PeakRate, Back: sum.Back, Outside: sum.Outside, Remarks: remarks(rec.Stats())}
	return &finding{kind: "event recording", json: f, text: func(w io.Writer) error { return f.write(w, sum.Rate) }}, nil
}

func remarks(stats *events.Stats) []remark {
	var list []remark
	for _, k := range events.Kinds() {
		if n := stats.Count(k); n > 0 {
			first, _ := stats.First(k)
			list = append(list, remark{k.String(), n, first})
		}
	}
	return list
}

func (f *recordingFinding) write(w io.Writer, rates []float64) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintf(t, "format\t%s (%s)\n", f.Title, f.Format)
	if f.Convention != "" {
		fmt.Fprintf(t, "convention\t%s\n", f.Convention)
	}
	size := "at least "
	if f.SizeKnown {
		size = ""
	}
	fmt.Fprintf(t, "sensor\t%s%d x %d pixels\n", size, f.Width, f.Height)
	fmt.Fprintf(t, "events\t%d, %.1f %% ON\n", f.Events, 100*f.On)
	fmt.Fprintf(t, "time\t%d to %d µs, %.6f s\n", f.First, f.Last, float64(f.Last-f.First)/1e6)
	fmt.Fprintf(t, "rate\t%.0f events/s, at most %.0f\n", f.MeanRate, f.PeakRate)
	fmt.Fprintf(t, "over time\t%s\n", bars(rates))
	fmt.Fprintf(t, "out of order\t%d\n", f.Back)
	fmt.Fprintf(t, "out of range\t%d\n", f.Outside)
	for _, r := range f.Remarks {
		fmt.Fprintf(t, "%s\t%d, first at offset %d\n", r.Kind, r.Count, r.First)
	}
	for _, key := range sortedKeys(f.Meta) {
		fmt.Fprintf(t, "%s\t%s\n", oneLine(key), oneLine(f.Meta[key]))
	}
	return t.Flush()
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// bars draws values as blocks of eight heights.
func bars(values []float64) string {
	if len(values) == 0 {
		return "-"
	}
	top := slices.Max(values)
	var b strings.Builder
	for _, v := range values {
		level := 0
		if top > 0 {
			level = int(v / top * 7.999)
		}
		b.WriteRune([]rune("▁▂▃▄▅▆▇█")[level])
	}
	return b.String()
}

// A contextReader ends a long reading with the session.
type contextReader struct {
	s *session
	events.Reader
}

// Read implements events.Reader.
func (r contextReader) Read(dst []events.Event) (int, error) {
	if err := r.s.Ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(dst)
}

// reportSkipped prints one line when a reader skipped or found something.
func (s *session) reportSkipped(path string, stats *events.Stats) {
	if list := remarks(stats); len(list) > 0 {
		var parts []string
		for _, r := range list {
			parts = append(parts, fmt.Sprintf("%d %s (first at offset %d)", r.Count, r.Kind, r.First))
		}
		s.Logf("%s: %s", path, strings.Join(parts, ", "))
	}
}
