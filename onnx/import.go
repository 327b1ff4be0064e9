// Package onnx reads neural networks in the ONNX format into graphs.
//
//	m, err := onnx.Import("net.onnx", onnx.Options{})
//	ex, err := ann.New(m.Graph, pool)
//	fmt.Print(m.Report)
//
// Opsets 6 to 28 of the default domain are read, from either of PyTorch's
// exporters, with weights in the file or beside it; float16, bfloat16 and double
// weights become float32. The graph is channels last and describes one sample:
// shape arithmetic is computed while the file is read, transpositions and
// reshapes are carried along and become operations only where something needs
// another order (see [Model]).
//
// What cannot be read is an error that names the node; nothing is ignored
// silently. Control flow (but an If with a constant condition), recurrent,
// quantised and custom operators are not supported.
package onnx

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/tensor"
)

// Options are the choices of Import; the zero value is the default.
type Options struct {
	// InputShapes gives the shapes of inputs that the file leaves open, in ONNX's
	// order: all axes, or all but the first (the batch).
	InputShapes map[string][]int
	// AllowNewerOpset reads files of opsets newer than the newest known one if
	// they use known operators only.
	AllowNewerOpset bool
	// KeepPatterns leaves out the rewriting of patterns (package comment of
	// patterns.go), so that every operator of the file is an operation.
	KeepPatterns bool
	// MaxFolded is the most bytes of one value computed while reading, 64 MiB if
	// 0; MaxFoldedTotal that of all together, 1 GiB if 0.
	MaxFolded, MaxFoldedTotal int64
	// MaxExternal is the most bytes read from other files, 64 GiB if 0.
	MaxExternal int64
	// Constants are values for graph inputs: they become initialisers. The keys
	// are the inputs' names. Mainly for tests, as the conformance suite of ONNX
	// hands shapes and weights to its models as inputs.
	Constants map[string]*TensorDef
}

// A Model is an imported network.
//
// Where Batch is 0, the graph is per sample and runs on any number of them; else
// the network mixes the samples of a batch, and the graph's one "sample" is the
// whole batch of that size, with the batch as an axis like others.
type Model struct {
	Graph   *graph.Graph
	Inputs  []Value
	Outputs []Value
	Batch   int
	Opset   int64
	IR      int64

	Producer  string            // who wrote the file
	Metadata  map[string]string // the file's own properties
	Notes     []string          // what a user should know: conversions, warnings
	Operators map[string]int    // nodes of the file by operator, functions inlined
	Report    Report
}

// A Value is an input or output of a model: its name and shape in the file and
// how the graph's node arranges it.
type Value struct {
	Name string
	// Shape is the shape in ONNX's order; -1 is the batch where Model.Batch is 0.
	Shape []int
	// Type is the element type, such as "float" or "int64"; the graph computes
	// all of them in float32.
	Type string
	// Node is the graph's node, or nil if the value is Constant.
	Node *graph.Node
	// Perm maps the axes: axis i of the node's values, the samples being axis 0,
	// is axis Perm[i] of the file's value. Where the file's value has no batch
	// (Model.Batch is not 0, or the value is equal for all samples) axis 0 has
	// no part in it and Perm begins with the next.
	Perm []int
	// Constant holds a value that does not depend on the inputs, in ONNX's order.
	Constant *tensor.Tensor
	// Batched says whether axis Shape == -1 exists.
	Batched bool
}

// Import reads the file at path. Errors are *fileerr.FormatError for damaged
// files (with the offset where there is one), *UnsupportedError, which lists all
// unsupported nodes, or name the node and wrap fileerr.ErrUnsupported.
func Import(path string, opts Options) (*Model, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	f, err := Decode(data, path)
	if err != nil {
		return nil, err
	}
	return importFile(f, filepath.Dir(path), opts)
}

