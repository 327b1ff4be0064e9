package hdf5

import (
	"bytes"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/internal/fileerr"
)

// rule is what testdata/make.py writes at element i.
func rule(i int) float64 { return float64(i * 37 % 251) }

func open(t *testing.T, name string) *File {
	t.Helper()
	f, err := OpenFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// find returns the data set of that name anywhere below g.
func find(t *testing.T, g *Group, path string) *Dataset {
	t.Helper()
	if g.Has(path) {
		d, err := g.Dataset(path)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, name := range g.Names() {
		if is, err := g.IsGroup(name); err != nil || !is {
			continue
		}
		sub, err := g.Group(name)
		if err != nil {
			t.Fatal(err)
		}
		if head, below, ok := strings.Cut(path, "/"); ok && head == name {
			return find(t, sub, below)
		}
		if strings.HasPrefix(name, "part") {
			if d := find(t, sub, path); d != nil {
				return d
			}
		}
	}
	return nil
}

func TestReadH5py(t *testing.T) {
	for _, name := range []string{"earliest.h5", "latest.h5"} {
		t.Run(name, func(t *testing.T) {
			f := open(t, name)
			arrays := map[string]string{
				"scalar": "int64", "u1": "uint8", "numbers/le_i2": "int16", "numbers/be_i2": "int16 (big-endian)",
				"numbers/le_u4": "uint32", "numbers/be_u4": "uint32 (big-endian)", "numbers/le_i8": "int64", "numbers/be_i8": "int64 (big-endian)",
				"numbers/le_f2": "float16", "numbers/be_f2": "float16 (big-endian)", "numbers/le_f4": "float32", "numbers/be_f4": "float32 (big-endian)",
				"numbers/le_f8": "float64", "numbers/be_f8": "float64 (big-endian)",
				"unlimited": "float32", "unlimited_last": "uint16", "fixed_chunks": "int32", "larger_limit": "int32",
				"one_chunk": "float64", "one_plain_chunk": "float64",
			}
			if name == "latest.h5" {
				for _, k := range []string{"extensible", "extensible_filtered", "fixed_array", "fixed_filtered"} {
					arrays["g/"+k] = "uint8"
				}
				arrays["g/implicit"], arrays["g/compact"] = "int16", "int16"
			}
			for path, typ := range arrays {
				d := find(t, f.Root(), path)
				if d == nil {
					t.Errorf("%s: not found", path)
					continue
				}
				if got := d.Type().String(); got != typ {
					t.Errorf("%s: type %s, want %s", path, got, typ)
				}
				got, err := d.ReadFloat64()
				if err != nil {
					t.Errorf("%s: %v", path, err)
					continue
				}
				if path == "scalar" {
					if len(got) != 1 || got[0] != -5 || len(d.Shape()) != 0 {
						t.Errorf("scalar: %v of shape %v, want -5", got, d.Shape())
					}
					continue
				}
				want := make([]float64, len(got))
				for i := range want {
					want[i] = rule(i)
				}
				if !slices.Equal(got, want) || len(got) == 0 {
					t.Errorf("%s: got %v, want %v", path, got, want)
				}
				checkRows(t, d, want)
			}
			checkSpecial(t, f.Root())
		})
	}
}

// checkRows reads a data set in windows of several heights.
func checkRows(t *testing.T, d *Dataset, want []float64) {
	t.Helper()
	row := len(want) / d.Rows()
	for _, height := range []int{1, 3, d.Rows()} {
		for lo := 0; lo < d.Rows() && lo < 60; lo += height {
			hi := min(lo+height, d.Rows())
			got := make([]float32, (hi-lo)*row)
			if err := d.ReadRowsFloat32(lo, hi, got); err != nil {
				t.Fatal(err)
			}
			for i, v := range got {
				if float64(v) != want[lo*row+i] {
					t.Fatalf("%s: rows %d to %d: element %d is %g, want %g", d.Path(), lo, hi, i, v, want[lo*row+i])
				}
			}
			if d.Type().Class == Integer {
				ints := make([]int64, (hi-lo)*row)
				if err := d.ReadRowsInt64(lo, hi, ints); err != nil || float64(ints[0]) != want[lo*row] {
					t.Fatalf("%s: integers %v, error %v", d.Path(), ints, err)
				}
			}
		}
	}
}

func checkSpecial(t *testing.T, root *Group) {
	t.Helper()
	stringsOf := func(path string) []string {
		t.Helper()
		s, err := find(t, root, path).Strings()
		if err != nil {
			t.Error(err)
		}
		return s
	}
	if s := stringsOf("text"); !slices.Equal(s, []string{"grüße"}) {
		t.Errorf("text: %q", s)
	}
	if s := stringsOf("texts"); !slices.Equal(s, []string{"a", "", "longer than sixteen bytes", "a"}) {
		t.Errorf("texts: %q", s)
	}
	if s := stringsOf("fixed"); !slices.Equal(s, []string{"ab", "", "abcd"}) {
		t.Errorf("fixed: %q", s)
	}
	intsOf := func(path string) []int64 {
		t.Helper()
		v, err := find(t, root, path).ReadInt64()
		if err != nil {
			t.Error(err)
		}
		return v
	}
	if v := intsOf("bool"); !slices.Equal(v, []int64{1, 0, 1}) || find(t, root, "bool").Type().Enum["TRUE"] != 1 {
		t.Errorf("bool: %v", v)
	}
	if v := intsOf("numbers/negative"); !slices.Equal(v, []int64{-1, -128, 127}) {
		t.Errorf("negative: %v", v)
	}
	if v := intsOf("lzf"); len(v) != 512 || v[65] != 37 || v[511] != int64(rule(63)) {
		t.Errorf("lzf: %v", v)
	}
	if _, err := find(t, root, "numbers/large").ReadInt64(); err == nil {
		t.Error("2^64-1 read as int64")
	}
	if d := find(t, root, "empty"); !slices.Equal(d.Shape(), []int{0, 3}) {
		t.Errorf("empty: shape %v", d.Shape())
	} else if v, err := d.ReadFloat32(); err != nil || len(v) != 0 {
		t.Errorf("empty: %v, %v", v, err)
	}
	for i, v := range intsOf("sparse") {
		want := int64(9)
		if i/6 >= 8 && i/6 < 16 && i%6 >= 3 {
			want = 7
		}
		if v != want {
			t.Fatalf("sparse: element %d is %d, want %d", i, v, want)
		}
	}
	if v, err := find(t, root, "never_written").ReadFloat32(); err != nil || !slices.Equal(v, []float32{2.5, 2.5, 2.5, 2.5}) {
		t.Errorf("never_written: %v, %v", v, err)
	}
	events := find(t, root, "CD/events")
	for _, name := range []string{"x", "y", "p", "t"} {
		field, err := events.Field(name)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]int64, 50)
		if err := field.ReadRowsInt64(30, 80, got); err != nil {
			t.Fatal(err)
		}
		for i, v := range got {
			if float64(v) != rule(30+i) {
				t.Fatalf("CD/events.%s: element %d is %d, want %g", name, 30+i, v, rule(30+i))
			}
		}
	}
	if _, err := events.Field("z"); !errors.Is(err, ErrNotFound) {
		t.Errorf("field z: error %v", err)
	}
	if _, err := events.ReadInt64(); err == nil {
		t.Error("a compound read as integers")
	}
	raw := make([]byte, 16)
	if err := events.ReadRowsRaw(1, 2, raw); err != nil || !bytes.Equal(raw, []byte{37, 0, 37, 0, 37, 0, 0, 0, 37, 0, 0, 0, 0, 0, 0, 0}) {
		t.Errorf("raw event %v, %v", raw, err)
	}
	if a, err := events.Attr("geometry"); err != nil {
		t.Error(err)
	} else if s, err := a.ReadString(); err != nil || s != "640x480" {
		t.Errorf("geometry %q, %v", s, err)
	}
	if _, err := events.Attr("size"); !errors.Is(err, ErrNotFound) {
		t.Errorf("attribute size: error %v", err)
	}
}

