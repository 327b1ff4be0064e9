package convert

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/tensor"
	"github.com/google/go-cmp/cmp"
)

// converted returns a prepared network and its conversion.
func converted(t testing.TB) (*graph.Graph, *Result, *tensor.Tensor, Config, CompressOptions) {
	t.Helper()
	g, x, cfg, _ := searchable(t)
	res, err := Convert(t.Context(), nil, g, x, cfg)
	if err != nil {
		t.Fatal(err)
	}
	opt := DefaultCompress()
	opt.Samples, opt.Ratios = 24, []float64{1, 1.25, 1.5, 2, 3}
	return g, res, x, cfg, opt
}

func TestCompress(t *testing.T) {
	g, res, x, cfg, opt := converted(t)
	kept := res.SNN.Clone()
	bias := slices.Clone(res.Graph.Node("conv2").Bias())
	var before *CompressResult
	for _, workers := range []int{1, 3} {
		pool := parallel.New(workers)
		defer pool.Close()
		got, err := Compress(t.Context(), pool, g, res, x, cfg, opt)
		if err != nil {
			t.Fatal(err)
		}
		graph := got.Result.Graph
		got.Result.Graph = nil // compared by its biases
		if before == nil {
			before = got
		} else if d := cmp.Diff(before, got); d != "" {
			t.Fatalf("%d workers find something else:\n%s", workers, d)
		}
		if slices.Equal(graph.Node("conv2").Bias(), bias) {
			t.Error("no bias was corrected again")
		}
	}
	r := before
	if d := cmp.Diff(kept, res.SNN); d != "" || !slices.Equal(bias, res.Graph.Node("conv2").Bias()) {
		t.Errorf("the network that was compressed changed: %s", d)
	}
	want, err := Choose(r.Tables.Cost, r.Tables.Sensitivity, r.Bound)
	if err != nil {
		t.Fatal(err)
	}
	unchanged := 0.0
	for l, k := range want.Index {
		if r.Chosen[l] != opt.Ratios[k] {
			t.Errorf("layer %d: ratio %g, want %g", l, r.Chosen[l], opt.Ratios[k])
		}
		for ch, theta := range r.Result.SNN.Layers[l].Threshold {
			if w := float64(kept.Layers[l].Threshold[ch]) * r.Chosen[l]; math.Abs(float64(theta)-w) > 1e-6*w {
				t.Errorf("layer %d: threshold[%d] is %g, want %g", l, ch, theta, w)
			}
		}
		// Ratio 1 is the network as it is, in every row.
		if s := r.Tables.Sensitivity[l][0]; math.Abs(s-r.Before.Sensitivity) > 1e-9 {
			t.Errorf("layer %d: sensitivity %g at ratio 1, the network's is %g", l, s, r.Before.Sensitivity)
		}
		unchanged += r.Tables.Cost[l][0] / 24
	}
	if math.Abs(r.Before.Cost-unchanged) > 1e-9*unchanged || math.Abs(r.Unchanged.Cost-unchanged) > 1e-9*unchanged {
		t.Errorf("before %+v, by the tables %+v, want the cost %g", r.Before, r.Unchanged, unchanged)
	}
	if r.Predicted.Cost >= r.Unchanged.Cost || r.Predicted.Sensitivity > r.Bound*(1+1e-12) || r.Bound != r.Unchanged.Sensitivity {
		t.Errorf("predicted %+v of %+v, bound %g", r.Predicted, r.Unchanged, r.Bound)
	}
	if r.JointMet != (r.After.Sensitivity <= r.Before.Sensitivity) {
		t.Errorf("joint bound met: %v, after %+v, before %+v", r.JointMet, r.After, r.Before)
	}
	opt.Recalibrate = false
	plain, err := Compress(t.Context(), nil, g, res, x, cfg, opt)
	if err != nil {
		t.Fatal(err)
	}
	if plain.Result.Graph != res.Graph || !slices.Equal(plain.Chosen, r.Chosen) {
		t.Errorf("not recalibrated: ratios %v, want %v and the graph as it was", plain.Chosen, r.Chosen)
	}
}

