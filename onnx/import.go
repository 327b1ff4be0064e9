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
	// KeepPatterns leaves the file's operators as they are, instead of joining what
	// exporters take apart (LayerNorm, GELU, attention, numbers per channel, ...)
	// into single operations. Both compute the same up to rounding.
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
		if n, err = tensor.Numel(shape); err == nil && (n < 1 || n > 1<<31 || len(shape) > maxRank) {
			err = fmt.Errorf("shape %v: want 1 to %d axes and 1 to 2^31 values", []int(shape), maxRank)
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
