package ann

import "github.com/adafire/adafire/graph"

// A fuser finds nodes that are computed together. Both executors share it, so
// that they agree on what may be fused: never across a node that is an output
// or has other readers.
type fuser struct {
	g     *graph.Graph
	uses  map[*graph.Node][]*graph.Node
	value map[*graph.Node]int  // where the results of earlier nodes are
	done  map[*graph.Node]bool // fused behind an earlier node
	off   bool                 // fuse nothing
}

func newFuser(g *graph.Graph) fuser {
	return fuser{g: g, uses: g.Consumers(), value: make(map[*graph.Node]int), done: make(map[*graph.Node]bool)}
}

// sole returns the only reader of n, or nil if there are others or n is an
// output itself.
func (f *fuser) sole(n *graph.Node) *graph.Node {
	if f.off || len(f.uses[n]) != 1 || f.g.IsOutput(n) {
		return nil
	}
	return f.uses[n][0]
}

// A chain is a node with the residual sum and the rectifier that are computed
// along with it.
type chain struct {
	last  *graph.Node
	add   *graph.Node // the other operand of the sum, or nil
	limit float32     // upper limit of the rectifier; 0 for none
}

// follow returns the chain of n and marks its nodes as done. A sum of two is
// taken along if addable says so and the other operand exists by then: so it
// falls to the later operand.
func (f *fuser) follow(n *graph.Node, addable bool) chain {
	ch := chain{last: n}
	next := f.sole(n)
	if next != nil && addable {
		if _, ok := next.Op.(*graph.Add); ok && len(next.Inputs) == 2 {
			other := next.Inputs[0]
			if other == n {
				other = next.Inputs[1]
			}
			if _, exists := f.value[other]; exists && other != n {
				ch.add, ch.last = other, next
				f.done[next] = true
				next = f.sole(next)
			}
		}
	}
	if next != nil {
		if limit, ok := reluLimit(next); ok {
			ch.limit, ch.last = limit, next
			f.done[next] = true
		}
	}
	return ch
}
