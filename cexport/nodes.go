package cexport

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/snn"
)

// convVariables are those that loops over windows use.
const convVariables = "\tint32_t y, x, ky, kx, iy, ix, t, ci, co;\n"

// A product of counts and whole numbers, or of two whose sums are added.
type intPart struct {
	n     *graph.Node
	in    *wire
	shape geometry
	name  string // of the weights
}

// intLayer quantises the weights of nodes whose outputs are added and writes them.
func (g *generator) intLayer(w *wire, nodes []*graph.Node, out []float32) (parts []intPart, step, bias []float32, err error) {
	outputs := nodes[0].Shape.Channels()
	bias = make([]float32, outputs)
	var blocks []snn.WeightBlock
	for _, n := range nodes {
		in := g.p.from(n, 0)
		parts = append(parts, intPart{n: n, in: in, shape: shapeOf(n), name: "weight" + g.tag(n)})
		blocks = append(blocks, snn.WeightBlock{W: foldedWeight(n, in.scale, out), Most: in.most})
		for ch, b := range foldedBias(n, out) {
			bias[ch] += b
		}
	}
	q, step, ok := g.precision().Quantise(blocks, outputs)
	if !ok {
		return nil, nil, nil, refuse(nodes[0], "its weights cannot be held as %s", g.precision())
	}
	for k, part := range parts {
		ctype, size := "int16_t", 2
		if g.precision() == snn.I8 {
			ctype, size = "int8_t", 1
		}
		list(g, ctype, part.name, size, q[k], func(v int16) string { return strconv.Itoa(int(v)) })
	}
	return parts, step, bias, nil
}

// sums writes the sums of all parts at position (y, x) to acc.
func (g *generator) sums(parts []intPart, outputs int) string {
	wtype := "int16_t"
	if g.precision() == snn.I8 {
		wtype = "int8_t"
	}
	s := fmt.Sprintf("for (co = 0; co < %d; co++)\n\tacc[co] = 0;\n", outputs)
	for _, part := range parts {
		in := part.in.element(fmt.Sprintf("(iy * %d + ix) * %d + ci", part.shape.w, part.shape.cin))
		s += part.shape.window("", part.shape.product(in, part.name, "int32_t", wtype, "acc", true))
	}
	return s
}

// channelLists writes lists per channel, or returns "" for one that changes
// nothing.
func (g *generator) channelList(name string, v []float32, neutral float32) string {
	if v == nil || !slices.ContainsFunc(v, func(x float32) bool { return x != neutral }) {
		return ""
	}
	return g.floatList(name, v)
}

// intCurrent writes what counts drive and several nodes read.
func (g *generator) intCurrent(w *wire) error {
	parts, step, bias, err := g.intLayer(w, []*graph.Node{w.node}, w.scale)
	if err != nil {
		return err
	}
	c := w.node.Shape.Channels()
	s := parts[0].shape
	tag := g.tag(w.node)
	steps, biases := g.floatList("step"+tag, step), g.channelList("bias"+tag, bias, 0)
	g.function(w, "whole sums, times a step per channel")
	g.codef("%s\tint32_t acc[%d];\n", convVariables, c)
	body := g.sums(parts, c) + fmt.Sprintf("for (co = 0; co < %d; co++) {\n\tfloat c = (float)acc[co] * %s[co];\n", c, steps)
	if biases != "" {
		body += fmt.Sprintf("\tc = c + %s[co];\n", biases)
	}
	body += fmt.Sprintf("\t%s = c;\n}\n", w.element(fmt.Sprintf("(y * %d + x) * %d + co", s.ow, c)))
	g.codef("%s", tab(s.pixels(body)))
	g.end(w)
	return nil
}

