package snn

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/tensor"
)

// reference simulates one sample at a time, one pass over the whole network per
// timestep, in float64 and in units of the activations: nothing is normalised,
// skipped, fused or batched. It is algorithms.md 1.2 and 1.6 read aloud.
type reference struct {
	g      *graph.Graph
	cfg    *Config
	values map[*graph.Node][]float64 // of the current timestep
	v      map[*graph.Node][]float64 // membrane potentials
	counts map[*graph.Node][][]int   // per timestep: activations
	total  map[*graph.Node][]float64 // counts so far
	sums   map[*graph.Node][]float64 // cumulative inputs of max pools, in units of the activation
	tops   map[*graph.Node][]float64
}

// run returns the mean output of one sample.
func (r *reference) run(x []float32) []float64 {
	r.values, r.v, r.counts = map[*graph.Node][]float64{}, map[*graph.Node][]float64{}, map[*graph.Node][][]int{}
	r.total = map[*graph.Node][]float64{}
	r.sums, r.tops = map[*graph.Node][]float64{}, map[*graph.Node][]float64{}
	mean := make([]float64, r.g.Outputs[0].Shape.Numel())
	behind := readouts(r.g)
	averages := map[*graph.Node][]float64{}
	for range r.cfg.Timesteps {
		layer := 0
		for _, n := range r.g.Nodes {
			switch {
			case n.Kind() == "input":
				r.values[n] = make([]float64, len(x))
				for i, v := range x {
					r.values[n][i] = float64(v)
				}
			case graph.IsActivation(n):
				r.values[n] = r.fire(n, &r.cfg.Layers[layer])
				layer++
			case behind[n]:
				continue // acts on the mean
			default:
				r.values[n] = r.evaluate(n, r.values, true)
			}
			if averages[n] == nil {
				averages[n] = make([]float64, len(r.values[n]))
			}
			for i, v := range r.values[n] {
				averages[n][i] += v / float64(r.cfg.Timesteps)
			}
		}
	}
	for _, n := range r.g.Nodes {
		if behind[n] {
			averages[n] = r.evaluate(n, averages, false)
		}
	}
	copy(mean, averages[r.g.Outputs[0]])
	return mean
}

// readouts are the nodes behind the last neurons: those from which no
// activation and no max pool of spikes can be reached.
func readouts(g *graph.Graph) map[*graph.Node]bool {
	uses := g.Consumers()
	timed := map[*graph.Node]bool{}
	for _, n := range g.Nodes {
		timed[n] = graph.IsActivation(n)
		for _, in := range n.Inputs {
			timed[n] = timed[n] || timed[in]
		}
	}
	stop := func(n *graph.Node) bool {
		return graph.IsActivation(n) || (timed[n] && (n.Kind() == "maxpool2d" || n.Kind() == "global_maxpool"))
	}
	var reaches func(n *graph.Node) bool
	reaches = func(n *graph.Node) bool {
		for _, r := range uses[n] {
			if stop(r) || reaches(r) {
				return true
			}
		}
		return false
	}
	out := map[*graph.Node]bool{}
	for _, n := range g.Nodes {
		out[n] = timed[n] && !stop(n) && !reaches(n)
	}
	return out
}

func (r *reference) fire(n *graph.Node, l *Layer) []float64 {
	c := n.Shape.Channels()
	theta := func(i int) float64 { return float64(l.Threshold[i%c%len(l.Threshold)]) }
	current := r.values[n.Inputs[0]]
	if r.v[n] == nil {
		r.v[n], r.total[n] = make([]float64, len(current)), make([]float64, len(current))
		for i := range current {
			if r.cfg.Shift == ShiftInitial {
				r.v[n][i] = theta(i) / 2
			}
			if l.Initial != nil {
				r.v[n][i] += float64(l.Initial[i])
			}
		}
	}
	out, counts := make([]float64, len(current)), make([]int, len(current))
	for i, x := range current {
		u := r.v[n][i] + x
		if r.cfg.Shift == ShiftPerStep {
			u += theta(i) / float64(2*r.cfg.Timesteps)
		}
		least := 0.0
		if r.cfg.Signed {
			least = max(-r.total[n][i], -float64(l.MaxSpike))
		}
		k := min(max(math.Floor(u/theta(i)), least), float64(l.MaxSpike))
		r.total[n][i] += k
		r.v[n][i] = u - theta(i)*k
		out[i], counts[i] = theta(i)*k, int(k)
	}
	r.counts[n] = append(r.counts[n], counts)
	return out
}