func TestLinks(t *testing.T) {
	f := open(t, "links.h5")
	root := f.Root()
	if got, want := root.Names(), []string{"d", "external", "hard", "loop", "named", "soft", "typed"}; !slices.Equal(got, want) {
		t.Errorf("names %v, want %v", got, want)
	}
	if d, err := root.Dataset("hard"); err != nil {
		t.Error(err)
	} else if v, err := d.ReadInt64(); err != nil || !slices.Equal(v, []int64{0, 37, 74}) {
		t.Errorf("hard: %v, %v", v, err)
	}
	for _, name := range []string{"soft", "external", "typed"} {
		if _, err := root.Dataset(name); !errors.Is(err, fileerr.ErrUnsupported) {
			t.Errorf("%s: error %v, want unsupported", name, err)
		}
	}
	if _, err := root.Dataset("nothing"); !errors.Is(err, ErrNotFound) {
		t.Errorf("nothing: error %v", err)
	}
	if _, err := root.Dataset("loop"); err == nil {
		t.Error("a group opened as data set")
	}
	if _, err := root.Group("d"); err == nil {
		t.Error("a data set opened as group")
	}
	if _, err := root.Group("named"); err == nil {
		t.Error("a type opened as group")
	}
	if _, err := root.Group("loop" + strings.Repeat("/self", 40)); err == nil {
		t.Error("40 groups within each other opened")
	}
}

