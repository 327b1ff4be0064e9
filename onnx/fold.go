package onnx

import (
	"fmt"
	"math"
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/fileerr"
)

// newConstant returns a constant without values, after checking the limits for values
// computed while reading.
func (im *importer) newConstant(d dtype, shape []int) (*constant, error) {
	n := int64(1)
	for _, s := range shape {
		if s < 0 {
			return nil, fmt.Errorf("shape %v: negative size", shape)
		}
		if s == 0 {
			n = 0
			break
		}
		if n > im.opts.MaxFolded/int64(s) {
			return nil, fmt.Errorf("a constant of shape %v is larger than the limit of %d bytes: %w", shape, im.opts.MaxFolded, fileerr.ErrUnsupported)
		}
		n *= int64(s)
	}
	if len(shape) > maxRank {
		return nil, fmt.Errorf("shape %v has more than %d axes", shape, maxRank)
	}
	size := int64(4)
	if !d.float() {
		size = 8
	}
	if n*size > im.opts.MaxFolded {
		return nil, fmt.Errorf("a constant of shape %v is larger than the limit of %d bytes: %w", shape, im.opts.MaxFolded, fileerr.ErrUnsupported)
	}
	if im.folded += n * size; im.folded > im.opts.MaxFoldedTotal {
		return nil, fmt.Errorf("constants computed while reading are larger than %d bytes in all: %w", im.opts.MaxFoldedTotal, fileerr.ErrUnsupported)
	}
	c := &constant{dtype: d, shape: slices.Clone(shape)}
	if d.float() {
		c.f = make([]float32, n)
	} else {
		c.i = make([]int64, n)
	}
	return c, nil
}

// gather returns the constant of the given shape whose value k is value at[k]; a
// negative at[k] is fill.
func (im *importer) gather(c *constant, shape []int, at func(k int) int, fill float64) (*constant, error) {
	out, err := im.newConstant(c.dtype, shape)
	if err != nil {
		return nil, err
	}
	if c.batch != nil {
		out.batch = make([]int64, len(out.i))
	}
	for k := range max(len(out.f), len(out.i)) {
		j := at(k)
		switch {
		case c.dtype.float() && j < 0:
			out.f[k] = float32(fill)
		case c.dtype.float():
			out.f[k] = c.f[j]
		case j < 0:
			out.i[k] = int64(fill)
		default:
			out.i[k] = c.i[j]
			if c.batch != nil {
				out.batch[k] = c.batch[j]
			}
		}
	}
	return out, nil
}

// sliceAxis returns n indices from lo on along axis k.
func (c *constant) sliceAxis(k, lo, n int) *constant {
	shape := slices.Clone(c.shape)
	shape[k] = n
	out := &constant{dtype: c.dtype, shape: shape}
	inner := numel(c.shape[k+1:])
	outer := numel(c.shape[:k])
	for o := range outer {
		from, to := (o*c.shape[k]+lo)*inner, (o*c.shape[k]+lo+n)*inner
		if c.dtype.float() {
			out.f = append(out.f, c.f[from:to]...)
		} else {
			out.i = append(out.i, c.i[from:to]...)
			if c.batch != nil {
				out.batch = append(out.batch, c.batch[from:to]...)
			}
		}
	}
	return out
}

func (c *constant) equal(d *constant) bool {
	return slices.EqualFunc(c.f, d.f, func(a, b float32) bool { return a == b || a != a && b != b }) &&
		slices.Equal(c.i, d.i) && slices.Equal(c.batch, d.batch)
}

// reshaped shares the values under another shape.
func (c *constant) reshaped(shape []int) *constant {
	d := *c
	d.shape = shape
	return &d
}

// strides returns the row-major strides of a shape.
func stridesOf(shape []int) []int {
	s := make([]int, len(shape))
	n := 1
	for k := len(shape) - 1; k >= 0; k-- {
		s[k] = n
		n *= shape[k]
	}
	return s
}

