package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/pass"
)

// compiled are the functions as they are printed.
var compiled = sync.OnceValues(func() (map[string]*ir.Function, error) {
	c := build.NewContext()
	generate(c)
	f, err := c.Result()
	if err != nil {
		return nil, err
	}
	if err := pass.Compile.Execute(f); err != nil {
		return nil, err
	}
	byName := map[string]*ir.Function{}
	for _, fn := range f.Functions() {
		byName[fn.Name] = fn
	}
	return byName, nil
})

func compile(t *testing.T) map[string]*ir.Function {
	t.Helper()
	fns, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	return fns
}

// structure writes fields at their offsets and returns its address.
func structure(m *machine, size int, fields map[int]uint64) uint64 {
	b := make([]byte, size)
	for off, v := range fields {
		binary.LittleEndian.PutUint64(b[off:], v)
	}
	return m.place(b)
}

func call(t *testing.T, m *machine, fn *ir.Function, args ...uint64) {
	t.Helper()
	var b []byte
	for _, a := range args {
		b = binary.LittleEndian.AppendUint64(b, a)
	}
	if err := m.run(fn, b); err != nil {
		t.Fatal(err)
	}
}

func random(r *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = 2*r.Float32() - 1
	}
	return v
}

func same(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d elements, want %d", what, len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] && (got[i] == got[i] || want[i] == want[i]) {
			t.Fatalf("%s: element %d: got %g, want %g", what, i, got[i], want[i])
		}
	}
}

// scenario is one random call of a tile kernel; k is 1 for depthwise kernels,
// whose inputs have 16 channels.
type scenario struct {
	rows, cols, runs, k, stride int
	x, zeros, y, bias, add      []float32
	panels                      [][]float32
	off, yoff                   []int
	acc                         bool
	lo, hi                      float32
}

func draw(r *rand.Rand, rows, panels int, depthwise bool) *scenario {
	s := &scenario{rows: rows, cols: 16 * panels, runs: 1 + r.IntN(4), k: 1 + r.IntN(11), stride: rows + r.IntN(3),
		lo: float32(math.Inf(-1)), hi: float32(math.Inf(1)), acc: !depthwise && r.IntN(2) == 0}
	width := s.k
	if depthwise {
		s.k, width = 1, 16
	}
	s.x, s.zeros = random(r, width+40), make([]float32, width)
	if r.IntN(3) == 0 {
		s.x[r.IntN(len(s.x))] = float32(math.NaN())
	}
	for range panels {
		s.panels = append(s.panels, random(r, s.runs*s.k*16))
	}
	for range s.runs * s.stride {
		o := r.IntN(len(s.x) - width + 1)
		if r.IntN(4) == 0 {
			o = -1
		}
		s.off = append(s.off, o)
	}
	at := 0
	for range rows {
		s.yoff = append(s.yoff, at)
		at += s.cols + r.IntN(5)
	}
	r.Shuffle(rows, func(i, j int) { s.yoff[i], s.yoff[j] = s.yoff[j], s.yoff[i] })
	s.y = random(r, at)
	if r.IntN(2) == 0 {
		s.bias = random(r, s.cols)
	}
	if r.IntN(2) == 0 {
		s.add = random(r, at)
	}
	if r.IntN(2) == 0 {
		s.lo, s.hi = 0, 0.5
	}
	return s
}

// address places v, or returns nil for nil.
func address(m *machine, v []float32) uint64 {
	if v == nil {
		return 0
	}
	return m.floats(v)
}

// run interprets fn and returns y.
func (s *scenario) run(t *testing.T, fn *ir.Function) []float32 {
	t.Helper()
	m := newMachine()
	y := m.floats(s.y)
	fields := map[int]uint64{
		tileX: m.floats(s.x), tileZeros: m.floats(s.zeros), tileOff: m.ints(s.off), tileOffStride: uint64(8 * s.stride),
		tileRuns: uint64(s.runs), tileK: uint64(s.k), tileB: m.floats(s.panels[0]), tileY: y, tileYOff: m.ints(s.yoff),
		tileBias: address(m, s.bias), tileAdd: address(m, s.add),
		tileLo: uint64(math.Float32bits(s.lo)) | uint64(math.Float32bits(s.hi))<<32,
	}
	if len(s.panels) > 1 {
		fields[tileB2] = m.floats(s.panels[1])
	}
	if s.acc {
		fields[tileAcc] = 1
	}
	call(t, m, fn, structure(m, tileNext+8, fields))
	return m.read(y)
}

