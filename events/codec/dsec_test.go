package codec

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/adafire/adafire/events"
)

// TestHDF5Layouts reads files that h5py 3 has written: ten events at (100+i,
// 200+i) with the polarity i%2, at the times of the example for ms_to_idx in the
// specification.
func TestHDF5Layouts(t *testing.T) {
	const dsecOffset = 49599300523
	tests := []struct {
		file          string
		shift         int64
		width, height int
	}{
		{"dsec.h5", dsecOffset, 640, 480},
		{"dsec_no_index.h5", dsecOffset, 640, 480},
		{"dsec_blosc_latest.h5", dsecOffset, 640, 480},
		{"group.h5", 1 << 33, 304, 240},
		{"openeb.h5", 0, 1280, 720},
	}
	for _, test := range tests {
		t.Run(test.file, func(t *testing.T) {
			rec, err := Open("testdata/hdf5/"+test.file, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer rec.Close()
			if h := rec.Header(); h.Width != test.width || h.Height != test.height {
				t.Errorf("got a sensor of %dx%d, want %dx%d", h.Width, h.Height, test.width, test.height)
			}
			got, err := readPieces(rec, 3)
			if diff := cmp.Diff(dsecExample(test.shift), got); err != nil || diff != "" {
				t.Errorf("error %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func dsecExample(shift int64) []events.Event {
	var all []events.Event
	for i, at := range []int64{0, 500, 2100, 5000, 5000, 7100, 7200, 7200, 8100, 9000} {
		all = append(all, events.Event{T: at + shift, X: uint16(100 + i), Y: uint16(200 + i), P: uint8(i % 2)})
	}
	return all
}

func TestSeekTime(t *testing.T) {
	for _, file := range []string{"dsec.h5", "dsec_no_index.h5", "dsec_blosc_latest.h5", "group.h5"} {
		t.Run(file, func(t *testing.T) {
			shift := int64(49599300523)
			if file == "group.h5" {
				shift = 1 << 33
			}
			all := dsecExample(shift)
			rec, err := Open("testdata/hdf5/"+file, Options{Mode: Strict})
			if err != nil {
				t.Fatal(err)
			}
			defer rec.Close()
			seeker, ok := rec.Reader.(TimeSeeker)
			if !ok {
				t.Fatal("the reader cannot seek")
			}
			for _, to := range []int64{9000, -5, 0, 1, 499, 500, 501, 2000, 2099, 2100, 2101, 4999, 5000, 5001, 7100, 7101, 7200, 7201, 8999, 9001, 20000} {
				if err := seeker.SeekTime(to + shift); err != nil {
					t.Fatal(err)
				}
				got, err := readPieces(rec, 4)
				from := slices.IndexFunc(all, func(e events.Event) bool { return e.T >= to+shift })
				want := all[len(all):]
				if from >= 0 {
					want = all[from:]
				}
				if err != nil || !slices.Equal(got, want) {
					t.Errorf("after going to %d: got %v, %v, want %v", to, got, err, want)
				}
			}
		})
	}
	rec, err := Open("testdata/hdf5/openeb.h5", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer rec.Close()
	if err := rec.Reader.(TimeSeeker).SeekTime(0); err == nil {
		t.Error("records can be searched")
	}
}

func TestHDF5Refuses(t *testing.T) {
	_, err := Open("testdata/hdf5/lengths.h5", Options{})
	var got *events.Error
	if !errors.As(err, &got) || got.Kind != events.LengthMismatch {
		t.Errorf("got error %v, want length-mismatch", err)
	}
	rec, err := Open("testdata/hdf5/dsec.h5", Options{Width: 105, Height: 480, Mode: Lenient})
	if err != nil {
		t.Fatal(err)
	}
	defer rec.Close()
	all, err := readPieces(rec, 100)
	if err != nil || len(all) != 5 || rec.Stats().Count(events.OutOfRange) != 5 {
		t.Errorf("got %d events, %v, %v, want 5 and 5 out-of-range", len(all), rec.Stats(), err)
	}
}

// TestHDF5Damage flips every 23rd byte of a file in turn: no reader may panic,
// run away or return an error without a kind.
func TestHDF5Damage(t *testing.T) {
	if testing.Short() {
		t.Skip("reads a file some hundred times")
	}
	for _, name := range []string{"dsec_blosc_latest.h5", "openeb.h5"} {
		rec, err := Open("testdata/hdf5/"+name, Options{})
		if err != nil {
			t.Fatal(err)
		}
		rec.Close()
		file := readTestFile(t, "testdata/hdf5/"+name)
		for i := 0; i < len(file); i += 23 {
			damaged := slices.Clone(file)
			damaged[i] ^= 0x41
			checkArrays(t, damaged, Options{Format: "hdf5"})
		}
	}
}

// checkArrays reads a file that may be damaged in both modes: errors have a
// kind, and pieces of any size give the same events. Which of several damaged
// arrays the error names depends on the pieces.
func checkArrays(t testing.TB, file []byte, o Options) {
	t.Helper()
	for _, o.Mode = range []Mode{Default, Lenient} {
		var want result
		for _, size := range []int{5000, 1} {
			rec, err := NewReader(newStream(file), o)
			got := result{err: fmt.Sprint(err)}
			if err == nil {
				got.events, err = readAtMost(rec, size)
				got.stats, got.err = rec.Stats().String(), fmt.Sprint(err)
				rec.Close()
			}
			var known *events.Error
			if err != nil && !errors.As(err, &known) {
				t.Fatalf("error %v is no *events.Error", err)
			}
			if size == 5000 {
				want = got
			} else if !slices.Equal(got.events, want.events) || (got.err == "<nil>") != (want.err == "<nil>") {
				t.Fatalf("in pieces: got %d events, %s, error %s; at once: %d events, %s, error %s",
					len(got.events), got.stats, got.err, len(want.events), want.stats, want.err)
			}
		}
	}
}

// readAtMost reads some hundred thousand events: a file of a few bytes may hold
// far more, packed or as fill values.
func readAtMost(r events.Reader, size int) ([]events.Event, error) {
	var all []events.Event
	buf := make([]events.Event, 5000)
	for len(all) < 100_000 {
		n, err := r.Read(buf[:size])
		all = append(all, buf[:n]...)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		size = (size*7+3)%len(buf) + 1
	}
	return all[:100_000], nil
}