// evaluate is the operation of one node on one sample. Max pools keep a state
// if stateful.
func (r *reference) evaluate(n *graph.Node, values map[*graph.Node][]float64, stateful bool) []float64 {
	x := values[n.Inputs[0]]
	h, w, c := n.Inputs[0].Shape.HWC()
	oh, ow, oc := n.Shape.HWC()
	y := make([]float64, n.Shape.Numel())
	bias := func() {
		if b := n.Bias(); b != nil {
			for i := range y {
				y[i] += float64(b[i%oc])
			}
		}
	}
	switch op := n.Op.(type) {
	case *graph.Conv2D:
		k := n.Weight()
		per, each := k.Shape[2], oc/op.Groups
		eachTap(n, func(py, px, oy, ox, tap int) {
			for co := range oc {
				for ci := range per {
					y[(oy*ow+ox)*oc+co] += x[(py*w+px)*c+co/each*per+ci] * float64(k.Data[(tap*per+ci)*oc+co])
				}
			}
		})
		bias()
	case *graph.ConvTranspose2D:
		k := n.Weight()
		per := k.Shape[3]
		eachTap(n, func(py, px, oy, ox, tap int) {
			for ci := range c {
				for co := range per {
					y[(oy*ow+ox)*oc+ci/(c/op.Groups)*per+co] += x[(py*w+px)*c+ci] * float64(k.Data[(tap*c+ci)*per+co])
				}
			}
		})
		bias()
	case *graph.Linear:
		for i := range h * w {
			for co := range oc {
				for ci := range c {
					y[i*oc+co] += x[i*c+ci] * float64(n.Weight().Data[ci*oc+co])
				}
			}
		}
		bias()
	case *graph.BatchNorm:
		a, b := op.Affine(n.Params)
		for i, v := range x {
			y[i] = v*a[i%c] + b[i%c]
		}
	case *graph.Add:
		for _, in := range n.Inputs {
			for i, v := range values[in] {
				y[i] += v
			}
		}
	case *graph.Concat:
		at := 0
		for _, in := range n.Inputs {
			k := in.Shape.Channels()
			for i, v := range values[in] {
				y[i/k*oc+at+i%k] = v
			}
			at += k
		}
	case *graph.Flatten, *graph.Identity, *graph.Dropout:
		copy(y, x)
	case *graph.AvgPool2D:
		real := make([]float64, oh*ow)
		eachTap(n, func(py, px, oy, ox, _ int) {
			real[oy*ow+ox]++
			for ch := range c {
				y[(oy*ow+ox)*c+ch] += x[(py*w+px)*c+ch]
			}
		})
		for i := range y {
			if o := i / c; op.CountIncludePad { // ceil mode is not drawn
				y[i] /= float64(op.Kernel[0] * op.Kernel[1])
			} else {
				y[i] /= real[o]
			}
		}
	case *graph.GlobalAvgPool:
		for i, v := range x {
			y[i%c] += v / float64(h*w)
		}
	case *graph.MaxPool2D, *graph.GlobalMaxPool:
		if !stateful || r.cfg.MaxPool == MaxPoolPerStep || r.values[n.Inputs[0]] == nil {
			return maximum(n, x)
		}
		if r.sums[n] == nil {
			r.sums[n], r.tops[n] = make([]float64, len(x)), make([]float64, len(y))
		}
		for i, v := range x {
			r.sums[n][i] += v
		}
		top := maximum(n, r.sums[n])
		for i := range y {
			y[i] = top[i] - r.tops[n][i]
		}
		r.tops[n] = top
	case *graph.Upsample:
		for oy := range oh {
			for ox := range ow {
				for _, s := range sources(op, h, w, oy, ox) {
					for ch := range c {
						y[(oy*ow+ox)*c+ch] += s.weight * x[(s.y*w+s.x)*c+ch]
					}
				}
			}
		}
	case *graph.Softmax, *graph.LogSoftmax:
		for i := 0; i < len(x); i += c {
			sum := 0.0
			for _, v := range x[i : i+c] {
				sum += math.Exp(v)
			}
			for k, v := range x[i : i+c] {
				y[i+k] = math.Exp(v) / sum
				if n.Kind() == "log_softmax" {
					y[i+k] = math.Log(y[i+k])
				}
			}
		}
	default:
		panic("the reference does not know a " + n.Kind())
	}
	return y
}

