package ann

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/adafire/adafire/tensor"
)

// fakeParams are a weight, a bias and a weight of one axis.
func fakeParams(seed uint64) []*Param {
	rng := rand.New(rand.NewPCG(seed, 5))
	var ps []*Param
	for _, p := range []struct {
		name, role string
		shape      []int
	}{{"a.weight", "weight", []int{3, 7}}, {"a.bias", "bias", []int{7}}, {"bn.weight", "weight", []int{5}}} {
		v := normal(rng, 1, p.shape...)
		ps = append(ps, &Param{Name: p.name, Role: p.role, Value: v, Grad: make([]float32, v.Len())})
	}
	return ps
}

// fill sets gradients that depend on the step.
func fill(ps []*Param, step int) {
	for i, p := range ps {
		for k := range p.Grad {
			p.Grad[k] = float32(math.Sin(float64(step*31 + i*7 + k)))
		}
	}
}

// The formulas of the PyTorch documentation, in float64.
func TestOptimisers(t *testing.T) {
	const lr = 0.05
	for name, tc := range map[string]struct {
		make func(ps []*Param) Optimiser
		step func(w, g, a, b *float64, n int, decay bool)
	}{
		"sgd": {func(ps []*Param) Optimiser { return NewSGD(nil, ps, SGDOptions{WeightDecay: 0.1}) },
			func(w, g, _, _ *float64, _ int, _ bool) { *w -= lr * (*g + 0.1**w) }},
		"momentum": {func(ps []*Param) Optimiser {
			return NewSGD(nil, ps, SGDOptions{Momentum: 0.9, WeightDecay: 0.1, NoDecay1D: true})
		}, func(w, g, a, _ *float64, n int, decay bool) {
			d := *g
			if decay {
				d += 0.1 * *w
			}
			*a = 0.9**a + d
			if n == 1 {
				*a = d
			}
			*w -= lr * *a
		}},
		"nesterov": {func(ps []*Param) Optimiser { return NewSGD(nil, ps, SGDOptions{Momentum: 0.9, Nesterov: true}) },
			func(w, g, a, _ *float64, n int, _ bool) {
				*a = 0.9**a + *g
				*w -= lr * (*g + 0.9**a)
			}},
		"adamw": {func(ps []*Param) Optimiser {
			return NewAdamW(nil, ps, AdamWOptions{Beta1: 0.9, Beta2: 0.99, Eps: 1e-8, WeightDecay: 0.1, NoDecay1D: true})
		}, func(w, g, a, b *float64, n int, decay bool) {
			if decay {
				*w -= lr * 0.1 * *w
			}
			*a = 0.9**a + 0.1**g
			*b = 0.99**b + 0.01**g**g
			m, v := *a/(1-math.Pow(0.9, float64(n))), *b/(1-math.Pow(0.99, float64(n)))
			*w -= lr * m / (math.Sqrt(v) + 1e-8)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			ps := fakeParams(1)
			o := tc.make(ps)
			for i, p := range ps {
				w := make([]float64, p.Value.Len())
				a, b := make([]float64, len(w)), make([]float64, len(w))
				for k, v := range p.Value.Data {
					w[k] = float64(v)
				}
				for n := 1; n <= 5; n++ {
					fill(ps, n)
					for k := range w {
						g := float64(p.Grad[k])
						tc.step(&w[k], &g, &a[k], &b[k], n, i == 0)
					}
				}
				defer func() { close32(t, p.Name, p.Value.Data, narrow(w), 1e-5) }()
			}
			for n := 1; n <= 5; n++ {
				fill(ps, n)
				o.Step(lr)
			}
			if o.Steps() != 5 {
				t.Errorf("%d steps, want 5", o.Steps())
			}
		})
	}
}