// broadcastIndex returns, for every element of shape, the index of the element
// of from that is broadcast to it.
func broadcastIndex(from, shape []int) func(k int) int {
	strides := stridesOf(from)
	skip := len(shape) - len(from)
	return func(k int) int {
		at := 0
		for a := len(shape) - 1; a >= 0; a-- {
			i := k % shape[a]
			k /= shape[a]
			if a >= skip && from[a-skip] != 1 {
				at += i * strides[a-skip]
			}
		}
		return at
	}
}

func broadcastShape(shapes ...[]int) ([]int, error) {
	rank := 0
	for _, s := range shapes {
		rank = max(rank, len(s))
	}
	out := slices.Repeat([]int{1}, rank)
	for _, s := range shapes {
		for k, d := range s {
			at := rank - len(s) + k
			switch {
			case d == out[at] || d == 1:
			case out[at] == 1:
				out[at] = d
			default:
				return nil, fmt.Errorf("shapes %v cannot be broadcast together", shapes)
			}
		}
	}
	return out, nil
}

// known returns all inputs as constants.
func (n *node) known() ([]*constant, error) {
	out := make([]*constant, len(n.in))
	for i := range n.in {
		if n.in[i].missing() {
			return nil, fmt.Errorf("input %d is omitted", i)
		}
		c, err := n.constant(i, "input")
		if err != nil {
			return nil, err
		}
		out[i] = c
	}
	return out, nil
}

func foldUnary(n *node) ([]*constant, error) {
	in, err := n.known()
	if err != nil {
		return nil, err
	}
	c := in[0]
	if c.batch != nil {
		return nil, errBatch
	}
	out, err := n.im.newConstant(c.dtype, c.shape)
	if err != nil {
		return nil, err
	}
	for k, v := range c.i {
		switch n.def.Op {
		case "Neg":
			v = -v
		case "Abs":
			v = max(v, -v)
		case "Not":
			v = 1 - v
		case "Sign":
			v = int64(sign(float64(v)))
		default:
			return nil, fmt.Errorf("%s values: want floats", c.dtype)
		}
		out.i[k] = wrapInt(c.dtype, v)
	}
	for k, v := range c.f {
		x := float64(v)
		switch n.def.Op {
		case "Neg":
			x = -x
		case "Abs":
			x = math.Abs(x)
		case "Exp":
			x = math.Exp(x)
		case "Log":
			x = math.Log(x)
		case "Sqrt":
			x = math.Sqrt(x)
		case "Reciprocal":
			x = 1 / x
		case "Sin":
			x = math.Sin(x)
		case "Cos":
			x = math.Cos(x)
		case "Floor":
			x = math.Floor(x)
		case "Ceil":
			x = math.Ceil(x)
		case "Round":
			x = math.RoundToEven(x)
		case "Sign":
			x = sign(x)
		default:
			return nil, fmt.Errorf("%s values are not supported", c.dtype)
		}
		out.f[k] = float32(x)
	}
	return []*constant{out}, nil
}

func sign(x float64) float64 {
	switch {
	case x > 0:
		return 1
	case x < 0:
		return -1
	}
	return x
}

// comparisons give booleans.
func comparison(op string) bool {
	switch op {
	case "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual":
		return true
	}
	return false
}

func foldBinary(n *node) ([]*constant, error) {
	in, err := n.known()
	if err != nil {
		return nil, err
	}
	_, b, err := n.aligned(value{c: in[0]}, value{c: in[1]})
	if err != nil {
		return nil, err
	}
	c, err := n.im.foldPair(n.def.Op, in[0], b.c, n.int("fmod", 0) == 1)
	return []*constant{c}, err
}

func foldVariadic(n *node) ([]*constant, error) {
	in, err := n.known()
	if err != nil {
		return nil, err
	}
	acc := in[0]
	for _, c := range in[1:] {
		if acc, err = n.im.foldPair(n.def.Op, acc, c, false); err != nil {
			return nil, err
		}
	}
	return []*constant{acc}, nil
}