// eachTap calls fn for every pair of an input pixel and an output pixel that a
// window or kernel connects, with the number of the tap.
func eachTap(n *graph.Node, fn func(py, px, oy, ox, tap int)) {
	h, w, _ := n.Inputs[0].Shape.HWC()
	oh, ow, _ := n.Shape.HWC()
	var k, stride [2]int
	var pad graph.Pad
	dil := [2]int{1, 1}
	mirrored := false
	switch op := n.Op.(type) {
	case *graph.Conv2D:
		k, stride, pad, dil = [2]int(n.Weight().Shape[:2]), op.Stride, op.Pad, op.Dilation
	case *graph.ConvTranspose2D:
		k, stride, pad, dil, mirrored = [2]int(n.Weight().Shape[:2]), op.Stride, op.Pad, op.Dilation, true
	case *graph.AvgPool2D:
		k, stride, pad = op.Kernel, op.Stride, op.Pad
	case *graph.MaxPool2D:
		k, stride, pad = op.Kernel, op.Stride, op.Pad
	case *graph.GlobalMaxPool, *graph.GlobalAvgPool:
		k, stride = [2]int{h, w}, [2]int{1, 1}
	default:
		panic("no window in a " + n.Kind())
	}
	for py := range h {
		for px := range w {
			for oy := range oh {
				for ox := range ow {
					for tap := range k[0] * k[1] {
						dy, dx := tap/k[1]*dil[0], tap%k[1]*dil[1]
						if mirrored {
							if py*stride[0]-pad[0]+dy == oy && px*stride[1]-pad[1]+dx == ox {
								fn(py, px, oy, ox, tap)
							}
						} else if oy*stride[0]-pad[0]+dy == py && ox*stride[1]-pad[1]+dx == px {
							fn(py, px, oy, ox, tap)
						}
					}
				}
			}
		}
	}
}

func maximum(n *graph.Node, x []float64) []float64 {
	_, w, c := n.Inputs[0].Shape.HWC()
	_, ow, _ := n.Shape.HWC()
	y := make([]float64, n.Shape.Numel())
	for i := range y {
		y[i] = math.Inf(-1)
	}
	eachTap(n, func(py, px, oy, ox, _ int) {
		for ch := range c {
			at := (oy*ow+ox)*c + ch
			y[at] = max(y[at], x[(py*w+px)*c+ch])
		}
	})
	return y
}

type source struct {
	y, x   int
	weight float64
}