func TestClipNorm(t *testing.T) {
	ps := fakeParams(2)
	fill(ps, 1)
	var square float64
	for _, p := range ps {
		for _, g := range p.Grad {
			square += float64(g) * float64(g)
		}
	}
	norm := math.Sqrt(square)
	before := slices.Clone(ps[0].Grad)
	if got := ClipNorm(nil, ps, 0); math.Abs(got-norm) > 1e-9 {
		t.Fatalf("norm %g, want %g", got, norm)
	}
	ClipNorm(nil, ps, 2*norm)
	sameBits(t, ps[0].Grad, before)
	ClipNorm(nil, ps, norm/4)
	if got := ClipNorm(nil, ps, 0); math.Abs(got-norm/4) > 1e-5 {
		t.Fatalf("norm after clipping %g, want %g", got, norm/4)
	}
}

func TestSchedule(t *testing.T) {
	for name, tc := range map[string]struct {
		s      Schedule
		per    int // batches per epoch
		epochs int
		want   map[[2]int]float64 // epoch, batch: rate, for a base of 1
	}{
		"constant": {Schedule{Kind: "constant"}, 10, 5, map[[2]int]float64{{0, 0}: 1, {4, 9}: 1}},
		"cosine per epoch": {Schedule{Kind: "cosine"}, 10, 4, map[[2]int]float64{
			{0, 9}: 1, {1, 0}: (1 + math.Cos(math.Pi/4)) / 2, {2, 5}: 0.5, {4, 0}: 0}},
		"cosine per step": {Schedule{Kind: "cosine", PerStep: true, MinLR: 0.1}, 10, 4, map[[2]int]float64{
			{0, 0}: 1, {1, 5}: 0.1 + 0.9*(1+math.Cos(math.Pi*1.5/4))/2}},
		"cosine shorter than the training": {Schedule{Kind: "cosine", Epochs: 2, MinLR: 0.2}, 1, 4, map[[2]int]float64{{1, 0}: 0.6, {2, 0}: 0.2, {3, 0}: 0.2}},
		"warm-up per epoch":                {Schedule{Kind: "cosine", Warmup: 2}, 10, 4, map[[2]int]float64{{0, 0}: 0.5, {0, 9}: 0.5, {1, 0}: 1, {2, 0}: 1, {3, 0}: 0.5}},
		"warm-up per step":                 {Schedule{Kind: "constant", Warmup: 0.5, PerStep: true}, 10, 4, map[[2]int]float64{{0, 0}: 0.2, {0, 4}: 1, {0, 5}: 1}},
		"step":                             {Schedule{Kind: "step", Steps: []int{2, 3}, Gamma: 0.1, MinLR: 0.05}, 1, 5, map[[2]int]float64{{1, 0}: 1, {2, 0}: 0.1, {3, 0}: 0.05}},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tc.s.Validate(); err != nil {
				t.Fatal(err)
			}
			for at, want := range tc.want {
				if got := tc.s.LR(1, at[0], at[1], tc.per, tc.epochs); math.Abs(got-want) > 1e-12 {
					t.Errorf("epoch %d, batch %d: rate %g, want %g", at[0], at[1], got, want)
				}
			}
		})
	}
}

// The event networks of algorithms.md 9.6: 300 epochs of cosine and 10 of
// cool-down.
func TestScheduleOfTheEventNetworks(t *testing.T) {
	c := DefaultConfig()
	c.Epochs, c.Cooldown, c.LR = 300, 10, 1e-3
	c.Schedule = Schedule{Kind: "cosine", MinLR: 1e-5}
	for e := range c.Total() {
		want := 1e-5
		if e < 300 {
			want = 1e-5 + (1e-3-1e-5)*(1+math.Cos(math.Pi*float64(e)/300))/2
		}
		if got := c.lr(e, 3, 7); math.Abs(got-want) > 1e-15 {
			t.Fatalf("epoch %d: rate %g, want %g", e, got, want)
		}
	}
}

