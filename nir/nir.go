// Package nir writes and reads the Neuromorphic Intermediate Representation, the
// exchange format of simulators and neuromorphic chips.
//
//	report, err := nir.Export("net.nir", &nir.Network{Graph: g, SNN: cfg}, nir.Options{})
//	file, err := nir.Read("net.nir")         // nodes, edges, type check
//	imported, err := nir.Import("net.nir")   // a graph and its neurons
//	findings, err := nir.Check(file.Graph, "sinabs")
//
// A file holds a graph of typed nodes whose edges add up (nir-python 1.x). NIR
// describes neurons in continuous time and knows neither bursts nor reset by
// subtraction. The portable profile therefore writes integrate-and-fire nodes
// that every simulator loads, with our semantics in metadata; the exact profile
// spells the burst neuron out in primitives. Import restores files of this
// package bit for bit, and reads feed-forward graphs of others. Simulate runs a
// graph step by step, as AdaFire or as a simulator without bursts does.
//
// What NIR cannot say (max pooling, transposed convolutions, resizing, products)
// is refused with the node's name; nothing is approximated.
package nir

import (
	"fmt"
	"maps"
	"slices"

	"github.com/adafire/adafire/internal/fileerr"
)

// A File is what a NIR file holds.
type File struct {
	Path    string
	Version string // of the writer
	Graph   *Graph
}

// A Graph is a set of named nodes and the edges between them. Several edges
// into one node add up.
type Graph struct {
	Nodes    map[string]*Node
	Edges    [][2]string // source, target
	Metadata Metadata
}

// A Node is a computational unit. Its fields depend on its type.
type Node struct {
	Name string
	Type string // such as "Conv2d"
	// Arrays are the parameters, with the shapes of PyTorch.
	Arrays map[string]*Array
	// Ints are shapes, strides and the like.
	Ints map[string][]int
	// Padding is "same" or "valid" for a convolution that says so, else "".
	Padding  string
	Sub      *Graph // of a NIRGraph node
	Metadata Metadata
	// scalar tells which of Ints were scalars in the file.
	scalar map[string]bool
}

// An Array holds numbers, the last axis running fastest. No shape is a scalar.
type Array struct {
	Shape []int
	Data  []float32
}

// Metadata is free information beside a node or a graph: values are string,
// int64, float64, []int64, *Array, []string or Metadata.
type Metadata map[string]any

// Names returns the names of the nodes, sorted.
func (g *Graph) Names() []string { return slices.Sorted(maps.Keys(g.Nodes)) }

// A fieldKind says how a field of a node is stored.
type fieldKind uint8

const (
	floats   fieldKind = iota
	ints               // one or two integers, or a shape
	pads               // ints, or one of the strings "same" and "valid"
	optional fieldKind = 1 << 4
)

type field struct {
	name string
	kind fieldKind
}

// fields lists what nodes of every type hold (nir.md 2).
var fields = map[string][]field{
	"Input":     {{"shape", ints}},
	"Output":    {{"shape", ints}},
	"Affine":    {{"weight", floats}, {"bias", floats}},
	"Linear":    {{"weight", floats}},
	"Scale":     {{"scale", floats}},
	"Conv1d":    {{"input_shape", ints}, {"weight", floats}, {"bias", floats}, {"stride", ints}, {"padding", pads}, {"dilation", ints}, {"groups", ints}},
	"Conv2d":    {{"input_shape", ints}, {"weight", floats}, {"bias", floats}, {"stride", ints}, {"padding", pads}, {"dilation", ints}, {"groups", ints}},
	"SumPool2d": {{"kernel_size", ints}, {"stride", ints}, {"padding", ints}},
	"AvgPool2d": {{"kernel_size", ints}, {"stride", ints}, {"padding", ints}},
	"Flatten":   {{"input_type", ints | optional}, {"start_dim", ints}, {"end_dim", ints}},
	"I":         {{"r", floats}},
	"IF":        {{"r", floats}, {"v_threshold", floats}, {"v_reset", floats | optional}},
	"LI":        {{"tau", floats}, {"r", floats}, {"v_leak", floats}},
	"LIF":       {{"tau", floats}, {"r", floats}, {"v_leak", floats}, {"v_threshold", floats}, {"v_reset", floats | optional}},
	"CubaLI":    {{"tau_syn", floats}, {"tau_mem", floats}, {"r", floats}, {"v_leak", floats}, {"w_in", floats}},
	"CubaLIF":   {{"tau_syn", floats}, {"tau_mem", floats}, {"r", floats}, {"v_leak", floats}, {"w_in", floats}, {"v_threshold", floats}, {"v_reset", floats | optional}},
	"Threshold": {{"threshold", floats}},
	"Delay":     {{"delay", floats}},
	"NIRGraph":  {},
}

// Types returns the types of nodes that can be read, sorted.
func Types() []string { return slices.Sorted(maps.Keys(fields)) }

// elementwise says whether nodes of a type have parameters of the shape of
// their input and output.
func elementwise(kind string) bool {
	switch kind {
	case "Scale", "I", "IF", "LI", "LIF", "CubaLI", "CubaLIF", "Threshold", "Delay":
		return true
	}
	return false
}

// shape returns the shape of an element-wise node.
func (n *Node) shape() []int { return n.Arrays[fields[n.Type][0].name].Shape }

// refusal is an error about a node that is valid but cannot be handled.
func refusal(node, kind, format string, args ...any) error {
	return fmt.Errorf("node %q (%s): %s: %w", node, kind, fmt.Sprintf(format, args...), fileerr.ErrUnsupported)
}
