package codec

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/adafire/adafire/events"
	"github.com/adafire/adafire/internal/golden"
)

// eventCase is an entry of golden/events/manifest.json. Its fields are explained
// in section 9 of the specification of event formats.
type eventCase struct {
	File    string `json:"file"`
	Format  string `json:"format"`
	SHA256  string `json:"sha256"`
	Outcome string `json:"outcome"` // ok, warn, error
	Sensor  struct {
		Width  int `json:"width"`
		Height int `json:"height"`
	} `json:"sensor"`
	Convention  string               `json:"convention"`
	EventCount  int                  `json:"event_count"`
	First       [][4]int64           `json:"first_events"`
	Last        [][4]int64           `json:"last_events"`
	Expected    string               `json:"expected"`
	ExpectedSum string               `json:"expected_csv_sha256"`
	Error       *eventError          `json:"error"`
	Lenient     *eventLenient        `json:"lenient"`
	Alternative map[string][][]int64 `json:"alt_expected"`

	Recording string      `json:"for_recording"` // of a label file
	Clips     []eventClip `json:"clips"`
	Boxes     []eventBox  `json:"boxes"`

	Shape   []int        `json:"shape"`   // of a cache of frames
	Nonzero [][5]float64 `json:"nonzero"` // its elements: four indices and a value

	dir string
}

type eventError struct {
	Kind       string `json:"kind"`
	Offset     *int64 `json:"offset"`
	Packet     *int64 `json:"packet_offset"`
	FirstEvent *int   `json:"first_event_index"`
	Count      *int64 `json:"count"`
}

type eventLenient struct {
	EventCount int   `json:"event_count"`
	Skipped    int64 `json:"skipped"`
}

type eventClip struct {
	Label      int   `json:"label"`
	Start      int64 `json:"start"`
	End        int64 `json:"end"`
	EventCount int   `json:"event_count"`
}

type eventBox struct {
	T          int64   `json:"t"`
	X          float32 `json:"x"`
	Y          float32 `json:"y"`
	W          float32 `json:"w"`
	H          float32 `json:"h"`
	Class      uint32  `json:"class_id"`
	Confidence float32 `json:"confidence"`
	Track      uint32  `json:"track_id"`
}

// eventCases returns the cases of the folder that golden.Dir names.
func eventCases(t testing.TB) []eventCase {
	t.Helper()
	dir := filepath.Join(golden.Dir(t), "events")
	if _, err := os.Stat(filepath.Join(dir, "manifest.json")); err != nil {
		dir = golden.Dir(t) // the folder of events itself
	}
	data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if errors.Is(err, os.ErrNotExist) && os.Getenv(golden.Env) != "" {
		t.Skipf("%s has no cases of events", dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Cases []eventCase `json:"cases"`
	}
	if err := json.Unmarshal(data, &manifest); err != nil {
		t.Fatal(err)
	}
	if len(manifest.Cases) == 0 {
		t.Fatalf("%s: no cases", dir)
	}
	for i := range manifest.Cases {
		manifest.Cases[i].dir = dir
	}
	return manifest.Cases
}

// read returns the file of a case, after checking that it is the one meant.
func (c *eventCase) read(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(c.dir, c.File))
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(data); c.SHA256 != "" && hex.EncodeToString(sum[:]) != c.SHA256 {
		t.Fatalf("%s: SHA-256 differs from the manifest's", c.File)
	}
	return data
}

// head returns the first bytes of the file of a case.
func (c *eventCase) head() ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(c.dir, c.File))
	return data[:min(len(data), detectBytes)], err
}

// options are what a case's manifest entry says about reading it. Content and
// extension tell the format of all but AEDAT 1.
func (c *eventCase) options(convention string) Options {
	o := Options{Name: c.File, Width: c.Sensor.Width, Height: c.Sensor.Height}
	if c.Format == "aedat1" {
		o.Format = c.Format
	}
	switch convention { // the manifest names the canonical picture by the format
	case "prophesee", "dsec", "npz", "npy-xytp-seconds", "npy-xytp-us", "text-seconds", "text-us":
	default:
		o.Convention = convention
	}
	return o
}

// readEvents reads to the end in pieces of an odd size.
func readEvents(r io.Reader, o Options) ([]events.Event, *events.Stats, error) {
	rec, err := NewReader(r, o)
	if err != nil {
		return nil, &events.Stats{}, err
	}
	defer rec.Close()
	var all []events.Event
	buf := make([]events.Event, 777)
	for {
		n, err := rec.Read(buf)
		all = append(all, buf[:n]...)
		if errors.Is(err, io.EOF) {
			return all, rec.Stats(), nil
		}
		if err != nil {
			if m, again := rec.Read(buf); m != 0 || again == nil {
				return all, rec.Stats(), fmt.Errorf("read after the error %q: got %d events, error %v", err, m, again)
			}
			return all, rec.Stats(), err
		}
	}
}

