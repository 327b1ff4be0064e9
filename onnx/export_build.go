package onnx

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/atomicfile"
	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/tensor"
)

// What exports write: readable by all runtimes since 2022.
const (
	exportOpset = 17
	exportIR    = 8
	producer    = "AdaFire"
)

// absent wants no file at path.
func absent(path string) error {
	_, err := os.Lstat(path)
	switch {
	case err == nil:
		return &atomicfile.ExistsError{Path: path}
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return err
}

// A layout says how the axes of a value lie in the file.
type layoutKind uint8

const (
	asGraph       layoutKind = iota // in the graph's order, channels last
	channelsFirst                   // the channels, then the other axes
	// permuted is a vector that a flatten made of channels-first values: its
	// features are in the order channels, rows, columns. What reads it permutes its
	// weights.
	permuted
)

// An exval is a value in the file being written.
type exval struct {
	name   string
	shape  graph.Shape // of a sample, channels last
	layout layoutKind
	from   graph.Shape // of what a permuted vector was flattened from
	source string      // the value that was flattened, channels first
	batch  bool        // there is an axis of samples in front; else the value is a constant
}

// rank is the number of axes of a sample.
func (v exval) rank() int { return len(v.shape) }

// axis returns where axis k of the sample lies in the file.
func (v exval) axis(k int) int {
	at := k
	if v.layout == channelsFirst {
		at = (k + 1) % v.rank()
	}
	if v.batch {
		at++
	}
	return at
}

// arrange puts one entry per axis of the sample into the file's order, without
// the samples.
func arrange[E any](v exval, list []E) []E {
	out := make([]E, len(list))
	for k, x := range list {
		at := v.axis(k)
		if v.batch {
			at--
		}
		out[at] = x
	}
	return out
}

// An exscope collects the nodes of one graph: the file's or a loop's body. All
// weights are initialisers of the file's graph.
type exscope struct {
	def   *GraphDef
	known map[string]string // results of nodes that several readers share, such as transpositions
}

// An exporter writes nodes of a network.
type exporter struct {
	main  *exscope
	scope *exscope
	names map[string]bool // of values, in all scopes: subgraphs see outer names
	batch string          // value of one int64: the number of samples; "" until asked for
	input exval
	// suffix ends the names of nodes: timesteps that are written out differ in it.
	suffix string
	stored map[string][]*TensorDef // initialisers by the name that was asked for
	// batchAxis is the axis of samples of the input.
	batchAxis int
}

func newScope(name string) *exscope {
	return &exscope{def: &GraphDef{Name: name}, known: make(map[string]string)}
}

func newExporter(name string) *exporter {
	s := newScope(name)
	return &exporter{main: s, scope: s, names: make(map[string]bool), stored: make(map[string][]*TensorDef)}
}

// unique reserves a name.
func (e *exporter) unique(base string) string {
	base = strings.ToValidUTF8(base, "_")
	if base == "" {
		base = "value"
	}
	if len(base) > maxName/2 {
		base = base[:maxName/2]
	}
	name := base
	for i := 2; e.names[name]; i++ {
		name = fmt.Sprintf("%s_%d", base, i)
	}
	e.names[name] = true
	return name
}

func exInt(name string, v int) *Attribute { return &Attribute{Name: name, Type: attrInt, I: int64(v)} }
func exFloat(name string, v float64) *Attribute {
	return &Attribute{Name: name, Type: attrFloat, F: float32(v)}
}
func exString(name, v string) *Attribute {
	return &Attribute{Name: name, Type: attrString, S: []byte(v)}
}
func exInts(name string, v ...int) *Attribute {
	a := &Attribute{Name: name, Type: attrInts}
	for _, x := range v {
		a.Ints = append(a.Ints, int64(x))
	}
	return a
}

// op adds a node with one output, named after base, and returns the output.
func (e *exporter) op(op, base string, inputs []string, attrs ...*Attribute) string {
	return e.ops(op, base, inputs, []string{e.unique(base + e.suffix)}, attrs...)[0]
}

// ops adds a node with the given outputs.
func (e *exporter) ops(op, name string, inputs, outputs []string, attrs ...*Attribute) []string {
	slices.SortStableFunc(attrs, func(a, b *Attribute) int { return strings.Compare(a.Name, b.Name) })
	e.scope.def.Nodes = append(e.scope.def.Nodes, &NodeDef{Name: outputs[0], Op: op, Inputs: inputs, Outputs: outputs, Attributes: attrs})
	return outputs
}

// known returns the result with the given key in this scope or the file's graph.
func (e *exporter) known(key string) (string, bool) {
	if v, ok := e.scope.known[key]; ok {
		return v, true
	}
	v, ok := e.main.known[key]
	return v, ok
}

// store keeps raw data as an initialiser. Equal ones are one if they are small or
// of the same name, as those of a node in several timesteps are.
func (e *exporter) store(base string, typ dtype, dims []int, raw []byte) string {
	wide := make([]int64, len(dims))
	for i, d := range dims {
		wide[i] = int64(d)
	}
	small := ""
	if len(raw) <= 256 {
		small = fmt.Sprintf("%d %v %s", typ, dims, raw)
		if name, ok := e.main.known[small]; ok {
			return name
		}
	}
	for _, t := range e.stored[base] {
		if t.Type == int32(typ) && slices.Equal(t.Dims, wide) && bytes.Equal(t.raw, raw) {
			return t.Name
		}
	}
	t := NewTensor(e.unique(base), int32(typ), wide, raw)
	e.main.def.Initializers = append(e.main.def.Initializers, t)
	e.stored[base] = append(e.stored[base], t)
	if small != "" {
		e.main.known[small] = t.Name
	}
	return t.Name
}

// floats stores numbers as an initialiser.
func (e *exporter) floats(base string, dims []int, data []float32) string {
	raw := make([]byte, 4*len(data))
	for i, v := range data {
		binary.LittleEndian.PutUint32(raw[4*i:], math.Float32bits(v))
	}
	return e.store(base, float32Type, dims, raw)
}

// number stores one number without axes.
func (e *exporter) number(v float64) string {
	return e.floats("number", nil, []float32{float32(v)})
}

// ints stores whole numbers on one axis; alone, one without axes.
func (e *exporter) ints(base string, v ...int) string {
	return e.intsOf(base, []int{len(v)}, v...)
}

func (e *exporter) intsOf(base string, dims []int, v ...int) string {
	raw := make([]byte, 8*len(v))
	for i, x := range v {
		binary.LittleEndian.PutUint64(raw[8*i:], uint64(int64(x)))
	}
	return e.store(base, int64Type, dims, raw)
}

// fileShape is the shape in the file, without the samples.
func (v exval) fileShape() []int { return arrange(v, []int(v.shape)) }

// declare is the value as an input or output of the graph.
func (v exval) declare(batch string) *ValueDef {
	d := &ValueDef{Name: v.name, Kind: "tensor", Type: int32(float32Type), HasShape: true}
	if v.batch {
		d.Shape = append(d.Shape, DimDef{Value: -1, Param: batch})
	}
	for _, n := range v.fileShape() {
		d.Shape = append(d.Shape, DimDef{Value: int64(n)})
	}
	return d
}

// in returns the value in a layout, transposed if need be.
func (e *exporter) in(v exval, want layoutKind) exval {
	if v.layout == permuted {
		v = e.unflattened(v)
	}
	if v.layout == want || v.rank() == 1 {
		v.layout = asGraph
		if v.rank() > 1 {
			v.layout = want
		}
		return v
	}
	out := v
	out.layout = want
	from := make([]int, v.rank()) // which file axis of v each file axis of out is
	for k := range v.shape {
		at, src := out.axis(k), v.axis(k)
		if v.batch {
			at, src = at-1, src-1
		}
		from[at] = src
	}
	if v.batch {
		for i := range from {
			from[i]++
		}
		from = append([]int{0}, from...)
	}
	key := fmt.Sprintf("transpose %d %s", want, v.name)
	if name, ok := e.known(key); ok {
		out.name = name
		return out
	}
	out.name = e.op("Transpose", v.name+".transposed", []string{v.name}, exInts("perm", from...))
	e.scope.known[key] = out.name
	return out
}

// unflattened gives the features of a vector the graph's order.
func (e *exporter) unflattened(v exval) exval {
	out := exval{shape: v.shape, batch: v.batch}
	key := "ordered " + v.name
	if name, ok := e.known(key); ok {
		out.name = name
		return out
	}
	if v.source != "" {
		src := e.in(exval{name: v.source, shape: v.from, layout: channelsFirst, batch: v.batch}, asGraph)
		out.name = e.op("Flatten", v.name+".ordered", []string{src.name}, exInt("axis", 1))
	} else {
		at := make([]int, v.shape.Numel())
		for i, k := range v.order() {
			at[k] = i
		}
		out.name = e.op("Gather", v.name+".ordered", []string{v.name, e.ints(v.name+".order", at...)}, exInt("axis", flag(v.batch)))
	}
	e.scope.known[key] = out.name
	return out
}

// order lists, for each feature of a permuted vector in the file, its index in
// the graph's order.
func (v exval) order() []int {
	c := v.from.Channels()
	positions := v.from.Positions()
	list := make([]int, 0, c*positions)
	for ch := range c {
		for p := range positions {
			list = append(list, p*c+ch)
		}
	}
	return list
}

// permuteRows gives data, of n values for each feature, the file's order.
func (v exval) permuteRows(data []float32, n int) []float32 {
	if v.layout != permuted {
		return data
	}
	out := make([]float32, len(data))
	for i, k := range v.order() {
		copy(out[i*n:(i+1)*n], data[k*n:(k+1)*n])
	}
	return out
}

// param stores a parameter that broadcasts to the sample so that it broadcasts
// to the value in the file.
func (e *exporter) param(base string, v exval, t *tensor.Tensor) string {
	shape := slices.Clone(t.Shape)
	for len(shape) < v.rank() {
		shape = append([]int{1}, shape...)
	}
	if v.layout == permuted && t.Len() > 1 {
		return e.floats(base, shape, v.permuteRows(t.Data, 1))
	}
	if v.layout != channelsFirst || v.rank() < 2 {
		return e.floats(base, shape, t.Data)
	}
	perm := []int{len(shape) - 1}
	for k := range len(shape) - 1 {
		perm = append(perm, k)
	}
	p, err := (&tensor.Tensor{Shape: shape, Data: t.Data}).Permute(perm...)
	if err != nil {
		panic("onnx: parameter " + base + ": " + err.Error()) // shapes have been inferred
	}
	return e.floats(base, p.Shape, p.Data)
}

// samples returns a value of one int64, the number of samples.
func (e *exporter) samples() string {
	if e.batch == "" {
		e.outside(func() {
			e.batch = e.op("Shape", "samples", []string{e.input.name}, exInt("start", e.batchAxis), exInt("end", e.batchAxis+1))
		})
	}
	return e.batch
}

// outside adds nodes to the file's graph, in front of the loop whose body is being
// written.
func (e *exporter) outside(fn func()) {
	scope, suffix := e.scope, e.suffix
	e.scope, e.suffix = e.main, ""
	fn()
	e.scope, e.suffix = scope, suffix
}

// withBatch gives a constant an axis of samples.
func (e *exporter) withBatch(v exval) exval {
	if v.batch {
		return v
	}
	out := v
	out.batch = true
	dims := []string{e.samples()}
	if v.rank() > 0 {
		dims = append(dims, e.ints(v.name+".shape", v.fileShape()...))
	}
	to := e.op("Concat", v.name+".batched_shape", dims, exInt("axis", 0))
	out.name = e.op("Expand", v.name+".batched", []string{v.name, to})
	return out
}

// refuseExport is the error about a node that has no form in the file.
func refuseExport(n *graph.Node, format string, args ...any) error {
	return fmt.Errorf("node %q (%s): %s: %w", n.Name, n.Kind(), fmt.Sprintf(format, args...), fileerr.ErrUnsupported)
}
