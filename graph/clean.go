package graph

import (
	"math"
	"slices"
)

// RemoveIdentity removes nodes that do nothing outside training, and returns how
// many it removed: identity and dropout, and operations on shapes that leave the
// shape as it is. The shapes must have been inferred for the latter to be found.
func RemoveIdentity(g *Graph) int {
	replaced := make(map[*Node]*Node)
	for _, n := range g.Nodes {
		if doesNothing(n) {
			replaced[n] = n.Inputs[0]
		}
	}
	g.substitute(replaced)
	return len(replaced)
}

// doesNothing says whether n passes its only input on.
func doesNothing(n *Node) bool {
	switch n.Op.(type) {
	case *Identity, *Dropout:
		return true
	}
	if len(n.Inputs) != 1 || len(n.Shape) == 0 || !slices.Equal(n.Shape, n.Inputs[0].Shape) {
		return false
	}
	switch op := n.Op.(type) {
	case *Flatten, *Reshape, *Expand, *Concat, *ConcatAxis:
		return true
	case *Transpose: // axes of length 1 may change places freely
		last := -1
		for _, a := range op.Perm {
			if n.Shape[a] > 1 {
				if a < last {
					return false
				}
				last = a
			}
		}
		return true
	case *Slice:
		return !slices.ContainsFunc(op.Step, func(s int) bool { return s < 0 }) // of full size, so from 0 in ones
	case *PadAxes:
		return !slices.ContainsFunc(op.Begin, func(v int) bool { return v != 0 })
	case *Tile:
		return !slices.ContainsFunc(op.Repeats, func(v int) bool { return v != 1 })
	case *DepthToSpace:
		return op.Block == 1
	case *SpaceToDepth:
		return op.Block == 1
	case *Resize:
		return !slices.ContainsFunc(op.Scale, func(v float64) bool { return v != 1 })
	}
	return false
}

// RemoveDead removes nodes that no output depends on and returns how many it
// removed. Inputs stay: they are the signature of the network.
func RemoveDead(g *Graph) int {
	live := make(map[*Node]bool)
	for _, n := range g.Outputs {
		live[n] = true
	}
	for _, n := range slices.Backward(g.Nodes) {
		if live[n] {
			for _, in := range n.Inputs {
				live[in] = true
			}
		}
	}
	before := len(g.Nodes)
	g.Nodes = slices.DeleteFunc(g.Nodes, func(n *Node) bool {
		_, input := n.Op.(*Input)
		return !live[n] && !input
	})
	return before - len(g.Nodes)
}

// IsActivation says whether n is a non-linearity that conversion replaces by
// spiking neurons: a ReLU, limited or not, or one of two parts (SplitActivations).
func IsActivation(n *Node) bool {
	switch op := n.Op.(type) {
	case *ReLU, *ReLU6, *LeakyReLU:
		return true
	case *Clip:
		return op.Min == 0 && op.Max > 0
	}
	return false
}

// ActivationLimit returns the value that an activation never exceeds, +Inf if
// there is none.
func ActivationLimit(n *Node) float64 {
	switch op := n.Op.(type) {
	case *ReLU6:
		return 6
	case *Clip:
		return float64(op.Max)
	}
	return math.Inf(1)
}

// MoveMaxPool moves max pools that stand directly before a monotone activation
// behind it: both orders give the same values, and behind the neuron the pool
// works on spike counts (algorithms.md 1.6). It returns how many it moved.
func MoveMaxPool(g *Graph) int {
	moved := 0
	for {
		uses := g.Consumers()
		i := slices.IndexFunc(g.Nodes, func(act *Node) bool {
			return isMonotone(act) && isMaxPool(act.Inputs[0]) && len(uses[act.Inputs[0]]) == 1 && !g.IsOutput(act.Inputs[0])
		})
		if i < 0 {
			return moved
		}
		act := g.Nodes[i]
		pool := act.Inputs[0]
		// Swap the operations and names and keep the wiring: what read the
		// activation now reads the pool.
		pool.Op, act.Op = act.Op, pool.Op
		pool.Name, act.Name = act.Name, pool.Name
		pool.Params, act.Params = act.Params, pool.Params
		pool.Shape = slices.Clone(pool.Inputs[0].Shape)
		moved++
	}
}

// isMonotone says whether n is an activation that never falls, so that it may
// change places with a maximum.
func isMonotone(n *Node) bool {
	if op, ok := n.Op.(*LeakyReLU); ok {
		return op.Alpha >= 0
	}
	return IsActivation(n)
}

func isMaxPool(n *Node) bool {
	switch n.Op.(type) {
	case *MaxPool2D, *GlobalMaxPool:
		return true
	}
	return false
}