func TestUnsupported(t *testing.T) {
	dense, err := OpenFile("testdata/dense.h5")
	if !errors.Is(err, fileerr.ErrUnsupported) || dense != nil || !strings.Contains(err.Error(), "fractal heap") {
		t.Errorf("dense group: error %v", err)
	}
	if _, err := open(t, "latest.h5").Root().Dataset("two_unlimited"); !errors.Is(err, fileerr.ErrUnsupported) || !strings.Contains(err.Error(), "B-tree") {
		t.Errorf("two axes without limit: error %v", err)
	}
	if _, err := OpenFile("testdata"); err == nil {
		t.Error("a folder opened")
	}
	if _, err := OpenFile("testdata/nothing.h5"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: error %v", err)
	}
}

func TestManyNames(t *testing.T) {
	g, err := open(t, "many_names.h5").Root().Group("g")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(g.Names()); n != 300 {
		t.Fatalf("%d names, want 300", n)
	}
	for i, name := range g.Names() {
		d, err := g.Dataset(name)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := d.ReadInt64(); err != nil || v[0] != int64(i%251) {
			t.Fatalf("%s: %v, %v", name, v, err)
		}
	}
}

func TestUserBlock(t *testing.T) {
	d, err := open(t, "userblock.h5").Root().Dataset("u1")
	if err != nil {
		t.Fatal(err)
	}
	if v, err := d.ReadInt64(); err != nil || len(v) != 7 || v[6] != 222 {
		t.Errorf("%v, %v", v, err)
	}
}

func TestChecksums(t *testing.T) {
	// Values of Jenkins' own test: hashlittle("", 0), and of the sentence with
	// start value 0.
	if got := lookup3(nil); got != 0xdeadbeef {
		t.Errorf("lookup3 of nothing: %08x", got)
	}
	if got := lookup3([]byte("Four score and seven years ago")); got != 0x17770551 {
		t.Errorf("lookup3: %08x, want 17770551", got)
	}
}

