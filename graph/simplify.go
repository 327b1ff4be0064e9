package graph

import "slices"

// Simplify writes operations that importers bring as the ones that have
// a rule of their own in spiking networks, and returns how many it rewrote: means
// and maxima over all positions as global pools, reshapes to a vector as flattens,
// joins along the last axis as concats. Shapes must have been inferred and stay as
// they are.
func Simplify(g *Graph) int {
	names := make(map[string]bool, len(g.Nodes))
	for _, n := range g.Nodes {
		names[n.Name] = true
	}
	count := 0
	var nodes []*Node
	for _, n := range g.Nodes {
		switch op := n.Op.(type) {
		case *Reshape:
			if len(n.Shape) == 1 {
				n.Op = &Flatten{}
				count++
			}
		case *ConcatAxis:
			if op.Axis == len(n.Shape)-1 {
				n.Op = &Concat{}
				count++
			}
		case *Reduce:
			in := n.Inputs[0]
			pool := globalPool(op, in.Shape)
			if pool == nil {
				break
			}
			count++
			if op.KeepDims {
				n.Op = pool
				break
			}
			name := n.Name + "_pool"
			for names[name] {
				name += "_"
			}
			names[name] = true
			shape := make(Shape, len(in.Shape))
			for i := range shape {
				shape[i] = 1
			}
			shape[len(shape)-1] = in.Shape.Channels()
			before := &Node{Name: name, Op: pool, Inputs: []*Node{in}, Shape: shape}
			nodes = append(nodes, before)
			n.Op, n.Inputs = &Flatten{}, []*Node{before}
		}
		nodes = append(nodes, n)
	}
	g.Nodes = nodes
	return count
}

// globalPool is the pool that a reduction over all axes but the last is, nil if it
// is none.
func globalPool(op *Reduce, in Shape) Op {
	if len(in) != 2 && len(in) != 3 {
		return nil
	}
	for a := range len(in) - 1 {
		if !slices.Contains(op.Axes, a) {
			return nil
		}
	}
	if len(op.Axes) != len(in)-1 {
		return nil
	}
	switch op.Func {
	case ReduceMean:
		return &GlobalAvgPool{}
	case ReduceMax:
		return &GlobalMaxPool{}
	}
	return nil
}