// foldPair computes an elementwise function of two constants.
func (im *importer) foldPair(op string, a, b *constant, fmod bool) (*constant, error) {
	shape, err := broadcastShape(a.shape, b.shape)
	if err != nil {
		return nil, err
	}
	if a.dtype.float() != b.dtype.float() && op != "Pow" {
		return nil, fmt.Errorf("inputs of types %s and %s, want equal ones", a.dtype, b.dtype)
	}
	d := a.dtype
	if comparison(op) {
		d = boolType
	}
	out, err := im.newConstant(d, shape)
	if err != nil {
		return nil, err
	}
	ia, ib := broadcastIndex(a.shape, shape), broadcastIndex(b.shape, shape)
	count := numel(shape)
	if a.dtype.float() || b.dtype.float() {
		fa, fb := a.floats(), b.floats()
		for k := range count {
			x, y := float64(fa[ia(k)]), float64(fb[ib(k)])
			v, err := floatPair(op, x, y, fmod)
			switch {
			case err != nil:
				return nil, err
			case out.f != nil:
				out.f[k] = float32(v)
			default:
				out.i[k] = wrapInt(d, int64(v))
			}
		}
		return out, nil
	}
	for k := range count {
		j, l := ia(k), ib(k)
		x, y := dim{a: a.i[j]}, dim{a: b.i[l]}
		if a.batch != nil {
			x.n = a.batch[j]
		}
		if b.batch != nil {
			y.n = b.batch[l]
		}
		v, err := intPair(op, x, y, fmod)
		if err != nil {
			return nil, err
		}
		if v.n != 0 && out.batch == nil {
			out.batch = make([]int64, count)
		}
		out.i[k] = wrapInt(d, v.a)
		if v.n != 0 {
			out.batch[k] = v.n
		}
	}
	return out, nil
}

func floatPair(op string, x, y float64, fmod bool) (float64, error) {
	truth := func(b bool) (float64, error) {
		if b {
			return 1, nil
		}
		return 0, nil
	}
	switch op {
	case "Add", "Sum":
		return x + y, nil
	case "Sub":
		return x - y, nil
	case "Mul":
		return x * y, nil
	case "Div":
		return x / y, nil
	case "Pow":
		return math.Pow(x, y), nil
	case "Mod":
		m := math.Mod(x, y)
		if !fmod && m != 0 && (m < 0) != (y < 0) {
			m += y
		}
		return m, nil
	case "Max":
		return math.Max(x, y), nil
	case "Min":
		return math.Min(x, y), nil
	case "Equal":
		return truth(x == y)
	case "Less":
		return truth(x < y)
	case "LessOrEqual":
		return truth(x <= y)
	case "Greater":
		return truth(x > y)
	case "GreaterOrEqual":
		return truth(x >= y)
	}
	return 0, fmt.Errorf("%s of floats is not supported", op)
}