// TestGoldenEvents decodes the recordings of golden/events, from memory and as a
// stream without random access.
func TestGoldenEvents(t *testing.T) {
	for _, c := range eventCases(t) {
		t.Run(c.File, func(t *testing.T) {
			data := c.read(t)
			switch {
			case c.Clips != nil:
				c.checkClips(t, data)
				return
			case c.Boxes != nil:
				return // TestGoldenBoxes
			case c.Format == "npz-frames":
				c.checkFrames(t, data)
				return
			}
			c.check(t, func() io.Reader { return bytes.NewReader(data) })
			c.check(t, func() io.Reader { return struct{ io.Reader }{bytes.NewReader(data)} })
		})
	}
}

func (c *eventCase) check(t *testing.T, open func() io.Reader) {
	t.Helper()
	o := c.options(c.Convention)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got, stats, err := readEvents(open(), o)
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; c.Outcome == "error" && used > 4<<20 {
		t.Errorf("allocated %d bytes for a file of a few kB", used)
	}

	if c.Outcome == "error" {
		c.checkError(t, err)
		if c.First != nil {
			c.checkEvents(t, got)
		}
		c.checkLenient(t, open, o)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	c.checkEvents(t, got)
	strict := o
	strict.Mode = Strict
	_, _, strictErr := readEvents(open(), strict)
	if c.Outcome == "ok" {
		for _, k := range events.Kinds() {
			if k != events.NotPolarity && k != events.InvalidEvent && k != events.NoTimeBase && stats.Count(k) > 0 {
				t.Errorf("counted %v, want no damage", stats)
			}
		}
		if strictErr != nil {
			t.Errorf("strict: %v", strictErr)
		}
	} else {
		c.checkWarning(t, got, stats, strictErr)
	}
	for convention, want := range c.Alternative {
		got, _, err := readEvents(open(), c.options(convention))
		if err != nil {
			t.Errorf("%s: %v", convention, err)
		}
		if diff := cmp.Diff(fourInts(want), got); diff != "" {
			t.Errorf("%s: want (-), got (+):\n%s", convention, diff)
		}
	}
}

// checkEvents compares all events with the list of a case.
func (c *eventCase) checkEvents(t *testing.T, got []events.Event) {
	t.Helper()
	if len(got) != c.EventCount {
		t.Fatalf("got %d events, want %d", len(got), c.EventCount)
	}
	if n := len(c.First); n > 0 {
		if diff := cmp.Diff(tuples(c.First), got[:n]); diff != "" {
			t.Errorf("first events: want (-), got (+):\n%s", diff)
		}
		n = len(c.Last)
		if diff := cmp.Diff(tuples(c.Last), got[len(got)-n:]); diff != "" {
			t.Errorf("last events: want (-), got (+):\n%s", diff)
		}
	}
	if c.Expected != "" {
		want := readExpected(t, filepath.Join(c.dir, c.Expected))
		for i := range want {
			if i >= len(got) || got[i] != want[i] {
				t.Fatalf("event %d of %d differs from the expected list", i, len(want))
			}
		}
		if len(got) != len(want) {
			t.Fatalf("got %d events, the expected list has %d", len(got), len(want))
		}
	}
	if c.ExpectedSum != "" {
		csv := []byte("t,x,y,p\n")
		for _, e := range got {
			csv = fmt.Appendf(csv, "%d,%d,%d,%d\n", e.T, e.X, e.Y, e.P)
		}
		if sum := sha256.Sum256(csv); hex.EncodeToString(sum[:]) != c.ExpectedSum {
			t.Error("the list of events has another SHA-256 than the manifest says")
		}
	}
}

func (c *eventCase) checkError(t *testing.T, err error) {
	t.Helper()
	var bad *events.Error
	if !errors.As(err, &bad) {
		t.Fatalf("got error %v, want an *events.Error of kind %s", err, c.Error.Kind)
	}
	if bad.Kind.String() != c.Error.Kind {
		t.Errorf("got error %v, want kind %s", err, c.Error.Kind)
	}
	if c.Error.Offset != nil && bad.Offset != *c.Error.Offset {
		t.Errorf("got error %v, want offset %d", err, *c.Error.Offset)
	}
	if c.Error.Packet != nil && bad.Block != *c.Error.Packet {
		t.Errorf("got error %v, want the packet at %d", err, *c.Error.Packet)
	}
	if bad.File != c.File {
		t.Errorf("got error %v, want the file's name %s", err, c.File)
	}
}

func (c *eventCase) checkLenient(t *testing.T, open func() io.Reader, o Options) {
	t.Helper()
	o.Mode = Lenient
	got, stats, err := readEvents(open(), o)
	if c.Lenient == nil {
		return
	}
	if err != nil {
		t.Fatalf("lenient: %v", err)
	}
	if len(got) != c.Lenient.EventCount {
		t.Errorf("lenient: got %d events, want %d", len(got), c.Lenient.EventCount)
	}
	for _, k := range events.Kinds() {
		if k.String() != c.Error.Kind {
			continue
		}
		if n := stats.Count(k); n != max(c.Lenient.Skipped, 1) {
			t.Errorf("lenient: counted %d of %s, want %d", n, k, max(c.Lenient.Skipped, 1))
		}
		if first, _ := stats.First(k); c.Error.Offset != nil && first != *c.Error.Offset {
			t.Errorf("lenient: first %s at %d, want %d", k, first, *c.Error.Offset)
		}
	}
}

// checkWarning checks what a "warn" case counts.
func (c *eventCase) checkWarning(t *testing.T, got []events.Event, stats *events.Stats, strictErr error) {
	t.Helper()
	i := slices.IndexFunc(events.Kinds(), func(k events.Kind) bool { return k.String() == c.Error.Kind })
	if i < 0 {
		t.Fatalf("no kind is called %s", c.Error.Kind)
	}
	kind := events.Kind(i)
	if c.Error.Count != nil && stats.Count(kind) != *c.Error.Count {
		t.Errorf("counted %v, want %d of %s", stats, *c.Error.Count, kind)
	}
	if first, ok := stats.First(kind); !ok || (c.Error.Offset != nil && first != *c.Error.Offset) {
		t.Errorf("counted %v, want the first %s at %d", stats, kind, *c.Error.Offset)
	}
	if c.Error.FirstEvent != nil {
		back := 1
		for back < len(got) && got[back].T >= got[back-1].T {
			back++
		}
		if back != *c.Error.FirstEvent {
			t.Errorf("time steps back at event %d, want %d", back, *c.Error.FirstEvent)
		}
	}
	if kind == events.TimeBackwards {
		var bad *events.Error
		if !errors.As(strictErr, &bad) || bad.Kind != kind {
			t.Errorf("strict: got error %v, want %s", strictErr, kind)
		}
	} else if strictErr != nil {
		t.Errorf("strict: %v", strictErr)
	}
}

func tuples(list [][4]int64) []events.Event {
	out := make([]events.Event, len(list))
	for i, e := range list {
		out[i] = events.Event{T: e[0], X: uint16(e[1]), Y: uint16(e[2]), P: uint8(e[3])}
	}
	return out
}

func fourInts(list [][]int64) []events.Event {
	out := make([]events.Event, len(list))
	for i, e := range list {
		out[i] = events.Event{T: e[0], X: uint16(e[1]), Y: uint16(e[2]), P: uint8(e[3])}
	}
	return out
}

// readExpected reads a list "t,x,y,p", packed by gzip when its name says so.
func readExpected(t *testing.T, path string) []events.Event {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := io.Reader(f)
	if strings.HasSuffix(path, ".gz") {
		if in, err = gzip.NewReader(f); err != nil {
			t.Fatal(err)
		}
	}
	var list []events.Event
	lines := bufio.NewScanner(in)
	for first := true; lines.Scan(); first = false {
		if first {
			continue // names
		}
		var v [4]int64
		for i, s := range strings.Split(lines.Text(), ",") {
			if v[i], err = strconv.ParseInt(s, 10, 64); err != nil {
				t.Fatal(err)
			}
		}
		list = append(list, tuples([][4]int64{v})...)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}

// checkClips checks the labels of DVS128 Gesture against its recording.
func (c *eventCase) checkClips(t *testing.T, data []byte) {
	clips, err := ReadGestureLabels(bytes.NewReader(data), c.File)
	if err != nil {
		t.Fatal(err)
	}
	if len(clips) != len(c.Clips) {
		t.Fatalf("got %d clips, want %d", len(clips), len(c.Clips))
	}
	for i, want := range c.Clips {
		if clips[i] != (Clip{Label: want.Label, Start: want.Start, End: want.End}) {
			t.Errorf("clip %d: got %+v, want %+v", i, clips[i], want)
		}
		rec, err := Open(filepath.Join(c.dir, c.Recording), Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer rec.Close()
		window, err := events.Window(rec, clips[i].Start, clips[i].End)
		if err != nil {
			t.Fatal(err)
		}
		if all, err := events.ReadAll(window); err != nil || len(all) != want.EventCount {
			t.Errorf("clip %d: got %d events, error %v, want %d", i, len(all), err, want.EventCount)
		}
	}
}

// checkFrames checks a cache of frames.
func (c *eventCase) checkFrames(t *testing.T, data []byte) {
	frames, err := ReadFrames(bytes.NewReader(data), int64(len(data)), c.File)
	if err != nil {
		t.Fatal(err)
	}
	if shape := []int{frames.Steps, 2, frames.Height, frames.Width}; !slices.Equal(shape, c.Shape) {
		t.Fatalf("shape %v, want %v", shape, c.Shape)
	}
	want := make([]float64, len(frames.Counts))
	for _, v := range c.Nonzero {
		want[((int(v[0])*2+int(v[1]))*frames.Height+int(v[2]))*frames.Width+int(v[3])] = v[4]
	}
	if diff := cmp.Diff(want, frames.Counts); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}
