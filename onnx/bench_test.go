package onnx_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/adafire/adafire/onnx"
)

// large is a model of n convolutions of 512 channels, 9.4 MB each.
func large(n int) []byte {
	weight := make([]float32, 512*512*9)
	for i := range weight {
		weight[i] = float32(i%251)*1e-4 - 0.012
	}
	g := graphParts{inputs: []pb{value("x", -1, 512, 7, 7)}, outputs: []pb{pb(nil).str(1, fmt.Sprint("x", n))}}
	from := "x"
	for i := range n {
		w, to := fmt.Sprint("w", i), fmt.Sprint("x", i+1)
		g.inits = append(g.inits, floats(w, []int64{512, 512, 3, 3}, weight...))
		g.nodes = append(g.nodes, node("Conv", []string{from, w}, []string{to + "c"}, attrInts("pads", 1, 1, 1, 1)),
			node("Relu", []string{to + "c"}, []string{to}))
		from = to
	}
	return model(17, g.encode())
}

// BenchmarkImport reads a file of the size of ResNet-50 (94 MB of weights) and
// reports the memory beside those weights, as a share of the file.
func BenchmarkImport(b *testing.B) {
	path := filepath.Join(b.TempDir(), "large.onnx")
	data := large(10)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		b.Fatal(err)
	}
	size := len(data)
	data = nil
	b.SetBytes(int64(size))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for b.Loop() {
		m, err := onnx.Import(path, onnx.Options{})
		if err != nil {
			b.Fatal(err)
		}
		if m.Graph.Parameters() != 10*512*512*9 {
			b.Fatal(m.Graph.Parameters())
		}
	}
	runtime.ReadMemStats(&after)
	weights := float64(size)
	b.ReportMetric((float64(after.TotalAlloc-before.TotalAlloc)/float64(b.N)-weights)/float64(size), "extra/file")
}
