package codec

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/adafire/adafire/events"
)

func readTestFile(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func newStream(file []byte) *bytes.Reader { return bytes.NewReader(file) }

// fuzzArrays fuzzes one of the formats that keep events in arrays.
func fuzzArrays(f *testing.F, format, folder string) {
	addSeeds(f, func(data []byte) { f.Add(uint16(0), data) }, folder)
	f.Fuzz(func(t *testing.T, width uint16, file []byte) {
		checkArrays(t, file, Options{Format: format, Width: int(width)})
	})
}

func FuzzNPY(f *testing.F) {
	f.Add(uint16(0), []byte(npyFile("'<f8'", "(4, 3)", false, make([]float64, 12))))
	f.Add(uint16(0), []byte(npyFile("[('t', '<i8'), ('', '|V3'), ('x', '<u2'), ('y', '<u2'), ('p', '|b1')]", "(1,)", false, make([]byte, 16))))
	fuzzArrays(f, "npy", "npy")
}

func FuzzNPZ(f *testing.F) { fuzzArrays(f, "npz", "npz") }

func FuzzMAT(f *testing.F) { fuzzArrays(f, "mat", "mat") }

func FuzzHDF5Events(f *testing.F) {
	files, err := filepath.Glob("testdata/hdf5/*.h5")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		f.Add(uint16(0), readTestFile(f, file))
	}
	fuzzArrays(f, "hdf5", "hdf5")
}

func FuzzReadBoxes(f *testing.F) {
	addSeeds(f, func(data []byte) { f.Add(data) }, "boxes")
	f.Fuzz(func(t *testing.T, file []byte) {
		boxes, err := ReadBoxes(bytes.NewReader(file), "fuzz")
		var known *events.Error
		if err != nil && !errors.As(err, &known) {
			t.Fatalf("error %v is no *events.Error", err)
		}
		kept := MpxBoxes.Apply(boxes)
		if again := MpxBoxes.Apply(kept); MpxBoxes.MinSide > 0 && len(again) > len(kept) {
			t.Fatalf("filtered twice: %d boxes, once: %d", len(again), len(kept))
		}
	})
}

func TestReadBoxes(t *testing.T) {
	want := []Box{{T: 7, X: 1, Y: 2, W: 3, H: 4, Class: 2, Confidence: 0.5, Track: 9}}
	const toolbox = "[('t', '<i8'), ('x', '<f4'), ('y', '<f4'), ('w', '<f4'), ('h', '<f4'), ('class_id', '<u4'), ('track_id', '<u4'), ('class_confidence', '<f4'), ('', '|V4')]"
	file := npyFile(toolbox, "(1,)", false, int64(7), []float32{1, 2, 3, 4}, []uint32{2, 9}, float32(0.5), make([]byte, 4))
	got, err := ReadBoxes(bytes.NewReader([]byte(file)), "a_bbox.npy")
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	got, err = ReadBoxes(bytes.NewReader([]byte(file[:len(file)-1])), "a_bbox.npy")
	if wantError(t, err, events.Truncated, int64(len(file)-1)); len(got) > 0 {
		t.Errorf("got %v of a cut file", got)
	}
	_, err = ReadBoxes(bytes.NewReader([]byte(npyFile("[('t', '<i8'), ('x', '<f4')]", "(0,)", false))), "a")
	wantError(t, err, events.MissingField, 10)
	_, err = ReadBoxes(bytes.NewReader([]byte(npyFile("'<f4'", "(3, 4)", false))), "a")
	wantError(t, err, events.UnsupportedDType, 10)
}

// TestGoldenBoxes reads the boxes of golden/events.
func TestGoldenBoxes(t *testing.T) {
	for _, c := range eventCases(t) {
		if c.Boxes == nil {
			continue
		}
		t.Run(c.File, func(t *testing.T) {
			got, err := ReadBoxes(bytes.NewReader(c.read(t)), c.File)
			if err != nil {
				t.Fatal(err)
			}
			var want []Box
			for _, b := range c.Boxes {
				want = append(want, Box(b))
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func TestBoxFilter(t *testing.T) {
	box := func(t int64, x, y, w, h float32) Box { return Box{T: t, X: x, Y: y, W: w, H: h} }
	tests := []struct {
		name   string
		filter BoxFilter
		boxes  []Box
		want   []Box
	}{
		{"nothing", BoxFilter{}, []Box{box(1, -5, 0, 1, 1)}, []Box{box(1, -5, 0, 1, 1)}},
		{"early", BoxFilter{SkipUntil: 10}, []Box{box(10, 0, 0, 1, 1), box(11, 0, 0, 1, 1)}, []Box{box(11, 0, 0, 1, 1)}},
		{"diagonal", BoxFilter{MinDiagonal: 50}, []Box{box(1, 0, 0, 30, 39), box(1, 0, 0, 30, 40)}, []Box{box(1, 0, 0, 30, 40)}},
		{"side", BoxFilter{MinSide: 10}, []Box{box(1, 0, 0, 9, 100), box(1, 0, 0, 10, 10)}, []Box{box(1, 0, 0, 10, 10)}},
		{"clip", BoxFilter{FrameWidth: 100, FrameHeight: 50}, []Box{box(1, -5, 40, 20, 20), box(1, 100, 0, 5, 5), box(1, 0, -9, 5, 9)}, []Box{box(1, 0, 40, 15, 10)}},
		{"sizes of the file", BoxFilter{FrameWidth: 100, FrameHeight: 50, MinSide: 10}, []Box{box(1, 95, 0, 20, 20)}, []Box{box(1, 95, 0, 5, 20)}},
		{"clip first", BoxFilter{FrameWidth: 100, FrameHeight: 50, MinSide: 10, ClipFirst: true}, []Box{box(1, 95, 0, 20, 20)}, nil},
		{"wide", BoxFilter{FrameWidth: 100, FrameHeight: 50, MaxWidth: 0.9}, []Box{box(1, 0, 0, 91, 10), box(1, 0, 0, 90, 10)}, []Box{box(1, 0, 0, 90, 10)}},
		{"GEN1", GEN1Boxes, []Box{box(500_000, 0, 0, 100, 100), box(600_000, 0, 0, 100, 100), box(600_000, 0, 0, 20, 20)}, []Box{box(600_000, 0, 0, 100, 100)}},
	}
	for _, test := range tests {
		if got := test.filter.Apply(test.boxes); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}