// convBody writes a convolution of floats at position (y, x) to the array out,
// products and sums rounded one by one.
func (g *generator) convBody(w *wire, n *graph.Node, out string, scale []float32) (string, error) {
	var in *wire
	from := g.p.from(n, 0)
	index := func(s geometry) string { return fmt.Sprintf("(iy * %d + ix) * %d + ci", s.w, s.cin) }
	if from.kind == counts && !w.readout {
		return "", refuse(n, "its weights are no whole numbers")
	}
	in = from
	s := shapeOf(n)
	tag := g.tag(n)
	weights := g.floatList("weight"+tag, foldedWeight(n, in.scale, scale))
	element := in.value(index(s))
	if w.readout {
		element = g.readoutOf(in, index(s))
	}
	c := n.Shape.Channels()
	body := fmt.Sprintf("for (co = 0; co < %d; co++)\n\t%s[co] = 0.0f;\n", c, out)
	body += s.window("", s.product(element, weights, "float", "float", out, false))
	if b := foldedBias(n, scale); b != nil {
		body += fmt.Sprintf("for (co = 0; co < %d; co++)\n\t%s[co] = %s[co] + %s[co];\n", c, out, out, g.floatList("bias"+tag, b))
	}
	return body, nil
}

func (g *generator) floatConv(w *wire) error {
	s := shapeOf(w.node)
	body, err := g.convBody(w, w.node, "d", w.scale)
	if err != nil {
		return err
	}
	g.function(w, "floats")
	g.codef("%s", convVariables)
	body = fmt.Sprintf("float *d = &%s;\n", w.element(fmt.Sprintf("(y * %d + x) * %d", s.ow, s.cout))) + body
	g.codef("%s", tab(s.pixels(body)))
	g.end(w)
	return nil
}

