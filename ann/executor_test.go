package ann

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/tensor"
	"pgregory.net/rapid"
)

func close32(t testing.TB, what string, got, want []float32, tol float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: got %d values, want %d", what, len(got), len(want))
	}
	for i := range got {
		if d := math.Abs(float64(got[i]) - float64(want[i])); !(d <= tol*(1+math.Abs(float64(want[i])))) {
			t.Fatalf("%s: value %d: got %g, want %g", what, i, got[i], want[i])
		}
	}
}

// unfused computes all nodes with one layer each.
func unfused(t testing.TB, g *graph.Graph, x *tensor.Tensor) *Network {
	t.Helper()
	net := must[*Network](t)(NewNetwork(g, nil, NetworkOptions{Unfused: true}))
	must[[]*tensor.Tensor](t)(net.Forward(Evaluation, 0, x))
	return net
}

func TestFusionKeepsOutputs(t *testing.T) {
	for name, g := range map[string]*graph.Graph{"zoo": zoo(), "resnet": resNet(8, []int{8, 12}, 2, 5), "vgg": vgg(8, []int{6, 0, 8}, 4)} {
		t.Run(name, func(t *testing.T) {
			x := images(5, 4, g.InputNodes()[0].Shape)
			want := unfused(t, g, x)
			ys := must[[]*tensor.Tensor](t)(must[*Executor](t)(New(g, nil)).ForwardAll(x))
			for i, o := range g.Outputs {
				close32(t, o.Name, ys[i].Data, want.Value(o), 2e-4)
			}
			fused := must[*Network](t)(NewNetwork(g, nil, NetworkOptions{}))
			ys = must[[]*tensor.Tensor](t)(fused.Forward(Evaluation, 0, x))
			for i, o := range g.Outputs {
				close32(t, o.Name, ys[i].Data, want.Value(o), 2e-4)
			}
		})
	}
}

func TestObserveEveryNode(t *testing.T) {
	g := zoo()
	x := images(6, 3, graph.Shape{8, 8, 3})
	want := unfused(t, g, x)
	ex := must[*Executor](t)(New(g, nil))
	var all []string
	for _, n := range g.Nodes {
		all = append(all, n.Name)
	}
	sets := [][]string{all}
	for _, name := range all {
		sets = append(sets, []string{name})
	}
	for _, names := range sets {
		for range 2 { // the second run meets used buffers
			var seen []string
			err := ex.Observe(x, names, func(name string, y *tensor.Tensor) {
				seen = append(seen, name)
				n := g.Node(name)
				if y.Shape[0] != 3 || len(y.Shape) != len(n.Shape)+1 {
					t.Fatalf("%s: observed shape %v, want [3 %v]", name, y.Shape, n.Shape)
				}
				close32(t, name, y.Data, want.Value(n), 2e-4)
			})
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(seen) != fmt.Sprint(names) {
				t.Fatalf("observed %v, want %v", seen, names)
			}
		}
	}
	if err := ex.Observe(x, []string{"nosuch"}, func(string, *tensor.Tensor) {}); err == nil || !strings.Contains(err.Error(), "nosuch") {
		t.Fatalf("unknown node: got error %v", err)
	}
}

func TestSameBitsForAnyWorkersAndBatch(t *testing.T) {
	g := zoo()
	x := images(7, 13, graph.Shape{8, 8, 3})
	want := must[[]*tensor.Tensor](t)(must[*Executor](t)(New(g, nil)).ForwardAll(x))
	for _, workers := range []int{1, 2, 7} {
		pool := parallel.New(workers)
		defer pool.Close()
		ex := must[*Executor](t)(New(g, pool))
		got := must[[]*tensor.Tensor](t)(ex.ForwardAll(x))
		for i := range want {
			sameBits(t, got[i].Data, want[i].Data)
		}
		rapid.Check(t, func(t *rapid.T) {
			lo := rapid.IntRange(0, 12).Draw(t, "lo")
			hi := rapid.IntRange(lo+1, 13).Draw(t, "hi")
			part, err := ex.ForwardAll(x.Rows(lo, hi))
			if err != nil {
				t.Fatal(err)
			}
			for i := range want {
				w := want[i].Rows(lo, hi)
				for k := range w.Data {
					if math.Float32bits(part[i].Data[k]) != math.Float32bits(w.Data[k]) {
						t.Fatalf("output %d of samples %d to %d: value %d: got %g, want %g", i, lo, hi, k, part[i].Data[k], w.Data[k])
					}
				}
			}
		})
	}
}

func TestSubBatchesCoverTheBatch(t *testing.T) {
	g := resNet(8, []int{8}, 1, 3)
	x := images(8, 11, graph.Shape{8, 8, 3})
	ex := must[*Executor](t)(New(g, nil))
	want := must[*tensor.Tensor](t)(ex.Forward(x))
	for _, size := range []int{1, 2, 3, 10, 11} {
		got := tensor.New(want.Shape...)
		for lo := 0; lo < 11; lo += size {
			ex.plan.runPart(lo, min(lo+size, 11), []*tensor.Tensor{x}, []*tensor.Tensor{got})
		}
		sameBits(t, got.Data, want.Data)
	}
}

func TestSubBatch(t *testing.T) {
	for _, tc := range []struct {
		weights, traffic, live int
		n, want                int
	}{
		{1000, 1 << 20, 1 << 18, 5, 5},      // all fit
		{1000, 1 << 20, 1 << 18, 64, 8},     // eight fit
		{1000, 1 << 20, 1 << 18, 65, 8},     // nine pieces
		{1000, 1 << 20, 1 << 30, 3, 1},      // not even one fits
		{1 << 25, 1 << 16, 1 << 18, 64, 64}, // the weights cost more
		{0, 0, 0, 7, 7},
	} {
		p := &plan{weights: tc.weights, traffic: tc.traffic, slots: []int{tc.live}}
		if got := p.subBatch(tc.n); got != tc.want {
			t.Errorf("%+v: sub-batch of %d", tc, got)
		}
	}
}

