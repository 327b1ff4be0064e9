package ann

import (
	"math"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
)

// attentionRows is the most queries of a head that share one product.
const attentionRows = 256

// attention is what an Attention node needs to know, for one sample.
type attention struct {
	op               *graph.Attention
	batch, l, s      int // leading axes together, queries, keys
	d, e             int // channels of a head of queries and keys, of values
	heads, kv, group int
	rows             int    // queries of a head that share one product
	step             [4]int // of the mask along head, query and key; of samples
	maskBatch        []int  // where the mask of each leading index begins
}

// A headScratch is the memory of one worker.
type headScratch struct {
	scores, values *gemm
	q, k, v, p, y  []float32
}

func newAttentionShape(n *graph.Node, op *graph.Attention) *attention {
	q, k, v := n.Inputs[0].Shape, n.Inputs[1].Shape, n.Inputs[2].Shape
	r := len(q)
	a := &attention{op: op, batch: q[:r-2].Numel(), l: q[r-2], s: k[r-2], d: q[r-1] / op.Heads, e: v[r-1] / op.KVHeads,
		heads: op.Heads, kv: op.KVHeads, group: op.Heads / op.KVHeads}
	pieces := (a.l + attentionRows - 1) / attentionRows
	a.rows = (a.l + pieces - 1) / pieces
	if len(n.Inputs) < 4 {
		return a
	}
	shape := n.Inputs[3].Shape
	st := strides(shape)
	at := func(fromEnd int) int { // step of an axis of the scores
		if i := len(shape) - fromEnd; i >= 0 && shape[i] > 1 {
			return st[i]
		}
		return 0
	}
	a.step = [4]int{at(3), at(2), at(1), shape.Numel()}
	a.maskBatch = []int{0}
	for axis := range r - 2 {
		a.maskBatch = product(a.maskBatch, at(r+1-axis), q[axis])
	}
	return a
}

// finish turns the scores of query i into what the softmax takes: capped, masked.
func (a *attention) finish(p []float32, i int, mask []float32) {
	if a.op.Softcap != 0 {
		c := float32(a.op.Softcap)
		kernel.Scale(p, p, 1/c)
		kernel.Tanh(p, p)
		kernel.Scale(p, p, c)
	}
	if mask != nil {
		for j := range p {
			p[j] += mask[j*a.step[2]]
		}
	}
	if a.op.Causal {
		for j := i + 1; j < len(p); j++ {
			p[j] = float32(math.Inf(-1))
		}
	}
}

// maskRow returns the mask from query i of a head on, nil without one.
func (a *attention) maskRow(in [][]float32, part, head, i int) []float32 {
	if a.maskBatch == nil {
		return nil
	}
	return in[3][part/a.batch*a.step[3]+a.maskBatch[part%a.batch]+head*a.step[0]+i*a.step[1]:]
}

func newAttention(n *graph.Node, op *graph.Attention, pool *parallel.Pool) *operation {
	a := newAttentionShape(n, op)
	workers := make([]*headScratch, pool.Workers())
	o := &operation{}
	o.forward = func(k int, in [][]float32, out []float32) {
		pool.ForWorker(k*a.batch*a.heads, func(w, i int) {
			if workers[w] == nil {
				workers[w] = a.newScratch()
			}
			a.head(workers[w], i/a.heads, i%a.heads, in, out)
		})
	}
	o.backward = func(b *backwardCall) { a.backward(pool, b) }
	return o
}

func (a *attention) newScratch() *headScratch {
	rows := a.rows
	return &headScratch{
		scores: newGemm(rows, a.d, a.s, false, true), values: newGemm(rows, a.s, a.e, false, false),
		q: make([]float32, rows*a.d), k: make([]float32, a.s*a.d), v: make([]float32, a.s*a.e),
		p: make([]float32, rows*a.s), y: make([]float32, rows*a.e),
	}
}

// columnsOf copies m rows of width values, stride apart, into dst.
func columnsOf(dst, src []float32, m, width, stride int) {
	for i := range m {
		copy(dst[i*width:(i+1)*width], src[i*stride:])
	}
}

