package npy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/tensor"
)

// file builds a .npy file of format 1.0 with the given header and data.
func file(head string, data ...byte) []byte { return fileVersion(1, head, data...) }

func fileVersion(major byte, head string, data ...byte) []byte {
	b := append([]byte(magic), major, 0)
	if major == 1 {
		b = binary.LittleEndian.AppendUint16(b, uint16(len(head)))
	} else {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(head)))
	}
	return append(append(b, head...), data...)
}

func dict(descr, order, shape string) string {
	return "{'descr': '" + descr + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }\n"
}

func read(b []byte) (*Array, error) { return Read(bytes.NewReader(b), int64(len(b)), "x.npy") }

func TestReadFloats(t *testing.T) {
	f4 := func(v ...float32) []byte {
		b, _ := binary.Append(nil, binary.LittleEndian, v)
		return b
	}
	f8be := func(v ...float64) []byte {
		b, _ := binary.Append(nil, binary.BigEndian, v)
		return b
	}
	for _, c := range []struct {
		name  string
		file  []byte
		shape []int
		want  []float32
	}{
		{"f4", file(dict("<f4", "False", "(3,)"), f4(1, -2, 0.5)...), []int{3}, []float32{1, -2, 0.5}},
		{"native order mark", file(dict("=f4", "False", "(1,)"), f4(7)...), []int{1}, []float32{7}},
		{"scalar", file(dict("<f4", "False", "()"), f4(7)...), []int{}, []float32{7}},
		{"empty", file(dict("<f4", "False", "(0, 3)")), []int{0, 3}, []float32{}},
		{"version 2", fileVersion(2, dict("<f4", "False", "(1,)"), f4(7)...), []int{1}, []float32{7}},
		{"version 3", fileVersion(3, dict("<f4", "False", "(1,)"), f4(7)...), []int{1}, []float32{7}},
		{"f8 big-endian", file(dict(">f8", "False", "(2,)"), f8be(0.25, math.Inf(-1))...), []int{2}, []float32{0.25, float32(math.Inf(-1))}},
		{"f2", file(dict("<f2", "False", "(2,)"), 0x00, 0x3c, 0x00, 0xc0), []int{2}, []float32{1, -2}},
		{"f2 big-endian", file(dict(">f2", "False", "(2,)"), 0x3c, 0x00, 0xc0, 0x00), []int{2}, []float32{1, -2}},
		{"fortran", file(dict("<f4", "True", "(2, 3)"), f4(1, 4, 2, 5, 3, 6)...), []int{2, 3}, []float32{1, 2, 3, 4, 5, 6}},
		{"u1", file(dict("|u1", "False", "(2,)"), 3, 255), []int{2}, []float32{3, 255}},
		{"i2 big-endian", file(dict(">i2", "False", "(2,)"), 0xff, 0xfe, 0x01, 0x00), []int{2}, []float32{-2, 256}},
		{"i8", file(dict("<i8", "False", "(1,)"), 0, 0, 0, 0, 0, 0, 0, 0x80), []int{1}, []float32{-0x1p63}},
		{"b1", file(dict("|b1", "False", "(2,)"), 1, 0), []int{2}, []float32{1, 0}},
		{"python 2 header", file("{'shape': (2L,), 'fortran_order': False, 'descr': \"|i1\"}", 1, 0xff), []int{2}, []float32{1, -1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := read(c.file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := a.Float32()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.shape, a.Shape) + cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			wide, err := a.Float64()
			if err != nil {
				t.Fatal(err)
			}
			for i := range wide {
				if wide[i] != float64(c.want[i]) {
					t.Errorf("float64: got %v, want %v", wide, c.want)
				}
			}
		})
	}
}

