package ann

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/adafire/adafire/internal/parallel"
)

// Config is how a network is trained. It is saved with the result and, with the
// graph, the data and the seed, reproduces it bit for bit. What happens to the
// data (batch size, augmentation, mixup) is set where batches are made.
type Config struct {
	Epochs   int `json:"epochs"`   // 1 or more; cool-down not counted
	Cooldown int `json:"cooldown"` // further epochs after the end of the schedule, at its last rate

	Optimiser   string  `json:"optimiser"`    // "sgd" or "adamw"
	LR          float64 `json:"lr"`           // base learning rate
	Momentum    float64 `json:"momentum"`     // sgd
	Nesterov    bool    `json:"nesterov"`     // sgd
	Beta1       float64 `json:"beta1"`        // adamw
	Beta2       float64 `json:"beta2"`        // adamw
	Eps         float64 `json:"eps"`          // adamw
	WeightDecay float64 `json:"weight_decay"` //
	NoDecay1D   bool    `json:"no_decay_1d"`  // no decay of biases and batch norms
	ClipNorm    float64 `json:"clip_norm"`    // largest norm of the gradient; 0 for no limit
	EMA         float64 `json:"ema"`          // decay of the averaged weights per step; 0 for none
	Smoothing   float64 `json:"smoothing"`    // of labels; soft targets are taken as they are
	Ignore      int     `json:"ignore_index"` // label that counts nothing; -1 for none
	Loss        string  `json:"loss"`         // "cross_entropy", or "mse" for soft targets
	EvalEvery   int     `json:"eval_every"`   // evaluate after every so many epochs, and after the last
	KeepBest    bool    `json:"keep_best"`    // remember the weights best on the held-out data

	Schedule Schedule `json:"schedule"`
	Seed     uint64   `json:"seed"` // of dropout
}

// DefaultConfig returns the settings of the paper's CIFAR networks for a short
// training: SGD with momentum 0.9, cosine to 0.
func DefaultConfig() Config {
	return Config{Epochs: 10, Optimiser: "sgd", LR: 0.1, Momentum: 0.9, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 5e-4,
		Ignore: NoIgnore, Loss: "cross_entropy", EvalEvery: 1, KeepBest: true,
		Schedule: Schedule{Kind: "cosine", Gamma: 0.1}, Seed: 1}
}

// Total returns the number of epochs with the cool-down.
func (c *Config) Total() int { return c.Epochs + c.Cooldown }

// Validate reports the first setting out of range.
func (c *Config) Validate() error {
	if c.Epochs < 1 || c.Epochs > 1<<20 {
		return fmt.Errorf("epochs %d: want 1 to %d", c.Epochs, 1<<20)
	}
	if c.Cooldown < 0 || c.Cooldown > 1<<20 {
		return fmt.Errorf("cooldown of %d epochs: want 0 to %d", c.Cooldown, 1<<20)
	}
	if !slices.Contains([]string{"sgd", "adamw"}, c.Optimiser) {
		return fmt.Errorf("optimiser %q: want sgd or adamw", c.Optimiser)
	}
	if !slices.Contains([]string{"cross_entropy", "mse"}, c.Loss) {
		return fmt.Errorf("loss %q: want cross_entropy or mse", c.Loss)
	}
	for _, f := range []struct {
		name      string
		v         float64
		low, high float64 // high excluded
	}{
		{"learning rate", c.LR, 0, math.Inf(1)}, {"momentum", c.Momentum, 0, 1},
		{"beta1", c.Beta1, 0, 1}, {"beta2", c.Beta2, 0, 1}, {"weight decay", c.WeightDecay, 0, math.Inf(1)},
		{"clip norm", c.ClipNorm, 0, math.Inf(1)}, {"ema decay", c.EMA, 0, 1}, {"label smoothing", c.Smoothing, 0, 1},
	} {
		if !(f.v >= f.low && f.v < f.high) {
			return fmt.Errorf("%s %g: want %g or more and below %g", f.name, f.v, f.low, f.high)
		}
	}
	if c.LR == 0 {
		return fmt.Errorf("learning rate 0: want more")
	}
	if c.Optimiser == "adamw" && !(c.Eps > 0 && c.Eps < 1) {
		return fmt.Errorf("eps %g: want above 0 and below 1", c.Eps)
	}
	if c.Nesterov && c.Momentum == 0 {
		return fmt.Errorf("nesterov without momentum: want a momentum above 0")
	}
	if c.EvalEvery < 1 {
		return fmt.Errorf("evaluation every %d epochs: want 1 or more", c.EvalEvery)
	}
	if c.Ignore < NoIgnore {
		return fmt.Errorf("ignored label %d: want -1 (none) or more", c.Ignore)
	}
	if err := c.Schedule.Validate(); err != nil {
		return err
	}
	if c.Schedule.MinLR > c.LR {
		return fmt.Errorf("min lr %g is above the learning rate %g", c.Schedule.MinLR, c.LR)
	}
	if c.Schedule.Warmup > float64(c.Epochs) {
		return fmt.Errorf("warmup of %g epochs is longer than the training of %d", c.Schedule.Warmup, c.Epochs)
	}
	return nil
}

// lr returns the learning rate of a step; in the cool-down the schedule has
// ended.
func (c *Config) lr(epoch, batch, batches int) float64 {
	return c.Schedule.LR(c.LR, epoch, batch, batches, c.Epochs)
}

func (c *Config) optimiser(pool *parallel.Pool, params []*Param) Optimiser {
	if c.Optimiser == "adamw" {
		return NewAdamW(pool, params, AdamWOptions{Beta1: c.Beta1, Beta2: c.Beta2, Eps: c.Eps,
			WeightDecay: c.WeightDecay, NoDecay1D: c.NoDecay1D})
	}
	return NewSGD(pool, params, SGDOptions{Momentum: c.Momentum, Nesterov: c.Nesterov,
		WeightDecay: c.WeightDecay, NoDecay1D: c.NoDecay1D})
}

// differs names the first setting in which two configurations differ, "" if
// there is none.
func differs(a, b *Config) string {
	x, y := settings(a), settings(b)
	for _, name := range slices.Sorted(maps.Keys(y)) {
		if string(x[name]) != string(y[name]) {
			return fmt.Sprintf("%s was %s, is %s", name, x[name], y[name])
		}
	}
	return ""
}

func settings(c *Config) map[string]json.RawMessage {
	text, err := json.Marshal(c)
	if err != nil {
		return nil // only numbers that Validate refuses
	}
	var m map[string]json.RawMessage
	_ = json.Unmarshal(text, &m)
	return m
}
