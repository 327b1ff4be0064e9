package ann

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/tensor"
)

// ErrInterrupted is what Train returns, wrapping the context's error, when its
// context ends: the state has been handed to Hooks.Checkpoint by then.
var ErrInterrupted = errors.New("training interrupted")

// ErrDiverged marks a loss that is no longer a finite number.
var ErrDiverged = errors.New("training diverged")

// A Batch is a group of samples. Soft, where it is not nil, takes the place of
// Labels.
type Batch struct {
	X      *tensor.Tensor // [n, shape of the input]
	Labels []int          // n, or one per position of the output
	Soft   *tensor.Tensor // targets of the shape of the output
}

// Batches is where training data comes from. For a resumed run to give the same
// bits, the batches of an epoch must depend on its number only.
type Batches interface {
	// Len returns the number of batches of an epoch.
	Len() int
	// Epoch yields batches startBatch.. of an epoch, counted from 0. A batch is
	// used until the next one is asked for.
	Epoch(ctx context.Context, epoch, startBatch int) iter.Seq2[Batch, error]
}

// Progress is reported after every step, and after every evaluation.
type Progress struct {
	Epoch, Epochs   int           // the current one, from 1, and how many
	Batch, Batches  int           // steps done in this epoch, and how many
	Step            int           // steps done in all
	LR              float64       // of the last step
	Loss            float64       // of the last batch
	MeanLoss        float64       // over this epoch so far
	Accuracy        float64       // over this epoch so far, 0 to 1
	GradNorm        float64       // before clipping; 0 unless clipping is on
	SamplesPerSec   float64       // since Train began
	Elapsed         time.Duration // since Train began, evaluation included
	Remaining       time.Duration // estimate
	Evaluated       *EpochStats   // set in the report that follows an evaluation
	BestSoFar       float64       // best accuracy on the held-out data
	ImprovedThisNow bool          // the evaluation just made is the best so far
}

// Reason says why a checkpoint is offered.
type Reason string

// The reasons.
const (
	EpochEnd    Reason = "epoch"    // an epoch is done (and evaluated)
	Periodic    Reason = "periodic" // Hooks.CheckpointSteps have passed
	Interrupted Reason = "interrupted"
	Finished    Reason = "finished"
)

// Hooks connect a training run with its surroundings; all may be left out.
type Hooks struct {
	// Progress is called after every step. It must not keep Evaluated.
	Progress func(Progress)

	// Checkpoint is given the state to save. The tensors are copies and may be
	// kept. improved says that this epoch is the best so far. An error ends the
	// training.
	Checkpoint func(s *State, why Reason, improved bool) error

	// CheckpointSteps asks for a checkpoint after every so many steps; 0 for
	// none within epochs.
	CheckpointSteps int

	// Resume continues from a state instead of the graph's own weights. Its
	// configuration must equal the one given.
	Resume *State
}

// A Result is what Train leaves behind, besides the trained weights in the
// graph.
type Result struct {
	Progress TrainProgress
	Best     Weights // best on the held-out data, nil if there were none
	EMA      Weights // averaged weights, nil if off
}

// Train trains the parameters of g, in place, on the first output of g.
//
// After each epoch the network (with averaged weights, if there are any) is
// evaluated on valid, which must not be the test data, as the best weights are
// chosen by it; valid may be nil. When ctx ends, Train finishes the batch,
// hands the state to the checkpoint hook and returns ErrInterrupted.
//
// A loss that is not finite is an error that names the step and the first node
// whose activations are not.
func Train(ctx context.Context, g *graph.Graph, pool *parallel.Pool, train, valid Batches, cfg Config, hooks Hooks) (*Result, error) {
	t, err := newTrainer(g, pool, train, valid, cfg, hooks)
	if err != nil {
		return nil, err
	}
	if hooks.Resume != nil {
		if err := t.restore(hooks.Resume); err != nil {
			return nil, fmt.Errorf("resume: %w", err)
		}
	}
	if err := t.run(ctx); err != nil {
		return nil, err
	}
	return &Result{Progress: t.at, Best: t.best, EMA: t.ema}, nil
}

