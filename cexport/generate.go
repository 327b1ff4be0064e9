package cexport

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/snn"
)

// A generator collects the C code of a network.
type generator struct {
	p     *plan
	mem   *layout
	data  strings.Builder // constants
	state strings.Builder // static variables
	reset []string        // statements that begin a run
	code  strings.Builder // functions, one per node
	once  []string        // calls, in order
	step  []string
	read  []string
	flash int64
	ram   int64
}

func (g *generator) codef(format string, args ...any) { fmt.Fprintf(&g.code, format, args...) }

// number is a float constant, exact in C99.
func number(v float32) string {
	if v == float32(int32(v)) && v > -1e6 && v < 1e6 && !(v == 0 && math.Signbit(float64(v))) {
		return strconv.Itoa(int(v)) + ".0f"
	}
	return strconv.FormatFloat(float64(v), 'x', -1, 32) + "f"
}

// list writes constants of a C type in lines.
func list[E any](g *generator, ctype, name string, size int, values []E, text func(E) string) {
	fmt.Fprintf(&g.data, "static const %s %s[%d] = {\n", ctype, name, len(values))
	line := "\t"
	for i, v := range values {
		s := text(v) + ","
		if len(line)+len(s) > 118 {
			g.data.WriteString(line + "\n")
			line = "\t"
		}
		if i == len(values)-1 {
			s = strings.TrimSuffix(s, ",")
		}
		line += s
	}
	g.data.WriteString(line + "\n};\n\n")
	g.flash += int64(len(values) * size)
}

func (g *generator) floatList(name string, v []float32) string {
	list(g, "float", name, 4, v, number)
	return name
}

func (g *generator) intList(name string, v []int) string {
	list(g, "int32_t", name, 4, v, strconv.Itoa)
	return name
}

// static declares zeroed memory.
func (g *generator) static(ctype, name string, n, size int) string {
	fmt.Fprintf(&g.state, "static %s %s[%d];\n", ctype, name, n)
	g.ram += int64(n * size)
	return name
}

// element is the C expression of an element of a wire.
func (w *wire) element(index string) string {
	name := map[arena]string{floats: "f32", bytes: "u8", words: "u16", outside: "in"}[w.slot.in]
	if w.slot.at == 0 || w.slot.in == outside {
		return fmt.Sprintf("%s[%s]", name, index)
	}
	return fmt.Sprintf("%s[%d + %s]", name, w.slot.at, index)
}

// value is element as a float.
func (w *wire) value(index string) string {
	if w.slot.in == bytes || w.slot.in == words {
		return "(float)" + w.element(index)
	}
	return w.element(index)
}

// readoutOf is the element of what the readout r reads of a wire: its mean, or
// what it holds if that does not vary in time.
func (g *generator) readoutOf(w *wire, index string) string {
	if s, ok := g.mem.means[w]; ok && !w.readout {
		t := wire{slot: s}
		return t.value(index)
	}
	return w.value(index)
}

// input is the element of input k of a node.
func (g *generator) input(n *graph.Node, k int, index string) string {
	from := g.p.from(n, k)
	if g.p.wires[g.p.index[n]].readout {
		return g.readoutOf(from, index)
	}
	return from.value(index)
}

func comment(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	return strings.NewReplacer("*/", "* /", "/*", "/ *", "\\", "/", "??", "? ?").Replace(s)
}

// identifier makes letters, digits and underscores.
func identifier(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, s)
}

// tag is what the names of a node's constants end in.
func (g *generator) tag(n *graph.Node) string {
	return fmt.Sprintf("%d_%s", g.p.index[n], identifier(n.Name))
}

// function begins the function of a node and registers its call.
func (g *generator) function(w *wire, about string) {
	n := w.node
	name := "node" + g.tag(n)
	g.codef("/* %s (%s): %s */\nstatic void %s(void)\n{\n", comment(n.Name), n.Kind(), about, name)
	call := name + "();"
	switch {
	case w.readout:
		g.read = append(g.read, call)
	case w.kind == analog:
		g.once = append(g.once, call)
	default:
		g.step = append(g.step, call)
	}
}

