package graph

import "slices"

// RemoveIdentity removes identity and dropout nodes, which do nothing outside
// training, and returns how many it removed.
func RemoveIdentity(g *Graph) int {
	replaced := make(map[*Node]*Node)
	for _, n := range g.Nodes {
		switch n.Op.(type) {
		case *Identity, *Dropout:
			replaced[n] = n.Inputs[0]
		}
	}
	g.substitute(replaced)
	return len(replaced)
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
// spiking neurons.
func IsActivation(n *Node) bool {
	switch n.Op.(type) {
	case *ReLU, *ReLU6, *LeakyReLU:
		return true
	}
	return false
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