func TestInts(t *testing.T) {
	a, err := read(file(dict("<i8", "False", "(2,)"), 0, 0, 0, 0, 0, 0, 0, 0x80, 5, 0, 0, 0, 0, 0, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	got, err := a.Int()
	if err != nil || !slices.Equal(got, []int{math.MinInt64, 5}) {
		t.Fatalf("got %v, %v", got, err)
	}
	a, err = read(file(dict("<f4", "False", "(1,)"), 0, 0, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Int(); err == nil || !strings.Contains(err.Error(), "float32") {
		t.Fatalf("float array as integers: got error %v", err)
	}
}

// Values that a conversion would change are errors, with their index.
func TestConversionsLoseNothing(t *testing.T) {
	for _, c := range []struct {
		name string
		file []byte
		conv func(*Array) error
		want string
	}{
		{"2^24+1 as float32", file(dict("<u4", "False", "(2,)"), 0, 0, 0, 0, 1, 0, 0, 1), func(a *Array) error { _, err := a.Float32(); return err }, "element 1 is 16777217"},
		{"-(2^24+1) as float32", file(dict("<i4", "False", "(1,)"), 0xff, 0xff, 0xff, 0xfe), func(a *Array) error { _, err := a.Float32(); return err }, "element 0 is -16777217"},
		{"2^64-1 as float32", file(dict("<u8", "False", "(1,)"), 255, 255, 255, 255, 255, 255, 255, 255), func(a *Array) error { _, err := a.Float32(); return err }, "18446744073709551615"},
		{"2^64-1 as float64", file(dict("<u8", "False", "(1,)"), 255, 255, 255, 255, 255, 255, 255, 255), func(a *Array) error { _, err := a.Float64(); return err }, "18446744073709551615"},
		{"2^64-1 as int", file(dict("<u8", "False", "(1,)"), 255, 255, 255, 255, 255, 255, 255, 255), func(a *Array) error { _, err := a.Int(); return err }, "18446744073709551615"},
		{"1e300 as float32", file(dict(">f8", "False", "(1,)"), 0x7e, 0x37, 0xe4, 0x3c, 0x88, 0x00, 0x75, 0x9c), func(a *Array) error { _, err := a.Float32(); return err }, "beyond the range of float32"},
	} {
		a, err := read(c.file)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.conv(a); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got error %v, want %q", c.name, err, c.want)
		}
	}
}

func TestRefuse(t *testing.T) {
	good := dict("<f4", "False", "(1,)")
	for _, c := range []struct {
		name string
		file []byte
		want string // part of the message
	}{
		{"empty", nil, "ends within the first 10 bytes"},
		{"magic", append([]byte("\x93NUMPZ\x01\x00"), 1, 0, 0), "mark of NumPy"},
		{"version 9", fileVersion(9, good, 0, 0, 0, 0), "format 9.0"},
		{"header past the end", []byte(magic + "\x01\x00\xff\xff{"), "header of 65535 bytes: 1 remain"},
		{"long header past the end", []byte(magic + "\x02\x00\xff\xff\xff\xff{"), "header of 4294967295 bytes: 1 remain"},
		{"no header length", []byte(magic + "\x02\x00\xff\xff"), "ends within"},
		{"data short", file(good, 0, 0, 0), "3 bytes of data: shape [1] of float32 needs 4"},
		{"data long", file(good, 0, 0, 0, 0, 0), "5 bytes of data"},
		{"overflow", file(dict("<f8", "False", "(4611686018427387904, 4)")), "too many elements"},
		{"byte overflow", file(dict("<f8", "False", "(2305843009213693952,)")), "too many bytes"},
		{"huge claim", file(dict("<f8", "False", "(1152921504606846975,)"), 0), "1 bytes of data"},
		{"integer beyond 64 bits", file(dict("<f8", "False", "(99999999999999999999,)")), "64 bits"},
		{"negative", file(dict("<f4", "False", "(-1,)")), "non-negative integer"},
		{"no tuple", file(dict("<f4", "False", "(1)"), 0, 0, 0, 0), "no tuple"},
		{"float dimension", file(dict("<f4", "False", "(1.0,)"), 0, 0, 0, 0), "comma"},
		{"object", file(dict("|O", "False", "(1,)"), 0), "want a byte order"},
		{"object with size", file(dict("|O8", "False", "(1,)"), 0, 0, 0, 0, 0, 0, 0, 0), "pickles"},
		{"structured", file("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", 0, 0, 0, 0), "structured"},
		{"complex", file(dict("<c8", "False", "(1,)"), 0, 0, 0, 0, 0, 0, 0, 0), `type "<c8"`},
		{"string", file(dict("<U1", "False", "(1,)"), 0, 0, 0, 0), `type "<U1"`},
		{"f16", file(dict("<f16", "False", "(1,)"), 0, 0, 0, 0), `type "<f16"`},
		{"i3", file(dict("<i3", "False", "(1,)"), 0, 0, 0), `type "<i3"`},
		{"no order", file(dict("f4", "False", "(1,)"), 0, 0, 0, 0), "byte order"},
		{"code", file("{'descr': __import__('os').getcwd(), 'fortran_order': False, 'shape': (1,)}", 0, 0, 0, 0), "want a string"},
		{"twice", file("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", 0, 0, 0, 0), "twice"},
		{"unknown key", file("{'descr': '<f4', 'order': False, 'shape': (1,)}", 0, 0, 0, 0), "unknown key"},
		{"missing key", file("{'descr': '<f4', 'shape': (1,)}", 0, 0, 0, 0), `no key "fortran_order"`},
		{"lower-case boolean", file(dict("<f4", "false", "(1,)"), 0, 0, 0, 0), "True or False"},
		{"text behind", file("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} + x", 0, 0, 0, 0), "after the dictionary"},
		{"open string", file("{'descr", 0), "closed string"},
		{"escape", file("{'de\\x73cr': '<f4'}", 0), "escapes"},
		{"open dictionary", file("{'descr': '<f4', ", 0), "the end"},
		{"list", file("['descr']", 0), "want '{'"},
		{"axes", file(dict("<f4", "False", "("+strings.Repeat("1, ", 65)+")"), 0, 0, 0, 0), "65 axes"},
		{"bool 2", file(dict("|b1", "False", "(2,)"), 1, 2), "element 1 of a bool array is 2"},
		{"not utf-8", fileVersion(3, "{'descr': '\xff'}"), "UTF-8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := read(c.file)
			if err == nil {
				t.Fatal("got no error")
			}
			var format *fileerr.FormatError
			if !errors.As(err, &format) && !errors.Is(err, fileerr.ErrUnsupported) {
				t.Errorf("got %T, want a format error or ErrUnsupported", err)
			}
			if !strings.HasPrefix(err.Error(), "x.npy: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %q, want %q in it", err, c.want)
			}
		})
	}
}

// A reader that holds less than its size says must not cost the memory it claims.
func TestLyingSizeAllocatesLittle(t *testing.T) {
	b := file(dict("|u1", "False", "(1099511627776,)"), 1, 2, 3)
	got := testing.Benchmark(func(bench *testing.B) {
		for bench.Loop() {
			if _, err := Read(bytes.NewReader(b), int64(len(b))-3+1<<40, "x.npy"); err == nil {
				bench.Fatal("got no error")
			}
		}
	})
	if got.AllocedBytesPerOp() > 4<<20 {
		t.Errorf("allocated %d bytes for a file of %d", got.AllocedBytesPerOp(), len(b))
	}
}

func TestReadFileErrors(t *testing.T) {
	if _, err := ReadFile(filepath.Join(t.TempDir(), "none.npy")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := ReadFile(t.TempDir()); err == nil {
		t.Error("a folder was read")
	}
}

func TestWriteRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.npy")
	rapid.Check(t, func(t *rapid.T) {
		shape := rapid.SliceOfN(rapid.IntRange(0, 4), 0, 4).Draw(t, "shape")
		n, _ := tensor.Numel(shape)
		data := rapid.SliceOfN(rapid.Float32(), n, n).Draw(t, "data")
		if err := WriteFile(path, shape, data); err != nil {
			t.Fatal(err)
		}
		a, err := ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := a.Float32()
		if err != nil {
			t.Fatal(err)
		}
		same := func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }
		if a.DType != "float32" || !slices.Equal(a.Shape, shape) || !slices.EqualFunc(got, data, same) {
			t.Fatalf("got %v %v %v, want %v %v", a.DType, a.Shape, got, shape, data)
		}
	})
}

