package ann

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/tensor"
)

// gradients runs one step and returns the gradients of all parameters and of
// the input.
func gradients(t testing.TB, g *graph.Graph, pool *parallel.Pool, opts NetworkOptions, x *tensor.Tensor) map[string][]float32 {
	t.Helper()
	opts.InputGrads, opts.Seed = true, 11
	net := must[*Network](t)(NewNetwork(g.Clone(), pool, opts))
	var last map[string][]float32
	for range 2 { // the second step works in used buffers
		ys := must[[]*tensor.Tensor](t)(net.Forward(Training, 3, x))
		rng := rand.New(rand.NewPCG(4, 4))
		var dys []*tensor.Tensor
		for _, y := range ys {
			dys = append(dys, normal(rng, 1, y.Shape...))
		}
		if err := net.Backward(dys...); err != nil {
			t.Fatal(err)
		}
		grads := map[string][]float32{"input": slices.Clone(net.InputGrad(0))}
		for _, p := range net.Params() {
			grads[p.Name] = slices.Clone(p.Grad)
		}
		for name, want := range last {
			sameBits(t, grads[name], want)
			_ = name
		}
		last = grads
	}
	return last
}

func TestFusionKeepsGradients(t *testing.T) {
	for name, g := range map[string]*graph.Graph{"zoo": zoo(), "resnet": resNet(8, []int{8, 12}, 2, 5), "vgg": vgg(8, []int{6, 0, 8}, 4)} {
		t.Run(name, func(t *testing.T) {
			x := images(5, 4, g.InputNodes()[0].Shape)
			want := gradients(t, g, nil, NetworkOptions{Unfused: true}, x)
			got := gradients(t, g, nil, NetworkOptions{}, x)
			for name, w := range want {
				scale := 0.0
				for _, v := range w {
					scale = max(scale, float64(v), -float64(v))
				}
				for i, v := range got[name] {
					if d := float64(v) - float64(w[i]); max(d, -d) > 1e-3*(scale+1e-2) {
						t.Fatalf("%s[%d]: got %g, want %g (largest %g)", name, i, v, w[i], scale)
					}
				}
			}
		})
	}
}

func TestGradientsAreTheSameBitsForAnyWorkers(t *testing.T) {
	g := zoo()
	x := images(12, 9, graph.Shape{8, 8, 3})
	want := gradients(t, g, nil, NetworkOptions{}, x)
	for _, workers := range []int{2, 7} {
		pool := parallel.New(workers)
		defer pool.Close()
		got := gradients(t, g, pool, NetworkOptions{}, x)
		for name := range want {
			sameBits(t, got[name], want[name])
		}
	}
}

// A smaller batch after a larger one, and a larger one after that, must meet no
// leftovers.
func TestBatchSizeMayChange(t *testing.T) {
	g := zoo()
	net := must[*Network](t)(NewNetwork(g, nil, NetworkOptions{}))
	for _, n := range []int{4, 2, 9, 3} {
		x := images(uint64(n), n, graph.Shape{8, 8, 3})
		step := func(net *Network) []float32 {
			ys := must[[]*tensor.Tensor](t)(net.Forward(Evaluation, 0, x))
			dys := make([]*tensor.Tensor, len(ys))
			dys[0] = ys[0].Clone()
			if err := net.Backward(dys...); err != nil {
				t.Fatal(err)
			}
			var all []float32
			for _, p := range net.Params() {
				all = append(all, p.Grad...)
			}
			return all
		}
		fresh := must[*Network](t)(NewNetwork(g.Clone(), nil, NetworkOptions{}))
		sameBits(t, step(net), step(fresh))
	}
}

func TestRefreshFollowsTheParameters(t *testing.T) {
	g := zoo()
	net := must[*Network](t)(NewNetwork(g, nil, NetworkOptions{}))
	x := images(13, 2, graph.Shape{8, 8, 3})
	must[[]*tensor.Tensor](t)(net.Forward(Evaluation, 0, x))
	randomise(t, g, 9)
	net.Refresh()
	got := must[[]*tensor.Tensor](t)(net.Forward(Evaluation, 0, x))
	fresh := must[*Network](t)(NewNetwork(g, nil, NetworkOptions{}))
	want := must[[]*tensor.Tensor](t)(fresh.Forward(Evaluation, 0, x))
	for i := range want {
		sameBits(t, got[i].Data, want[i].Data)
	}
}

func TestDropout(t *testing.T) {
	g := graph.New()
	x := g.Input("input", graph.Shape{100000})
	g.Outputs = []*graph.Node{g.Add("drop", &graph.Dropout{P: 0.25}, nil, x)}
	net := must[*Network](t)(NewNetwork(g, nil, NetworkOptions{Seed: 1}))
	ones := tensor.New(1, 100000)
	for i := range ones.Data {
		ones.Data[i] = 1
	}
	run := func(step uint64) []float32 {
		return slices.Clone(must[[]*tensor.Tensor](t)(net.Forward(Training, step, ones))[0].Data)
	}
	a, b := run(1), run(2)
	kept := 0
	for _, v := range a {
		switch v {
		case 0:
		case float32(1 / 0.75):
			kept++
		default:
			t.Fatalf("a value of 1 became %g", v)
		}
	}
	if kept < 74000 || kept > 76000 {
		t.Errorf("%d of 100000 kept, want about 75000", kept)
	}
	if slices.Equal(a, b) {
		t.Error("two steps drop the same units")
	}
	sameBits(t, run(1), a)
}