// intPair computes with numbers a + n*N, where it is possible for every N >= 1.
func intPair(op string, x, y dim, fmod bool) (dim, error) {
	flag := func(b bool) (dim, error) {
		if b {
			return dim{a: 1}, nil
		}
		return dim{}, nil
	}
	diff := dim{x.a - y.a, x.n - y.n}
	switch op {
	case "Add", "Sum":
		return dim{x.a + y.a, x.n + y.n}, nil
	case "Sub":
		return diff, nil
	case "Mul":
		switch {
		case y.n == 0:
			return dim{x.a * y.a, x.n * y.a}, nil
		case x.n == 0:
			return dim{x.a * y.a, x.a * y.n}, nil
		}
		return dim{}, errBatch
	case "Div":
		switch {
		case y.n != 0:
			return dim{}, errBatch
		case y.a == 0:
			return dim{}, fmt.Errorf("division by zero")
		case x.n == 0:
			return dim{a: x.a / y.a}, nil
		case x.n%y.a == 0 && x.a%y.a == 0:
			return dim{x.a / y.a, x.n / y.a}, nil
		}
		return dim{}, errBatch
	case "Equal":
		if diff.n == 0 {
			return flag(diff.a == 0)
		}
		// a + n*N = 0 for no N >= 1?
		if diff.a%diff.n != 0 || -diff.a/diff.n < 1 {
			return dim{}, nil
		}
		return dim{}, errBatch
	case "Less", "Greater", "LessOrEqual", "GreaterOrEqual":
		if diff.n > 0 && diff.a+diff.n > 0 { // x > y for every N
			return flag(op[0] == 'G')
		}
		if diff.n < 0 && diff.a+diff.n < 0 {
			return flag(op[0] == 'L')
		}
	case "Max", "Min":
		if diff.n >= 0 && diff.a+diff.n >= 0 { // x >= y for every N
			if op == "Max" {
				return x, nil
			}
			return y, nil
		}
		if diff.n <= 0 && diff.a+diff.n <= 0 {
			if op == "Max" {
				return y, nil
			}
			return x, nil
		}
	}
	if x.n != 0 || y.n != 0 {
		return dim{}, errBatch
	}
	switch op {
	case "Less":
		return flag(x.a < y.a)
	case "LessOrEqual":
		return flag(x.a <= y.a)
	case "Greater":
		return flag(x.a > y.a)
	case "GreaterOrEqual":
		return flag(x.a >= y.a)
	case "And":
		return flag(x.a != 0 && y.a != 0)
	case "Or":
		return flag(x.a != 0 || y.a != 0)
	case "Pow":
		return dim{a: intPow(x.a, y.a)}, nil
	case "Mod":
		if y.a == 0 {
			return dim{}, fmt.Errorf("modulo zero")
		}
		m := x.a % y.a
		if !fmod && m != 0 && (m < 0) != (y.a < 0) {
			m += y.a
		}
		return dim{a: m}, nil
	}
	return dim{}, fmt.Errorf("%s of integers is not supported", op)
}

func intPow(x, y int64) int64 {
	if y < 0 {
		return int64(math.Pow(float64(x), float64(y)))
	}
	r := int64(1)
	for ; y > 0; y >>= 1 {
		if y&1 == 1 {
			r *= x
		}
		x *= x
	}
	return r
}

func foldWhere(n *node) ([]*constant, error) {
	in, err := n.known()
	if err != nil {
		return nil, err
	}
	cond, x, y := in[0], in[1], in[2]
	shape, err := broadcastShape(cond.shape, x.shape, y.shape)
	if err != nil {
		return nil, err
	}
	if cond.batch != nil || cond.dtype.float() || x.dtype.float() != y.dtype.float() {
		return nil, fmt.Errorf("condition of type %s, values of types %s and %s", cond.dtype, x.dtype, y.dtype)
	}
	out, err := n.im.newConstant(x.dtype, shape)
	if err != nil {
		return nil, err
	}
	if x.batch != nil || y.batch != nil {
		out.batch = make([]int64, len(out.i))
	}
	ic, ix, iy := broadcastIndex(cond.shape, shape), broadcastIndex(x.shape, shape), broadcastIndex(y.shape, shape)
	for k := range numel(shape) {
		from, j := x, 0
		if cond.i[ic(k)] != 0 {
			j = ix(k)
		} else {
			from, j = y, iy(k)
		}
		if from.dtype.float() {
			out.f[k] = from.f[j]
			continue
		}
		out.i[k] = from.i[j]
		if from.batch != nil {
			out.batch[k] = from.batch[j]
		}
	}
	return []*constant{out}, nil
}