func TestWriteInts(t *testing.T) {
	check := func(err error, b *bytes.Buffer, dtype string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if start := bytes.IndexByte(b.Bytes(), '\n') + 1; start%64 != 0 {
			t.Errorf("%s: data start at %d, want a multiple of 64", dtype, start)
		}
		a, err := read(b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		got, err := a.Int()
		if err != nil || a.DType != dtype || !slices.Equal(got, []int{1, 2}) {
			t.Fatalf("got %s %v, %v, want %s [1 2]", a.DType, got, err, dtype)
		}
		b.Reset()
	}
	var b bytes.Buffer
	check(Write(&b, []int{2}, []int32{1, 2}), &b, "int32")
	check(Write(&b, []int{2}, []int64{1, 2}), &b, "int64")
	check(Write(&b, []int{2}, []uint8{1, 2}), &b, "uint8")
	if err := Write(&b, []int{3}, []uint8{1, 2}); !errors.Is(err, tensor.ErrShape) {
		t.Errorf("wrong shape: got %v", err)
	}
}

// NumPy itself is asked where a Python with it is installed.
func TestNumPyReadsWhatWeWrite(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil || exec.Command(python, "-c", "import numpy").Run() != nil {
		t.Skip("no NumPy on this machine")
	}
	path := filepath.Join(t.TempDir(), "a.npy")
	if err := WriteFile(path, []int{2, 1, 3}, []float32{1, 2, 3, 4, 5, 0.5}); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), python, "-c",
		"import numpy,sys; a=numpy.load(sys.argv[1]); print(a.dtype, a.shape, a.ravel().tolist())", path).CombinedOutput()
	if want := "float32 (2, 1, 3) [1.0, 2.0, 3.0, 4.0, 5.0, 0.5]\n"; err != nil || string(out) != want {
		t.Fatalf("got %q, %v, want %q", out, err, want)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(file(dict("<f4", "True", "(1, 2)"), 0, 0, 0, 0, 0, 0, 0x80, 0x3f))
	f.Add(file(dict(">i8", "False", "()"), 0, 0, 0, 0, 0, 0, 0, 1))
	f.Add(fileVersion(3, dict("|b1", "False", "(2,)"), 1, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 {
			return
		}
		a, err := read(b)
		if err != nil {
			return
		}
		if n, err := tensor.Numel(a.Shape); err != nil || n != a.Len() {
			t.Fatalf("shape %v with %d elements", a.Shape, a.Len())
		}
		values, err := a.Float64()
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := Write(&out, a.Shape, values); err != nil {
			t.Fatal(err)
		}
		again, err := read(out.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		back, _ := again.Float64()
		same := func(a, b float64) bool { return a == b || a != a && b != b }
		if !slices.Equal(a.Shape, again.Shape) || !slices.EqualFunc(values, back, same) {
			t.Fatalf("got %v %v, want %v %v", again.Shape, back, a.Shape, values)
		}
	})
}