// neurons writes a layer of neurons with what drives it.
func (g *generator) neurons(w *wire) error {
	n := w.node
	p := g.p
	layer := &p.cfg.Layers[w.layer]
	c := n.Shape.Channels()
	tag := g.tag(n)
	start, shift := float32(0), float32(0)
	switch p.cfg.Shift {
	case snn.ShiftInitial:
		start = 0.5
	case snn.ShiftPerStep:
		shift = 1 / float32(2*p.cfg.Timesteps)
	}
	v := g.static("float", "v"+tag, w.size, 4)
	if layer.Initial != nil {
		initial := make([]float32, len(layer.Initial))
		for k, x := range layer.Initial {
			initial[k] = x/w.scale[k%c] + start
		}
		g.reset = append(g.reset, fmt.Sprintf("for (i = 0; i < %d; i++) %s[i] = %s[i];", w.size, v, g.floatList("initial"+tag, initial)))
	} else {
		g.reset = append(g.reset, fmt.Sprintf("for (i = 0; i < %d; i++) %s[i] = %s;", w.size, v, number(start)))
	}

	src := n.Inputs[0]
	var add *wire
	var addScale []float32
	var second *graph.Node
	if src.Kind() == "add" && p.driver(src) == n {
		k := p.drivingInput(src)
		other := src.Inputs[1-k]
		if p.projects(other) {
			second = other
		} else {
			add = p.wires[p.index[other]]
			addScale = factor(add.scale, w.scale, c)
		}
		src = src.Inputs[k]
	}
	// fire is what follows once c, the current of neuron i, channel co, is known.
	fire := ""
	if add != nil {
		term := add.value("i")
		if f := g.channelList("add"+tag, addScale, 1); f != "" {
			fire += fmt.Sprintf("r = %s;\nr = r * %s[co];\nc = c + r;\n", term, f)
		} else {
			fire += fmt.Sprintf("r = %s;\nc = c + r;\n", term)
		}
	}
	if shift != 0 {
		fire += fmt.Sprintf("c = c + %s;\n", number(shift))
	}
	ctype := "uint8_t"
	if w.wide {
		ctype = "uint16_t"
	}
	fire += fmt.Sprintf("k = fire(&%s[i], c, %s);\n%s = (%s)k;\ntotal += k;\n", v, number(float32(layer.MaxSpike)), w.element("i"), ctype)
	count := fmt.Sprintf("\tspikes[%d] += total;\n", w.layer)
	remainder := ""
	if add != nil {
		remainder = "\tfloat r;\n"
	}

	switch {
	case isConv(src) && p.driver(src) == n && p.quantisable(src):
		nodes := []*graph.Node{src}
		if second != nil {
			nodes = append(nodes, second)
		}
		parts, step, bias, err := g.intLayer(w, nodes, w.scale)
		if err != nil {
			return err
		}
		steps, biases := g.floatList("step"+tag, step), g.channelList("bias"+tag, bias, 0)
		s := parts[0].shape
		body := g.sums(parts, c) + fmt.Sprintf("i = (y * %d + x) * %d;\nfor (co = 0; co < %d; co++, i++) {\n\tfloat c = (float)acc[co] * %s[co];\n", s.ow, c, c, steps)
		if biases != "" {
			body += fmt.Sprintf("\tc = c + %s[co];\n", biases)
		}
		g.function(w, "neurons driven by "+comment(src.Name))
		g.codef("%s\tint32_t i, k, total = 0;\n\tint32_t acc[%d];\n%s", convVariables, c, remainder)
		g.codef("%s%s", tab(s.pixels(body+tab(fire)+"}\n")), count)
	case isConv(src) && p.driver(src) == n:
		conv, err := g.convBody(w, src, "d", w.scale)
		if err != nil {
			return err
		}
		s := shapeOf(src)
		body := conv + fmt.Sprintf("i = (y * %d + x) * %d;\nfor (co = 0; co < %d; co++, i++) {\n\tfloat c = d[co];\n", s.ow, c, c)
		g.function(w, "neurons driven by "+comment(src.Name))
		g.codef("%s\tint32_t i, k, total = 0;\n\tfloat d[%d];\n%s", convVariables, c, remainder)
		g.codef("%s%s", tab(s.pixels(body+tab(fire)+"}\n")), count)
	default:
		from := p.wires[p.index[src]]
		f := g.channelList("factor"+tag, factor(from.scale, w.scale, c), 1)
		g.function(w, "neurons driven by "+comment(src.Name))
		if f == "" {
			g.codef("\tint32_t i, k, total = 0;\n\tfor (i = 0; i < %d; i++) {\n\t\tfloat c = %s;\n%s\t}\n%s", w.size, from.value("i"), indentBy("\t\t", fire), count)
		} else {
			g.codef("\tint32_t i, co, k, total = 0;\n\tfor (i = 0, co = 0; i < %d; i++) {\n\t\tfloat c = %s;\n\t\tc = c * %s[co];\n%s\t\tif (++co == %d)\n\t\t\tco = 0;\n\t}\n%s",
				w.size, from.value("i"), f, indentBy("\t\t", fire), c, count)
		}
	}
	g.end(w)
	return nil
}