// head computes one head of one part (a sample, or one of its leading indices).
func (a *attention) head(sc *headScratch, part, h int, in [][]float32, out []float32) {
	kvh := h / a.group
	q := in[0][part*a.l*a.heads*a.d+h*a.d:]
	columnsOf(sc.k, in[1][part*a.s*a.kv*a.d+kvh*a.d:], a.s, a.d, a.kv*a.d)
	columnsOf(sc.v, in[2][part*a.s*a.kv*a.e+kvh*a.e:], a.s, a.e, a.kv*a.e)
	sc.scores.pack(sc.k)
	sc.values.pack(sc.v)
	y := out[part*a.l*a.heads*a.e+h*a.e:]
	for lo := 0; lo < a.l; lo += a.rows {
		m := min(a.rows, a.l-lo)
		columnsOf(sc.q, q[lo*a.heads*a.d:], m, a.d, a.heads*a.d)
		kernel.Scale(sc.q[:m*a.d], sc.q[:m*a.d], float32(a.op.Scale))
		sc.scores.rows(nil, m, sc.q, sc.p)
		p := sc.p[:m*a.s]
		if a.op.Softcap != 0 || a.op.Causal || a.maskBatch != nil {
			for i := range m {
				a.finish(p[i*a.s:(i+1)*a.s], lo+i, a.maskRow(in, part, h, lo+i))
			}
		}
		kernel.SoftmaxFast(p, p, a.s)
		sc.values.rows(nil, m, p, sc.y)
		for i := range m {
			copy(y[(lo+i)*a.heads*a.e:], sc.y[i*a.e:(i+1)*a.e])
		}
	}
}

// backward computes the probabilities again, query by query. With P the
// probabilities, S the capped scores and O the output of a query,
//
//	dV += P' dO, dP = dO V', dS = P*(dP - Σ P*dP), dQ = Scale*dS K, dK += Scale*dS' Q.
func (a *attention) backward(pool *parallel.Pool, b *backwardCall) {
	for _, dx := range b.dx {
		clear(dx)
	}
	if len(b.dx) > 3 && b.dx[3] != nil {
		pool = nil // heads and samples may share values of the mask
	}
	pool.For(b.n*a.batch*a.kv, func(i int) {
		part, kvh := i/a.kv, i%a.kv
		p, capped, d := make([]float32, a.s), make([]float32, a.s), make([]float32, a.s)
		for h := kvh * a.group; h < (kvh+1)*a.group; h++ {
			for l := range a.l {
				a.query(b, part, h, l, p, capped, d)
			}
		}
	})
}

// query is the part of one query of one head in the backward pass; p, capped and
// d are scratch.
func (a *attention) query(b *backwardCall, part, h, l int, p, capped, d []float32) {
	kvh := h / a.group
	at := func(row, heads, head, width int) (lo, hi int) {
		lo = (row*heads + head) * width
		return lo, lo + width
	}
	q0, q1 := at(part*a.l+l, a.heads, h, a.d)
	o0, o1 := at(part*a.l+l, a.heads, h, a.e)
	q, dy := b.in[0][q0:q1], b.dy[o0:o1]
	scale := float32(a.op.Scale)
	for j := range a.s {
		k0, k1 := at(part*a.s+j, a.kv, kvh, a.d)
		p[j] = float32(kernel.Dot(q, b.in[1][k0:k1])) * scale
		capped[j] = p[j]
	}
	mask := a.maskRow(b.in, part, h, l)
	a.finish(p, l, mask)
	if c := a.op.Softcap; c != 0 {
		for j, v := range capped {
			capped[j] = float32(math.Tanh(float64(v) / c))
		}
	}
	kernel.SoftmaxFast(p, p, a.s)
	var sum float64
	for j := range a.s {
		v0, v1 := at(part*a.s+j, a.kv, kvh, a.e)
		d[j] = float32(kernel.Dot(dy, b.in[2][v0:v1]))
		sum += float64(p[j]) * float64(d[j])
		if b.dx[2] != nil {
			kernel.Axpy(b.dx[2][v0:v1], dy, p[j])
		}
	}
	for j := range a.s {
		ds := float32(float64(p[j]) * (float64(d[j]) - sum))
		if mask != nil && b.dx[3] != nil {
			b.dx[3][len(b.dx[3])-len(mask)+j*a.step[2]] += ds
		}
		if a.op.Softcap != 0 {
			ds *= 1 - capped[j]*capped[j]
		}
		k0, k1 := at(part*a.s+j, a.kv, kvh, a.d)
		if b.dx[0] != nil {
			kernel.Axpy(b.dx[0][q0:q1], b.in[1][k0:k1], scale*ds)
		}
		if b.dx[1] != nil {
			kernel.Axpy(b.dx[1][k0:k1], q, scale*ds)
		}
	}
}
