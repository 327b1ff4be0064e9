package graph

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/adafire/adafire/tensor"
)

// Schema is the version of the JSON form this package writes and reads.
const Schema = 1

type graphJSON struct {
	Schema  int         `json:"schema"`
	Inputs  []inputJSON `json:"inputs"`
	Outputs []string    `json:"outputs"`
	Nodes   []nodeJSON  `json:"nodes"`
}

type inputJSON struct {
	Name  string `json:"name"`
	Shape Shape  `json:"shape"`
}

type nodeJSON struct {
	Name  string            `json:"name"`
	Op    string            `json:"op"`
	In    []string          `json:"in"`
	Attr  json.RawMessage   `json:"attr,omitempty"`
	Param map[string]string `json:"param,omitempty"`
}

// ParamName is the name under which a node's parameter is stored beside the
// JSON form.
func ParamName(node, role string) string { return node + "." + role }

// MarshalJSON writes the structure: nodes with all their attributes, and for
// each parameter the name of its tensor (ParamName). Equal graphs give equal
// bytes. The parameters' values are not part of it.
func (g *Graph) MarshalJSON() ([]byte, error) {
	out := graphJSON{Schema: Schema, Inputs: []inputJSON{}, Outputs: []string{}, Nodes: []nodeJSON{}}
	for _, n := range g.Nodes {
		if in, ok := n.Op.(*Input); ok {
			out.Inputs = append(out.Inputs, inputJSON{n.Name, in.Shape})
			continue
		}
		node := nodeJSON{Name: n.Name, Op: n.Kind(), In: []string{}}
		for _, in := range n.Inputs {
			node.In = append(node.In, in.Name)
		}
		attr, err := json.Marshal(n.Op)
		if err != nil {
			return nil, fmt.Errorf("node %q: %w", n.Name, err)
		}
		if !bytes.Equal(attr, []byte("{}")) {
			node.Attr = attr
		}
		for role := range n.Params {
			if node.Param == nil {
				node.Param = make(map[string]string)
			}
			node.Param[role] = ParamName(n.Name, role)
		}
		out.Nodes = append(out.Nodes, node)
	}
	for _, n := range g.Outputs {
		out.Outputs = append(out.Outputs, n.Name)
	}
	return json.Marshal(out)
}

// ParseJSON reads the form that MarshalJSON writes; param delivers the tensors
// by name. Unknown members, operations, attributes and parameters, missing
// attributes, and anything that Infer refuses are errors.
func ParseJSON(data []byte, param func(name string) (*tensor.Tensor, error)) (*Graph, error) {
	var in graphJSON
	if err := strictJSON(data, &in); err != nil {
		return nil, fmt.Errorf("graph JSON: %w", err)
	}
	if in.Schema != Schema {
		return nil, fmt.Errorf("graph JSON has schema %d, this version reads %d: %w", in.Schema, Schema, ErrInvalid)
	}
	g := New()
	byName := make(map[string]*Node, len(in.Nodes))
	for _, i := range in.Inputs {
		byName[i.Name] = g.Input(i.Name, i.Shape)
	}
	for _, j := range in.Nodes {
		n, err := parseNode(j, byName, param)
		if err != nil {
			return nil, fmt.Errorf("node %q (%s): %w", j.Name, j.Op, err)
		}
		if byName[j.Name] != nil {
			return nil, fmt.Errorf("node %q: name used twice: %w", j.Name, ErrInvalid)
		}
		byName[j.Name] = n
		g.Nodes = append(g.Nodes, n)
	}
	for _, name := range in.Outputs {
		n := byName[name]
		if n == nil {
			return nil, fmt.Errorf("output %q is no node: %w", name, ErrInvalid)
		}
		g.Outputs = append(g.Outputs, n)
	}
	return g, g.Infer()
}

func parseNode(j nodeJSON, byName map[string]*Node, param func(string) (*tensor.Tensor, error)) (*Node, error) {
	make1 := kinds[j.Op]
	if make1 == nil || j.Op == "input" {
		return nil, fmt.Errorf("unknown operation: %w", ErrInvalid)
	}
	n := &Node{Name: j.Name, Op: make1()}
	if err := parseAttr(j.Attr, n.Op); err != nil {
		return nil, err
	}
	for _, name := range j.In {
		in := byName[name]
		if in == nil {
			return nil, fmt.Errorf("input %q is no earlier node: %w", name, ErrInvalid)
		}
		n.Inputs = append(n.Inputs, in)
	}
	for _, role := range slices.Sorted(maps.Keys(j.Param)) {
		t, err := param(j.Param[role])
		if err != nil {
			return nil, fmt.Errorf("parameter %q: %w", role, err)
		}
		if n.Params == nil {
			n.Params = make(Params)
		}
		n.Params[role] = t
	}
	return n, nil
}

// parseAttr wants exactly the attributes that the operation writes.
func parseAttr(attr json.RawMessage, op Op) error {
	if attr == nil {
		attr = json.RawMessage("{}")
	}
	var got, want map[string]json.RawMessage
	if err := json.Unmarshal(attr, &got); err != nil {
		return fmt.Errorf("attributes: %w: %w", err, ErrInvalid)
	}
	all, err := json.Marshal(op)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(all, &want); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if _, ok := got[name]; !ok {
			return fmt.Errorf("attribute %q is missing: %w", name, ErrInvalid)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[name]; !ok {
			return fmt.Errorf("unknown attribute %q: %w", name, ErrInvalid)
		}
		if bytes.Equal(got[name], []byte("null")) {
			return fmt.Errorf("attribute %q is null: %w", name, ErrInvalid)
		}
		// encoding/json fills fixed arrays from shorter or longer lists.
		if err := sameLength(name, got[name], want[name]); err != nil {
			return err
		}
	}
	if err := json.Unmarshal(attr, op); err != nil {
		return fmt.Errorf("attributes: %w: %w", err, ErrInvalid)
	}
	return nil
}

// sameLength wants lists of fixed length to have it, and no null in any.
func sameLength(name string, got, want json.RawMessage) error {
	var w, g []json.RawMessage
	if json.Unmarshal(want, &w) != nil {
		return nil
	}
	if err := json.Unmarshal(got, &g); len(w) > 0 && (err != nil || len(g) != len(w)) {
		return fmt.Errorf("attribute %q is %s, want a list of %d: %w", name, got, len(w), ErrInvalid)
	}
	if slices.ContainsFunc(g, func(v json.RawMessage) bool { return bytes.Equal(v, []byte("null")) }) {
		return fmt.Errorf("attribute %q is %s: %w", name, got, ErrInvalid)
	}
	return nil
}

func strictJSON(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w: %w", err, ErrInvalid)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("data behind the object: %w", ErrInvalid)
	}
	return nil
}
