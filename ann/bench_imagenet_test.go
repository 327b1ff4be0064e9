package ann

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/tensor"
)

// resNet18 is ResNet-18 for 224x224 images with folded batch norms.
func resNet18() *graph.Graph {
	b := newBuilder(5)
	x := b.g.Input("input", graph.Shape{224, 224, 3})
	c := 64
	x = b.relu(b.conv(x, 3, c, 7, 2, true))
	x = b.g.Add("pool1", &graph.MaxPool2D{Kernel: [2]int{3, 3}, Stride: [2]int{2, 2}, Pad: graph.Uniform(1, 1)}, nil, x)
	for stage, w := range []int{64, 128, 256, 512} {
		for block := range 2 {
			stride := 1
			if stage > 0 && block == 0 {
				stride = 2
			}
			y := b.relu(b.conv(x, c, w, 3, stride, true))
			y = b.conv(y, w, w, 3, 1, true)
			if c != w {
				x = b.conv(x, c, w, 1, stride, true)
			}
			x = b.relu(b.g.Add(b.name("add"), &graph.Add{}, nil, y, x))
			c = w
		}
	}
	x = b.g.Add("flatten", &graph.Flatten{}, nil, b.g.Add("mean", &graph.GlobalAvgPool{}, nil, x))
	return b.finish(b.linear(x, c, 1000))
}

// vitB16 is ViT-B/16 for 224x224 images.
func vitB16() *graph.Graph {
	const d, heads, tokens = 768, 12, 197
	b := newBuilder(6)
	x := b.g.Input("input", graph.Shape{224, 224, 3})
	x = b.g.Add("patches", &graph.Conv2D{Stride: [2]int{16, 16}, Dilation: [2]int{1, 1}, Groups: 1},
		graph.Params{"weight": normal(b.rng, 0.02, 16, 16, 3, d), "bias": normal(b.rng, 0.1, d)}, x)
	x = b.g.Add("tokens", &graph.Reshape{Shape: graph.Ints{tokens - 1, d}}, nil, x)
	x = b.g.Add("with class", &graph.ConcatAxis{Axis: 0}, nil, b.g.Add("class", &graph.Constant{}, graph.Params{"weight": normal(b.rng, 1, 1, d)}), x)
	x = b.g.Add("position", &graph.Affine{}, graph.Params{"bias": normal(b.rng, 0.1, tokens, d)}, x)
	norm := func(x *graph.Node) *graph.Node {
		return b.g.Add(b.name("norm"), &graph.LayerNorm{Axes: 1, Eps: 1e-6}, graph.Params{"weight": positive(b.rng, d), "bias": normal(b.rng, 0.1, d)}, x)
	}
	for range 12 {
		y := norm(x)
		y = b.g.Add(b.name("attention"), &graph.Attention{Heads: heads, KVHeads: heads, Scale: 1 / math.Sqrt(d/heads)}, nil,
			b.linear(y, d, d), b.linear(y, d, d), b.linear(y, d, d))
		x = b.g.Add(b.name("add"), &graph.Add{}, nil, b.linear(y, d, d), x)
		y = b.g.Add(b.name("gelu"), &graph.GELU{}, nil, b.linear(norm(x), d, 4*d))
		x = b.g.Add(b.name("add"), &graph.Add{}, nil, b.linear(y, 4*d, d), x)
	}
	x = b.g.Add("first", &graph.Gather{Axis: 0, Indices: graph.Ints{0}}, nil, norm(x))
	return b.finish(b.linear(x, d, 1000))
}

// BenchmarkImageNet is inference with Winograd's algorithm; with -v it logs the
// least time of every step.
func BenchmarkImageNet(b *testing.B) {
	for _, net := range []struct {
		name string
		make func() *graph.Graph
	}{{"ResNet18", resNet18}, {"ViTB16", vitB16}} {
		var g *graph.Graph
		for _, workers := range []int{1, 2} {
			for _, batch := range []int{1, 8} {
				b.Run(fmt.Sprintf("%s/workers %d/batch %d", net.name, workers, batch), func(b *testing.B) {
					if g == nil {
						g = net.make()
					}
					pool := parallel.New(workers)
					defer pool.Close()
					ex, err := New(g, pool, Winograd())
					if err != nil {
						b.Fatal(err)
					}
					x := images(1, batch, g.InputNodes()[0].Shape)
					least := make([]time.Duration, len(ex.plan.steps))
					for i := range ex.plan.steps {
						s := &ex.plan.steps[i]
						run := s.run
						s.run = func(n int, in [][]float32, out []float32) {
							start := time.Now()
							run(n, in, out)
							if d := time.Since(start); least[i] == 0 || d < least[i] {
								least[i] = d
							}
						}
					}
					y := []*tensor.Tensor{tensor.New(batchShape(batch, g.Outputs[0].Shape)...)}
					best := time.Duration(math.MaxInt64)
					ex.plan.run(batch, []*tensor.Tensor{x}, y) // memory and filters
					b.ReportAllocs()
					for b.Loop() {
						start := time.Now()
						ex.plan.run(batch, []*tensor.Tensor{x}, y)
						best = min(best, time.Since(start))
					}
					b.ReportMetric(float64(best.Microseconds())/1000, "ms-best")
					if testing.Verbose() && batch == 1 {
						var text strings.Builder
						for i, s := range ex.plan.steps {
							fmt.Fprintf(&text, "%8.3f ms  %s %s %v\n", least[i].Seconds()*1000, s.node.Name, s.node.Kind(), s.node.Shape)
						}
						b.Log(text.String())
					}
				})
			}
		}
	}
}