// cast converts to another type; floats are truncated toward zero.
func (im *importer) cast(c *constant, to dtype) (*constant, error) {
	if to.size() == 0 {
		return nil, fmt.Errorf("cast to %s is not supported: %w", to, fileerr.ErrUnsupported)
	}
	if to.float() == c.dtype.float() && to != boolType {
		d := *c
		d.dtype = to
		if !to.float() {
			d.i = slices.Clone(c.i)
			for k := range d.i {
				d.i[k] = wrapInt(to, d.i[k])
			}
		}
		return &d, nil
	}
	if c.batch != nil {
		return nil, errBatch
	}
	out, err := im.newConstant(to, c.shape)
	if err != nil {
		return nil, err
	}
	for k := range c.numel() {
		switch {
		case to.float():
			out.f[k] = float32(c.i[k])
		case to == boolType && c.dtype.float():
			if c.f[k] != 0 {
				out.i[k] = 1
			}
		case to == boolType:
			out.i[k] = wrapInt(boolType, c.i[k])
		default:
			out.i[k] = wrapInt(to, truncate(float64(c.f[k])))
		}
	}
	return out, nil
}

// truncate converts to an integer, the largest ones for values beyond.
func truncate(x float64) int64 {
	switch {
	case x != x:
		return 0
	case x >= math.MaxInt64:
		return math.MaxInt64
	case x <= math.MinInt64:
		return math.MinInt64
	}
	return int64(x)
}

// maxFoldedMACs bounds the work done while a file is read: a few seconds.
const maxFoldedMACs = 1 << 33

// evaluate computes a node whose inputs are all constants by running the
// operations that it becomes.
func (n *node) evaluate(op *operator) ([]*constant, error) {
	sub := newImporter(n.im.file, n.im.opts, &inputPlan{size: 1})
	sub.folded, sub.macs = n.im.folded, n.im.macs
	sub.name = n.im.name
	m := &node{def: n.def, im: sub, in: n.in}
	if err := op.emit(sub, m); err != nil {
		return nil, err
	}
	out := make([]*constant, len(n.def.Outputs))
	for i, name := range n.def.Outputs {
		x, ok := sub.values[name]
		if name == "" || !ok {
			continue
		}
		if x.v == nil {
			out[i] = x.constant()
			continue
		}
		c, err := sub.compute(x.v)
		if err != nil {
			return nil, err
		}
		out[i] = c
	}
	n.im.folded, n.im.macs = sub.folded, sub.macs
	return out, nil
}

// compute runs the graph for a value that depends on constants only.
func (im *importer) compute(v *view) (*constant, error) {
	if v.hasBatch() {
		return nil, errBatch
	}
	shape := make([]int, v.rank())
	for k := range shape {
		shape[k] = v.size(k)
	}
	out, err := im.newConstant(v.dtype, shape)
	if err != nil {
		return nil, err
	}
	var total int64
	for _, n := range im.graph.Nodes {
		total += int64(n.Shape.Numel()) * 4
		im.macs += n.MACs()
	}
	if im.macs > maxFoldedMACs {
		return nil, fmt.Errorf("computing constants takes more than %d multiplications: %w", int64(maxFoldedMACs), fileerr.ErrUnsupported)
	}
	if total > im.opts.MaxFoldedTotal {
		return nil, fmt.Errorf("computing a constant would take %d bytes: %w", total, fileerr.ErrUnsupported)
	}
	v = im.want(v, v.onnxOrder())
	values, err := runConstant(im.graph, v.node)
	if err != nil {
		return nil, err
	}
	for k, x := range values {
		if v.dtype.float() {
			out.f[k] = x
		} else {
			out.i[k] = wrapInt(v.dtype, truncate(float64(x)))
		}
	}
	return out, nil
}

// runConstant computes a node of a graph without inputs.
func runConstant(g *graph.Graph, n *graph.Node) ([]float32, error) {
	h := graph.New()
	h.Nodes = append(h.Nodes, g.Nodes...)
	in := h.Input("no input\x00", graph.Shape{1})
	h.Outputs = []*graph.Node{n}
	graph.RemoveDead(h)
	return runOnce(h, in)
}