// A trainer is a running training.
type trainer struct {
	g     *graph.Graph
	pool  *parallel.Pool
	train Batches
	valid Batches
	cfg   Config
	hooks Hooks

	net     *Network
	opt     Optimiser
	weights Weights // of g
	ema     Weights // nil if off
	best    Weights // nil until an evaluation
	grad    []float32

	at         TrainProgress
	began      time.Time
	before     time.Duration // elapsed in earlier runs
	samples    int64         // in this run
	busy       time.Duration // in steps of this run
	steps      int           // of this run
	evalTime   time.Duration // of the last evaluation
	lastLoss   float64
	lastNorm   float64
	checkpoint int // step of the last checkpoint
}

func newTrainer(g *graph.Graph, pool *parallel.Pool, train, valid Batches, cfg Config, hooks Hooks) (*trainer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := reservedName(g); err != nil {
		return nil, err
	}
	if train.Len() < 1 {
		return nil, errors.New("no training data: an epoch has no batches")
	}
	net, err := NewNetwork(g, pool, NetworkOptions{Seed: cfg.Seed})
	if err != nil {
		return nil, err
	}
	t := &trainer{g: g, pool: pool, train: train, valid: valid, cfg: cfg, hooks: hooks, net: net,
		opt: cfg.optimiser(pool, net.Params()), weights: WeightsOf(g)}
	t.at.Config = cfg
	if cfg.EMA > 0 {
		t.ema = t.weights.Clone()
	}
	return t, nil
}

func (t *trainer) run(ctx context.Context) error {
	t.began = time.Now()
	for t.at.Epoch < t.cfg.Total() {
		if err := t.epoch(ctx); err != nil {
			return err
		}
		improved, err := t.finishEpoch(ctx)
		if err != nil {
			return err
		}
		why := EpochEnd
		if t.at.Epoch == t.cfg.Total() {
			why = Finished
		}
		if err := t.save(why, improved); err != nil {
			return err
		}
	}
	return nil
}

// epoch makes the remaining steps of the current epoch.
func (t *trainer) epoch(ctx context.Context) error {
	batches := t.train.Len()
	if t.at.Batch >= batches { // stopped between the last step and the evaluation
		return nil
	}
	if err := t.interrupted(ctx); err != nil {
		return err
	}
	// The data must not run dry because ctx ends: the batch in hand is still
	// worked off, and only then the loop looks at ctx.
	for b, err := range t.train.Epoch(context.WithoutCancel(ctx), t.at.Epoch, t.at.Batch) {
		if err != nil {
			return fmt.Errorf("epoch %d, batch %d: %w", t.at.Epoch+1, t.at.Batch+1, err)
		}
		if err := t.step(b, batches); err != nil {
			return err
		}
		if t.hooks.Progress != nil {
			t.hooks.Progress(t.progress())
		}
		if err := t.interrupted(ctx); err != nil {
			return err
		}
		if k := t.hooks.CheckpointSteps; k > 0 && t.at.Batch < batches && t.at.Step-t.checkpoint >= k {
			if err := t.save(Periodic, false); err != nil {
				return err
			}
		}
	}
	if t.at.Batch != batches {
		return fmt.Errorf("epoch %d: the data ended after %d of %d batches", t.at.Epoch+1, t.at.Batch, batches)
	}
	return nil
}

// interrupted saves the state if ctx has ended.
func (t *trainer) interrupted(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	err := fmt.Errorf("%w after step %d (epoch %d, batch %d): %w", ErrInterrupted, t.at.Step, t.at.Epoch+1, t.at.Batch, context.Cause(ctx))
	if saveErr := t.save(Interrupted, false); saveErr != nil {
		return errors.Join(err, saveErr)
	}
	return err
}

