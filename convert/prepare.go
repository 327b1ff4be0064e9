package convert

import (
	"fmt"

	"github.com/adafire/adafire/graph"
)

// Prepare returns the graph that conversion works on: dropout and identities
// removed, batch norms folded, activations of two parts split, max pools moved
// behind the activations they stand before, dead nodes removed (algorithms.md 2.3). g is not changed; parameters
// that no pass touched are shared.
func Prepare(g *graph.Graph) (*graph.Graph, error) {
	if err := g.Validate(); err != nil {
		return nil, err
	}
	out := g.CloneShared()
	graph.RemoveIdentity(out)
	graph.Simplify(out)
	graph.FoldBatchNorm(out)
	split, err := graph.SplitActivations(out)
	if err != nil {
		return nil, fmt.Errorf("after splitting activations: %w", err)
	}
	if split > 0 {
		graph.FoldBatchNorm(out) // what shifts an activation's input
	}
	graph.MoveMaxPool(out)
	graph.RemoveDead(out)
	if err := out.Validate(); err != nil {
		return nil, fmt.Errorf("after folding: %w", err)
	}
	return out, nil
}