// ImportBytes reads a model from memory; path is its name in messages. A model
// with weights in other files is an error.
func ImportBytes(data []byte, path string, opts Options) (*Model, error) {
	f, err := Decode(data, path)
	if err != nil {
		return nil, err
	}
	return importFile(f, "", opts)
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("no regular file")}
	}
	if info.Size() >= maxProtobuf {
		return nil, fileerr.New(path, -1, "%d bytes, a protobuf file has at most %d", info.Size(), int64(maxProtobuf)-1)
	}
	return os.ReadFile(path)
}

func (o *Options) defaults() {
	if o.MaxFolded == 0 {
		o.MaxFolded = 64 << 20
	}
	if o.MaxFoldedTotal == 0 {
		o.MaxFoldedTotal = 1 << 30
	}
	if o.MaxExternal == 0 {
		o.MaxExternal = 64 << 30
	}
}

// importFile translates a decoded file, whose structure it changes.
func importFile(f *File, dir string, opts Options) (*Model, error) {
	opts.defaults()
	opset, err := checkOpset(f, opts)
	if err != nil {
		return nil, err
	}
	applyConstants(f, opts.Constants)
	if err := inline(f); err != nil {
		return nil, err
	}
	unsorted, err := f.Graph.validate(f.Path, nil)
	if err != nil {
		return nil, err
	}
	if err := checkOperators(f.Path, f.Graph.Nodes); err != nil {
		return nil, err
	}
	ext := &externals{path: f.Path, dir: dir, limit: opts.MaxExternal}
	defer ext.close()
	m := &Model{Opset: opset, IR: f.IRVersion, Producer: strings.TrimSpace(f.Producer + " " + f.ProducerVersion),
		Metadata: make(map[string]string), Operators: make(map[string]int)}
	for _, e := range f.Metadata {
		m.Metadata[e.Key] = e.Value
	}
	for _, n := range f.Graph.Nodes {
		m.Operators[n.Op]++
	}
	if unsorted {
		m.Notes = append(m.Notes, "the nodes were out of order and have been sorted")
	}
	notes, err := loadTensors(f, ext)
	if err != nil {
		return nil, err
	}
	m.Notes = append(m.Notes, notes...)
	p, err := planInputs(f, opts)
	if err != nil {
		return nil, err
	}
	im := newImporter(f, opts, p)
	err = im.run()
	if errors.Is(err, errBatch) && p.batched {
		// Once more, with the batch as an axis like others.
		p.batched = false
		first := err
		im = newImporter(f, opts, p)
		if err = im.run(); err == nil {
			m.Batch = p.size
			m.Notes = append(m.Notes, fmt.Sprintf("%v: the graph takes a whole batch of %d as one sample",
				strings.TrimPrefix(first.Error(), f.Path+": "), p.size))
		}
	}
	if err != nil {
		return nil, err
	}
	return m, im.finish(m)
}

func checkOpset(f *File, opts Options) (int64, error) {
	table, err := opsetTable(f.Path, f.Opsets)
	if err != nil {
		return 0, err
	}
	v, ok := table[""]
	switch {
	case !ok:
		return 0, formatErrorf(f.Path, -1, "no opset_import for the default domain")
	case v < minOpset:
		return 0, fmt.Errorf("%w: %w", formatErrorf(f.Path, -1, "opset %d, opsets %d to %d are read", v, minOpset, maxOpset), fileerr.ErrUnsupported)
	case v > maxOpset && !opts.AllowNewerOpset:
		return 0, fmt.Errorf("%w: %w", formatErrorf(f.Path, -1, "opset %d is newer than %d, the newest one known (a newer one can be allowed)", v, maxOpset), fileerr.ErrUnsupported)
	}
	return v, nil
}

// applyConstants turns inputs into initialisers.
func applyConstants(f *File, constants map[string]*TensorDef) {
	if len(constants) == 0 {
		return
	}
	g := f.Graph
	var rest []*ValueDef
	for _, v := range g.Inputs {
		if t := constants[v.Name]; t != nil {
			c := *t
			c.Name = v.Name
			g.Initializers = append(g.Initializers, &c)
			continue
		}
		rest = append(rest, v)
	}
	g.Inputs = rest
}

