package ann

import (
	"context"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
)

func (t *trainer) evaluate(ctx context.Context) (Outcome, error) {
	g := t.g
	if t.ema != nil {
		g = t.g.CloneShared()
		for _, n := range g.Nodes {
			for role := range n.Params {
				n.Params[role] = t.ema[graph.ParamName(n.Name, role)]
			}
		}
	}
	return evaluate(ctx, g, t.pool, t.valid, &t.cfg)
}

// Evaluate runs g over one epoch of batches, for inference, and returns the
// mean cross entropy without smoothing and the correct predictions.
func Evaluate(ctx context.Context, g *graph.Graph, pool *parallel.Pool, data Batches) (Outcome, error) {
	cfg := DefaultConfig()
	return evaluate(ctx, g, pool, data, &cfg)
}

func evaluate(ctx context.Context, g *graph.Graph, pool *parallel.Pool, data Batches, cfg *Config) (Outcome, error) {
	ex, err := New(g, pool)
	if err != nil {
		return Outcome{}, err
	}
	var total Outcome
	for b, err := range data.Epoch(ctx, 0, 0) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return Outcome{}, err
		}
		y, err := ex.Forward(b.X)
		if err != nil {
			return Outcome{}, err
		}
		out, err := loss(pool, cfg, 0, y, b, nil)
		if err != nil {
			return Outcome{}, err
		}
		total.Loss += out.Loss * float64(out.Count)
		total.Correct += out.Correct
		total.Count += out.Count
	}
	if total.Count > 0 {
		total.Loss /= float64(total.Count)
	}
	return total, nil
}