// want is the loop of tileCall's doc comment. in(i, r, j, c) is input j of row
// r of run i for column c.
func (s *scenario) want(depthwise bool) []float32 {
	y := append([]float32(nil), s.y...)
	for r, o := range s.yoff {
		for c := range s.cols {
			var sum float32
			if s.acc {
				sum = s.y[o+c]
			}
			for i := range s.runs {
				in := s.zeros
				if at := s.off[i*s.stride+r]; at >= 0 {
					in = s.x[at:]
				}
				for j := range s.k {
					v := in[j]
					if depthwise {
						v = in[c]
					}
					sum = fma(v, s.panels[c/16][(i*s.k+j)*16+c%16], sum)
				}
			}
			if s.bias != nil {
				sum += s.bias[c]
			}
			if s.add != nil {
				sum += s.add[o+c]
			}
			if sum < s.lo {
				sum = s.lo
			}
			if sum > s.hi {
				sum = s.hi
			}
			y[o+c] = sum
		}
	}
	return y
}

func TestTiles(t *testing.T) {
	fns := compile(t)
	for _, target := range targets {
		for rows := 1; rows <= target.rows; rows++ {
			fn := fns[fmt.Sprintf("tile%s_%d", target.name, rows)]
			r := rand.New(rand.NewPCG(uint64(rows), 1))
			for n := range 60 {
				s := draw(r, rows, target.panels, false)
				same(t, fmt.Sprintf("%s scenario %d %+v", fn.Name, n, s), s.run(t, fn), s.want(false))
			}
		}
	}
}

func TestDepthwise(t *testing.T) {
	fns := compile(t)
	for _, name := range []string{"depthwiseAVX2x16", "depthwiseAVX512x16"} {
		r := rand.New(rand.NewPCG(2, 1))
		for n := range 200 {
			s := draw(r, 6, 1, true)
			same(t, fmt.Sprintf("%s scenario %d", name, n), s.run(t, fns[name]), s.want(true))
		}
	}
}

func TestGradients(t *testing.T) {
	fns := compile(t)
	for _, target := range targets {
		for rows := 1; rows <= gradRows; rows++ {
			fn := fns[fmt.Sprintf("grad%s_%d", target.name, rows)]
			r := rand.New(rand.NewPCG(uint64(rows), 3))
			for n := range 60 {
				runs, pixels, step, cols := 1+r.IntN(4), 1+r.IntN(10), rows+r.IntN(4), 16*target.panels
				ldw := cols + r.IntN(3)
				x, dw := random(r, pixels*step+20), random(r, rows*ldw-ldw+cols)
				off := make([]int, runs)
				for i := range off {
					off[i] = r.IntN(20)
				}
				var dy [][]float32
				for range target.panels {
					dy = append(dy, random(r, runs*pixels*16))
				}
				acc := n % 2
				m := newMachine()
				out := m.floats(dw)
				fields := map[int]uint64{gradX: m.floats(x), gradOff: m.ints(off), gradRuns: uint64(runs), gradN: uint64(pixels),
					gradStep: uint64(4 * step), gradDY: m.floats(dy[0]), gradDW: out, gradLDW: uint64(4 * ldw), gradAcc: uint64(acc)}
				if target.panels == 2 {
					fields[gradDY2] = m.floats(dy[1])
				}
				call(t, m, fn, structure(m, gradAcc+8, fields))
				want := append([]float32(nil), dw...)
				for i := range rows {
					for c := range cols {
						var sum float32
						for run, o := range off {
							for p := range pixels {
								sum = fma(x[o+p*step+i], dy[c/16][(run*pixels+p)*16+c%16], sum)
							}
						}
						if acc != 0 {
							sum += dw[i*ldw+c]
						}
						want[i*ldw+c] = sum
					}
				}
				same(t, fmt.Sprintf("%s scenario %d", fn.Name, n), m.read(out), want)
			}
		}
	}
}

func TestDepthwiseGradients(t *testing.T) {
	fns := compile(t)
	for _, name := range []string{"AVX2x16", "AVX512x16"} {
		for rows := 1; rows <= gradRows; rows++ {
			fn := fns[fmt.Sprintf("depthwiseGrad%s_%d", name, rows)]
			r := rand.New(rand.NewPCG(uint64(rows), 4))
			for n := range 40 {
				pixels, step, ldw := 1+r.IntN(9), 16+r.IntN(4), 16+r.IntN(3)
				stride := pixels + r.IntN(3)
				x, dy, dw := random(r, 60), random(r, (pixels-1)*step+16), random(r, (rows-1)*ldw+16)
				off := make([]int, rows*stride)
				for i := range off {
					off[i] = r.IntN(len(x)-15) - r.IntN(2)*1000
				}
				acc := n % 2
				m := newMachine()
				out := m.floats(dw)
				call(t, m, fn, structure(m, gradAcc+8, map[int]uint64{gradX: m.floats(x), gradOff: m.ints(off),
					gradRuns: uint64(pixels), gradN: uint64(8 * stride), gradStep: uint64(4 * step), gradDY: m.floats(dy),
					gradDY2: m.floats(make([]float32, 16)), gradDW: out, gradLDW: uint64(4 * ldw), gradAcc: uint64(acc)}))
				want := append([]float32(nil), dw...)
				for i := range rows {
					for c := range 16 {
						var sum float32
						for p := range pixels {
							var v float32
							if o := off[i*stride+p]; o >= 0 {
								v = x[o+c]
							}
							sum = fma(v, dy[p*step+c], sum)
						}
						if acc != 0 {
							sum += dw[i*ldw+c]
						}
						want[i*ldw+c] = sum
					}
				}
				same(t, fmt.Sprintf("%s scenario %d", fn.Name, n), m.read(out), want)
			}
		}
	}
}

