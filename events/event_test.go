package events

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/adafire/adafire/internal/fileerr"
)

// list writes into memory.
type list struct {
	all  []Event
	fail int // Write fails once so many events are in; 0 never
}

var errFull = errors.New("full")

func (l *list) Write(src []Event) error {
	if l.fail > 0 && len(l.all)+len(src) > l.fail {
		return errFull
	}
	l.all = append(l.all, src...)
	return nil
}

func (l *list) Close() error { return nil }

// broken gives out some events and ends with an error, together with the last.
type broken struct {
	SliceReader
	err error
}

func (b *broken) Read(dst []Event) (int, error) {
	n, err := b.SliceReader.Read(dst)
	if len(b.rest) == 0 {
		err = b.err
	}
	return n, err
}

func some(n int) []Event {
	all := make([]Event, n)
	for i := range all {
		all[i] = Event{T: int64(100 + i), X: uint16(i % 20), Y: uint16(i % 7), P: uint8(i % 2)}
	}
	return all
}

func TestReadAllAndCopy(t *testing.T) {
	damage := Errorf(Truncated, "f", 3, "cut")
	for _, n := range []int{0, 1, chunk - 1, chunk, chunk + 1, 5*chunk + 3} {
		want := some(n)
		got, err := ReadAll(NewSliceReader(Header{}, want))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%d events: read %d, error %v", n, len(got), err)
		}
		got, err = ReadAll(&broken{*NewSliceReader(Header{}, want), damage})
		if !errors.Is(err, damage) || !slices.Equal(got, want) {
			t.Errorf("%d events: read %d, error %v, want them with the error", n, len(got), err)
		}
		var w list
		if m, err := Copy(&w, NewSliceReader(Header{}, want)); err != nil || m != int64(n) || !slices.Equal(w.all, want) {
			t.Errorf("%d events: copied %d, error %v", n, m, err)
		}
		w = list{}
		if m, err := Copy(&w, &broken{*NewSliceReader(Header{}, want), damage}); !errors.Is(err, damage) || m != int64(n) {
			t.Errorf("%d events: copied %d, error %v, want them with the error", n, m, err)
		}
	}
	if m, err := Copy(&list{fail: chunk}, NewSliceReader(Header{}, some(2*chunk))); !errors.Is(err, errFull) || m != chunk {
		t.Errorf("copied %d, error %v, want %d and the writer's", m, err, chunk)
	}
}

func TestCuts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := make([]Event, rapid.IntRange(0, 200).Draw(t, "events"))
		for i := range all {
			all[i] = Event{T: rapid.Int64Range(-50, 50).Draw(t, "t"), X: rapid.Uint16Range(0, 19).Draw(t, "x"), Y: rapid.Uint16Range(0, 9).Draw(t, "y"), P: uint8(i % 2)}
		}
		h := Header{Width: 20, Height: 10}
		x, y := rapid.IntRange(0, 19).Draw(t, "left"), rapid.IntRange(0, 9).Draw(t, "top")
		width, height := rapid.IntRange(1, 20-x).Draw(t, "width"), rapid.IntRange(1, 10-y).Draw(t, "height")
		start := rapid.Int64Range(-60, 60).Draw(t, "start")
		end := start + rapid.Int64Range(0, 60).Draw(t, "length")

		var want []Event
		for _, e := range all {
			if start <= e.T && e.T < end && int(e.X) >= x && int(e.X) < x+width && int(e.Y) >= y && int(e.Y) < y+height {
				want = append(want, Event{e.T, e.X - uint16(x), e.Y - uint16(y), e.P})
			}
		}
		if len(want) > 0 {
			first := want[0].T
			for i := range want {
				want[i].T -= first
			}
		}
		window, err := Window(NewSliceReader(h, all), start, end)
		if err != nil {
			t.Fatal(err)
		}
		crop, err := Crop(window, x, y, width, height)
		if err != nil {
			t.Fatal(err)
		}
		if h := crop.Header(); h.Width != width || h.Height != height {
			t.Fatalf("header is %+v", h)
		}
		r := SubtractFirst(crop)
		var got []Event
		buf := make([]Event, rapid.IntRange(1, 9).Draw(t, "slice"))
		for {
			n, err := r.Read(buf)
			got = append(got, buf[:n]...)
			if errors.Is(err, io.EOF) {
				break
			}
			if n == 0 || err != nil {
				t.Fatalf("read %d events, error %v", n, err)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("want (-), got (+):\n%s", diff)
		}
	})
}

func TestCutRefuses(t *testing.T) {
	r := NewSliceReader(Header{Width: 20, Height: 10}, nil)
	for _, c := range [][4]int{{-1, 0, 1, 1}, {0, 0, 0, 1}, {0, 0, 21, 1}, {15, 0, 6, 1}, {0, 10, 1, 1}, {0, 0, 1, 1 << 62}} {
		if _, err := Crop(r, c[0], c[1], c[2], c[3]); err == nil {
			t.Errorf("crop %v: no error", c)
		}
	}
	if _, err := Window(r, 2, 1); err == nil {
		t.Error("a window that ends before it starts was no error")
	}
}

func TestStats(t *testing.T) {
	var s Stats
	if s.Any() || s.String() != "nothing skipped" {
		t.Errorf("empty: %v", &s)
	}
	s.AddN(OutOfRange, 7, 0)
	s.Add(OutOfRange, 340)
	s.Add(OutOfRange, 12)
	s.AddN(Truncated, 697, 1)
	other := s
	other.Merge(&s)
	if got, want := other.String(), "2 truncated (first at offset 697), 4 out-of-range (first at offset 340)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if first, ok := s.First(OutOfRange); !ok || first != 340 || s.Count(OutOfRange) != 2 || !s.Any() {
		t.Errorf("out of range: first %d, %v", first, ok)
	}
	if _, ok := s.First(BadMagic); ok {
		t.Error("bad-magic was never counted")
	}
}

func TestKinds(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range Kinds() {
		name := k.String()
		if name == "" || strings.Contains(name, "(") || seen[name] {
			t.Errorf("kind %d is called %q", int(k), name)
		}
		seen[name] = true
	}
	if got := Kind(-1).String(); got != "kind(-1)" {
		t.Errorf("got %q", got)
	}
}

func TestError(t *testing.T) {
	e := Errorf(CorruptCompression, "a.aedat4", 3897, "bad magic")
	e.Block = 3889
	err := fmt.Errorf("sample 3: %w", e)
	var bad *Error
	var file *fileerr.FormatError
	if !errors.As(err, &bad) || bad.Kind != CorruptCompression || !errors.As(err, &file) || file.Offset != 3897 || file.Path != "a.aedat4" {
		t.Errorf("got %v, %v", bad, file)
	}
	if got, want := e.Error(), "a.aedat4: offset 3897: corrupt-compression: bad magic (block at 3889)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Example cuts half a second out of a recording.
func Example() {
	recording := NewSliceReader(Header{Width: 346, Height: 260}, []Event{
		{T: 1_000_000, X: 10, Y: 20, P: 1}, {T: 1_400_000, X: 11, Y: 20}, {T: 1_600_000, X: 12, Y: 20},
	})
	window, err := Window(SubtractFirst(recording), 0, 500_000)
	if err != nil {
		fmt.Println(err)
		return
	}
	all, err := ReadAll(window)
	fmt.Println(all, err)
	// Output: [{0 10 20 1} {400000 11 20 0}] <nil>
}