// sources lists the input pixels an output pixel of an upsampling is made of.
func sources(op *graph.Upsample, h, w, oy, ox int) []source {
	axis := func(in, out, o int) (lo, hi int, frac float64) {
		if op.Mode == "nearest" {
			return o * in / out, o * in / out, 0
		}
		at := (float64(o)+0.5)*float64(in)/float64(out) - 0.5
		if op.AlignCorners {
			at = 0
			if out > 1 {
				at = float64(o) * float64(in-1) / float64(out-1)
			}
		}
		at = max(at, 0)
		lo = min(int(at), in-1)
		return lo, min(lo+1, in-1), at - float64(lo)
	}
	y0, y1, fy := axis(h, op.Size[0], oy)
	x0, x1, fx := axis(w, op.Size[1], ox)
	merged := map[[2]int]float64{}
	for _, s := range []source{{y0, x0, (1 - fy) * (1 - fx)}, {y0, x1, (1 - fy) * fx}, {y1, x0, fy * (1 - fx)}, {y1, x1, fy * fx}} {
		merged[[2]int{s.y, s.x}] += s.weight
	}
	var list []source
	for p, weight := range merged {
		if weight != 0 {
			list = append(list, source{p[0], p[1], weight})
		}
	}
	return list
}

// A grower makes random networks. With exact, all numbers are multiples of
// small powers of two, so that float32 and float64 agree in every bit.
type grower struct {
	g     *graph.Graph
	rng   *rand.Rand
	exact bool
	next  int
}

// number returns a random value of about the given size.
func (b *grower) number(size float64) float32 {
	if b.exact {
		return float32(b.rng.IntN(9)-4) * float32(size) / 4
	}
	return float32(b.rng.NormFloat64() * size / 2)
}

func (b *grower) tensor(size float64, shape ...int) *tensor.Tensor {
	t := tensor.New(shape...)
	for i := range t.Data {
		t.Data[i] = b.number(size)
	}
	return t
}

func (b *grower) add(op graph.Op, p graph.Params, in ...*graph.Node) *graph.Node {
	b.next++
	n := b.g.Add(fmt.Sprintf("%s%d", op.Kind(), b.next), op, p, in...)
	shapes := make([]graph.Shape, len(in))
	for i, m := range in {
		shapes[i] = m.Shape
	}
	s, err := op.InferShape(shapes, p)
	if err != nil {
		panic(err)
	}
	n.Shape = s
	return n
}

func (b *grower) conv(x *graph.Node, k, out, stride, groups int, bias bool) *graph.Node {
	cin := x.Shape.Channels()
	p := graph.Params{"weight": b.tensor(0.5, k, k, cin/groups, out)}
	if bias {
		p["bias"] = b.tensor(0.5, out)
	}
	op := &graph.Conv2D{Stride: [2]int{stride, stride}, Pad: graph.Uniform(k/2, k/2), Dilation: [2]int{1, 1}, Groups: groups}
	if k == 3 && stride == 1 && b.rng.IntN(4) == 0 {
		op.Pad, op.Dilation = graph.Uniform(2, 2), [2]int{2, 2}
	}
	return b.add(op, p, x)
}

func (b *grower) relu(x *graph.Node) *graph.Node {
	if b.rng.IntN(5) == 0 {
		return b.add(&graph.ReLU6{}, nil, x)
	}
	return b.add(&graph.ReLU{}, nil, x)
}

func (b *grower) linear(x *graph.Node, out int) *graph.Node {
	return b.add(&graph.Linear{}, graph.Params{"weight": b.tensor(0.25, x.Shape.Channels(), out), "bias": b.tensor(0.5, out)}, x)
}

func (b *grower) norm(x *graph.Node) *graph.Node {
	c := x.Shape.Channels()
	p := graph.Params{"mean": b.tensor(0.5, c), "var": tensor.New(c), "weight": tensor.New(c), "bias": b.tensor(0.5, c)}
	for i := range c {
		p["var"].Data[i] = []float32{0.75, 3.75}[b.rng.IntN(2)] // deviation 1 or 2
		p["weight"].Data[i] = []float32{-1, 1, 2}[b.rng.IntN(3)]
	}
	return b.add(&graph.BatchNorm{Eps: 0.25}, p, x)
}

// fit resizes a to the pixels of x.
func (b *grower) fit(a, x *graph.Node) *graph.Node {
	h, w, _ := x.Shape.HWC()
	if ah, aw, _ := a.Shape.HWC(); ah == h && aw == w {
		return a
	}
	return b.add(&graph.Upsample{Size: [2]int{h, w}, Mode: "nearest"}, nil, a)
}