// Matrices of Winograd's F(4x4, 3x3).
var (
	winoBt = [6][6]float32{{4, 0, -5, 0, 1, 0}, {0, -4, -4, 1, 1, 0}, {0, 4, -4, -1, 1, 0},
		{0, -2, -1, 2, 1, 0}, {0, 2, -1, -2, 1, 0}, {0, 4, 0, -5, 0, 1}}
	winoAt = [4][6]float32{{1, 1, 1, 1, 1, 0}, {0, 1, -1, 2, -2, 0}, {0, 1, 1, 4, 4, 0}, {0, 1, -1, 8, -8, 1}}
)

// sandwich is element (i, j) of m*d*mt.
func sandwich(m [][6]float32, i, j int, d func(r, c int) float32) float64 {
	var sum float64
	for r := range 6 {
		for c := range 6 {
			sum += float64(m[i][r]) * float64(d(r, c)) * float64(m[j][c])
		}
	}
	return sum
}

func near(t *testing.T, what string, got []float32, want []float64) {
	t.Helper()
	for i, v := range want {
		if d := math.Abs(float64(got[i]) - v); !(d <= 1e-4) {
			t.Fatalf("%s: element %d: got %g, want %g", what, i, got[i], v)
		}
	}
}

func winogradFields(m *machine, stride, n int) map[int]uint64 {
	pair := func(a, b float32) uint64 { return uint64(math.Float32bits(a)) | uint64(math.Float32bits(b))<<32 }
	return map[int]uint64{winoZeros: m.floats(make([]float32, 16)), winoStride: uint64(4 * stride), winoN: uint64(n),
		winoTmp: m.floats(make([]float32, 36*16)), winoLo: pair(-20, 30), winoTwo: pair(2, 4), winoFive: pair(5, 8)}
}

func TestWinograd(t *testing.T) {
	fns := compile(t)
	for _, name := range []string{"AVX2x16", "AVX512x16"} {
		r := rand.New(rand.NewPCG(6, 6))
		for chunks := 1; chunks <= 3; chunks++ {
			stride := 16*chunks + r.IntN(5)
			x, off := random(r, 100+16*chunks), make([]int, 36)
			for i := range off {
				off[i] = r.IntN(100) - r.IntN(2)*1000
			}
			m := newMachine()
			out := m.floats(random(r, 35*stride+16*chunks))
			want := make([]float64, 35*stride+16*chunks)
			for i, v := range m.read(out) {
				want[i] = float64(v)
			}
			fields := winogradFields(m, stride, chunks)
			fields[winoX], fields[winoOff], fields[winoY] = m.floats(x), m.ints(off), out
			call(t, m, fns["winogradInput"+name], structure(m, winoEight+4, fields))
			for c := range 16 * chunks {
				for i := range 36 {
					want[i*stride+c] = sandwich(winoBt[:], i/6, i%6, func(r, col int) float32 {
						if o := off[6*r+col]; o >= 0 {
							return x[o+c]
						}
						return 0
					})
				}
			}
			near(t, "winogradInput"+name, m.read(out), want)

			sums, bias, add := random(r, 35*stride+16*chunks), random(r, 16*chunks), random(r, 16*(16*chunks+3))
			off = off[:16]
			for i, at := range r.Perm(16) {
				off[i] = at * (16*chunks + 3)
			}
			for _, withAdd := range []bool{false, true} {
				fn := "winogradOutput" + name
				m := newMachine()
				out := m.floats(make([]float32, 15*(16*chunks+3)+16*chunks))
				fields := winogradFields(m, stride, chunks)
				fields[winoX], fields[winoOff], fields[winoY], fields[winoBias] = m.floats(sums), m.ints(off), out, m.floats(bias)
				if withAdd {
					fn = "winogradOutputAdd" + name
					fields[winoAdd] = m.floats(add)
				}
				call(t, m, fns[fn], structure(m, winoEight+4, fields))
				want := make([]float64, 15*(16*chunks+3)+16*chunks)
				for c := range 16 * chunks {
					for i, o := range off {
						v := sandwich(winoAt[:], i/4, i%4, func(r, col int) float32 { return sums[(6*r+col)*stride+c] }) + float64(bias[c])
						if withAdd {
							v += float64(add[o+c])
						}
						want[o+c] = min(30, max(-20, v))
					}
				}
				near(t, fn, m.read(out), want)
			}
		}
	}
}

