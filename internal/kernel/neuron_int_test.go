package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// fireIntCase is neurons [rows, channels] and their currents.
type fireIntCase struct {
	sums     []int32
	v        []float32
	c        IntCurrent
	shift    float32
	maxSpike uint8
}

func newFireIntCase(r *rand.Rand, rows, ch, kind int, maxSpike uint8) *fireIntCase {
	n := rows * ch
	f := &fireIntCase{sums: make([]int32, n), v: noise(r, n), shift: r.Float32() - 0.5, maxSpike: maxSpike}
	for i := range f.sums {
		f.sums[i] = r.Int32N(20001) - 10000
		if r.IntN(20) == 0 {
			f.sums[i] = int32(r.Uint32())
		}
	}
	f.c.Scale = noise(r, ch)
	for i := range f.c.Scale {
		f.c.Scale[i] /= 1000
	}
	if kind&1 != 0 {
		f.c.Bias = noise(r, ch)
	}
	switch kind >> 1 {
	case 1:
		f.c.Add = noise(r, n)
	case 2:
		f.c.AddCounts, f.c.AddScale = spikes(r, n, 0.5, 255), noise(r, ch)
	}
	if n > 0 && r.IntN(3) == 0 {
		f.v[r.IntN(n)] = float32(math.NaN())
		f.v[r.IntN(n)] = float32(math.Inf(1 - 2*r.IntN(2)))
	}
	return f
}

func equalFloats(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}

// check compares with IntCurrent.at and the specification of Fire.
func (f *fireIntCase) check(t fatal) {
	n, ch := len(f.sums), len(f.c.Scale)
	current := make([]float32, n)
	for i, s := range f.sums {
		current[i] = f.c.at(i, i%ch, s)
	}
	got := make([]float32, n)
	IntCurrents(got, f.sums, &f.c)
	for i := range got {
		if !equalFloats(got[i], current[i]) {
			t.Fatalf("current %d is %g, want %g", i, got[i], current[i])
		}
	}
	wantV, wantCounts := append([]float32(nil), f.v...), make([]uint8, n)
	spikes, events, finite := fire(wantCounts, wantV, current, nil, f.shift, float32(f.maxSpike))
	v, counts := append([]float32(nil), f.v...), make([]uint8, n+1)
	counts[n] = 77
	s, e, fin := FireInt(counts[:n], v, f.sums, &f.c, f.shift, f.maxSpike)
	if s != spikes || e != events || fin != finite {
		t.Fatalf("%d spikes, %d events, finite %t, want %d, %d, %t", s, e, fin, spikes, events, finite)
	}
	for i := range v {
		if !equalFloats(v[i], wantV[i]) || counts[i] != wantCounts[i] {
			t.Fatalf("neuron %d: potential %g, %d spikes, want %g, %d", i, v[i], counts[i], wantV[i], wantCounts[i])
		}
	}
	if counts[n] != 77 {
		t.Fatal("the count behind the last was written")
	}
}

func TestFireIntEqualsFire(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(5, 6))
		for _, ch := range []int{1, 3, 7, 8, 9, 16, 24, 31, 32, 40, 64, 65, 128} {
			for kind := range 6 {
				t.Run(fmt.Sprintf("%d/%d", ch, kind), func(t *testing.T) {
					for _, rows := range []int{0, 1, 5} {
						newFireIntCase(r, rows, ch, kind, []uint8{1, 4, 255}[r.IntN(3)]).check(t)
					}
				})
			}
		}
	})
}

func TestFireIntProperty(t *testing.T) {
	eachISA(t, func(t *testing.T) { rapid.Check(t, fireIntProperty) })
}

func FuzzFireInt(f *testing.F) { f.Fuzz(rapid.MakeFuzz(fireIntProperty)) }

func fireIntProperty(t *rapid.T) {
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
	newFireIntCase(r, rapid.IntRange(0, 9).Draw(t, "rows"), rapid.IntRange(1, 100).Draw(t, "channels"),
		rapid.IntRange(0, 5).Draw(t, "kind"), rapid.Uint8Min(1).Draw(t, "most")).check(t)
}
