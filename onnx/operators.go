package onnx

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/adafire/adafire/internal/fileerr"
)

// The opsets of the default domain that are read.
const (
	minOpset = 6
	maxOpset = 28
)

// A Class says what becomes of an operator in a spiking network.
type Class byte

// The classes.
const (
	Convertible Class = 'C' // has a spiking rule
	Executes    Class = 'E' // runs in the ANN, has no spiking rule
	Tail        Class = 'T' // has none either, but is fine behind the last spiking layer
	Folded      Class = 'F' // is computed while the model is read
)

// String returns the letter.
func (c Class) String() string { return string(c) }

// An operator is what we know about one operator of the default domain.
type operator struct {
	name   string
	class  Class
	min    int // inputs
	max    int // inputs, -1 for any number
	outs   int // outputs, -1 for any number
	attrs  map[string]attrSpec
	emit   func(*importer, *node) error          // for activations
	fold   func(*node) ([]*constant, error)      // for constants; nil: run emit's operations
	always bool                                  // emit also if all inputs are constants
	pre    func(path string, def *NodeDef) error // refuses what can be refused without shapes
}

// An attrSpec is the type of an attribute and the opsets that have it.
type attrSpec struct {
	typ      int32
	from, to int64
}

var attrTypes = map[string]int32{"f": attrFloat, "i": attrInt, "s": attrString, "t": attrTensor, "g": attrGraph,
	"fs": attrFloats, "is": attrInts, "ss": attrStrings}

// parseAttrs reads "name:type" or "name:type@from-to", separated by blanks.
func parseAttrs(text string) map[string]attrSpec {
	specs := make(map[string]attrSpec)
	for _, word := range strings.Fields(text) {
		name, rest, _ := strings.Cut(word, ":")
		typ, span, limited := strings.Cut(rest, "@")
		s := attrSpec{typ: attrTypes[typ], from: 1, to: 1 << 30}
		if s.typ == 0 {
			panic("onnx: attribute type of " + word)
		}
		if limited {
			from, to, both := strings.Cut(span, "-")
			if from != "" {
				s.from = number(from)
			}
			if both {
				s.to = number(to)
			}
		}
		specs[name] = s
	}
	return specs
}

func number(s string) int64 {
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		panic("onnx: opset " + s)
	}
	return v
}

// operators holds every operator that is read, by name.
var operators = map[string]*operator{}

func define(class Class, min, max, outs int, attrs string, emit func(*importer, *node) error, fold func(*node) ([]*constant, error), names ...string) {
	for _, name := range names {
		if operators[name] != nil {
			panic("onnx: operator " + name + " twice")
		}
		operators[name] = &operator{name: name, class: class, min: min, max: max, outs: outs, attrs: parseAttrs(attrs), emit: emit, fold: fold}
	}
}

// Operators returns the names of the operators that are read, sorted.
func Operators() []string { return slices.Sorted(maps.Keys(operators)) }

// An UnsupportedError lists everything in a model that cannot be read.
type UnsupportedError struct {
	Path  string
	Nodes []string // one sentence per node
}

// Error returns the first node, or all of them on lines of their own.
func (e *UnsupportedError) Error() string {
	if len(e.Nodes) == 1 {
		return fmt.Sprintf("%s: %s", e.Path, e.Nodes[0])
	}
	const most = 40
	list := e.Nodes
	more := ""
	if len(list) > most {
		more = fmt.Sprintf("\n  and %d more", len(list)-most)
		list = list[:most]
	}
	return fmt.Sprintf("%s: %d nodes cannot be read:\n  %s%s", e.Path, len(e.Nodes), strings.Join(list, "\n  "), more)
}

// Unwrap returns fileerr.ErrUnsupported.
func (e *UnsupportedError) Unwrap() error { return fileerr.ErrUnsupported }

// refuse says why an operator that we do not know is not read.
func refuse(n *NodeDef) string {
	switch {
	case n.Domain != "":
		return fmt.Sprintf("%s: operators of domain %q are not supported", n, n.Domain)
	case strings.Contains(n.Op, "Quantize") || strings.HasPrefix(n.Op, "QLinear") || strings.HasSuffix(n.Op, "Integer"):
		return fmt.Sprintf("%s: quantised models are not supported: export the float model", n)
	case n.Op == "Loop" || n.Op == "Scan":
		return fmt.Sprintf("%s: control flow is not supported", n)
	case n.Op == "RNN" || n.Op == "GRU" || n.Op == "LSTM":
		return fmt.Sprintf("%s: recurrent operators are not supported", n)
	}
	return fmt.Sprintf("%s: operator is not supported", n)
}

// checkOperators refuses unknown operators, all of them in one error, and
// malformed uses of known ones.
func checkOperators(path string, nodes []*NodeDef) error {
	var unsupported []string
	var walk func(nodes []*NodeDef) error
	walk = func(nodes []*NodeDef) error {
		for _, n := range nodes {
			op := operators[n.Op]
			if op == nil || n.Domain != "" {
				unsupported = append(unsupported, refuse(n))
				continue
			}
			if err := op.check(path, n); err != nil {
				return err
			}
			for _, a := range n.Attributes {
				for _, g := range a.subgraphs() {
					if err := walk(g.Nodes); err != nil {
						return err
					}
				}
			}
		}
		return nil
	}
	if err := walk(nodes); err != nil {
		return err
	}
	if unsupported != nil {
		return &UnsupportedError{Path: path, Nodes: unsupported}
	}
	return nil
}

// check verifies the number of inputs and outputs and the attributes.
func (op *operator) check(path string, n *NodeDef) error {
	fail := func(format string, args ...any) error {
		return formatErrorf(path, n.Offset, "%s: %s", n, fmt.Sprintf(format, args...))
	}
	given := len(n.Inputs)
	for given > 0 && n.Inputs[given-1] == "" {
		given--
	}
	if given < op.min || op.max >= 0 && given > op.max {
		if op.max < 0 {
			return fail("%d inputs, want at least %d", given, op.min)
		}
		return fail("%d inputs, want %d to %d", given, op.min, op.max)
	}
	needed := op.min
	if op.max < 0 { // any number, but all of them
		needed = given
	}
	for i := range needed {
		if n.Inputs[i] == "" {
			return fail("input %d is omitted", i)
		}
	}
	if op.outs >= 0 && len(n.Outputs) > op.outs {
		return fail("%d outputs, want at most %d", len(n.Outputs), op.outs)
	}
	if len(n.Outputs) == 0 {
		return fail("no outputs")
	}
	seen := make(map[string]bool)
	for _, a := range n.Attributes {
		spec, ok := op.attrs[a.Name]
		switch {
		case seen[a.Name]:
			return fail("attribute %q twice", a.Name)
		case !ok || n.opset < spec.from || n.opset > spec.to:
			return fail("unknown attribute %q", a.Name)
		case a.Ref != "":
			return fail("attribute %q refers to %q outside of a function", a.Name, a.Ref)
		case a.Type != spec.typ:
			return fail("attribute %q has type %s, want %s", a.Name, attrTypeName(a.Type), attrTypeName(spec.typ))
		}
		seen[a.Name] = true
	}
	if op.pre != nil {
		return op.pre(path, n)
	}
	return nil
}