func TestCrossEntropy(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	const rows, classes = 70, 5
	logits := normal(rng, 2, rows, classes)
	labels := make([]int, rows)
	soft := tensor.New(rows, classes)
	for i := range labels {
		labels[i] = rng.IntN(classes)
		soft.Data[i*classes+labels[i]] = 1
	}
	ce := CrossEntropy{Smoothing: 0.2, Ignore: NoIgnore}
	a, b := make([]float32, logits.Len()), make([]float32, logits.Len())
	hard := must[Outcome](t)(ce.Labels(nil, logits, labels, a))
	same := must[Outcome](t)(ce.Soft(nil, logits, soft, b))
	if hard != same {
		t.Errorf("labels give %+v, their one-hot vectors %+v", hard, same)
	}
	sameBits(t, a, b)
	for i := range 20 {
		const eps = 1e-3
		up, down := logits.Clone(), logits.Clone()
		up.Data[i] += eps
		down.Data[i] -= eps
		u := must[Outcome](t)(ce.Labels(nil, up, labels, nil))
		d := must[Outcome](t)(ce.Labels(nil, down, labels, nil))
		if want := (u.Loss - d.Loss) / float64(up.Data[i]-down.Data[i]); math.Abs(want-float64(a[i])) > 1e-6 {
			t.Errorf("gradient %d: %g, finite difference %g", i, a[i], want)
		}
	}
	for i := range soft.Data { // targets need not sum to 1
		soft.Data[i] = 0.3 + float32(i%7)/10
	}
	must[Outcome](t)(ce.Soft(nil, logits, soft, a))
	for i := range 20 {
		const eps = 1e-3
		up, down := logits.Clone(), logits.Clone()
		up.Data[i] += eps
		down.Data[i] -= eps
		u := must[Outcome](t)(ce.Soft(nil, up, soft, nil))
		d := must[Outcome](t)(ce.Soft(nil, down, soft, nil))
		if want := (u.Loss - d.Loss) / float64(up.Data[i]-down.Data[i]); math.Abs(want-float64(a[i])) > 1e-6 {
			t.Errorf("soft targets, gradient %d: %g, finite difference %g", i, a[i], want)
		}
	}
	ignored := slices.Clone(labels)
	for i := range ignored {
		ignored[i] = 255
	}
	out := must[Outcome](t)(CrossEntropy{Ignore: 255}.Labels(nil, logits, ignored, a))
	if out != (Outcome{}) || slices.ContainsFunc(a, func(v float32) bool { return v != 0 }) {
		t.Errorf("everything ignored: %+v, gradient %v", out, a[:5])
	}
	labels[7] = classes
	if _, err := ce.Labels(nil, logits, labels, nil); err == nil {
		t.Error("a label out of range: no error")
	}
	if _, err := ce.Labels(nil, logits, labels[1:], nil); err == nil {
		t.Error("a label too few: no error")
	}
	// Large logits must not overflow.
	big := must[*tensor.Tensor](t)(tensor.FromSlice([]float32{1e30, -1e30, 0, 1e4}, 2, 2))
	out = must[Outcome](t)(CrossEntropy{Ignore: NoIgnore}.Labels(nil, big, []int{0, 1}, nil))
	if out.Loss != 0 || out.Correct != 2 {
		t.Errorf("large logits: %+v, want loss 0 and 2 correct", out)
	}
}

func TestMSE(t *testing.T) {
	y := must[*tensor.Tensor](t)(tensor.FromSlice([]float32{1, 2, 3, 4}, 2, 2))
	target := must[*tensor.Tensor](t)(tensor.FromSlice([]float32{1, 0, 3, 5}, 2, 2))
	grad := make([]float32, 4)
	if loss := must[float64](t)(MSE(nil, y, target, grad)); loss != 1.25 {
		t.Errorf("loss %g, want 1.25", loss)
	}
	sameBits(t, grad, []float32{0, 1, 0, -0.5})
	if _, err := MSE(nil, y, tensor.New(3), nil); err == nil {
		t.Error("targets of another size: no error")
	}
}
