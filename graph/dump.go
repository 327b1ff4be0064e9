package graph

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Dump writes the network as a table for people: one line per node with its
// inputs, attributes, output shape, parameters and multiply-accumulates. The
// shapes must have been inferred.
func (g *Graph) Dump(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "node\top\tinputs\toutput\tparameters\tMACs\tattributes")
	for _, n := range g.Nodes {
		inputs := make([]string, len(n.Inputs))
		for i, in := range n.Inputs {
			inputs[i] = in.Name
		}
		parameters := 0
		for role, p := range n.Params {
			if Trainable(role) {
				parameters += p.Len()
			}
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%d\t%s\n", n.Name, n.Kind(),
			strings.Join(inputs, ", "), n.Shape, parameters, n.MACs(), attrText(n.Op))
	}
	fmt.Fprintf(t, "total\t\t\t\t%d\t%d\t\n", g.Parameters(), g.MACs())
	return t.Flush()
}

// String writes the shape as HxWxC.
func (s Shape) String() string {
	parts := make([]string, len(s))
	for i, d := range s {
		parts[i] = fmt.Sprint(d)
	}
	return strings.Join(parts, "x")
}

// attrText is the JSON of the attributes without its punctuation.
func attrText(op Op) string {
	if _, ok := op.(*Input); ok {
		return ""
	}
	b, err := json.Marshal(op)
	if err != nil {
		return err.Error()
	}
	return strings.NewReplacer(`"`, "", "{", "", "}", "").Replace(string(b))
}

// Graphviz writes the network in the DOT language:
//
//	adafire inspect --dot net.safetensors | dot -Tsvg > net.svg
func (g *Graph) Graphviz(w io.Writer) error {
	var b strings.Builder
	b.WriteString("digraph network {\n  rankdir=TB;\n  node [shape=box, style=\"rounded,filled\", fontname=\"Helvetica\"];\n")
	for _, n := range g.Nodes {
		fill := "#f4f4f4"
		switch {
		case IsActivation(n):
			fill = "#ffd9a0"
		case n.Weight() != nil:
			fill = "#cfe4ff"
		case isMaxPool(n):
			fill = "#d8f0d0"
		}
		fmt.Fprintf(&b, "  %s [label=%s, fillcolor=%q];\n", quoteDOT(n.Name),
			quoteDOT(n.Name+"\n"+n.Kind()+"\n"+n.Shape.String()), fill)
		for _, in := range n.Inputs {
			fmt.Fprintf(&b, "  %s -> %s;\n", quoteDOT(in.Name), quoteDOT(n.Name))
		}
	}
	for i, n := range g.Outputs {
		name := fmt.Sprintf("output %d", i)
		fmt.Fprintf(&b, "  %s [shape=ellipse, fillcolor=white];\n  %s -> %s;\n", quoteDOT(name), quoteDOT(n.Name), quoteDOT(name))
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func quoteDOT(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}
