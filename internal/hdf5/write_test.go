package hdf5

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func encode(t interface {
	Helper()
	Fatal(...any)
}, tree *Tree) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := tree.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestWriteLayout compares the file of an empty tree byte by byte.
func TestWriteLayout(t *testing.T) {
	b := encode(t, NewTree())
	if len(b)%8 != 0 || le.Uint64(b[40:]) != uint64(len(b)) {
		t.Errorf("%d bytes, end of file at %d", len(b), le.Uint64(b[40:]))
	}
	// superblock, heap segment, heap, B-tree, header
	want := 96 + 8 + 32 + (24 + 33*8 + 32*8) + (16 + 8 + 16)
	if len(b) != want {
		t.Errorf("%d bytes, want %d", len(b), want)
	}
	for at, text := range map[int]string{0: signature, 104: "HEAP", 136: "TREE"} {
		if got := string(b[at : at+len(text)]); got != text {
			t.Errorf("at %d: %q, want %q", at, got, text)
		}
	}
}

func TestWriteDeterministic(t *testing.T) {
	build := func() []byte {
		tree := NewTree()
		for i := range 40 {
			g := tree.Group(fmt.Sprint("g", i))
			g.Strings("name", nil, []string{fmt.Sprint("node ", i)})
			g.Float32("v", []int{100, 3}, make([]float32, 300))
		}
		return encode(t, tree)
	}
	if !bytes.Equal(build(), build()) {
		t.Error("two files of one tree differ")
	}
}

func TestWriteRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := NewTree()
		type expect struct {
			shape   []int
			floats  []float32
			doubles []float64
			ints    []int64
			strings []string
		}
		want := make(map[string]expect)
		name := rapid.StringMatching(`[a-zA-Z_äé .]{1,12}x`)
		for _, g := range rapid.SliceOfNDistinct(name, 0, 20, rapid.ID).Draw(t, "groups") {
			sub := tree.Group(g)
			for _, d := range rapid.SliceOfNDistinct(name, 0, 12, rapid.ID).Draw(t, "sets") {
				shape := rapid.SliceOfN(rapid.IntRange(0, 9), 0, 3).Draw(t, "shape")
				n := 1
				for _, k := range shape {
					n *= k
				}
				e := expect{shape: shape}
				switch rapid.IntRange(0, 3).Draw(t, "type") {
				case 0:
					e.floats = rapid.SliceOfN(rapid.Float32(), n, n).Draw(t, "floats")
					sub.Float32(d, shape, e.floats)
				case 1:
					e.ints = rapid.SliceOfN(rapid.Int64(), n, n).Draw(t, "ints")
					sub.Int64(d, shape, e.ints)
				case 2:
					e.doubles = rapid.SliceOfN(rapid.Float64(), n, n).Draw(t, "doubles")
					sub.Float64(d, shape, e.doubles)
				default:
					e.strings = rapid.SliceOfN(rapid.StringMatching(`[ -~ß]{0,20}`), n, n).Draw(t, "strings")
					sub.Strings(d, shape, e.strings)
				}
				want[g+"/"+d] = e
			}
		}
		b := encode(t, tree)
		f, err := Open(bytes.NewReader(b), int64(len(b)), "test")
		if err != nil {
			t.Fatal(err)
		}
		for path, e := range want {
			d, err := f.Root().Dataset(path)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(d.Shape(), e.shape) {
				t.Fatalf("%s: shape %v, want %v", path, d.Shape(), e.shape)
			}
			switch {
			case e.floats != nil:
				got, err := d.ReadFloat32()
				if err != nil || !slices.EqualFunc(got, e.floats, func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }) {
					t.Fatalf("%s: %v, want %v: %v", path, got, e.floats, err)
				}
			case e.doubles != nil:
				got, err := d.ReadFloat64()
				if err != nil || !slices.EqualFunc(got, e.doubles, func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) }) {
					t.Fatalf("%s: %v, want %v: %v", path, got, e.doubles, err)
				}
			case e.ints != nil:
				if got, err := d.ReadInt64(); err != nil || !slices.Equal(got, e.ints) {
					t.Fatalf("%s: %v, want %v: %v", path, got, e.ints, err)
				}
			default:
				if got, err := d.Strings(); err != nil || !slices.Equal(got, e.strings) {
					t.Fatalf("%s: %q, want %q: %v", path, got, e.strings, err)
				}
			}
		}
	})
}

// TestWriteLarge has more names than a B-tree node of the usual size takes, and
// more strings than one collection.
func TestWriteLarge(t *testing.T) {
	tree := NewTree()
	texts := make([]string, 70_000)
	for i := range texts {
		texts[i] = fmt.Sprint("s", i)
	}
	tree.Strings("texts", []int{len(texts)}, texts)
	g := tree.Group("g")
	for i := range 3000 {
		g.Int64(fmt.Sprintf("%04d", i), nil, []int64{int64(i)})
	}
	path := filepath.Join(t.TempDir(), "x.h5")
	if err := tree.WriteFile(path, false); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := f.Root().Dataset("texts")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := d.Strings(); err != nil || !slices.Equal(got, texts) {
		t.Errorf("strings differ: %v", err)
	}
	sub, err := f.Root().Group("g")
	if err != nil || len(sub.Names()) != 3000 {
		t.Fatalf("%d names, %v", len(sub.Names()), err)
	}
	for _, i := range []int{0, 7, 8, 1500, 2999} {
		d, err := sub.Dataset(fmt.Sprintf("%04d", i))
		if err != nil {
			t.Fatal(err)
		}
		if v, err := d.ReadInt64(); err != nil || v[0] != int64(i) {
			t.Errorf("%d: %v, %v", i, v, err)
		}
	}
	if err := tree.WriteFile(path, false); err == nil {
		t.Error("an existing file was replaced without force")
	}
	if info, err := os.Stat(path); err != nil || info.Size() > 6<<20 {
		t.Errorf("size %d, %v", info.Size(), err)
	}
}

// TestWriteHeapEnd fills a collection of the global heap up to every number of
// bytes before its least size.
func TestWriteHeapEnd(t *testing.T) {
	for n := 4096 - 80; n < 4096+16; n++ {
		tree := NewTree()
		want := string(bytes.Repeat([]byte{'x'}, n-32))
		tree.Strings("s", nil, []string{want})
		b := encode(t, tree)
		f, err := Open(bytes.NewReader(b), int64(len(b)), "test")
		if err != nil {
			t.Fatal(err)
		}
		d, err := f.Root().Dataset("s")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := d.ReadString(); err != nil || got != want {
			t.Errorf("%d bytes: %d read, %v", len(want), len(got), err)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	for name, build := range map[string]func(*Tree){
		"slash in a name": func(t *Tree) { t.Group("a/b") },
		"empty name":      func(t *Tree) { t.Group("") },
		"wrong count":     func(t *Tree) { t.Int64("a", []int{3}, []int64{1}) },
		"no scalar":       func(t *Tree) { t.Float32("a", nil, nil) },
		"negative shape":  func(t *Tree) { t.Float32("a", []int{-1}, nil) },
		"depth": func(t *Tree) {
			for range 40 {
				t = t.Group("g")
			}
		},
	} {
		tree := NewTree()
		build(tree)
		var b bytes.Buffer
		if _, err := tree.WriteTo(&b); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