// The choice between direct convolution and Winograd's algorithm must not
// depend on the batch.
func TestWinogradIsChosenByShape(t *testing.T) {
	s := kernel.ConvShape{N: 1, H: 8, W: 8, Cin: 16, KH: 3, KW: 3, Cout: 16, StrideH: 1, StrideW: 1,
		PadTop: 1, PadLeft: 1, PadBottom: 1, PadRight: 1, DilH: 1, DilW: 1, Groups: 1}
	if !winograd(s) {
		t.Error("8x8, 16 channels: direct")
	}
	for name, change := range map[string]func(s *kernel.ConvShape){
		"stride":     func(s *kernel.ConvShape) { s.StrideH = 2 },
		"1x1":        func(s *kernel.ConvShape) { s.KH, s.KW, s.PadTop, s.PadLeft, s.PadBottom, s.PadRight = 1, 1, 0, 0, 0, 0 },
		"2x2 image":  func(s *kernel.ConvShape) { s.H, s.W = 2, 2 },
		"5x5 image":  func(s *kernel.ConvShape) { s.H, s.W = 5, 5 },
		"8 channels": func(s *kernel.ConvShape) { s.Cin = 8 },
	} {
		c := s
		change(&c)
		if winograd(c) {
			t.Errorf("%s: Winograd", name)
		}
	}
	g := resNet(8, []int{16, 32}, 1, 4)
	x := images(17, 6, graph.Shape{8, 8, 3})
	want := unfused(t, g, x).Value(g.Outputs[0])
	ex := must[*Executor](t)(New(g, nil, Winograd()))
	all := must[*tensor.Tensor](t)(ex.Forward(x))
	close32(t, "logits", all.Data, want, 2e-4)
	for i := range 6 {
		one := must[*tensor.Tensor](t)(ex.Forward(x.Rows(i, i+1)))
		sameBits(t, one.Data, all.Rows(i, i+1).Data)
	}
}

func TestForwardKeepsNothingOfTheCall(t *testing.T) {
	g := zoo()
	ex := must[*Executor](t)(New(g, nil))
	x := images(9, 3, graph.Shape{8, 8, 3})
	first := must[[]*tensor.Tensor](t)(ex.ForwardAll(x))
	kept := make([][]float32, len(first))
	for i, y := range first {
		kept[i] = append([]float32(nil), y.Data...)
	}
	must[[]*tensor.Tensor](t)(ex.ForwardAll(images(10, 3, graph.Shape{8, 8, 3})))
	for i := range first {
		sameBits(t, first[i].Data, kept[i])
	}
	randomise(t, g, 4) // the executor has its own copies
	again := must[[]*tensor.Tensor](t)(ex.ForwardAll(x))
	for i := range again {
		sameBits(t, again[i].Data, kept[i])
	}
}

func TestForwardAllocatesOnlyTheOutput(t *testing.T) {
	if raceDetector {
		t.Skip("a sync.Pool forgets at random under the race detector")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // collection empties the kernels' scratch pools
	g := resNet(16, []int{8, 16}, 1, 4)
	ex := must[*Executor](t)(New(g, nil))
	x := images(1, 32, graph.Shape{16, 16, 3})
	must[*tensor.Tensor](t)(ex.Forward(x))
	const calls = 10
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range calls {
		must[*tensor.Tensor](t)(ex.Forward(x))
	}
	runtime.ReadMemStats(&after)
	// One activation of the batch alone is 256 KiB.
	if bytes := (after.TotalAlloc - before.TotalAlloc) / calls; bytes > 32<<10 {
		t.Errorf("%d bytes allocated per call, want at most %d", bytes, 32<<10)
	}
}

func TestInputErrors(t *testing.T) {
	g := resNet(8, []int{4}, 1, 3)
	ex := must[*Executor](t)(New(g, nil))
	for name, x := range map[string]*tensor.Tensor{
		"nil":            nil,
		"no axes":        {},
		"no samples":     tensor.New(0, 8, 8, 3),
		"channels first": tensor.New(2, 3, 8, 8),
		"one axis short": tensor.New(8, 8, 3),
		"short data":     {Shape: []int{2, 8, 8, 3}, Data: make([]float32, 5)},
	} {
		if _, err := ex.Forward(x); !errors.Is(err, tensor.ErrShape) || !strings.Contains(err.Error(), `"input"`) {
			t.Errorf("%s: got error %v, want one of shape that names the input", name, err)
		}
	}
	if _, err := ex.ForwardAll(); !errors.Is(err, tensor.ErrShape) {
		t.Errorf("no input: got error %v", err)
	}
}

func TestUnsupportedOutputPad(t *testing.T) {
	g := graph.New()
	x := g.Input("input", graph.Shape{3, 3, 1})
	g.Outputs = []*graph.Node{g.Add("up", &graph.ConvTranspose2D{Stride: [2]int{1, 1}, Dilation: [2]int{3, 3}, OutputPad: [2]int{2, 0}, Groups: 1},
		graph.Params{"weight": tensor.New(2, 2, 1, 1)}, x)}
	if err := g.Infer(); err != nil {
		t.Fatal(err)
	}
	if _, err := New(g, nil); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), `"up"`) {
		t.Errorf("executor: got error %v", err)
	}
	if _, err := NewNetwork(g, nil, NetworkOptions{}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("network: got error %v", err)
	}
}
