package codec

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// bloscSample is what the chunks in testdata/blosc hold: 2504 numbers of 32 bits.
func bloscSample() []byte {
	const n = 2504
	var b []byte
	for i := range uint64(n) {
		v := (i*i/7 + (i*2654435761>>29)%5) % 1000
		if i >= n/2 && i < n/2+300 {
			v = 7
		}
		b = binary.LittleEndian.AppendUint32(b, uint32(v))
	}
	return b
}

// TestUnblosc unpacks chunks that c-blosc 1.21 has packed through its Python
// package, with every codec and shuffle.
func TestUnblosc(t *testing.T) {
	files, err := filepath.Glob("testdata/blosc/*.bin")
	if err != nil || len(files) != 15 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	want := bloscSample()
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".bin"), func(t *testing.T) {
			packed, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := unblosc(packed, len(want))
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("got %d bytes, %v; want %d", len(got), err, len(want))
			}
			if _, err := unblosc(packed, len(want)-1); err == nil {
				t.Error("unpacks to more than the limit")
			}
			for n := range packed { // every cut must be told
				if _, err := unblosc(packed[:n], len(want)); err == nil {
					t.Fatalf("unpacks after a cut to %d bytes", n)
				}
			}
		})
	}
}

func FuzzUnblosc(f *testing.F) {
	files, err := filepath.Glob("testdata/blosc/*.bin")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		packed, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
	}
	f.Fuzz(func(t *testing.T, packed []byte) {
		const limit = 1 << 16
		if out, err := unblosc(packed, limit); err == nil && len(out) > limit {
			t.Errorf("unpacked %d bytes, the limit is %d", len(out), limit)
		}
	})
}