func (g *generator) maxPool(w *wire) error {
	n := w.node
	s := shapeOf(n)
	from := g.p.from(n, 0)
	index := fmt.Sprintf("(iy * %d + ix) * %d + co", s.w, s.cout)
	at := fmt.Sprintf("(y * %d + x) * %d + co", s.ow, s.cout)
	variables := "\tint32_t y, x, ky, kx, iy, ix, t, co;\n"
	switch {
	case w.kind == current:
		return refuse(n, "its input varies in time and holds no spike counts")
	case w.kind == analog:
		g.function(w, "maximum of floats")
		g.codef("%s", variables)
		body := fmt.Sprintf("for (co = 0; co < %d; co++) {\n\tfloat best = 0.0f;\n\tint first = 1;\n%s\t%s = best;\n}\n", s.cout,
			s.window("\t", fmt.Sprintf("if (first || %s > best)\n\tbest = %s;\nfirst = 0;\n(void)t;\n", from.value(index), from.value(index))), w.element(at))
		g.codef("%s", tab(s.pixels(body)))
	case g.p.cfg.MaxPool == snn.MaxPoolPerStep || g.p.cfg.Timesteps == 1:
		g.function(w, "maximum of the counts of a timestep")
		g.codef("%s", variables)
		ctype := "uint8_t"
		if w.wide {
			ctype = "uint16_t"
		}
		body := fmt.Sprintf("for (co = 0; co < %d; co++) {\n\t%s best = 0;\n%s\t%s = best;\n}\n", s.cout, ctype,
			s.window("\t", fmt.Sprintf("if (%s > best)\n\tbest = %s;\n(void)t;\n", from.element(index), from.element(index))), w.element(at))
		g.codef("%s", tab(s.pixels(body)))
	default:
		ctype, size := "uint16_t", 2
		if g.p.cfg.Timesteps*from.most > math.MaxUint16 {
			ctype, size = "uint32_t", 4
		}
		tag := g.tag(n)
		cum, top := g.static(ctype, "cum"+tag, from.size, size), g.static(ctype, "top"+tag, w.size, size)
		g.reset = append(g.reset, fmt.Sprintf("for (i = 0; i < %d; i++) %s[i] = 0;", from.size, cum),
			fmt.Sprintf("for (i = 0; i < %d; i++) %s[i] = 0;", w.size, top))
		g.function(w, "what the maximum of the cumulative counts grows by")
		g.codef("%s\tint32_t i;\n", variables)
		g.codef("\tfor (i = 0; i < %d; i++)\n\t\t%s[i] = (%s)(%s[i] + %s);\n", from.size, cum, ctype, cum, from.element("i"))
		out := "uint8_t"
		if w.wide {
			out = "uint16_t"
		}
		body := fmt.Sprintf("for (co = 0; co < %d; co++) {\n\t%s best = 0;\n%s\ti = %s;\n\t%s = (%s)(best - %s[i]);\n\t%s[i] = best;\n}\n", s.cout, ctype,
			s.window("\t", fmt.Sprintf("if (%s[%s] > best)\n\tbest = %s[%s];\n(void)t;\n", cum, index, cum, index)), at, w.element("i"), out, top, top)
		g.codef("%s", tab(s.pixels(body)))
	}
	g.end(w)
	return nil
}

func (g *generator) avgPool(w *wire, op *graph.AvgPool2D) error {
	n := w.node
	s := shapeOf(n)
	index := fmt.Sprintf("(iy * %d + ix) * %d + co", s.w, s.cout)
	at := w.element(fmt.Sprintf("(y * %d + x) * %d + co", s.ow, s.cout))
	variables := "\tint32_t y, x, ky, kx, iy, ix, t, co;\n"
	if w.kind == counts && !w.readout {
		g.function(w, "sums of counts")
		g.codef("%s", variables)
		body := fmt.Sprintf("for (co = 0; co < %d; co++) {\n\tint32_t sum = 0;\n%s\t%s = (uint8_t)sum;\n}\n", s.cout,
			s.window("\t", fmt.Sprintf("sum += %s;\n(void)t;\n", g.p.from(n, 0).element(index))), at)
		g.codef("%s", tab(s.pixels(body)))
		g.end(w)
		return nil
	}
	g.function(w, "means of floats")
	g.codef("%s", variables)
	divisor := ""
	if op.CountIncludePad {
		// The window inside the padded input.
		divisor = fmt.Sprintf("\tm = (%s - y * %d) * (%s - x * %d);\n",
			smaller(fmt.Sprintf("y * %d + %d", s.sh, s.kh), s.h+op.Pad[0]+op.Pad[2]), s.sh,
			smaller(fmt.Sprintf("x * %d + %d", s.sw, s.kw), s.w+op.Pad[1]+op.Pad[3]), s.sw)
	}
	body := fmt.Sprintf("for (co = 0; co < %d; co++) {\n\tfloat sum = 0.0f;\n\tint32_t m = 0;\n%s%s\t%s = sum / (float)m;\n}\n", s.cout,
		s.window("\t", fmt.Sprintf("sum = sum + %s;\nm++;\n(void)t;\n", g.input(n, 0, index))), divisor, at)
	g.codef("%s", tab(s.pixels(body)))
	g.end(w)
	return nil
}