// blocks are the pieces a network grows by, each from an image of spikes to one.
var blocks = map[string]func(b *grower, input, x *graph.Node) *graph.Node{
	"plain": func(b *grower, _, x *graph.Node) *graph.Node {
		return b.relu(b.conv(x, 1+2*b.rng.IntN(2), 4, 1, 1, true))
	},
	"strided": func(b *grower, _, x *graph.Node) *graph.Node { return b.relu(b.conv(x, 3, 4, 2, 1, false)) },
	"grouped": func(b *grower, _, x *graph.Node) *graph.Node { return b.relu(b.conv(x, 3, 6, 1, 2, true)) },
	"depthwise": func(b *grower, _, x *graph.Node) *graph.Node {
		c := x.Shape.Channels()
		return b.relu(b.conv(x, 3, c, 1, c, false))
	},
	"identity shortcut": func(b *grower, _, x *graph.Node) *graph.Node {
		y := b.conv(b.relu(b.conv(x, 3, 4, 1, 1, true)), 3, x.Shape.Channels(), 1, 1, true)
		if b.rng.IntN(2) == 0 {
			return b.relu(b.add(&graph.Add{}, nil, x, y))
		}
		return b.relu(b.add(&graph.Add{}, nil, y, x))
	},
	"projection shortcut": func(b *grower, _, x *graph.Node) *graph.Node {
		y := b.conv(b.relu(b.conv(x, 3, 4, 2, 1, false)), 3, 6, 1, 1, true)
		return b.relu(b.add(&graph.Add{}, nil, y, b.conv(x, 1, 6, 2, 1, false)))
	},
	"analog shortcut": func(b *grower, input, x *graph.Node) *graph.Node {
		a := b.fit(b.conv(input, 1, 4, 1, 1, true), x)
		return b.relu(b.add(&graph.Add{}, nil, b.conv(x, 3, 4, 1, 1, true), a))
	},
	"sum of three": func(b *grower, _, x *graph.Node) *graph.Node {
		c := x.Shape.Channels()
		return b.relu(b.add(&graph.Add{}, nil, x, b.conv(x, 1, c, 1, 1, true), x))
	},
	"concat": func(b *grower, _, x *graph.Node) *graph.Node {
		return b.add(&graph.Concat{}, nil, x, b.relu(b.conv(x, 3, 2, 1, 1, true)))
	},
	"average pool": func(b *grower, _, x *graph.Node) *graph.Node {
		p := b.add(&graph.AvgPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}, CountIncludePad: true}, nil, x)
		return b.relu(b.conv(p, 1, 4, 1, 1, true))
	},
	"padded average pool": func(b *grower, _, x *graph.Node) *graph.Node {
		p := b.add(&graph.AvgPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{1, 2}, Pad: graph.Uniform(1, 1), CountIncludePad: b.rng.IntN(2) == 0}, nil, x)
		return b.relu(p)
	},
	"max pool": func(b *grower, _, x *graph.Node) *graph.Node {
		return b.add(&graph.MaxPool2D{Kernel: [2]int{3, 2}, Stride: [2]int{2, 2}, Pad: graph.Uniform(1, 0), CeilMode: false}, nil, x)
	},
	"nearest": func(b *grower, _, x *graph.Node) *graph.Node {
		h, w, _ := x.Shape.HWC()
		return b.relu(b.conv(b.add(&graph.Upsample{Size: [2]int{h + 1, 2 * w}, Mode: "nearest"}, nil, x), 3, 4, 2, 1, true))
	},
	"nearest, max pool": func(b *grower, _, x *graph.Node) *graph.Node {
		h, w, _ := x.Shape.HWC()
		u := b.add(&graph.Upsample{Size: [2]int{2 * h, w + 1}, Mode: "nearest"}, nil, x)
		return b.add(&graph.MaxPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}}, nil, u)
	},
	"bilinear": func(b *grower, _, x *graph.Node) *graph.Node {
		h, w, _ := x.Shape.HWC()
		u := b.add(&graph.Upsample{Size: [2]int{2 * h, 2 * w}, Mode: "bilinear"}, nil, x)
		return b.relu(b.conv(u, 3, 4, 2, 1, false))
	},
	"transposed": func(b *grower, _, x *graph.Node) *graph.Node {
		c := x.Shape.Channels()
		op := &graph.ConvTranspose2D{Stride: [2]int{2, 1}, Pad: graph.Pad{1, 1, 0, 1}, OutputPad: [2]int{1, 0}, Dilation: [2]int{1, 1}, Groups: 2}
		u := b.add(op, graph.Params{"weight": b.tensor(0.5, 3, 2, c, 2), "bias": b.tensor(0.5, 4)}, x)
		return b.relu(b.add(&graph.AvgPool2D{Kernel: [2]int{2, 1}, Stride: [2]int{2, 1}}, nil, u))
	},
	"batch norm": func(b *grower, _, x *graph.Node) *graph.Node {
		return b.relu(b.norm(b.conv(b.norm(x), 3, 4, 1, 1, true)))
	},
	"two linear layers": func(b *grower, _, x *graph.Node) *graph.Node {
		return b.relu(b.conv(b.conv(x, 1, 4, 1, 1, true), 3, 4, 1, 1, false))
	},
	"conv read twice": func(b *grower, _, x *graph.Node) *graph.Node {
		y := b.conv(x, 3, 4, 1, 1, true)
		z := b.conv(b.relu(y), 1, 4, 1, 1, true)
		return b.relu(b.add(&graph.Add{}, nil, z, y))
	},
	"concat with currents": func(b *grower, input, x *graph.Node) *graph.Node {
		return b.relu(b.conv(b.add(&graph.Concat{}, nil, x, b.conv(x, 1, 2, 1, 1, true), b.fit(input, x)), 3, 4, 1, 1, true))
	},
	"concat with input": func(b *grower, input, x *graph.Node) *graph.Node {
		return b.relu(b.add(&graph.Identity{}, nil, b.add(&graph.Concat{}, nil, b.fit(input, x), x)))
	},
	"analog pools": func(b *grower, input, x *graph.Node) *graph.Node {
		a := b.conv(input, 3, 4, 1, 1, true)
		a = b.add(&graph.MaxPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}}, nil, b.add(&graph.Concat{}, nil, a))
		top := b.add(&graph.GlobalMaxPool{}, nil, a)
		a = b.add(&graph.Add{}, nil, b.fit(b.add(&graph.Dropout{}, nil, a), x), b.fit(top, x))
		return b.relu(b.add(&graph.Add{}, nil, a, b.conv(x, 1, 4, 1, 1, false)))
	},
	"resized averages": func(b *grower, _, x *graph.Node) *graph.Node {
		p := b.add(&graph.AvgPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{1, 1}}, nil, x)
		return b.relu(b.conv(b.fit(p, x), 1, 4, 1, 1, true))
	},
	"relu of relu": func(b *grower, _, x *graph.Node) *graph.Node { return b.relu(x) },
	"same pool": func(b *grower, _, x *graph.Node) *graph.Node {
		return b.add(&graph.Identity{}, nil, b.add(&graph.Dropout{P: 0.5}, nil, x))
	},
}

