package ann

import (
	"fmt"
	"math"

	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/tensor"
)

// NoIgnore is the value of CrossEntropy.Ignore that ignores nothing: no label
// is negative.
const NoIgnore = -1

// CrossEntropy is the mean of -Σ target*log softmax(logits) over all positions,
// where the target is the label's one-hot vector, or a given distribution,
// mixed with the uniform one: (1-Smoothing)*target + Smoothing/classes. That is
// torch.nn.CrossEntropyLoss with label_smoothing and ignore_index.
type CrossEntropy struct {
	Smoothing float64 // 0 to 1, 1 excluded
	Ignore    int     // positions with this label count nothing; NoIgnore for none
}

// Outcome is the loss of a batch and what else its logits show.
type Outcome struct {
	Loss    float64 // mean over the positions counted; 0 if there are none
	Correct int     // positions whose largest logit (the first of equals) is the target's
	Count   int     // positions counted
}

// Labels computes the loss of logits [N, C] or, one label per position,
// [N, ..., C], and writes its gradient into grad, of the same length, unless it
// is nil. A label outside 0..C-1 that is not ignored is an error.
func (c CrossEntropy) Labels(pool *parallel.Pool, logits *tensor.Tensor, labels []int, grad []float32) (Outcome, error) {
	rows, classes, err := c.check(logits, grad)
	if err != nil {
		return Outcome{}, err
	}
	if len(labels) != rows {
		return Outcome{}, fmt.Errorf("cross entropy: %d labels for logits of shape %v: %w", len(labels), logits.Shape, tensor.ErrShape)
	}
	count := 0
	for i, y := range labels {
		if y == c.Ignore {
			continue
		}
		if y < 0 || y >= classes {
			return Outcome{}, fmt.Errorf("cross entropy: label %d at position %d: want 0 to %d", y, i, classes-1)
		}
		count++
	}
	flat := c.Smoothing / float64(classes)
	return c.rows(pool, logits.Data, rows, classes, count, grad, func(i int, target []float64) (int, bool) {
		if labels[i] == c.Ignore {
			return 0, false
		}
		for k := range target {
			target[k] = flat
		}
		target[labels[i]] += 1 - c.Smoothing
		return labels[i], true
	}), nil
}

// Soft is Labels for targets [N, ..., C], a distribution for each position.
// Correct counts positions where logits and target have their largest value at
// the same class.
func (c CrossEntropy) Soft(pool *parallel.Pool, logits, targets *tensor.Tensor, grad []float32) (Outcome, error) {
	rows, classes, err := c.check(logits, grad)
	if err != nil {
		return Outcome{}, err
	}
	if len(targets.Data) != len(logits.Data) || targets.Shape[len(targets.Shape)-1] != classes {
		return Outcome{}, fmt.Errorf("cross entropy: targets of shape %v for logits of shape %v: %w", targets.Shape, logits.Shape, tensor.ErrShape)
	}
	flat := c.Smoothing / float64(classes)
	return c.rows(pool, logits.Data, rows, classes, rows, grad, func(i int, target []float64) (int, bool) {
		row := targets.Data[i*classes : (i+1)*classes]
		for k, v := range row {
			target[k] = (1-c.Smoothing)*float64(v) + flat
		}
		return kernel.ArgMax(row), true
	}), nil
}

func (c CrossEntropy) check(logits *tensor.Tensor, grad []float32) (rows, classes int, err error) {
	if !(c.Smoothing >= 0) || c.Smoothing >= 1 {
		return 0, 0, fmt.Errorf("cross entropy: smoothing %g: want 0 <= smoothing < 1", c.Smoothing)
	}
	if len(logits.Shape) < 2 || logits.Shape[len(logits.Shape)-1] < 1 {
		return 0, 0, fmt.Errorf("cross entropy: logits of shape %v, want [N ... C]: %w", logits.Shape, tensor.ErrShape)
	}
	if grad != nil && len(grad) != len(logits.Data) {
		return 0, 0, fmt.Errorf("cross entropy: gradient of %d values for logits of shape %v: %w", len(grad), logits.Shape, tensor.ErrShape)
	}
	classes = logits.Shape[len(logits.Shape)-1]
	return len(logits.Data) / classes, classes, nil
}

// lossRows is how many positions a piece of work has.
const lossRows = 64

// rows computes loss and gradient, row by row; target fills in the target
// distribution of a row and returns its class, or false to skip the row.
func (c CrossEntropy) rows(pool *parallel.Pool, logits []float32, rows, classes, count int, grad []float32, target func(i int, t []float64) (int, bool)) Outcome {
	pieces := (rows + lossRows - 1) / lossRows
	partial := make([]Outcome, pieces)
	pool.Chunks(rows, lossRows, func(lo, hi int) {
		part := &partial[lo/lossRows]
		t := make([]float64, classes)
		for i := lo; i < hi; i++ {
			row := logits[i*classes : (i+1)*classes]
			class, counted := target(i, t)
			if !counted {
				if grad != nil {
					clear(grad[i*classes : (i+1)*classes])
				}
				continue
			}
			if kernel.ArgMax(row) == class {
				part.Correct++
			}
			top := float64(row[0])
			for _, v := range row {
				top = math.Max(top, float64(v)) // NaN wins
			}
			var sum, mass float64
			for _, v := range row {
				sum += math.Exp(float64(v) - top)
			}
			logSum := top + math.Log(sum)
			for k, v := range row {
				if t[k] != 0 {
					part.Loss += t[k] * (logSum - float64(v))
				}
				mass += t[k]
			}
			if grad == nil {
				continue
			}
			for k, v := range row {
				p := math.Exp(float64(v) - logSum)
				grad[i*classes+k] = float32((p*mass - t[k]) / float64(count))
			}
		}
	})
	total := Outcome{Count: count}
	for _, p := range partial {
		total.Loss += p.Loss
		total.Correct += p.Correct
	}
	if count > 0 {
		total.Loss /= float64(count)
	}
	return total
}

// MSE returns the mean of (y-target)² over all values and writes its gradient
// into grad, of the same length, unless it is nil.
func MSE(pool *parallel.Pool, y, target *tensor.Tensor, grad []float32) (float64, error) {
	if len(y.Data) != len(target.Data) || grad != nil && len(grad) != len(y.Data) {
		return 0, fmt.Errorf("mse: target of shape %v for an output of shape %v, gradient of %d values: %w",
			target.Shape, y.Shape, len(grad), tensor.ErrShape)
	}
	n := len(y.Data)
	if n == 0 {
		return 0, nil
	}
	partial := make([]float64, (n+chunk-1)/chunk)
	pool.Chunks(n, chunk, func(lo, hi int) {
		var sum float64
		for i := lo; i < hi; i++ {
			d := float64(y.Data[i]) - float64(target.Data[i])
			sum += d * d
			if grad != nil {
				grad[i] = float32(2 * d / float64(n))
			}
		}
		partial[lo/chunk] = sum
	})
	var sum float64
	for _, s := range partial {
		sum += s
	}
	return sum / float64(n), nil
}