// loadTensors checks every stored tensor that the graph uses and reads those
// that lie in other files.
func loadTensors(f *File, ext *externals) ([]string, error) {
	counts := make(map[dtype]int)
	used := f.Graph.used()
	visit := func(t *TensorDef) error {
		if err := ext.load(t); err != nil {
			return err
		}
		if err := t.check(f.Path); err != nil {
			return err
		}
		counts[dtype(t.Type)]++
		return nil
	}
	for _, t := range f.Graph.Initializers {
		if dtype(t.Type).size() == 0 && !used[t.Name] {
			continue
		}
		if err := visit(t); err != nil {
			return nil, err
		}
	}
	if err := visitTensors(f.Graph.Nodes, visit); err != nil {
		return nil, err
	}
	var notes []string
	for _, d := range []dtype{float16Type, bfloat16Type, float64Type} {
		if counts[d] > 0 {
			notes = append(notes, fmt.Sprintf("%d %s tensors are computed in float32", counts[d], d))
		}
	}
	return notes, nil
}

func visitTensors(nodes []*NodeDef, visit func(*TensorDef) error) error {
	for _, n := range nodes {
		for _, a := range n.Attributes {
			if a.T != nil {
				if err := visit(a.T); err != nil {
					return err
				}
			}
			for _, g := range a.subgraphs() {
				for _, t := range g.Initializers {
					if err := visit(t); err != nil {
						return err
					}
				}
				if err := visitTensors(g.Nodes, visit); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// used returns the names that something reads.
func (g *GraphDef) used() map[string]bool {
	used := make(map[string]bool)
	for _, n := range g.Nodes {
		for _, name := range n.reads() {
			used[name] = true
		}
	}
	for _, v := range g.Outputs {
		used[v.Name] = true
	}
	return used
}

// An inputPlan is what is known about the inputs before the graph is read.
type inputPlan struct {
	batched bool // axis 0 of every input is the batch
	open    bool // of any size
	size    int  // of the batch: that of the file, or 1
	inputs  []plannedInput
}

type plannedInput struct {
	name  string
	dtype dtype
	shape []int // axis 0 is the batch's size
}

// planInputs finds the shapes of the data inputs and the batch.
func planInputs(f *File, opts Options) (*inputPlan, error) {
	isInit := make(map[string]bool)
	for _, t := range f.Graph.Initializers {
		isInit[t.Name] = true
	}
	p := &inputPlan{batched: true, size: -1}
	seen := make(map[string]bool)
	for _, v := range f.Graph.Inputs {
		if isInit[v.Name] {
			continue
		}
		seen[v.Name] = true
		fail := func(format string, args ...any) error {
			return formatErrorf(f.Path, v.Offset, "input %q: %s", v.Name, fmt.Sprintf(format, args...))
		}
		if v.Kind != "tensor" {
			return nil, fail("type is %q, want a tensor", v.Kind)
		}
		d := dtype(v.Type)
		if d.size() == 0 {
			return nil, &unsupportedType{fail("elements of type %s are not supported", d)}
		}
		shape, open, err := inputShape(v, opts.InputShapes[v.Name])
		if err != nil {
			return nil, fail("%v", err)
		}
		switch {
		case len(shape) == 0:
			p.batched = false
		case open:
			p.open = true
		case p.size >= 0 && p.size != shape[0]:
			p.batched = false
		default:
			p.size = shape[0]
		}
		p.inputs = append(p.inputs, plannedInput{v.Name, d, shape})
	}
	for name := range opts.InputShapes {
		if !seen[name] {
			return nil, formatErrorf(f.Path, -1, "no input %q to give a shape to", name)
		}
	}
	if p.size < 0 {
		p.size = 1
	} else if p.open { // some inputs with a batch of fixed size, others without
		p.open = false
	}
	for i, in := range p.inputs {
		if len(in.shape) > 0 && in.shape[0] < 0 {
			p.inputs[i].shape[0] = p.size
		}
	}
	if p.size == 0 {
		p.batched = false
	}
	return p, nil
}

// inputShape returns the shape of an input, with -1 for an open batch.
func inputShape(v *ValueDef, given []int) (shape []int, open bool, err error) {
	if !v.HasShape {
		if given == nil {
			return nil, false, errors.New("the file gives no shape: give one")
		}
		return append([]int{-1}, given...), true, nil
	}
	if len(v.Shape) > maxRank {
		return nil, false, fmt.Errorf("%d axes, want at most %d", len(v.Shape), maxRank)
	}
	if given != nil && len(given) != len(v.Shape) && len(given) != len(v.Shape)-1 {
		return nil, false, fmt.Errorf("shape %v given, the file has %d axes", given, len(v.Shape))
	}
	skip := len(v.Shape) - len(given)
	for k, d := range v.Shape {
		size := d.Value
		if d.Param != "" || size < 0 {
			size = -1
		}
		if size > 1<<31 {
			return nil, false, fmt.Errorf("axis %d has size %d", k, size)
		}
		if given != nil && k >= skip {
			g := int64(given[k-skip])
			if g < 1 || g > 1<<31 {
				return nil, false, fmt.Errorf("size %d given for axis %d", g, k)
			}
			if size >= 0 && size != g {
				return nil, false, fmt.Errorf("size %d given for axis %d, the file says %d", g, k, size)
			}
			size = g
		}
		if size < 0 && k > 0 {
			name := d.Param
			if name == "" {
				name = "?"
			}
			return nil, false, fmt.Errorf("axis %d (%s) has no size: give the input's shape", k, name)
		}
		open = open || size < 0
		shape = append(shape, int(size))
	}
	return shape, open, nil
}

// A value is what a name stands for: a stored tensor, a known value or an
// activation. The zero value is an omitted input.
type value struct {
	def *TensorDef
	c   *constant
	v   *view
}

func (x value) missing() bool { return x.def == nil && x.c == nil && x.v == nil }
func (x value) isConst() bool { return x.def != nil || x.c != nil }

// constant returns the values of a known value. Stored tensors are decoded every
// time, as large ones are wanted once.
func (x value) constant() *constant {
	if x.c == nil && x.def != nil {
		return x.def.decode()
	}
	return x.c
}

// shape returns the shape of a known value.
func (x value) shape() []int {
	if x.c != nil {
		return x.c.shape
	}
	s := make([]int, len(x.def.Dims))
	for k, d := range x.def.Dims {
		s[k] = int(d)
	}
	return s
}

// An importer builds the graph, node by node.
type importer struct {
	file   *File
	opts   Options
	plan   *inputPlan
	batch  *atom // nil if the batch is an axis like others
	graph  *graph.Graph
	values map[string]value
	names  map[string]bool
	inputs []Value
	points map[*graph.Node]bool // [P, C] values of three ONNX axes
	folded int64                // bytes of all folded values
	macs   int64                // of constants computed by operations
	name   string               // of the node being read, for its operations
	notes  []string
	out    []output
	lost   int // doubles that overflowed
	class  map[*graph.Node]Class
	depth  int
}

func newImporter(f *File, opts Options, p *inputPlan) *importer {
	im := &importer{file: f, opts: opts, plan: p, graph: graph.New(), values: make(map[string]value), names: make(map[string]bool),
		points: make(map[*graph.Node]bool), class: make(map[*graph.Node]Class)}
	if p.batched {
		im.batch = &atom{batch: true, size: p.size}
		if p.open {
			im.batch.size = 0
		}
	}
	return im
}

// bail carries an error out of the helpers that add operations.
type bail struct{ err error }

func (im *importer) run() error {
	for _, t := range im.file.Graph.Initializers {
		im.values[t.Name] = value{def: t}
	}
	for _, in := range im.plan.inputs {
		if err := im.input(in); err != nil {
			return err
		}
	}
	if err := im.nodes(im.live(im.file.Graph)); err != nil {
		return err
	}
	return im.outputs()
}

// live returns the nodes that an output depends on.
func (im *importer) live(g *GraphDef) []*NodeDef {
	need := make(map[string]bool)
	for _, v := range g.Outputs {
		need[v.Name] = true
	}
	var list []*NodeDef
	for _, n := range slices.Backward(g.Nodes) {
		if slices.ContainsFunc(n.Outputs, func(s string) bool { return s != "" && need[s] }) {
			for _, name := range n.reads() {
				need[name] = true
			}
			list = append(list, n)
		}
	}
	slices.Reverse(list)
	return list
}

// input adds an input node: channels last where the network treats axis 1 as
// channels, else in ONNX's order.
func (im *importer) input(in plannedInput) error {
	v := Value{Name: in.name, Type: in.dtype.String(), Shape: slices.Clone(in.shape)}
	if numel(in.shape) == 0 {
		c := &constant{shape: in.shape, dtype: in.dtype}
		im.values[in.name] = value{c: c}
		v.Constant = &tensor.Tensor{Shape: in.shape}
		im.inputs = append(im.inputs, v)
		return nil
	}
	axes := make([][]*atom, len(in.shape))
	for k, d := range in.shape {
		axes[k] = newAtoms(d)
	}
	if im.batch != nil {
		axes[0] = []*atom{im.batch}
		v.Shape[0], v.Batched = -1, true
	}
	last := im.wantsChannelsLast(in.name, len(in.shape))
	var perm []int
	if im.batch == nil {
		perm = append(perm, 0)
	}
	for k := 1; k < len(axes); k++ {
		if !last || k > 1 {
			perm = append(perm, k)
		}
	}
	if last {
		perm = append(perm, 1)
	}
	if len(axes) == 0 {
		perm = nil
	}
	var shape graph.Shape
	var graphAxes [][]*atom
	for _, k := range perm {
		shape = append(shape, in.shape[k])
		graphAxes = append(graphAxes, axes[k])
	}
	if len(shape) == 0 {
		shape, graphAxes = graph.Shape{1}, [][]*atom{nil}
	}
	if len(shape) > 7 {
		return formatErrorf(im.file.Path, -1, "input %q: %d axes, want at most 7", in.name, len(shape))
	}
	if n, err := tensor.Numel(shape); err != nil || n > 1<<31 {
		return formatErrorf(im.file.Path, -1, "input %q: shape %v is too large", in.name, in.shape)
	}
	node := im.graph.Input(im.unique(in.name), shape)
	node.Shape = shape
	if last && len(in.shape) == 3 {
		im.points[node] = true
	}
	v.Node, v.Perm = node, perm
	im.values[in.name] = value{v: &view{node: node, axes: axes, graph: graphAxes, dtype: in.dtype}}
	im.inputs = append(im.inputs, v)
	return nil
}

// channelOps treat axis 1 as channels and the axes behind it as space.
var channelOps = []string{"Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool",
	"BatchNormalization", "InstanceNormalization", "GroupNormalization", "LRN", "DepthToSpace", "SpaceToDepth", "Resize", "Upsample"}

// passOps keep the axes where they are.
var passOps = []string{"Relu", "Clip", "LeakyRelu", "PRelu", "Sigmoid", "Tanh", "Add", "Sub", "Mul", "Div", "Sum", "Max", "Min", "Concat",
	"Slice", "Split", "Pad", "Identity", "Cast", "Dropout", "Elu", "Neg", "Abs", "Sqrt", "Pow", "HardSigmoid", "HardSwish", "Where"}

// wantsChannelsLast says whether something that treats axis 1 as channels reads
// the value, directly or behind operators that keep the axes.
func (im *importer) wantsChannelsLast(name string, rank int) bool {
	if rank < 3 {
		return false
	}
	reached := map[string]bool{name: true}
	for _, n := range im.file.Graph.Nodes {
		if len(n.Inputs) == 0 || !slices.ContainsFunc(n.Inputs, func(s string) bool { return s != "" && reached[s] }) {
			continue
		}
		if slices.Contains(channelOps, n.Op) && reached[n.Inputs[0]] {
			return true
		}
		if slices.Contains(passOps, n.Op) {
			for _, o := range n.Outputs {
				reached[o] = true
			}
		}
	}
	return false
}

// unique returns a node name near the given one that no node has.
func (im *importer) unique(name string) string {
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\ufffd' {
			return '_'
		}
		return r
	}, name)
	if len(name) > 200 {
		name = name[:200]
	}
	name = strings.ToValidUTF8(name, "_")
	if name == "" {
		name = "node"
	}
	base := name
	for k := 1; im.names[name]; k++ {
		name = fmt.Sprintf("%s#%d", base, k)
	}
	im.names[name] = true
	return name
}

// add appends an operation and infers its shape.
func (im *importer) add(op graph.Op, params graph.Params, inputs ...*graph.Node) *graph.Node {
	shapes := make([]graph.Shape, len(inputs))
	for i, in := range inputs {
		shapes[i] = in.Shape
	}
	shape, err := op.InferShape(shapes, params)
	if err == nil {
		var n int
		if n, err = tensor.Numel(shape); err == nil && (n < 1 || n > 1<<31 || len(shape) > 7) {
			err = fmt.Errorf("shape %v: want 1 to 7 axes and 1 to 2^31 values", []int(shape))
		}
	}
	if err != nil {
		panic(bail{err})
	}
	node := im.graph.Add(im.unique(im.name), op, params, inputs...)
	node.Shape = shape
	return node
}

// nodes reads nodes in order.
func (im *importer) nodes(list []*NodeDef) error {
	for _, def := range list {
		if err := im.node(def); err != nil {
			if errors.Is(err, errBatch) || isFormat(err) {
				return err
			}
			return formatErrorWrap(im.file.Path, def, err)
		}
	}
	return nil
}

func isFormat(err error) bool {
	var fe *fileerr.FormatError
	var ue *UnsupportedError
	return errors.As(err, &fe) || errors.As(err, &ue)
}

// nodeError is an error about a node.
type nodeError struct {
	path string
	node string
	err  error
}

func (e *nodeError) Error() string { return fmt.Sprintf("%s: %s: %v", e.path, e.node, e.err) }
func (e *nodeError) Unwrap() error { return e.err }

func formatErrorWrap(path string, def *NodeDef, err error) error {
	return &nodeError{path, def.String(), err}
}

// node reads one node.
func (im *importer) node(def *NodeDef) (err error) {
	defer func() {
		if r := recover(); r != nil {
			b, ok := r.(bail)
			if !ok {
				panic(r)
			}
			err = b.err
		}
		if errors.Is(err, errBatch) {
			err = formatErrorWrap(im.file.Path, def, err)
		}
	}()
	op := operators[def.Op]
	n := &node{def: def, im: im, in: make([]value, len(def.Inputs))}
	for i, name := range def.Inputs {
		if name != "" {
			n.in[i] = im.values[name]
		}
	}
	for len(n.in) > 0 && n.in[len(n.in)-1].missing() {
		n.in = n.in[:len(n.in)-1]
	}
	im.name = def.label()
	first := len(im.graph.Nodes)
	defer func() { im.rename(n, first) }()
	allConst := true
	for _, x := range n.in {
		allConst = allConst && (x.missing() || x.isConst())
	}
	if allConst && !op.always {
		var out []*constant
		if op.fold != nil {
			out, err = op.fold(n)
		} else {
			out, err = n.evaluate(op)
		}
		if err != nil {
			return err
		}
		for i, c := range out {
			if c != nil {
				n.set(i, value{c: c})
			}
		}
		return n.complete()
	}
	if err := op.emit(im, n); err != nil {
		return err
	}
	return n.complete()
}

// label is a readable name for the node's operation: the module that PyTorch's
// exporter says it comes from, else the node's name, else that of its output.
func (n *NodeDef) label() string {
	for _, e := range n.Metadata {
		if e.Key == "pkg.torch.onnx.name_scopes" {
			// "['', 'layer1', 'layer1.conv1', 'conv2d']": the last one is the node's.
			parts := strings.Split(strings.Trim(e.Value, "[]"), ",")
			if len(parts) >= 2 {
				if s := strings.Trim(strings.TrimSpace(parts[len(parts)-2]), "'\""); s != "" {
					return s
				}
			}
		}
	}
	if name := strings.TrimPrefix(n.Name, "/"); name != "" {
		return name
	}
	for _, o := range n.Outputs {
		if o != "" {
			return o
		}
	}
	return n.Op
}

// rename gives the operation that computes a node's first output the node's
// name, and the others, added from number first on, names that say what they
// are.
func (im *importer) rename(n *node, first int) {
	added := im.graph.Nodes[first:]
	if len(added) < 2 || len(n.def.Outputs) == 0 {
		return
	}
	v := im.values[n.def.Outputs[0]].v
	if v == nil || !slices.Contains(added, v.node) {
		return
	}
	for _, a := range added {
		delete(im.names, a.Name)
	}
	v.node.Name = im.unique(im.name)
	for _, a := range added {
		if a != v.node {
			a.Name = im.unique(im.name + "/" + a.Kind())
		}
	}
}

// complete checks that every wanted output is there.
func (n *node) complete() error {
	for i, o := range n.def.Outputs {
		if o == "" {
			continue
		}
		if _, ok := n.im.values[o]; !ok {
			return fmt.Errorf("output %d (%q) is not supported: %w", i, o, fileerr.ErrUnsupported)
		}
	}
	return nil
}

// A node is a NodeDef with what its inputs stand for.
type node struct {
	def *NodeDef
	im  *importer
	in  []value
}

func (n *node) opset() int64 { return n.def.opset }

// input returns input i, or an omitted one.
func (n *node) input(i int) value {
	if i < len(n.in) {
		return n.in[i]
	}
	return value{}
}

// set gives output i its value.
func (n *node) set(i int, x value) {
	if i < len(n.def.Outputs) && n.def.Outputs[i] != "" {
		n.im.values[n.def.Outputs[i]] = x
	}
}

func (n *node) setView(i int, v *view) { n.set(i, value{v: v}) }

// wants says whether output i is read.
func (n *node) wants(i int) bool { return i < len(n.def.Outputs) && n.def.Outputs[i] != "" }

func (n *node) attr(name string) *Attribute {
	for _, a := range n.def.Attributes {
		if a.Name == name {
			return a
		}
	}
	return nil
}

func (n *node) has(name string) bool { return n.attr(name) != nil }

func (n *node) int(name string, def int64) int64 {
	if a := n.attr(name); a != nil {
		return a.I
	}
	return def
}

func (n *node) float(name string, def float64) float64 {
	if a := n.attr(name); a != nil {
		return float64(a.F)
	}
	return def
}

func (n *node) str(name, def string) string {
	if a := n.attr(name); a != nil {
		return string(a.S)
	}
	return def
}

// flag returns an integer attribute that must be 0 or 1.
func (n *node) flag(name string, def bool) (bool, error) {
	a := n.attr(name)
	if a == nil {
		return def, nil
	}
	if a.I != 0 && a.I != 1 {
		return false, fmt.Errorf("%s is %d, want 0 or 1", name, a.I)
	}
	return a.I == 1, nil
}

// choice returns a string attribute that must be one of a list.
func (n *node) choice(name, def string, allowed ...string) (string, error) {
	s := n.str(name, def)
	if !slices.Contains(allowed, s) {
		return "", fmt.Errorf("%s is %q, want one of %v", name, s, allowed)
	}
	return s, nil
}

// view returns input i as an activation; a known value becomes a constant of the
// graph.
func (n *node) view(i int) (*view, error) {
	x := n.input(i)
	if x.missing() {
		return nil, fmt.Errorf("input %d is omitted", i)
	}
	return n.im.asView(x)
}

func (im *importer) asView(x value) (*view, error) {
	if x.v != nil {
		return x.v, nil
	}
	return im.constView(x.constant())
}

// constView adds a constant to the graph, in ONNX's order.
func (im *importer) constView(c *constant) (*view, error) {
	t, err := c.tensor()
	if err != nil {
		return nil, err
	}
	if len(t.Data) == 0 {
		return nil, fmt.Errorf("a constant of shape %v has no values", c.shape)
	}
	v := &view{dtype: c.dtype}
	for _, d := range c.shape {
		v.axes = append(v.axes, newAtoms(d))
	}
	v.graph = slices.Clone(v.axes)
	if len(v.graph) == 0 {
		v.graph = [][]*atom{nil}
	}
	if len(t.Shape) > 7 {
		t.Shape = []int{len(t.Data)}
		v.graph = [][]*atom{slices.Concat(v.axes...)}
	}
	v.node = im.add(&graph.Constant{}, graph.Params{"value": t})
	return v, nil
}

// tensor returns the values as float32, in ONNX's order, with at least one axis.
func (c *constant) tensor() (*tensor.Tensor, error) {
	if c.batch != nil {
		return nil, errBatch
	}
	shape := slices.Clone(c.shape)
	if len(shape) == 0 {
		shape = []int{1}
	}
	return &tensor.Tensor{Shape: shape, Data: c.floats()}, nil
}

// floats returns the values as float32; the caller must not write into them.
func (c *constant) floats() []float32 {
	if c.dtype.float() {
		return c.f
	}
	f := make([]float32, len(c.i))
	for k, v := range c.i {
		f[k] = float32(v)
	}
	return f
}

// constant returns input i, which must be known.
func (n *node) constant(i int, what string) (*constant, error) {
	x := n.input(i)
	if !x.isConst() {
		return nil, fmt.Errorf("%s is not constant: %w", what, fileerr.ErrUnsupported)
	}
	c := x.constant()
	if c.overflow > 0 {
		n.im.lost += c.overflow
	}
	return c, nil
}

// ints returns input i, a known vector or scalar of integers.
func (n *node) ints(i int, what string) ([]int64, error) {
	c, err := n.constant(i, what)
	if err != nil {
		return nil, err
	}
	if c.batch != nil {
		return nil, errBatch
	}
	if c.dtype.float() || len(c.shape) > 1 {
		return nil, fmt.Errorf("%s has type %s and shape %v, want a vector of integers", what, c.dtype, c.shape)
	}
	return c.i, nil
}

// intsOrAttr returns integers that were an attribute before opset from and an
// input since; nil if they are missing.
func (n *node) intsOrAttr(name string, i int, from int64) ([]int64, error) {
	if n.opset() < from {
		if a := n.attr(name); a != nil {
			return a.Ints, nil
		}
		return nil, nil
	}
	if n.input(i).missing() {
		return nil, nil
	}
	list, err := n.ints(i, name)
	if list == nil && err == nil {
		list = []int64{}
	}
	return list, err
}

// axis normalises an axis that counts from the end if it is negative.
func axis(a int64, rank int) (int, error) {
	if a < -int64(rank) || a >= int64(rank) {
		return 0, fmt.Errorf("axis %d of %d axes", a, rank)
	}
	if a < 0 {
		a += int64(rank)
	}
	return int(a), nil
}

// axes normalises a list of distinct axes and sorts it.
func axesOf(list []int64, rank int) ([]int, error) {
	var out []int
	for _, a := range list {
		k, err := axis(a, rank)
		if err != nil {
			return nil, err
		}
		if slices.Contains(out, k) {
			return nil, fmt.Errorf("axis %d twice in %v", k, list)
		}
		out = append(out, k)
	}
	slices.Sort(out)
	return out, nil
}