// TestCompressJoint: the bound holds for the whole network, or there is no
// ratio of 1 or more at which it does.
func TestCompressJoint(t *testing.T) {
	g, res, x, cfg, opt := converted(t)
	met, lowered := 0, 0
	for _, ratio := range []float64{1, 1.05, 1.2, 1.5, 2, 4} {
		opt.Ratio, opt.Joint = ratio, false
		free, err := Compress(t.Context(), nil, g, res, x, cfg, opt)
		if err != nil {
			t.Fatal(err)
		}
		opt.Joint = true
		joint, err := Compress(t.Context(), nil, g, res, x, cfg, opt)
		if err != nil {
			t.Fatal(err)
		}
		within := joint.After.Sensitivity <= ratio*joint.Before.Sensitivity
		if joint.JointMet != within || joint.Used > ratio || joint.Used < 1 || joint.Ratio != ratio {
			t.Errorf("ratio %g: used %g, met %v, %+v after %+v", ratio, joint.Used, joint.JointMet, joint.After, joint.Before)
		}
		if free.JointMet && joint.Used != ratio {
			t.Errorf("ratio %g was lowered to %g without need", ratio, joint.Used)
		}
		if joint.JointMet {
			met++
		} else if joint.Used != 1 {
			t.Errorf("ratio %g: not met at %g, want that of 1", ratio, joint.Used)
		}
		if joint.Used < ratio {
			lowered++
		}
	}
	if met == 0 || lowered == 0 {
		t.Errorf("met %d times, lowered %d times: too few to mean something", met, lowered)
	}
}

// TestCompressByAccuracy: entries may be negative; they are shifted for the
// bound, so that a larger ratio allows more.
func TestCompressByAccuracy(t *testing.T) {
	g, res, x, cfg, opt := converted(t)
	opt.Metric = MetricAccuracy
	for i := range x.Shape[0] {
		opt.Labels = append(opt.Labels, i%4)
	}
	last := math.Inf(1)
	for _, ratio := range []float64{1, 1.5, 3} {
		opt.Ratio = ratio
		r, err := Compress(t.Context(), nil, g, res, x, cfg, opt)
		if err != nil {
			t.Fatal(err)
		}
		if r.Bound < 0 || r.Predicted.Cost > last {
			t.Errorf("ratio %g: bound %g, cost %g after %g", ratio, r.Bound, r.Predicted.Cost, last)
		}
		last = r.Predicted.Cost
		if r.Before.Accuracy < 0 || r.Before.Accuracy > 1 {
			t.Errorf("accuracy %g", r.Before.Accuracy)
		}
	}
	tables := &Tables{Sensitivity: [][]float64{{0.25, -0.5}, {0, 1}}}
	if d := cmp.Diff([][]float64{{0.75, 0}, {0.5, 1.5}}, tables.nonNegative()); d != "" {
		t.Error(d)
	}
	if tables.Sensitivity[0][1] != -0.5 {
		t.Error("the tables changed")
	}
}

func TestCompressRefuses(t *testing.T) {
	g, res, x, cfg, good := converted(t)
	for want, change := range map[string]func(*CompressOptions){
		"threshold ratio -1":             func(o *CompressOptions) { o.Ratio = -1 },
		"threshold ratio NaN":            func(o *CompressOptions) { o.Ratio = math.NaN() },
		"the first must be 1":            func(o *CompressOptions) { o.Ratios = []float64{1.5, 2} },
		"candidates []: the first":       func(o *CompressOptions) { o.Ratios = nil },
		"want ascending":                 func(o *CompressOptions) { o.Ratios = []float64{1, 2, 2} },
		"up to 1e6":                      func(o *CompressOptions) { o.Ratios = []float64{1, math.Inf(1)} },
		`metric ""`:                      func(o *CompressOptions) { o.Metric = "" },
		"3 labels for 48 samples":        func(o *CompressOptions) { o.Metric, o.Labels = MetricAccuracy, []int{1, 2, 3} },
		"the smallest ratio possible is": func(o *CompressOptions) { o.Ratio = 0.001 },
	} {
		opt := good
		change(&opt)
		if r, err := Compress(t.Context(), nil, g, res, x, cfg, opt); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, %v, want an error with %q", r, err, want)
		}
	}
	good.Ratio = 0.001
	var infeasible *InfeasibleError
	if _, err := Compress(t.Context(), nil, g, res, x, cfg, good); !errors.As(err, &infeasible) {
		t.Errorf("got %v, want an *InfeasibleError", err)
	}
}