func TestWinogradWeights(t *testing.T) {
	g := [6][3]float64{{0.25, 0, 0}, {-1. / 6, -1. / 6, -1. / 6}, {-1. / 6, 1. / 6, -1. / 6},
		{1. / 24, 1. / 12, 1. / 6}, {1. / 24, -1. / 12, 1. / 6}, {0, 0, 1}}
	fns := compile(t)
	for _, name := range []string{"AVX2x16", "AVX512x16"} {
		r := rand.New(rand.NewPCG(7, 7))
		for n := 1; n <= 3; n++ {
			step, stride := 16+r.IntN(4), 16*n+r.IntN(3)
			x, off := random(r, 50+(n-1)*step+16), make([]int, 9)
			for i := range off {
				off[i] = r.IntN(50)
			}
			m := newMachine()
			out := m.floats(make([]float32, 35*stride+16*n))
			half := func(a float32, b float32) uint64 {
				return uint64(math.Float32bits(a)) | uint64(math.Float32bits(b))<<32
			}
			call(t, m, fns["winogradWeights"+name], structure(m, winoMinusSixth+4, map[int]uint64{winoX: m.floats(x),
				winoOff: m.ints(off), winoY: out, winoStride: uint64(4 * stride), winoN: uint64(n),
				winoTmp: m.floats(make([]float32, 18*16)), winoStep: uint64(4 * step), winoQuarter: half(0.25, 0.5),
				winoSixth: half(1./6, -1./6)}))
			want := make([]float64, 35*stride+16*n)
			for q := range n {
				for c := range 16 {
					for i := range 36 {
						var sum float64
						for tap, o := range off {
							sum += g[i/6][tap/3] * g[i%6][tap%3] * float64(x[o+q*step+c])
						}
						want[i*stride+16*q+c] = sum
					}
				}
			}
			near(t, "winogradWeights"+name, m.read(out), want)
		}
	}
}

func TestPeakAndTriad(t *testing.T) {
	fns := compile(t)
	for _, name := range []string{"AVX2", "AVX512"} {
		call(t, newMachine(), fns["peak"+name], 3)
		r := rand.New(rand.NewPCG(1, 5))
		a, b, want := random(r, 192), random(r, 192), make([]float32, 192)
		for i := range want {
			want[i] = fma(b[i], 0.75, a[i])
		}
		m := newMachine()
		dst := m.floats(make([]float32, 192))
		call(t, m, fns["triad"+name], dst, m.floats(a), m.floats(b), uint64(math.Float32bits(0.75)), 192)
		same(t, "triad"+name, m.read(dst), want)
	}
}

// TestMachineFaults shows that the interpreter sees what it is for.
func TestMachineFaults(t *testing.T) {
	fns := compile(t)
	s := draw(rand.New(rand.NewPCG(8, 8)), 8, 2, false)
	s.off[0], s.x = len(s.x)-s.k+1, s.x[:len(s.x):len(s.x)]
	m := newMachine()
	fields := map[int]uint64{tileX: m.floats(s.x), tileZeros: m.floats(s.zeros), tileOff: m.ints(s.off),
		tileOffStride: uint64(8 * s.stride), tileRuns: uint64(s.runs), tileK: uint64(s.k), tileB: m.floats(s.panels[0]),
		tileB2: m.floats(s.panels[1]), tileY: m.floats(s.y), tileYOff: m.ints(s.yoff)}
	args := binary.LittleEndian.AppendUint64(nil, structure(m, tileNext+8, fields))
	if err := m.run(fns["tileAVX512x32_8"], args); err == nil || !strings.Contains(err.Error(), "access to 4 bytes") {
		t.Errorf("read behind x: got error %v, want one of the access", err)
	}
}

// TestEveryFunctionIsTested fails when a function is added without a test here.
func TestEveryFunctionIsTested(t *testing.T) {
	for name := range compile(t) {
		known := false
		for _, p := range []string{"tile", "depthwise", "grad", "peak", "triad", "winograd"} {
			known = known || strings.HasPrefix(name, p)
		}
		if !known {
			t.Errorf("%s has no test", name)
		}
	}
}
