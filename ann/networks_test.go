package ann

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/tensor"
)

// builder makes test networks with random weights.
type builder struct {
	g   *graph.Graph
	rng *rand.Rand
	n   int
}

func newBuilder(seed uint64) *builder {
	return &builder{g: graph.New(), rng: rand.New(rand.NewPCG(seed, 1))}
}

func (b *builder) name(kind string) string {
	b.n++
	return fmt.Sprintf("%s%d", kind, b.n)
}

func (b *builder) conv(x *graph.Node, cin, cout, k, stride int, bias bool) *graph.Node {
	p := graph.Params{"weight": normal(b.rng, 1/float64(k)/sqrt(cin), k, k, cin, cout)}
	if bias {
		p["bias"] = normal(b.rng, 0.1, cout)
	}
	return b.g.Add(b.name("conv"), &graph.Conv2D{Stride: [2]int{stride, stride}, Pad: graph.Uniform(k/2, k/2), Dilation: [2]int{1, 1}, Groups: 1}, p, x)
}

func sqrt(n int) float64 {
	x := 1.0
	for range 30 {
		x = (x + float64(n)/x) / 2
	}
	return x
}

func (b *builder) norm(x *graph.Node, c int) *graph.Node {
	return b.g.Add(b.name("bn"), &graph.BatchNorm{Eps: 1e-5, Momentum: 0.1}, graph.Params{
		"mean": normal(b.rng, 0.1, c), "var": positive(b.rng, c), "weight": positive(b.rng, c), "bias": normal(b.rng, 0.1, c)}, x)
}

func (b *builder) relu(x *graph.Node) *graph.Node {
	return b.g.Add(b.name("relu"), &graph.ReLU{}, nil, x)
}

func (b *builder) linear(x *graph.Node, in, out int) *graph.Node {
	return b.g.Add(b.name("fc"), &graph.Linear{}, graph.Params{"weight": normal(b.rng, 1/sqrt(in), in, out), "bias": normal(b.rng, 0.1, out)}, x)
}

func (b *builder) finish(outs ...*graph.Node) *graph.Graph {
	b.g.Outputs = outs
	if err := b.g.Infer(); err != nil {
		panic(err)
	}
	return b.g
}

// resNet is the residual network of the paper's CIFAR experiments, with the
// given widths and blocks per stage.
func resNet(size int, widths []int, blocks, classes int) *graph.Graph {
	b := newBuilder(1)
	x := b.g.Input("input", graph.Shape{size, size, 3})
	c := widths[0]
	x = b.relu(b.norm(b.conv(x, 3, c, 3, 1, false), c))
	for stage, w := range widths {
		for block := range blocks {
			stride := 1
			if stage > 0 && block == 0 {
				stride = 2
			}
			y := b.relu(b.norm(b.conv(x, c, w, 3, stride, false), w))
			y = b.norm(b.conv(y, w, w, 3, 1, false), w)
			if stride != 1 || c != w {
				x = b.norm(b.conv(x, c, w, 1, stride, false), w)
			}
			x = b.relu(b.g.Add(b.name("add"), &graph.Add{}, nil, y, x))
			c = w
		}
	}
	x = b.g.Add("pool", &graph.GlobalAvgPool{}, nil, x)
	x = b.g.Add("flatten", &graph.Flatten{}, nil, x)
	return b.finish(b.linear(x, c, classes))
}

// vgg has convolutions with bias and batch norm; 0 in widths is a 2x2 pool.
func vgg(size int, widths []int, classes int) *graph.Graph {
	b := newBuilder(2)
	x := b.g.Input("input", graph.Shape{size, size, 3})
	c := 3
	for _, w := range widths {
		if w == 0 {
			size /= 2
			x = b.g.Add(b.name("pool"), &graph.AvgPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}}, nil, x)
			continue
		}
		x = b.relu(b.norm(b.conv(x, c, w, 3, 1, true), w))
		c = w
	}
	x = b.g.Add("flatten", &graph.Flatten{}, nil, x)
	return b.finish(b.linear(x, size*size*c, classes))
}

// vgg16 is configuration D as in algorithms.md 11.1.
var vgg16 = []int{64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0}

// zoo is a network with everything that fusion must look at: shared values,
// sums in both orders, outputs in the middle, plain and folded batch norms,
// concatenation, aliases.
func zoo() *graph.Graph {
	b := newBuilder(3)
	x := b.g.Input("input", graph.Shape{8, 8, 3})
	c1 := b.conv(x, 3, 8, 3, 1, true)
	r1 := b.relu(c1)
	c2 := b.conv(r1, 8, 8, 3, 1, false)
	sum := b.g.Add("sum1", &graph.Add{}, nil, r1, c2) // the convolution second
	r2 := b.g.Add("relu6", &graph.ReLU6{}, nil, sum)
	c3 := b.norm(b.conv(r2, 8, 8, 3, 1, false), 8)
	c4 := b.norm(b.conv(r2, 8, 8, 1, 1, true), 8)
	sum2 := b.g.Add("sum2", &graph.Add{}, nil, c3, c4)
	r3 := b.relu(sum2)
	n1 := b.relu(b.norm(r3, 8)) // not foldable
	same := b.g.Add("same", &graph.Identity{}, nil, n1)
	twice := b.g.Add("twice", &graph.Add{}, nil, same, same, n1)
	cat := b.g.Add("cat", &graph.Concat{}, nil, twice, r2, r3)
	up := b.g.Add("up", &graph.Upsample{Size: [2]int{9, 9}, Mode: "bilinear"}, nil, cat)
	drop := b.g.Add("drop", &graph.Dropout{P: 0.3}, nil, up)
	pool := b.g.Add("max", &graph.MaxPool2D{Kernel: [2]int{3, 3}, Stride: [2]int{3, 3}}, nil, drop)
	leaky := b.g.Add("leaky", &graph.LeakyReLU{Alpha: 0.1}, nil, pool)
	t := b.g.Add("deconv", &graph.ConvTranspose2D{Stride: [2]int{2, 2}, Pad: graph.Uniform(1, 1), Dilation: [2]int{1, 1}, Groups: 1},
		graph.Params{"weight": normal(b.rng, 0.1, 4, 4, 24, 5), "bias": normal(b.rng, 0.1, 5)}, leaky)
	tr := b.relu(b.norm(t, 5))
	flat := b.g.Add("flatten", &graph.Flatten{}, nil, tr)
	head := b.linear(b.relu(b.linear(flat, 180, 20)), 20, 7)
	soft := b.g.Add("softmax", &graph.Softmax{}, nil, head)
	b.g.Add("dead", &graph.ReLU{}, nil, c1)
	return b.finish(head, soft, sum, x, same)
}

func images(seed uint64, n int, shape graph.Shape) *tensor.Tensor {
	return normal(rand.New(rand.NewPCG(seed, 2)), 1, batchShape(n, shape)...)
}

// randomise gives the parameters new values, to see that packing follows.
func randomise(t testing.TB, g *graph.Graph, seed uint64) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 3))
	for _, n := range g.Nodes {
		for _, role := range []string{"weight", "bias"} {
			if p := n.Params[role]; p != nil {
				for i := range p.Data {
					p.Data[i] += float32(rng.NormFloat64() * 0.02)
				}
			}
		}
	}
}
