package dataset

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/adafire/adafire/internal/random"
)

func TestMixupOfKnownImages(t *testing.T) {
	// Three images of one pixel; the middle one is its own partner.
	data := []float32{0, 5, 8}
	x := mixing{lambda: 0.75}
	x.images(data, 3, 1, 1, 1)
	if !slices.Equal(data, []float32{2, 5, 6}) {
		t.Errorf("images %v, want [2 5 6]", data)
	}
	soft := make([]float32, 6)
	x.labels(soft, []int{0, 1, 1}, 2, 0)
	if !slices.Equal(soft, []float32{0.75, 0.25, 0, 1, 0.25, 0.75}) {
		t.Errorf("labels %v", soft)
	}
}

func TestCutMixOfKnownImages(t *testing.T) {
	data := []float32{1, 1, 1, 1, 2, 2, 2, 2}
	x := mixing{lambda: 0.75, cut: true, y0: 0, y1: 1, x0: 1, x1: 2}
	x.images(data, 2, 2, 2, 1)
	if !slices.Equal(data, []float32{1, 2, 1, 1, 2, 1, 2, 2}) {
		t.Errorf("images %v", data)
	}
}

func TestSmoothedLabels(t *testing.T) {
	soft := make([]float32, 8)
	mixing{lambda: 1}.labels(soft, []int{2, 0}, 4, 0.1)
	want := []float32{0.025, 0.025, 0.925, 0.025, 0.925, 0.025, 0.025, 0.025}
	for i, v := range soft {
		if math.Abs(float64(v-want[i])) > 1e-7 {
			t.Errorf("labels %v, want %v", soft, want)
			break
		}
	}
}

// Every row of soft labels is a probability distribution, and mixing keeps the
// sum of the images.
func TestMixKeepsSums(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 9).Draw(t, "n")
		h, w, c := rapid.IntRange(1, 6).Draw(t, "h"), rapid.IntRange(1, 6).Draw(t, "w"), rapid.IntRange(1, 3).Draw(t, "c")
		m := Mix{Mixup: rapid.Float64Range(0, 3).Draw(t, "mixup"), CutMix: rapid.Float64Range(0, 3).Draw(t, "cutmix")}
		x := m.draw(random.New(rapid.Uint64().Draw(t, "seed"), "mix"), 0, h, w)
		if !(x.lambda >= 0 && x.lambda <= 1) || x.y0 < 0 || x.y1 > h || x.x0 < 0 || x.x1 > w {
			t.Fatalf("drew %+v", x)
		}
		data := make([]float32, n*h*w*c)
		unquantise(data, noise(len(data), 3))
		sum := func() (s float64) {
			for _, v := range data {
				s += float64(v)
			}
			return s
		}
		before := sum()
		x.images(data, n, h, w, c)
		if after := sum(); math.Abs(after-before) > 1e-3 {
			t.Fatalf("sum of the images %g becomes %g", before, after)
		}
		classes := rapid.IntRange(1, 5).Draw(t, "classes")
		labels := make([]int, n)
		for i := range labels {
			labels[i] = i % classes
		}
		soft := make([]float32, n*classes)
		x.labels(soft, labels, classes, 0.1)
		for i := range n {
			var s float64
			for _, v := range soft[i*classes : (i+1)*classes] {
				if v < 0 {
					t.Fatalf("negative label in %v", soft)
				}
				s += float64(v)
			}
			if math.Abs(s-1) > 1e-5 {
				t.Fatalf("labels of sample %d add up to %g", i, s)
			}
		}
	})
}

func TestBetaOfTheSmallestParameters(t *testing.T) {
	for _, a := range []float64{math.SmallestNonzeroFloat64, 7e-310, 1e-300, 1e-10} {
		for seed := range uint64(20) {
			if v := beta(random.New(seed, "mix"), a); !(v >= 0 && v <= 1) {
				t.Errorf("beta(%g) drew %g", a, v)
			}
		}
	}
}

func TestMixProbabilityAndEpochs(t *testing.T) {
	mixed := func(m Mix, epoch int) (blend, cut int) {
		for i := range uint64(2000) {
			switch x := m.draw(random.New(1, "mix", i), epoch, 8, 8); {
			case x.cut:
				cut++
			case x.lambda != 1:
				blend++
			}
		}
		return blend, cut
	}
	near := func(name string, got, want int) {
		t.Helper()
		if d := got - want; d < -120 || d > 120 { // more than five standard deviations
			t.Errorf("%s: %d of 2000, want about %d", name, got, want)
		}
	}
	b, c := mixed(Mix{Mixup: 1, CutMix: 1, Prob: 0.5, OffEpoch: 6}, 5)
	near("mixup", b, 500)
	near("cutmix", c, 500)
	b, c = mixed(Mix{Mixup: 1}, 5)
	if near("mixup alone", b, 2000); c != 0 {
		t.Errorf("%d cutmix batches without cutmix", c)
	}
	if b, c = mixed(Mix{Mixup: 1, CutMix: 1, OffEpoch: 6}, 6); b+c != 0 {
		t.Errorf("%d mixed batches after the last epoch with mixing", b+c)
	}
	if b, c = mixed(Mix{Prob: 1}, 0); b+c != 0 {
		t.Errorf("%d mixed batches without mixing", b+c)
	}
}

// Beta(a, a) has mean 1/2 and variance 1/(4(2a+1)).
func TestBeta(t *testing.T) {
	for _, a := range []float64{0.001, 0.2, 0.5, 1, 4} {
		rng := random.New(7, "beta")
		const n = 20000
		var sum, squares float64
		for range n {
			v := beta(rng, a)
			if !(v >= 0 && v <= 1) {
				t.Fatalf("a=%g: drew %g", a, v)
			}
			sum += v
			squares += v * v
		}
		mean := sum / n
		variance := squares/n - mean*mean
		if want := 1 / (4 * (2*a + 1)); math.Abs(mean-0.5) > 0.02 || math.Abs(variance-want) > 0.01 {
			t.Errorf("a=%g: mean %.4f, variance %.4f, want 0.5 and %.4f", a, mean, variance, want)
		}
	}
}