// step trains on one batch.
func (t *trainer) step(b Batch, batches int) error {
	start := time.Now()
	ys, err := t.net.Forward(Training, uint64(t.at.Step), b.X)
	if err != nil {
		return fmt.Errorf("epoch %d, batch %d: %w", t.at.Epoch+1, t.at.Batch+1, err)
	}
	y := ys[0]
	if cap(t.grad) < len(y.Data) {
		t.grad = make([]float32, len(y.Data))
	}
	grad := t.grad[:len(y.Data)]
	out, err := loss(t.pool, &t.cfg, t.cfg.Smoothing, y, b, grad)
	if err != nil {
		return fmt.Errorf("epoch %d, batch %d: %w", t.at.Epoch+1, t.at.Batch+1, err)
	}
	if math.IsNaN(out.Loss) || math.IsInf(out.Loss, 0) {
		return t.diverged(out.Loss, b)
	}
	dys := make([]*tensor.Tensor, len(ys))
	dys[0] = &tensor.Tensor{Shape: y.Shape, Data: grad}
	if err := t.net.Backward(dys...); err != nil {
		return err
	}
	if t.cfg.ClipNorm > 0 {
		t.lastNorm = ClipNorm(t.pool, t.net.Params(), t.cfg.ClipNorm)
	}
	t.at.LR = t.cfg.lr(t.at.Epoch, t.at.Batch, batches)
	t.opt.Step(t.at.LR)
	t.net.Refresh()
	t.at.Step++
	t.at.Batch++
	t.average()
	n := b.X.Shape[0]
	t.at.Samples += int64(n)
	t.at.LossSum += out.Loss * float64(out.Count)
	t.at.Correct += int64(out.Correct)
	t.at.Count += int64(out.Count)
	t.lastLoss = out.Loss
	t.samples += int64(n)
	t.steps++
	t.busy += time.Since(start)
	return nil
}

// loss applies the configured loss; grad may be nil.
func loss(pool *parallel.Pool, cfg *Config, smoothing float64, y *tensor.Tensor, b Batch, grad []float32) (Outcome, error) {
	if cfg.Loss == "mse" {
		if b.Soft == nil {
			return Outcome{}, errors.New("mse wants soft targets, the batch has none")
		}
		v, err := MSE(pool, y, b.Soft, grad)
		return Outcome{Loss: v, Count: y.Shape[0]}, err
	}
	if b.Soft != nil {
		return CrossEntropy{Ignore: NoIgnore}.Soft(pool, y, b.Soft, grad)
	}
	return CrossEntropy{Smoothing: smoothing, Ignore: cfg.Ignore}.Labels(pool, y, b.Labels, grad)
}

// average moves the averaged weights. Early on the decay is lower, so that the
// initial weights are forgotten: min(EMA, (1+step)/(10+step)).
func (t *trainer) average() {
	if t.ema == nil {
		return
	}
	s := float64(t.at.Step)
	decay := math.Min(t.cfg.EMA, (1+s)/(10+s))
	for name, avg := range t.ema {
		w := t.weights[name].Data
		t.pool.Chunks(len(w), chunk, func(lo, hi int) { kernel.EMAStep(avg.Data[lo:hi], w[lo:hi], decay) })
	}
}

// diverged finds where the numbers went wrong: it repeats the forward pass
// without fusion and looks at every node.
func (t *trainer) diverged(value float64, b Batch) error {
	where := "all activations are finite"
	if n, v, err := firstNonFinite(t.g, t.pool, t.cfg.Seed, uint64(t.at.Step), b.X); err != nil {
		return err
	} else if n != nil {
		where = fmt.Sprintf("the first activation that is not finite, %g, is at node %q (%s)", v, n.Name, n.Kind())
	}
	return fmt.Errorf("%w: loss %g at step %d (epoch %d, batch %d): %s", ErrDiverged, value, t.at.Step+1, t.at.Epoch+1, t.at.Batch+1, where)
}

func firstNonFinite(g *graph.Graph, pool *parallel.Pool, seed, step uint64, x *tensor.Tensor) (*graph.Node, float32, error) {
	net, err := NewNetwork(g, pool, NetworkOptions{Seed: seed, Unfused: true})
	if err != nil {
		return nil, 0, err
	}
	net.pass.frozen = true
	if _, err := net.Forward(Training, step, x); err != nil {
		return nil, 0, err
	}
	for _, n := range g.Nodes {
		t := tensor.Tensor{Data: net.Value(n)}
		if i := t.FirstNonFinite(); i >= 0 {
			return n, t.Data[i], nil
		}
	}
	return nil, 0, nil
}

