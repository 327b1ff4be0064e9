package onnx

import (
	"fmt"
	"slices"
	"strings"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/snn"
)

// A Report says what conversion to a spiking network will do with the nodes of
// an imported graph.
type Report struct {
	Nodes []Classified // in graph order, inputs and constants left out
	// Layers is the number of activations that become layers of neurons, one or two
	// each.
	Layers int
}

// Convertible says whether the network converts: there is an activation, and
// nothing stands in the way.
func (r Report) Convertible() bool { return r.Layers > 0 && len(r.Blocking()) == 0 }

// A Classified is a node of the graph with its class.
type Classified struct {
	Name  string
	Kind  string
	Class Class
	// Between says that the node stands in the way of conversion: it has no
	// spiking rule and lies between layers that become spiking, or spiking networks
	// cannot run it anywhere.
	Between bool
}

// Blocking returns the nodes that stand in the way of conversion.
func (r Report) Blocking() []Classified {
	var list []Classified
	for _, c := range r.Nodes {
		if c.Between {
			list = append(list, c)
		}
	}
	return list
}

// String returns a table of the counts and the list of blocking nodes.
func (r Report) String() string {
	count := make(map[Class]int)
	for _, c := range r.Nodes {
		count[c.Class]++
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d nodes: %d convertible, %d run in the ANN only, %d fine behind the last spiking layer\n",
		len(r.Nodes), count[Convertible], count[Executes], count[Tail])
	if r.Layers == 0 {
		b.WriteString("there is no activation that spiking neurons could replace\n")
	}
	blocking := r.Blocking()
	if len(blocking) == 0 {
		return b.String()
	}
	fmt.Fprintf(&b, "%d of them have no spiking rule and stand in the way of conversion:\n", len(blocking))
	for _, c := range blocking {
		fmt.Fprintf(&b, "  %s (%s)\n", c.Name, c.Kind)
	}
	return b.String()
}

// classify follows algorithms.md 1.6: the rules are those of package snn.
func classify(g *graph.Graph) Report {
	// A node has a spiking layer behind it if an activation depends on it.
	behind := make(map[*graph.Node]bool)
	for i := len(g.Nodes) - 1; i >= 0; i-- {
		n := g.Nodes[i]
		if behind[n] || graph.BecomesNeurons(n) {
			for _, in := range n.Inputs {
				behind[in] = true
			}
		}
	}
	varies := make(map[*graph.Node]bool) // an activation lies before it
	var r Report
	for _, n := range g.Nodes {
		neurons := graph.BecomesNeurons(n)
		if neurons {
			r.Layers++
		}
		before := slices.ContainsFunc(n.Inputs, func(in *graph.Node) bool { return varies[in] })
		varies[n] = before || neurons
		switch n.Op.(type) {
		case *graph.Input, *graph.Constant:
			continue
		}
		c := Classified{Name: n.Name, Kind: n.Kind(), Class: Convertible}
		if !snn.Convertible(n, func(in *graph.Node) bool { return varies[in] }) {
			c.Class = Tail
			if behind[n] {
				c.Class = Executes
				c.Between = before
			}
			if !snn.Evaluates(n) {
				c.Class, c.Between = Executes, true
			}
		}
		r.Nodes = append(r.Nodes, c)
	}
	return r
}
