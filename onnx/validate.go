package onnx

import (
	"container/heap"
	"fmt"
	"slices"
	"strings"

	"github.com/adafire/adafire/internal/fileerr"
)

func formatErrorf(path string, off int64, format string, args ...any) error {
	return fileerr.New(path, off, format, args...)
}

// String is how messages call the node: by its name or its first output.
func (n *NodeDef) String() string {
	name := n.Name
	if name == "" {
		for _, o := range n.Outputs {
			if o != "" {
				name = o
				break
			}
		}
	}
	op := n.Op
	if n.Domain != "" {
		op = n.Domain + "::" + op
	}
	if n.opset == 0 {
		return fmt.Sprintf("node %q (%s)", name, op)
	}
	return fmt.Sprintf("node %q (%s, opset %d)", name, op, n.opset)
}

// reads returns the names that the node reads, those of its sub-graphs that
// come from outside included.
func (n *NodeDef) reads() []string {
	list := n.Inputs
	for _, a := range n.Attributes {
		for _, g := range a.subgraphs() {
			list = append(slices.Clone(list), g.outer()...)
		}
	}
	return list
}

// outer returns the names that a sub-graph reads from outside.
func (g *GraphDef) outer() []string {
	inside := make(map[string]bool)
	for _, t := range g.Initializers {
		inside[t.Name] = true
	}
	for _, v := range g.Inputs {
		inside[v.Name] = true
	}
	for _, n := range g.Nodes {
		for _, o := range n.Outputs {
			inside[o] = true
		}
	}
	var list []string
	add := func(name string) {
		if name != "" && !inside[name] {
			list = append(list, name)
		}
	}
	for _, n := range g.Nodes {
		for _, name := range n.reads() {
			add(name)
		}
	}
	for _, v := range g.Outputs {
		add(v.Name)
	}
	return list
}

// validate checks the names of a graph and sorts its nodes, stably. It says
// whether they were out of order. Outside lists the names known around a
// sub-graph.
func (g *GraphDef) validate(path string, outside func(string) bool) (sorted bool, err error) {
	if g.Sparse > 0 {
		return false, fmt.Errorf("%w: %w", formatErrorf(path, -1, "%d sparse initialisers, which are not supported", g.Sparse), fileerr.ErrUnsupported)
	}
	known := make(map[string]bool, len(g.Initializers)+len(g.Nodes))
	for _, t := range g.Initializers {
		if t.Name == "" {
			return false, formatErrorf(path, t.Offset, "an initialiser has no name")
		}
		if known[t.Name] {
			return false, formatErrorf(path, t.Offset, "initialiser %q occurs twice", t.Name)
		}
		known[t.Name] = true
	}
	inputs := make(map[string]bool, len(g.Inputs))
	for _, v := range g.Inputs {
		if v.Name == "" {
			return false, formatErrorf(path, v.Offset, "a graph input has no name")
		}
		if inputs[v.Name] {
			return false, formatErrorf(path, v.Offset, "graph input %q occurs twice", v.Name)
		}
		inputs[v.Name], known[v.Name] = true, true
	}
	producer := make(map[string]int)
	for i, n := range g.Nodes {
		for _, o := range n.Outputs {
			if o == "" {
				continue
			}
			if j, twice := producer[o]; twice {
				return false, formatErrorf(path, n.Offset, "value %q is produced twice, by %s and %s", o, g.Nodes[j], n)
			}
			if known[o] {
				return false, formatErrorf(path, n.Offset, "value %q is produced by %s and is also an input or initialiser", o, n)
			}
			producer[o] = i
		}
	}
	waits := make([]int, len(g.Nodes))
	readers := make([][]int, len(g.Nodes))
	for i, n := range g.Nodes {
		for _, name := range n.reads() {
			if name == "" || known[name] {
				continue
			}
			j, ok := producer[name]
			if !ok {
				if outside != nil && outside(name) {
					continue
				}
				return false, formatErrorf(path, n.Offset, "%s: input %q is produced by nobody", n, name)
			}
			waits[i]++
			readers[j] = append(readers[j], i)
			sorted = sorted || j >= i
		}
	}
	for _, v := range g.Outputs {
		if _, ok := producer[v.Name]; !ok && !known[v.Name] && (outside == nil || !outside(v.Name)) {
			return false, formatErrorf(path, v.Offset, "graph output %q is produced by nobody", v.Name)
		}
	}
	if len(g.Outputs) == 0 {
		return false, formatErrorf(path, -1, "the graph has no output")
	}
	return sorted, g.sort(path, waits, readers)
}

// sort brings the nodes into topological order; of those that are ready, the
// first in the file comes first.
func (g *GraphDef) sort(path string, waits []int, readers [][]int) error {
	ready := &intHeap{}
	for i, w := range waits {
		if w == 0 {
			heap.Push(ready, i)
		}
	}
	order := make([]*NodeDef, 0, len(g.Nodes))
	for ready.Len() > 0 {
		i := heap.Pop(ready).(int)
		order = append(order, g.Nodes[i])
		for _, r := range readers[i] {
			if waits[r]--; waits[r] == 0 {
				heap.Push(ready, r)
			}
		}
	}
	if len(order) < len(g.Nodes) {
		var names []string
		for i, w := range waits {
			if w > 0 && len(names) < 8 {
				names = append(names, g.Nodes[i].String())
			}
		}
		return formatErrorf(path, -1, "the nodes form a cycle: %s", strings.Join(names, ", "))
	}
	g.Nodes = order
	return nil
}

// intHeap is a minimum heap.
type intHeap struct{ list []int }

func (h *intHeap) Len() int           { return len(h.list) }
func (h *intHeap) Less(i, j int) bool { return h.list[i] < h.list[j] }
func (h *intHeap) Swap(i, j int)      { h.list[i], h.list[j] = h.list[j], h.list[i] }
func (h *intHeap) Push(x any)         { h.list = append(h.list, x.(int)) }
func (h *intHeap) Pop() any {
	x := h.list[len(h.list)-1]
	h.list = h.list[:len(h.list)-1]
	return x
}
