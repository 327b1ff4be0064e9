package ann

import (
	"fmt"
	"testing"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/tensor"
)

// The networks of the paper's CIFAR experiments, batch 32, on all cores.
var benchNets = map[string]func() *graph.Graph{
	"ResNet20": func() *graph.Graph { return resNet(32, []int{64, 128, 256}, 3, 10) },
	"VGG16":    func() *graph.Graph { return vgg(32, vgg16, 10) },
	"Digits":   digits,
}

// digits is the small network that learns the digits: five convolutions.
func digits() *graph.Graph {
	b := newBuilder(4)
	x := b.g.Input("input", graph.Shape{28, 28, 1})
	c := 1
	for _, w := range []int{16, 0, 32, 32, 0, 64, 64} {
		if w == 0 {
			x = b.g.Add(b.name("pool"), &graph.MaxPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}}, nil, x)
			continue
		}
		x = b.relu(b.norm(b.conv(x, c, w, 3, 1, false), w))
		c = w
	}
	x = b.g.Add("flatten", &graph.Flatten{}, nil, b.g.Add("mean", &graph.GlobalAvgPool{}, nil, x))
	return b.finish(b.linear(x, c, 10))
}

func benchForward(b *testing.B, name string, batch int) {
	g := benchNets[name]()
	pool := parallel.New(0)
	defer pool.Close()
	ex, err := New(g, pool)
	if err != nil {
		b.Fatal(err)
	}
	x := images(1, batch, g.InputNodes()[0].Shape)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ex.Forward(x); err != nil {
			b.Fatal(err)
		}
	}
	report(b, batch, 2*g.MACs())
}

func report(b *testing.B, batch int, flops int64) {
	seconds := b.Elapsed().Seconds() / float64(b.N)
	b.ReportMetric(float64(batch)/seconds, "img/s")
	b.ReportMetric(float64(batch)*float64(flops)/seconds/1e9, "GFLOP/s")
}

func BenchmarkForwardResNet20(b *testing.B) { benchForward(b, "ResNet20", 32) }
func BenchmarkForwardVGG16(b *testing.B)    { benchForward(b, "VGG16", 32) }

func BenchmarkForwardDigits(b *testing.B) { benchForward(b, "Digits", 256) }

func BenchmarkForwardResNet20One(b *testing.B) { benchForward(b, "ResNet20", 1) }
func BenchmarkForwardVGG16One(b *testing.B)    { benchForward(b, "VGG16", 1) }

func benchTrainStep(b *testing.B, name string, batch int) {
	g := benchNets[name]()
	pool := parallel.New(0)
	defer pool.Close()
	net, err := NewNetwork(g, pool, NetworkOptions{})
	if err != nil {
		b.Fatal(err)
	}
	opt := NewSGD(pool, net.Params(), SGDOptions{Momentum: 0.9, WeightDecay: 5e-4})
	x := images(1, batch, g.InputNodes()[0].Shape)
	labels := make([]int, batch)
	for i := range labels {
		labels[i] = i % 10
	}
	b.ReportAllocs()
	for b.Loop() {
		ys, err := net.Forward(Training, 0, x)
		if err != nil {
			b.Fatal(err)
		}
		dy := tensor.New(ys[0].Shape...)
		if _, err := (CrossEntropy{Ignore: NoIgnore}).Labels(pool, ys[0], labels, dy.Data); err != nil {
			b.Fatal(err)
		}
		if err := net.Backward(dy); err != nil {
			b.Fatal(err)
		}
		opt.Step(1e-3)
		net.Refresh()
	}
	report(b, batch, 6*g.MACs())
}

func BenchmarkTrainStepResNet20(b *testing.B) { benchTrainStep(b, "ResNet20", 32) }
func BenchmarkTrainStepVGG16(b *testing.B)    { benchTrainStep(b, "VGG16", 32) }
func BenchmarkTrainStepDigits(b *testing.B)   { benchTrainStep(b, "Digits", 64) }

// BenchmarkSubBatch is what cacheValues was chosen by.
func BenchmarkSubBatch(b *testing.B) {
	for name, make := range benchNets {
		g := make()
		pool := parallel.New(0)
		defer pool.Close()
		ex, err := New(g, pool)
		if err != nil {
			b.Fatal(err)
		}
		const batch = 64
		x := images(1, batch, g.InputNodes()[0].Shape)
		y := tensor.New(batch, 10)
		for _, size := range []int{1, 2, 4, 8, 16, 32, 64} {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				for b.Loop() {
					for lo := 0; lo < batch; lo += size {
						ex.plan.runPart(lo, lo+size, []*tensor.Tensor{x}, []*tensor.Tensor{y})
					}
				}
				report(b, batch, 2*g.MACs())
			})
		}
	}
}
