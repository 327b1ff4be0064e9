package snn

import (
	"math"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
)

// A windowTap connects a position of the input with one of the output.
type windowTap struct{ in, out, tap int32 }

// windowTaps lists the taps of a window over any number of axes, ordered by the
// output; padded counts, per output position, the cells that lie inside the input
// or its padding.
func windowTaps(in, out graph.Shape, kernel, stride, pad, dilation []int) (taps []windowTap, padded []int) {
	d := len(kernel)
	cells := graph.Shape(kernel).Numel()
	positions := out[:d].Numel()
	st := strides(in[:d])
	padded = make([]int, positions)
	for o := range positions {
		for k := range cells {
			at, inside, reached := 0, true, true
			ro, rk := o, k
			for a := d - 1; a >= 0; a-- {
				i := ro%out[a]*stride[a] - pad[a] + rk%kernel[a]*dilation[a]
				ro, rk = ro/out[a], rk/kernel[a]
				inside = inside && i >= 0 && i < in[a]
				reached = reached && i < in[a]+pad[d+a]
				at += i * st[a]
			}
			if reached {
				padded[o]++
			}
			if inside {
				taps = append(taps, windowTap{int32(at), int32(o), int32(k)})
			}
		}
	}
	return taps, padded
}

func convND(n *graph.Node, op *graph.ConvND) function {
	w := n.Weight()
	d := len(w.Shape) - 2
	per, cout := w.Shape[d], w.Shape[d+1]
	cin, each := n.Inputs[0].Shape.Channels(), cout/op.Groups
	taps, _ := windowTaps(n.Inputs[0].Shape, n.Shape, w.Shape[:d], op.Stride, op.Pad, op.Dilation)
	size, out, bias := n.Inputs[0].Shape.Numel(), n.Shape.Numel(), n.Bias()
	return func(p *parallel.Pool, k int, x [][]float32, y []float32) {
		p.For(k, func(g int) {
			from, to := x[0][g*size:(g+1)*size], y[g*out:(g+1)*out]
			for i := range to {
				to[i] = 0
				if bias != nil {
					to[i] = bias[i%cout]
				}
			}
			for _, t := range taps {
				dst := to[int(t.out)*cout:][:cout]
				for group := range op.Groups {
					for ci := range per {
						v := from[int(t.in)*cin+group*per+ci]
						if v == 0 {
							continue
						}
						row := w.Data[(int(t.tap)*per+ci)*cout+group*each:][:each]
						for co, weight := range row {
							dst[group*each+co] += float32(v * weight)
						}
					}
				}
			}
		})
	}
}

func maxPoolND(n *graph.Node, op *graph.MaxPoolND) function {
	taps, _ := windowTaps(n.Inputs[0].Shape, n.Shape, op.Kernel, op.Stride, op.Pad, op.Dilation)
	c, size, out := n.Shape.Channels(), n.Inputs[0].Shape.Numel(), n.Shape.Numel()
	return func(p *parallel.Pool, k int, x [][]float32, y []float32) {
		p.For(k, func(g int) {
			from, to := x[0][g*size:(g+1)*size], y[g*out:(g+1)*out]
			for i := range to {
				to[i] = float32(math.Inf(-1))
			}
			for _, t := range taps {
				dst := to[int(t.out)*c:][:c]
				for ch, v := range from[int(t.in)*c:][:c] {
					dst[ch] = max(dst[ch], v)
				}
			}
		})
	}
}

func avgPoolND(n *graph.Node, op *graph.AvgPoolND) function {
	taps, divisor := windowTaps(n.Inputs[0].Shape, n.Shape, op.Kernel, op.Stride, op.Pad, op.Dilation)
	if !op.CountIncludePad {
		clear(divisor)
		for _, t := range taps {
			divisor[t.out]++
		}
	}
	c, size, out := n.Shape.Channels(), n.Inputs[0].Shape.Numel(), n.Shape.Numel()
	return func(p *parallel.Pool, k int, x [][]float32, y []float32) {
		p.For(k, func(g int) {
			from, to := x[0][g*size:(g+1)*size], y[g*out:(g+1)*out]
			clear(to)
			for _, t := range taps {
				dst := to[int(t.out)*c:][:c]
				for ch, v := range from[int(t.in)*c:][:c] {
					dst[ch] += v
				}
			}
			for i := range to {
				to[i] /= float32(divisor[i/c])
			}
		})
	}
}