// end ends it; the sum over time follows where the readout reads a mean.
func (g *generator) end(w *wire) {
	g.codef("}\n\n")
	s, ok := g.mem.means[w]
	if !ok {
		return
	}
	name := "sum" + g.tag(w.node)
	ctype, zero := "float", "0.0f"
	if w.kind == counts {
		ctype, zero = "int32_t", "0"
	}
	g.static(ctype, name, w.size, 4)
	g.reset = append(g.reset, fmt.Sprintf("for (i = 0; i < %d; i++) %s[i] = %s;", w.size, name, zero))
	add := "add_" + name
	g.codef("static void %s(void)\n{\n\tint32_t i;\n\tfor (i = 0; i < %d; i++)\n\t\t%s[i] = %s[i] + %s;\n}\n\n", add, w.size, name, name, w.element("i"))
	g.step = append(g.step, add+"();")
	mean := wire{slot: s}
	over := "mean_" + name
	g.codef("static void %s(void)\n{\n\tint32_t i;\n\tfor (i = 0; i < %d; i++)\n\t\t%s = (float)%s[i] * %s;\n}\n\n",
		over, w.size, mean.element("i"), name, number(1/float32(g.p.cfg.Timesteps)))
	g.read = append([]string{over + "();"}, g.read...)
}

// A geometry is that of a window over an image.
type geometry struct {
	h, w, cin, oh, ow, cout int
	kh, kw, sh, sw, pt, pl  int
	dh, dw, groups          int
	transposed              bool
}

func shapeOf(n *graph.Node) geometry {
	var s geometry
	s.h, s.w, s.cin = n.Inputs[0].Shape.HWC()
	s.oh, s.ow, s.cout = n.Shape.HWC()
	s.kh, s.kw, s.sh, s.sw, s.dh, s.dw, s.groups = 1, 1, 1, 1, 1, 1, 1
	switch op := n.Op.(type) {
	case *graph.Conv2D:
		w := n.Weight().Shape
		s.kh, s.kw, s.sh, s.sw, s.pt, s.pl = w[0], w[1], op.Stride[0], op.Stride[1], op.Pad[0], op.Pad[1]
		s.dh, s.dw, s.groups = op.Dilation[0], op.Dilation[1], op.Groups
	case *graph.ConvTranspose2D:
		w := n.Weight().Shape
		s.kh, s.kw, s.sh, s.sw, s.pt, s.pl = w[0], w[1], op.Stride[0], op.Stride[1], op.Pad[0], op.Pad[1]
		s.dh, s.dw, s.groups, s.transposed = op.Dilation[0], op.Dilation[1], op.Groups, true
	case *graph.Linear:
		s.h, s.w, s.oh, s.ow = 1, n.Shape.Positions(), 1, n.Shape.Positions()
		s.cin = n.Inputs[0].Shape.Channels()
	case *graph.MaxPool2D:
		s.kh, s.kw, s.sh, s.sw, s.pt, s.pl = op.Kernel[0], op.Kernel[1], op.Stride[0], op.Stride[1], op.Pad[0], op.Pad[1]
	case *graph.AvgPool2D:
		s.kh, s.kw, s.sh, s.sw, s.pt, s.pl = op.Kernel[0], op.Kernel[1], op.Stride[0], op.Stride[1], op.Pad[0], op.Pad[1]
	case *graph.GlobalMaxPool, *graph.GlobalAvgPool:
		s.kh, s.kw = s.h, s.w
	}
	return s
}

// window writes loops over the taps inside the input for output (y, x), which set
// iy, ix and t, the tap's number, for the body.
func (s geometry) window(indent, body string) string {
	axis := func(i, o, k string, stride, pad, dil, size, taps, outputs int) string {
		if s.transposed {
			return fmt.Sprintf("%s = %s + %d - %s * %d;\nif (%s < 0 || %s %% %d != 0 || %s / %d >= %d)\n\tcontinue;\n%s /= %d;\n",
				i, o, pad, k, dil, i, i, stride, i, stride, size, i, stride)
		}
		text := fmt.Sprintf("%s = %s * %d + %s * %d - %d;\n", i, o, stride, k, dil, pad)
		if pad > 0 || taps > 1 || (outputs-1)*stride >= size {
			text += fmt.Sprintf("if (%s < 0 || %s >= %d)\n\tcontinue;\n", i, i, size)
		}
		return text
	}
	inner := fmt.Sprintf("for (kx = 0; kx < %d; kx++) {\n%s}\n", s.kw,
		tab(axis("ix", "x", "kx", s.sw, s.pl, s.dw, s.w, s.kw, s.ow)+fmt.Sprintf("t = ky * %d + kx;\n", s.kw)+body))
	return indentBy(indent, fmt.Sprintf("for (ky = 0; ky < %d; ky++) {\n%s}\n", s.kh,
		tab(axis("iy", "y", "ky", s.sh, s.pt, s.dh, s.h, s.kh, s.oh)+inner)))
}

