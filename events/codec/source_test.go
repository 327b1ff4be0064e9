package codec

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/adafire/adafire/events"
)

// TestSource compares a Source with the bytes it was made from.
func TestSource(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		data := make([]byte, rapid.IntRange(0, 3*sourceBuffer).Draw(t, "bytes"))
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		var in io.Reader = bytes.NewReader(data)
		known := true
		switch rapid.IntRange(0, 2).Draw(t, "reader") {
		case 1:
			in, known = struct{ io.Reader }{in}, false
		case 2:
			in, known = iotest.HalfReader(in), false
		}
		s := NewSource(in, "test")
		if size, ok := s.Size(); ok != known || (ok && size != int64(len(data))) {
			t.Fatalf("size %d, %v", size, ok)
		}
		at := 0
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			n := rapid.IntRange(0, 100_000).Draw(t, "n")
			left := data[at:]
			took := 0
			switch rapid.SampledFrom([]string{"peek", "block", "read", "skip", "byte"}).Draw(t, "call") {
			case "peek":
				b, err := s.Peek(n)
				if !bytes.Equal(b, left[:min(n, len(left))]) || (err == nil) != (n <= len(left)) {
					t.Fatalf("peek %d at %d: %d bytes, error %v", n, at, len(b), err)
				}
				took = len(b) / 2
				s.Advance(took)
			case "block":
				b, err := s.Block(n)
				if !bytes.HasPrefix(left, b) || (err == nil) != (len(b) >= n) {
					t.Fatalf("block %d at %d: %d bytes, error %v", n, at, len(b), err)
				}
				took = len(b)
				s.Advance(took)
			case "read":
				buf := make([]byte, n)
				m, err := io.ReadFull(s, buf)
				if !bytes.Equal(buf[:m], left[:min(n, len(left))]) || (err == nil) != (n <= len(left)) {
					t.Fatalf("read %d at %d: %d bytes, error %v", n, at, m, err)
				}
				took = m
			case "skip":
				m, err := s.Skip(int64(n))
				if m != int64(min(n, len(left))) || (err == nil) != (n <= len(left)) {
					t.Fatalf("skip %d at %d: %d bytes, error %v", n, at, m, err)
				}
				took = int(m)
			case "byte":
				c, err := s.ReadByte()
				if (err == nil) != (len(left) > 0) || (err == nil && c != left[0]) {
					t.Fatalf("byte at %d: %d, error %v", at, c, err)
				}
				took = min(1, len(left))
			}
			if at += took; s.Offset() != int64(at) {
				t.Fatalf("offset %d, want %d", s.Offset(), at)
			}
		}
	})
}