// heads end a network.
var heads = map[string]func(b *grower, x *graph.Node) *graph.Node{
	"global average": func(b *grower, x *graph.Node) *graph.Node {
		return b.linear(b.add(&graph.Flatten{}, nil, b.add(&graph.GlobalAvgPool{}, nil, x)), 3)
	},
	"flatten": func(b *grower, x *graph.Node) *graph.Node { return b.linear(b.add(&graph.Flatten{}, nil, x), 3) },
	"hidden": func(b *grower, x *graph.Node) *graph.Node {
		y := b.relu(b.linear(b.add(&graph.Flatten{}, nil, x), 5))
		return b.add(&graph.Softmax{}, nil, b.linear(y, 3))
	},
	"global maximum": func(b *grower, x *graph.Node) *graph.Node {
		y := b.linear(b.add(&graph.Flatten{}, nil, b.add(&graph.GlobalMaxPool{}, nil, x)), 3)
		return b.add(&graph.LogSoftmax{}, nil, y)
	},
	"with analog values": func(b *grower, x *graph.Node) *graph.Node {
		input := b.g.Nodes[0]
		sum := b.add(&graph.Add{}, nil, b.conv(x, 1, 3, 1, 1, true), b.fit(b.conv(input, 1, 3, 1, 1, true), x))
		return b.add(&graph.Concat{}, nil, sum, b.fit(input, x))
	},
	"neurons":  func(b *grower, x *graph.Node) *graph.Node { return b.relu(b.conv(x, 1, 3, 1, 1, true)) },
	"map":      func(b *grower, x *graph.Node) *graph.Node { return b.conv(x, 3, 2, 1, 1, true) },
	"max pool": func(b *grower, x *graph.Node) *graph.Node { return b.add(&graph.GlobalMaxPool{}, nil, x) },
}