func smaller(a string, b int) string { return fmt.Sprintf("(%s < %d ? %s : %d)", a, b, a, b) }

func (g *generator) globalMean(w *wire) {
	n := w.node
	positions, c := n.Inputs[0].Shape.Positions(), n.Shape.Channels()
	g.function(w, "means over all positions")
	g.codef("\tint32_t i, co;\n\tfor (co = 0; co < %d; co++) {\n\t\tdouble sum = 0.0;\n\t\tfor (i = 0; i < %d; i++)\n\t\t\tsum = sum + (double)%s;\n\t\t%s = (float)(sum / %d.0);\n\t}\n",
		c, positions, parens(g.input(n, 0, fmt.Sprintf("i * %d + co", c))), w.element("co"), positions)
	g.end(w)
}

func parens(s string) string { return "(" + s + ")" }

func (g *generator) sum(w *wire) {
	n := w.node
	c := n.Shape.Channels()
	g.function(w, "sum")
	g.codef("\tint32_t i, co;\n\tfor (i = 0, co = 0; i < %d; i++) {\n\t\tfloat c = 0.0f, r;\n", w.size)
	for k := range n.Inputs {
		g.codef("\t\tr = %s;\n", g.input(n, k, "i"))
		if f := g.channelList(fmt.Sprintf("factor%s_%d", g.tag(n), k), factor(g.p.from(n, k).scale, w.scale, c), 1); f != "" {
			g.codef("\t\tr = r * %s[co];\n", f)
		}
		if k == 0 {
			g.codef("\t\tc = r;\n")
		} else {
			g.codef("\t\tc = c + r;\n")
		}
	}
	g.codef("\t\t%s = c;\n\t\tif (++co == %d)\n\t\t\tco = 0;\n\t}\n", w.element("i"), c)
	g.end(w)
}

func (g *generator) affine(w *wire, op *graph.BatchNorm) {
	n := w.node
	a, b := op.Affine(n.Params)
	in := g.p.from(n, 0).scale
	scale, shift := make([]float32, len(a)), make([]float32, len(a))
	for ch := range a {
		scale[ch] = float32(a[ch]) * ratio(in, ch, w.scale, ch)
		shift[ch] = float32(b[ch]) * ratio(nil, 0, w.scale, ch)
	}
	tag := g.tag(n)
	g.function(w, "factor and offset per channel")
	g.codef("\tint32_t i, co;\n\tfor (i = 0, co = 0; i < %d; i++) {\n\t\tfloat c = %s;\n\t\tc = c * %s[co];\n\t\tc = c + %s[co];\n\t\t%s = c;\n\t\tif (++co == %d)\n\t\t\tco = 0;\n\t}\n",
		w.size, g.input(n, 0, "i"), g.floatList("scale"+tag, scale), g.floatList("offset"+tag, shift), w.element("i"), len(a))
	g.end(w)
}

func (g *generator) concat(w *wire) {
	n := w.node
	c := n.Shape.Channels()
	g.function(w, "channels side by side")
	g.codef("\tint32_t i, co;\n\tfor (i = 0; i < %d; i++) {\n", n.Shape.Positions())
	at := 0
	for k, in := range n.Inputs {
		m := in.Shape.Channels()
		from := g.input(n, k, fmt.Sprintf("i * %d + co", m))
		if w.kind == counts && !w.readout {
			from = g.p.from(n, k).element(fmt.Sprintf("i * %d + co", m))
		}
		g.codef("\t\tfor (co = 0; co < %d; co++)\n\t\t\t%s = %s;\n", m, w.element(fmt.Sprintf("i * %d + %d + co", c, at)), from)
		at += m
	}
	g.codef("\t}\n")
	g.end(w)
}

