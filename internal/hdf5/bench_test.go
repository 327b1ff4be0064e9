package hdf5

import (
	"bytes"
	"testing"

	"github.com/adafire/adafire/internal/random"
)

// BenchmarkReadRows reads a chunked, deflated data set in rows, as event files
// are read.
func BenchmarkReadRows(b *testing.B) {
	r := random.New(1, "hdf5 bench")
	v := make([]int64, 1<<20)
	for i := range v {
		v[i] = int64(i) + r.Int64N(100)
	}
	t := NewTree()
	t.Int64("t", []int{len(v)}, v)
	var file bytes.Buffer
	if _, err := t.WriteTo(&file); err != nil {
		b.Fatal(err)
	}
	dst := make([]int64, 1<<14)
	b.SetBytes(int64(8 * len(v)))
	for b.Loop() {
		f, err := Open(bytes.NewReader(file.Bytes()), int64(file.Len()), "bench")
		if err != nil {
			b.Fatal(err)
		}
		d, err := f.Root().Dataset("t")
		if err != nil {
			b.Fatal(err)
		}
		for lo := 0; lo < len(v); lo += len(dst) {
			if err := d.ReadRowsInt64(lo, lo+len(dst), dst); err != nil {
				b.Fatal(err)
			}
		}
	}
}
