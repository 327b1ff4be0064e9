package nir

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// use does with a file what tools do with it.
func use(t testing.TB, b []byte) {
	f, err := ReadFrom(bytes.NewReader(b), int64(len(b)), "fuzz.nir")
	if err != nil {
		return
	}
	if got, err := f.Import(); err == nil && got.SNN != nil {
		if _, err := snn.New(got.Graph, got.SNN); err != nil {
			t.Logf("imported, but: %v", err)
		}
	}
	Check(f.Graph, "sinabs")
	if s, err := NewSimulator(f.Graph, Hard); err == nil && len(s.inputs) == 1 {
		for _, u := range s.inputs {
			if len(u.out) < 1<<12 {
				s.Run(tensor.New(2, len(u.out)))
			}
		}
	}
	var first, again bytes.Buffer
	if _, err := f.Graph.WriteTo(&first); err != nil {
		t.Fatalf("what was read cannot be written: %v", err)
	}
	g, err := ReadFrom(bytes.NewReader(first.Bytes()), int64(first.Len()), "again.nir")
	if err != nil {
		t.Fatalf("what was written cannot be read: %v", err)
	}
	if _, err := g.Graph.WriteTo(&again); err != nil || !bytes.Equal(first.Bytes(), again.Bytes()) {
		t.Fatalf("what was written and read is written differently: %v", err)
	}
}

func seeds(t testing.TB) [][]byte {
	t.Helper()
	dir, m := loadManifest(t)
	var out [][]byte
	add := func(file string) {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b)
	}
	for _, c := range m.Load {
		add(c.File)
	}
	for _, c := range m.Refuse {
		add(c.File)
	}
	for _, opt := range []Options{{}, {Profile: Exact}} {
		b := nets["convolutions"](1)
		g, _, err := Build(&Network{b.g, b.neurons(snn.ShiftPerStep, 3, false)}, opt)
		if err != nil {
			t.Fatal(err)
		}
		var w bytes.Buffer
		if _, err := g.WriteTo(&w); err != nil {
			t.Fatal(err)
		}
		out = append(out, w.Bytes())
	}
	return out
}

// FuzzRead changes bytes of whole files.
func FuzzRead(f *testing.F) {
	for _, b := range seeds(f) {
		f.Add(b, uint32(len(b)/2), uint64(0xff))
	}
	f.Fuzz(func(t *testing.T, b []byte, at uint32, with uint64) {
		if len(b) > 1<<18 {
			return
		}
		b = bytes.Clone(b)
		for i := range 8 {
			if k := int(at) + i; k < len(b) {
				b[k] ^= byte(with >> (8 * i))
			}
		}
		use(t, b)
	})
}

// TestDamaged does the same at places all over the files, in every run.
func TestDamaged(t *testing.T) {
	for _, whole := range seeds(t) {
		for k := range 12 {
			b := bytes.Clone(whole)
			if len(b) > 0 {
				b[(k*len(b)/12+k*7)%len(b)] ^= 0x55
			}
			use(t, b)
		}
	}
}