// finishEpoch evaluates and books the epoch.
func (t *trainer) finishEpoch(ctx context.Context) (improved bool, err error) {
	stats := EpochStats{Epoch: t.at.Epoch + 1, LR: t.at.LR}
	if t.at.Count > 0 {
		stats.Loss = t.at.LossSum / float64(t.at.Count)
		stats.Accuracy = float64(t.at.Correct) / float64(t.at.Count)
	}
	last := t.at.Epoch+1 == t.cfg.Total()
	if t.valid != nil && (last || (t.at.Epoch+1)%t.cfg.EvalEvery == 0) {
		start := time.Now()
		out, err := t.evaluate(ctx)
		if ctx.Err() != nil {
			return false, t.interrupted(ctx)
		}
		if err != nil {
			return false, fmt.Errorf("evaluation after epoch %d: %w", t.at.Epoch+1, err)
		}
		t.evalTime = time.Since(start)
		stats.HasValid, stats.ValidLoss = true, out.Loss
		if out.Count > 0 {
			stats.ValidAccuracy = float64(out.Correct) / float64(out.Count)
		}
		score := stats.ValidAccuracy
		if t.cfg.Loss == "mse" {
			score = -out.Loss
		}
		if t.at.BestEpoch == 0 || score > t.at.Best {
			improved = true
			t.at.Best, t.at.BestEpoch = score, stats.Epoch
			if t.cfg.KeepBest {
				t.best = t.current().Clone()
			}
		}
	}
	t.at.History = append(t.at.History, stats)
	t.at.Epoch++
	t.at.Batch = 0
	p := t.progress()
	t.at.LossSum, t.at.Correct, t.at.Count = 0, 0, 0
	if t.hooks.Progress != nil {
		p.Epoch, p.Batch = stats.Epoch, t.train.Len()
		p.Evaluated, p.ImprovedThisNow = &stats, improved
		t.hooks.Progress(p)
	}
	return improved, nil
}

// current returns the weights to evaluate: the averaged ones, if there are any.
func (t *trainer) current() Weights {
	if t.ema != nil {
		return t.ema
	}
	return t.weights
}

func (t *trainer) progress() Progress {
	batches := t.train.Len()
	p := Progress{Epoch: t.at.Epoch + 1, Epochs: t.cfg.Total(), Batch: t.at.Batch, Batches: batches, Step: t.at.Step,
		LR: t.at.LR, Loss: t.lastLoss, GradNorm: t.lastNorm, Elapsed: time.Since(t.began), BestSoFar: t.at.Best}
	if t.at.Count > 0 {
		p.MeanLoss = t.at.LossSum / float64(t.at.Count)
		p.Accuracy = float64(t.at.Correct) / float64(t.at.Count)
	}
	if t.busy > 0 {
		p.SamplesPerSec = float64(t.samples) / t.busy.Seconds()
	}
	if t.steps > 0 {
		left := t.cfg.Total()*batches - t.at.Epoch*batches - t.at.Batch
		p.Remaining = t.busy / time.Duration(t.steps) * time.Duration(left)
		if t.valid != nil {
			p.Remaining += t.evalTime * time.Duration((t.cfg.Total()-t.at.Epoch+t.cfg.EvalEvery-1)/t.cfg.EvalEvery)
		}
	}
	return p
}

// save hands a copy of the state to the checkpoint hook.
func (t *trainer) save(why Reason, improved bool) error {
	t.checkpoint = t.at.Step
	if t.hooks.Checkpoint == nil {
		return nil
	}
	if err := t.hooks.Checkpoint(t.state(), why, improved); err != nil {
		return fmt.Errorf("checkpoint after step %d: %w", t.at.Step, err)
	}
	return nil
}
