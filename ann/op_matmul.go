package ann

import (
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
)

// A gemm computes Y [m, n] = A B for matrices of fixed sizes [m, k] and [k, n],
// each stored as it is or transposed. It packs B anew for every product. One
// gemm must not be used by two goroutines at once.
type gemm struct {
	m, k, n    int
	ta, tb     bool // stored as [k, m] and [n, k]
	plain      *kernel.Filter
	transposed *kernel.BackwardFilter
	a          []float32 // A if it is stored transposed
}

func newGemm(m, k, n int, ta, tb bool) *gemm { return &gemm{m: m, k: k, n: n, ta: ta, tb: tb} }

// rowsShape is the convolution that multiplies m rows by a matrix [in, out].
func rowsShape(m, in, out int) kernel.ConvShape {
	return kernel.ConvShape{N: 1, H: 1, W: m, Cin: in, KH: 1, KW: 1, Cout: out, StrideH: 1, StrideW: 1, DilH: 1, DilW: 1, Groups: 1}
}

// pack reads B.
func (g *gemm) pack(b []float32) {
	b = b[:g.k*g.n]
	switch {
	case g.tb && g.transposed == nil:
		g.transposed = kernel.NewBackwardFilter(rowsShape(g.m, g.n, g.k), b)
	case g.tb:
		g.transposed.Set(b)
	case g.plain == nil:
		g.plain = kernel.NewFilter(rowsShape(g.m, g.k, g.n), b)
	default:
		g.plain.Set(b)
	}
}

// rows sets y to the product of the first m rows of A with the packed B.
func (g *gemm) rows(pool *parallel.Pool, m int, a, y []float32) {
	if g.ta {
		g.a = grow(g.a, g.m*g.k)
		swapLast(g.a, a, 1, g.k, g.m)
		a = g.a
	}
	a, y = a[:m*g.k], y[:m*g.n]
	if g.tb {
		kernel.ConvBackwardInput(pool, rowsShape(m, g.n, g.k), a, g.transposed, y)
	} else {
		kernel.Conv(pool, rowsShape(m, g.k, g.n), a, g.plain, kernel.Epilogue{}, y)
	}
}

func (g *gemm) run(pool *parallel.Pool, a, b, y []float32) {
	g.pack(b)
	g.rows(pool, g.m, a, y)
}

func newMatMul(n *graph.Node, op *graph.MatMul, pool *parallel.Pool) *operation {
	sa, sb := n.Inputs[0].Shape, n.Inputs[1].Shape
	batch, m, k, cols, _ := op.Dims(sa, sb) // checked by InferShape
	items := batch.Numel()
	// Which matrix of each input meets in every item of a sample.
	lead := func(s graph.Shape) graph.Shape { return s[:max(len(s)-2, 0)] }
	bc := newBroadcast(batch, lead(sa), lead(sb))
	ia, ib := make([]int, 0, items), make([]int, 0, items)
	bc.rowsOf(0, bc.rows, func(_ int, from *[3]int) {
		for i := range bc.width {
			ia = append(ia, from[0]+i*bc.inner(0))
			ib = append(ib, from[1]+i*bc.inner(1))
		}
	})
	sizeA, sizeB, sizeY := sa.Numel(), sb.Numel(), n.Shape.Numel()
	if lead(sb).Numel() == 1 && !op.TransposeA && lead(sa).Numel() == items { // all rows meet one matrix
		m *= items
		items, ia, ib = 1, []int{0}, []int{0}
	}
	matA, matB, matY := m*k, k*cols, m*cols
	workers := make([]*gemm, pool.Workers())
	worker := func(w int) *gemm {
		if workers[w] == nil {
			workers[w] = newGemm(m, k, cols, op.TransposeA, op.TransposeB)
		}
		return workers[w]
	}
	o := &operation{}
	o.forward = func(s int, in [][]float32, out []float32) {
		one := func(g *gemm, p *parallel.Pool, i int) {
			sample, item := i/items, i%items
			g.run(p, in[0][sample*sizeA+ia[item]*matA:], in[1][sample*sizeB+ib[item]*matB:], out[sample*sizeY+item*matY:])
		}
		if s*items < 4 { // too few to share out
			for i := range s * items {
				one(worker(0), pool, i)
			}
			return
		}
		pool.ForWorker(s*items, func(w, i int) { one(worker(w), nil, i) })
	}
	var ga, gb *gemm
	var scratch []float32
	o.backward = func(b *backwardCall) {
		if ga == nil {
			// Gradients in the order in which the inputs are stored.
			if op.TransposeA {
				ga = newGemm(k, cols, m, op.TransposeB, true)
			} else {
				ga = newGemm(m, cols, k, false, !op.TransposeB)
			}
			if op.TransposeB {
				gb = newGemm(cols, m, k, true, op.TransposeA)
			} else {
				gb = newGemm(k, m, cols, !op.TransposeA, false)
			}
			scratch = make([]float32, max(matA, matB))
		}
		clear(b.dx[0])
		clear(b.dx[1])
		for i := range b.n * items {
			sample, item := i/items, i%items
			a, x := sample*sizeA+ia[item]*matA, sample*sizeB+ib[item]*matB
			dy := b.dy[sample*sizeY+item*matY:][:matY]
			if b.dx[0] != nil {
				if op.TransposeA {
					ga.run(pool, b.in[1][x:x+matB], dy, scratch)
				} else {
					ga.run(pool, dy, b.in[1][x:x+matB], scratch)
				}
				kernel.AddTo(b.dx[0][a:a+matA], scratch[:matA])
			}
			if b.dx[1] != nil {
				if op.TransposeB {
					gb.run(pool, dy, b.in[0][a:a+matA], scratch)
				} else {
					gb.run(pool, b.in[0][a:a+matA], dy, scratch)
				}
				kernel.AddTo(b.dx[1][x:x+matB], scratch[:matB])
			}
		}
	}
	return o
}
