package ann

import (
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
)

// chunk is how many values a piece of element-wise work has: 64 KiB, so that
// several loops over one piece find it in the cache.
const chunk = 1 << 14

// rowChunks cuts n values, in rows of c, into pieces of whole rows.
func rowChunks(p *parallel.Pool, n, c int, fn func(lo, hi int)) {
	p.Chunks(n, max(chunk/max(c, 1), 1)*c, fn)
}

// addReLU sets out to the sum of the inputs, in order, with a rectifier behind
// it unless limit is 0. out may be one of the inputs only if it is the first.
func addReLU(p *parallel.Pool, out []float32, in [][]float32, limit float32) {
	p.Chunks(len(out), chunk, func(lo, hi int) {
		o := out[lo:hi]
		kernel.Add(o, in[0][lo:hi], in[1][lo:hi])
		for _, x := range in[2:] {
			kernel.AddTo(o, x[lo:hi])
		}
		if limit != 0 {
			kernel.ReLU(o, o, limit)
		}
	})
}

// biasReLU adds a bias per channel, unless it is nil, and applies a rectifier
// unless limit is 0.
func biasReLU(p *parallel.Pool, x, bias []float32, channels int, limit float32) {
	if bias == nil && limit == 0 {
		return
	}
	rowChunks(p, len(x), channels, func(lo, hi int) {
		o := x[lo:hi]
		if bias != nil {
			kernel.AddBias(o, o, bias)
		}
		if limit != 0 {
			kernel.ReLU(o, o, limit)
		}
	})
}

// partWidths returns the channels of a concatenation's inputs.
func partWidths(n *graph.Node) []int {
	widths := make([]int, len(n.Inputs))
	for i, in := range n.Inputs {
		widths[i] = in.Shape.Channels()
	}
	return widths
}

// concat joins the rows of the inputs; input i has rows of widths[i].
func concat(p *parallel.Pool, out []float32, in [][]float32, widths []int) {
	forParts(p, len(out), widths, func(i, at, part int) {
		copy(out[at:at+widths[i]], in[i][part:])
	})
}

// split is the inverse of concat; parts that are nil are left out.
func split(p *parallel.Pool, parts [][]float32, x []float32, widths []int) {
	forParts(p, len(x), widths, func(i, at, part int) {
		if parts[i] != nil {
			copy(parts[i][part:part+widths[i]], x[at:])
		}
	})
}

// forParts calls fn for part i of every joined row: it begins at index at of
// the joined array and at index part of its own.
func forParts(p *parallel.Pool, n int, widths []int, fn func(i, at, part int)) {
	total := 0
	for _, w := range widths {
		total += w
	}
	rowChunks(p, n, total, func(lo, hi int) {
		for at := lo; at < hi; {
			row := at / total
			for i, w := range widths {
				fn(i, at, row*w)
				at += w
			}
		}
	})
}