// config gives every activation random neurons.
func (b *grower) config(timesteps int, shift Shift, maxPool MaxPool) *Config {
	cfg := &Config{Timesteps: timesteps, Shift: shift, MaxPool: maxPool}
	for _, n := range Activations(b.g) {
		l := Layer{Node: n.Name, MaxSpike: []int{1, 2, 3, 4, 255}[b.rng.IntN(5)]}
		channels := n.Shape.Channels()
		if b.rng.IntN(3) == 0 {
			channels = 1
		}
		for range channels {
			theta := []float32{0.25, 0.5, 1, 2}[b.rng.IntN(4)]
			if !b.exact {
				theta = 0.2 + b.rng.Float32()
			}
			l.Threshold = append(l.Threshold, theta)
		}
		if b.rng.IntN(3) == 0 {
			l.Initial = b.tensor(1, n.Shape.Numel()).Data
		}
		cfg.Layers = append(cfg.Layers, l)
	}
	return cfg
}

// tester is what testing.T and rapid.T have in common here.
type tester interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// compareWithReference runs the network both ways and wants no more than the
// given share of counts to differ.
func compareWithReference(t tester, g *graph.Graph, cfg *Config, x *tensor.Tensor, share float64) {
	t.Helper()
	net, err := New(g, cfg)
	if err != nil {
		t.Fatal(err)
	}
	res, err := net.Run(context.Background(), nil, x, Options{Trace: true})
	if err != nil {
		t.Fatal(err)
	}
	ref := &reference{g: g, cfg: cfg}
	total, differ := 0, 0
	samples := x.Shape[0]
	for s := range samples {
		want := ref.run(x.Rows(s, s+1).Data)
		for l, n := range Activations(g) {
			size := n.Shape.Numel()
			for step := range cfg.Timesteps {
				got := res.StepCounts[l].Data[(step*samples+s)*size:]
				for i, k := range ref.counts[n][step] {
					total++
					if got[i] != float32(k) {
						if differ++; share == 0 {
							t.Fatalf("node %q, sample %d, timestep %d, neuron %d: %g spikes, the reference has %d", n.Name, s, step, i, got[i], k)
						}
					}
				}
			}
		}
		tolerance := 1e-4
		if differ > 0 {
			tolerance = 0.2
		}
		for i, v := range want {
			got := float64(res.Logits.Data[s*len(want)+i])
			if d := math.Abs(got - v); !(d <= tolerance*(1+math.Abs(v))) {
				t.Fatalf("sample %d: output %d is %g, the reference has %g", s, i, got, v)
			}
		}
	}
	if float64(differ) > share*float64(total) {
		t.Fatalf("%d of %d counts differ from the reference, want at most %g", differ, total, share*float64(total))
	}
}