func TestRunningStatistics(t *testing.T) {
	g := graph.New()
	x := g.Input("input", graph.Shape{2})
	bn := g.Add("bn", &graph.BatchNorm{Eps: 1e-5, Momentum: 0.25},
		graph.Params{"mean": must[*tensor.Tensor](t)(tensor.FromSlice([]float32{1, 0}, 2)), "var": must[*tensor.Tensor](t)(tensor.FromSlice([]float32{1, 4}, 2))}, x)
	g.Outputs = []*graph.Node{bn}
	net := must[*Network](t)(NewNetwork(g, nil, NetworkOptions{}))
	in := must[*tensor.Tensor](t)(tensor.FromSlice([]float32{1, 10, 3, 10, 5, 10}, 3, 2))
	must[[]*tensor.Tensor](t)(net.Forward(Evaluation, 0, in))
	close32(t, "mean after evaluation", bn.Params["mean"].Data, []float32{1, 0}, 0)
	must[[]*tensor.Tensor](t)(net.Forward(Training, 0, in))
	close32(t, "mean", bn.Params["mean"].Data, []float32{0.75*1 + 0.25*3, 2.5}, 1e-6)
	close32(t, "var", bn.Params["var"].Data, []float32{0.75*1 + 0.25*4, 3}, 1e-6) // unbiased: 8/2
}

func TestNetworkRefusesSharedParameters(t *testing.T) {
	g := graph.New()
	w := tensor.New(3, 3)
	x := g.Input("input", graph.Shape{3})
	a := g.Add("a", &graph.Linear{}, graph.Params{"weight": w}, x)
	g.Outputs = []*graph.Node{g.Add("b", &graph.Linear{}, graph.Params{"weight": w}, a)}
	if _, err := NewNetwork(g, nil, NetworkOptions{}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("got error %v, want ErrUnsupported", err)
	}
}

// Two sums that share an operand: their gradients are shared buffers when they
// meet, and may not be added up in place.
func TestSharedGradients(t *testing.T) {
	b := newBuilder(30)
	x := b.g.Input("input", graph.Shape{5})
	y := b.linear(x, 5, 5)
	leak := func(alpha float64) *graph.Node {
		return b.g.Add(b.name("leaky"), &graph.LeakyReLU{Alpha: alpha}, nil, y)
	}
	l1, l2, l3 := leak(0.1), leak(0.2), leak(0.3)
	s1 := b.g.Add("sum1", &graph.Add{}, nil, y, l1)
	s2 := b.g.Add("sum2", &graph.Add{}, nil, l2, y)
	s3 := b.g.Add("sum3", &graph.Add{}, nil, y, l3, y)
	g := b.finish(s1, s2, s3)
	in := images(31, 4, graph.Shape{5})
	plain := must[*Network](t)(NewNetwork(g, nil, NetworkOptions{Unfused: true}))
	outs := must[[]*tensor.Tensor](t)(plain.Forward(Evaluation, 0, in))
	var dys []*tensor.Tensor
	for i, o := range outs {
		dys = append(dys, images(uint64(40+i), 4, graph.Shape(o.Shape[1:])))
	}
	want := must[map[string][]float32](t)(nodeByNode(g, plain, outs, dys))
	net := must[*Network](t)(NewNetwork(g, nil, NetworkOptions{InputGrads: true}))
	must[[]*tensor.Tensor](t)(net.Forward(Evaluation, 0, in))
	if err := net.Backward(dys...); err != nil {
		t.Fatal(err)
	}
	close32(t, "input", net.InputGrad(0), want["input"], 1e-5)
	for _, p := range net.Params() {
		close32(t, p.Name, p.Grad, want[p.Name], 1e-5)
	}
}

// Parameters that no gradient reaches have none, whatever came before.
func TestUnreachedParameters(t *testing.T) {
	g := zoo()
	net := must[*Network](t)(NewNetwork(g, nil, NetworkOptions{}))
	ys := must[[]*tensor.Tensor](t)(net.Forward(Evaluation, 0, images(14, 2, graph.Shape{8, 8, 3})))
	first := make([]*tensor.Tensor, len(ys))
	first[0] = ys[0].Clone()
	if err := net.Backward(first...); err != nil {
		t.Fatal(err)
	}
	third := make([]*tensor.Tensor, len(ys))
	third[2] = ys[2].Clone() // "sum1", read by nothing but relu6
	if err := net.Backward(third...); err != nil {
		t.Fatal(err)
	}
	for _, p := range net.Params() {
		reached := p.Node.Name == "conv1" || p.Node.Name == "conv3"
		if zero := !slices.ContainsFunc(p.Grad, func(v float32) bool { return v != 0 }); zero == reached {
			t.Errorf("%s: gradient is zero: %v, want %v", p.Name, zero, !reached)
		}
	}
	if err := net.Backward(nil); !errors.Is(err, tensor.ErrShape) {
		t.Errorf("one gradient for %d outputs: got error %v", len(ys), err)
	}
}