func TestUnfilterRefuses(t *testing.T) {
	f := &File{path: "x"}
	for _, c := range []struct {
		name  string
		specs []filterSpec
		src   []byte
		size  int
	}{
		{"unknown", []filterSpec{{id: 36559}}, nil, 4},
		{"behind a compression", []filterSpec{{id: 1}, {id: 1}}, []byte{1}, 4},
		{"wrong length without filters", nil, []byte{1}, 4},
		{"too little to inflate", []filterSpec{{id: 1}}, []byte{0x78, 0x9c}, 1 << 29},
		{"shuffle without size", []filterSpec{{id: 2}}, []byte{1, 2}, 2},
		{"checksum", []filterSpec{{id: 3}}, []byte{1, 2, 0, 0, 0, 0}, 2},
		{"copy from before the start", []filterSpec{{id: filterLZF}}, []byte{0x20, 0}, 3},
		{"literals beyond the end", []filterSpec{{id: filterLZF}}, []byte{5, 1, 2}, 3},
		{"copy without distance", []filterSpec{{id: filterLZF}}, []byte{0, 1, 0xe0}, 3},
	} {
		if got, err := f.unfilter(c.src, c.specs, 0, c.size); err == nil {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
}

func TestRegisterFilter(t *testing.T) {
	const id = 60000
	RegisterFilter(id, func(src []byte, size int, params []uint32) ([]byte, error) {
		out := bytes.Clone(src)
		for i := range out {
			out[i] ^= byte(params[0])
		}
		return out, nil
	})
	f := &File{path: "x"}
	specs := []filterSpec{{id: 3}, {id: id, params: []uint32{1}}}
	want := []byte{1, 2}
	sum := fletcher32(want)
	stored := []byte{1, 2, byte(sum), byte(sum >> 8), byte(sum >> 16), byte(sum >> 24)}
	for i := range stored {
		stored[i] ^= 1
	}
	if got, err := f.unfilter(stored, specs, 0, 2); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := f.unfilter(want, specs, 3, 2); err != nil || !bytes.Equal(got, want) {
		t.Errorf("with both filters left out: got %v, %v", got, err)
	}
}

// walk reads everything below g.
func walk(g *Group, budget *int) {
	for _, name := range g.Names() {
		if *budget--; *budget < 0 {
			return
		}
		if sub, err := g.Group(name); err == nil {
			walk(sub, budget)
			continue
		}
		d, err := g.Dataset(name)
		if err != nil {
			continue
		}
		d.ReadFloat64()
		d.ReadInt64()
		d.Strings()
		for _, m := range d.Type().Members {
			if field, err := d.Field(m.Name); err == nil {
				field.ReadInt64()
			}
		}
		d.Attr("geometry")
		if n := d.Rows(); n > 2 && d.Len()/n < 1000 {
			d.ReadRowsFloat32(n-2, n, make([]float32, 2*d.Len()/n))
		}
	}
}

// FuzzRead changes bytes of whole files: reading must end, without a panic and
// without memory that the file does not pay for.
func FuzzRead(f *testing.F) {
	files, err := filepath.Glob("testdata/*.h5")
	if err != nil || len(files) < 5 {
		f.Fatal(files, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		if len(b) < 50_000 {
			f.Add(b, uint32(0), uint64(0))
			f.Add(b, uint32(len(b)/3), uint64(math.MaxUint64))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, at uint32, with uint64) {
		b = bytes.Clone(b)
		for i := range 8 {
			if k := int(at) + i; k < len(b) {
				b[k] ^= byte(with >> (8 * i))
			}
		}
		file, err := Open(bytes.NewReader(b), int64(len(b)), "fuzz")
		if err != nil {
			return
		}
		budget := 200
		walk(file.Root(), &budget)
	})
}

// TestDamaged flips bytes all over the files; what FuzzRead does, at random
// places, in every run.
func TestDamaged(t *testing.T) {
	for _, name := range []string{"earliest.h5", "latest.h5", "links.h5"} {
		whole, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		step := len(whole)/60 | 1
		for at := 0; at < len(whole); at += step {
			for _, with := range []byte{0xff, 1} {
				b := bytes.Clone(whole)
				b[at] ^= with
				file, err := Open(bytes.NewReader(b), int64(len(b)), name)
				if err == nil {
					budget := 200
					walk(file.Root(), &budget)
				}
			}
			file, err := Open(bytes.NewReader(whole[:at]), int64(at), name)
			if err == nil {
				t.Fatalf("%s cut to %d bytes opens: %v", name, at, file)
			}
		}
	}
}