func TestSourceRandom(t *testing.T) {
	data := []byte("0123456789")
	for _, in := range []io.Reader{bytes.NewReader(data), struct{ io.Reader }{bytes.NewReader(data)}} {
		s := NewSource(in, "test")
		if _, err := s.Peek(3); err != nil {
			t.Fatal(err)
		}
		at, size, err := s.Random()
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4)
		if _, err := at.ReadAt(buf, 5); err != nil || string(buf) != "5678" || size != 10 {
			t.Errorf("%T: got %q of %d bytes, error %v", in, buf, size, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	s := NewSource(struct{ io.Reader }{bytes.NewReader(data)}, "test")
	s.ReadByte()
	if _, _, err := s.Random(); err == nil {
		t.Error("random access behind the first byte of a stream was no error")
	}
}

func TestGzip(t *testing.T) {
	plain := bytes.Repeat([]byte("10 1 2 1\n11 3 4 0\n"), 500)
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	z.Write(plain)
	z.Close()
	packed := out.Bytes()
	o := Options{Name: "a.txt.gz"}
	rec, err := NewReader(bytes.NewReader(packed), o)
	if err != nil {
		t.Fatal(err)
	}
	if list, err := events.ReadAll(rec); err != nil || len(list) != 1000 {
		t.Errorf("got %d events, error %v, want 1000", len(list), err)
	}
	for _, c := range []struct {
		name string
		data []byte
		kind events.Kind
	}{
		{"cut", packed[:len(packed)-9], events.Truncated},
		{"checksum", append(bytes.Clone(packed[:len(packed)-8]), 1, 2, 3, 4, 5, 6, 7, 8), events.CorruptCompression},
	} {
		rec, err := NewReader(bytes.NewReader(c.data), o)
		if err == nil {
			_, err = events.ReadAll(rec)
		}
		var bad *events.Error
		if !errors.As(err, &bad) || bad.Kind != c.kind {
			t.Errorf("%s: got error %v, want %s", c.name, err, c.kind)
		}
		lenient := o
		lenient.Mode = Lenient
		if rec, err = NewReader(bytes.NewReader(c.data), lenient); err != nil {
			t.Errorf("%s: lenient: %v", c.name, err)
		} else if list, err := events.ReadAll(rec); err != nil || len(list) < 900 || rec.Stats().Count(c.kind) != 1 {
			t.Errorf("%s: lenient: %d events, counted %v, error %v", c.name, len(list), rec.Stats(), err)
		}
	}
	boom := errors.New("boom")
	if _, err := NewReader(iotest.ErrReader(boom), o); !errors.Is(err, boom) {
		t.Errorf("got error %v, want the reader's", err)
	}
	rec, err = NewReader(io.MultiReader(bytes.NewReader(plain[:100]), iotest.ErrReader(boom)), Options{Format: "text", Mode: Lenient})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := events.ReadAll(rec); !errors.Is(err, boom) {
		t.Errorf("lenient: got error %v, want the reader's", err)
	}
}

func TestDetect(t *testing.T) {
	for _, c := range []struct {
		head, name, want string
	}{
		{"#!AER-DAT1.0\r\n", "x.dat", "aedat1"},
		{"#!AER-DAT2.0\r\n", "x.bin", "aedat2"},
		{"#!AER-DAT3.0\r\n", "x", "aedat3"},
		{"#!AER-DAT3.1\r\n", "x", "aedat3"},
		{"#!AER-DAT4.0\r\n", "x", "aedat4"},
		{"% evt 3.0\n\x00", "x", "raw"},
		{"% date 2020\n% format EVT21;height=1;width=1\n% end\n", "x.dat", "raw"},
		{"% Data file containing CD events\n\x0c\x08", "x", "dat"},
		{"% Version 2\n\x0c\x08", "x.raw", "dat"},
		{"% Width 3\n\x0c\x08", "x.dat", "dat"},
		{"% system_ID 48\n", "x.raw", "raw"},
		{"% comment\n1 2 3 0\n", "x.txt", "text"},
		{"\x89HDF\r\n\x1a\n", "x.bin", "hdf5"},
		{string(make([]byte, 1024)) + "\x89HDF\r\n\x1a\n", "x", "hdf5"},
		{"MATLAB 5.0 MAT-file", "x", "mat"},
		{"\x93NUMPY\x01\x00", "x.bin", "npy"},
		{"PK\x03\x04", "x", "npz"},
		{"", "x.bin", "atis"},
		{"\x01", "x.DAT", "dat"},
		{"\x01", "x.aedat", "aedat1"},
		{"1 2 3 0", "x.csv.gz", "text"},
	} {
		if got, err := Detect([]byte(c.head), c.name); err != nil || got != c.want {
			t.Errorf("%q, %s: got %q, error %v, want %s", c.head[:min(len(c.head), 30)], c.name, got, err, c.want)
		}
	}
	for _, c := range []struct {
		head, name string
		want       events.Kind
	}{
		{"#!AER-DAT4.0\n", "x.aedat4", events.BadMagic},
		{"#!AER-DAT5.0\r\n", "x.aedat", events.BadMagic},
		{"", "x.aedat4", events.Truncated},
		{"", "x.npy", events.Truncated},
		{"garbage", "x.h5", events.BadMagic},
		{"garbage", "x", events.UnknownEncoding},
		{"% Width 3\n", "x", events.UnknownEncoding},
		{"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n", "x.bin", events.LFSPointer},
	} {
		var bad *events.Error
		if got, err := Detect([]byte(c.head), c.name); !errors.As(err, &bad) || bad.Kind != c.want || bad.Offset != 0 {
			t.Errorf("%q, %s: got %q, error %v, want %s", c.head, c.name, got, err, c.want)
		}
	}
}