func tab(s string) string { return indentBy("\t", s) }

func indentBy(by, s string) string {
	lines := strings.Split(strings.TrimSuffix(s, "\n"), "\n")
	for i, l := range lines {
		if l != "" {
			lines[i] = by + l
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// pixels writes loops over the output positions.
func (s geometry) pixels(body string) string {
	return fmt.Sprintf("for (y = 0; y < %d; y++) {\n\tfor (x = 0; x < %d; x++) {\n%s\t}\n}\n", s.oh, s.ow, indentBy("\t\t", body))
}

// product writes what one tap adds to the outputs of a position: acc[co] += input
// * weight. Zeros of counts are skipped.
func (s geometry) product(in, weights, ctype, wtype, acc string, skip bool) string {
	each, per := s.cout/s.groups, s.cin/s.groups
	b := fmt.Sprintf("for (ci = 0; ci < %d; ci++) {\n", s.cin)
	b += fmt.Sprintf("\tconst %s n = (%s)%s;\n", ctype, ctype, in)
	row, out := fmt.Sprintf("%s + (t * %d + ci) * %d", weights, per, s.cout), acc
	if s.groups > 1 {
		row = fmt.Sprintf("%s + (t * %d + ci %% %d) * %d + ci / %d * %d", weights, per, per, s.cout, per, each)
		out = fmt.Sprintf("%s + ci / %d * %d", acc, per, each)
	}
	b += fmt.Sprintf("\tconst %s *w = %s;\n\t%s *a = %s;\n", wtype, row, ctype, out)
	if skip {
		b += "\tif (n == 0)\n\t\tcontinue;\n"
	}
	return b + fmt.Sprintf("\tfor (co = 0; co < %d; co++)\n\t\ta[co] = a[co] + n * w[co];\n}\n", each)
}

// generate writes the code of all nodes.
func (g *generator) generate() error {
	for i, w := range g.p.wires {
		if i == g.p.input || w.fused || g.p.alias(w.node) {
			continue
		}
		if err := g.node(w); err != nil {
			return err
		}
	}
	return nil
}

func (g *generator) node(w *wire) error {
	n := w.node
	if w.layer >= 0 {
		return g.neurons(w)
	}
	if !w.readout && g.p.quantisable(n) {
		return g.intCurrent(w)
	}
	switch op := n.Op.(type) {
	case *graph.Conv2D, *graph.Linear:
		return g.floatConv(w)
	case *graph.MaxPool2D, *graph.GlobalMaxPool:
		return g.maxPool(w)
	case *graph.AvgPool2D:
		return g.avgPool(w, op)
	case *graph.GlobalAvgPool:
		g.globalMean(w)
	case *graph.Add:
		g.sum(w)
	case *graph.BatchNorm:
		g.affine(w, op)
	case *graph.Concat:
		g.concat(w)
	case *graph.Upsample:
		return g.resize(w, op)
	case *graph.Flatten, *graph.Identity, *graph.Dropout: // of other memory: a readout of a mean
		g.function(w, "as it is")
		g.codef("\tint32_t i;\n\tfor (i = 0; i < %d; i++)\n\t\t%s = %s;\n", w.size, w.element("i"), g.input(n, 0, "i"))
		g.end(w)
	case *graph.ConvTranspose2D:
		return refuse(n, "a transposed convolution of values that are no spike counts has no form in C; place it behind neurons")
	default:
		return refuse(n, "has no form in C")
	}
	return nil
}

// precision is how the weights behind counts are held.
func (g *generator) precision() snn.Precision { return g.p.cfg.Weights }
