package convert

import (
	"fmt"

	"github.com/adafire/adafire/graph"
)

// Prepare returns the graph that conversion works on: dropout and identities
// removed, batch norms folded, max pools moved behind the activations they stand
// before, dead nodes removed (algorithms.md 2.3). g is not changed; parameters
// that no pass touched are shared.
func Prepare(g *graph.Graph) (*graph.Graph, error) {
	if err := g.Validate(); err != nil {
		return nil, err
	}
	out := g.CloneShared()
	graph.RemoveIdentity(out)
	graph.FoldBatchNorm(out)
	graph.MoveMaxPool(out)
	graph.RemoveDead(out)
	if err := out.Validate(); err != nil {
		return nil, fmt.Errorf("after folding: %w", err)
	}
	return out, nil
}