func (g *generator) resize(w *wire, op *graph.Upsample) error {
	n := w.node
	h, wd, c := n.Inputs[0].Shape.HWC()
	oh, ow := op.Size[0], op.Size[1]
	tag := g.tag(n)
	at := fmt.Sprintf("(y * %d + x) * %d + co", ow, c)
	if op.Mode == "nearest" {
		rows, columns := g.intList("rows"+tag, nearest(h, oh)), g.intList("columns"+tag, nearest(wd, ow))
		index := fmt.Sprintf("(%s[y] * %d + %s[x]) * %d + co", rows, wd, columns, c)
		from := g.input(n, 0, index)
		if w.kind == counts && !w.readout {
			from = g.p.from(n, 0).element(index)
		}
		g.function(w, "nearest positions")
		g.codef("\tint32_t y, x, co;\n\tfor (y = 0; y < %d; y++)\n\t\tfor (x = 0; x < %d; x++)\n\t\t\tfor (co = 0; co < %d; co++)\n\t\t\t\t%s = %s;\n", oh, ow, c, w.element(at), from)
		g.end(w)
		return nil
	}
	for _, axis := range []struct {
		name string
		taps []tap
	}{{"row", linear(h, oh, op.AlignCorners)}, {"column", linear(wd, ow, op.AlignCorners)}} {
		var lo, hi []int
		var w0, w1 []float32
		for _, t := range axis.taps {
			lo, hi, w0, w1 = append(lo, t.lo), append(hi, t.hi), append(w0, t.w0), append(w1, t.w1)
		}
		g.intList(axis.name+"lo"+tag, lo)
		g.intList(axis.name+"hi"+tag, hi)
		g.floatList(axis.name+"w0"+tag, w0)
		g.floatList(axis.name+"w1"+tag, w1)
	}
	value := func(row, column string) string {
		return g.input(n, 0, fmt.Sprintf("(row%s%s[y] * %d + column%s%s[x]) * %d + co", row, tag, wd, column, tag, c))
	}
	g.function(w, "linear interpolation")
	g.codef("\tint32_t y, x, co;\n\tfor (y = 0; y < %d; y++)\n\t\tfor (x = 0; x < %d; x++)\n\t\t\tfor (co = 0; co < %d; co++) {\n", oh, ow, c)
	for _, row := range []string{"lo", "hi"} {
		g.codef("\t\t\t\tfloat %s0 = %s;\n\t\t\t\tfloat %s1 = %s;\n", row, value(row, "lo"), row, value(row, "hi"))
	}
	for _, row := range []string{"lo", "hi"} {
		g.codef("\t\t\t\t%s0 = %s0 * columnw0%s[x];\n\t\t\t\t%s1 = %s1 * columnw1%s[x];\n\t\t\t\t%s0 = %s0 + %s1;\n", row, row, tag, row, row, tag, row, row, row)
	}
	g.codef("\t\t\t\tlo0 = lo0 * roww0%s[y];\n\t\t\t\thi0 = hi0 * roww1%s[y];\n\t\t\t\t%s = lo0 + hi0;\n\t\t\t}\n", tag, tag, w.element(at))
	g.end(w)
	return nil
}

// nearest lists the source of each output position of an axis, as package kernel
// computes it.
func nearest(in, out int) []int {
	r := float32(in) / float32(out)
	index := make([]int, out)
	for o := range index {
		index[o] = min(int(float32(o)*r), in-1)
	}
	return index
}

// A tap is an output position of linear interpolation: x[lo]*w0 + x[hi]*w1.
type tap struct {
	lo, hi int
	w0, w1 float32
}

func linear(in, out int, alignCorners bool) []tap {
	taps := make([]tap, out)
	var r float32
	switch {
	case !alignCorners:
		r = float32(in) / float32(out)
	case out > 1:
		r = float32(in-1) / float32(out-1)
	}
	for o := range taps {
		src := r * float32(o)
		if !alignCorners {
			src = max(float32(r*(float32(o)+0.5))-0.5, 0)
		}
		lo := min(int(src), in-1)
		w1 := min(max(src-float32(lo), 0), 1)
		taps[o] = tap{lo, min(lo+1, in-1), 1 - w1, w1}
	}
	return taps
}
