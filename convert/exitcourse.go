package convert

import (
	"context"
	"fmt"
	"math"

	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// A Course is how answer and certainty of a network develop over the timesteps
// on N samples: all that exit thresholds are found from.
type Course struct {
	Score      ExitScore
	Accumulate string
	Timesteps  int
	Doubt      []float64 // [N, T]: 1 - score after t timesteps
	Prediction []int     // [N, T]: class after t timesteps
	Labels     []int     // N, or none
}

// NewCourse returns an empty course for the network. Networks without one
// decision per sample are refused.
func NewCourse(net *snn.Network, score ExitScore, accumulate string) (*Course, error) {
	if err := validExitScore(score, accumulate); err != nil {
		return nil, err
	}
	out := net.Graph().Outputs[0]
	if out.Shape.Positions() != 1 || out.Shape.Channels() < 2 {
		return nil, fmt.Errorf("node %q: output of shape %v is no decision between classes: samples cannot leave early", out.Name, out.Shape)
	}
	if out.Kind() == "softmax" {
		return nil, fmt.Errorf("node %q: exit scores are computed from logits, not from a %s", out.Name, out.Kind())
	}
	return &Course{Score: score, Accumulate: accumulate, Timesteps: net.Config().Timesteps}, nil
}

// Samples returns N.
func (c *Course) Samples() int { return len(c.Doubt) / c.Timesteps }

// Observe runs the samples x through all timesteps and adds them to the course.
// labels holds their classes; nil if they are not known.
func (c *Course) Observe(ctx context.Context, pool *parallel.Pool, net *snn.Network, x *tensor.Tensor, labels []int) error {
	if x != nil && len(x.Shape) > 0 && labels != nil && len(labels) != x.Shape[0] {
		return fmt.Errorf("%d labels for %d samples", len(labels), x.Shape[0])
	}
	if c.Samples() > 0 && (labels != nil) != (c.Labels != nil) {
		return fmt.Errorf("samples with labels after samples without, or the reverse")
	}
	before := len(c.Doubt)
	if x != nil && len(x.Shape) > 0 && x.Shape[0] > 0 {
		c.Doubt = append(c.Doubt, make([]float64, x.Shape[0]*c.Timesteps)...)
		c.Prediction = append(c.Prediction, make([]int, x.Shape[0]*c.Timesteps)...)
	}
	_, err := net.RunSteps(ctx, pool, x, func(t int, logits []float32, sample int) bool {
		at := before + sample*c.Timesteps + t - 1
		c.Doubt[at], c.Prediction[at] = doubt(c.Score, c.Accumulate, t, logits), topClass(logits)
		return false
	})
	if err != nil {
		c.Doubt, c.Prediction = c.Doubt[:before], c.Prediction[:before]
		return err
	}
	c.Labels = append(c.Labels, labels...)
	return nil
}

// An ExitOutcome is what exit limits do to the samples of a course.
type ExitOutcome struct {
	Exit       []int // per sample: timesteps run
	Prediction []int // per sample: class at the exit
	MeanExit   float64
	Histogram  []int   // samples that leave at t = 1..T
	Agreement  float64 // share whose class is that after T timesteps
	Differ     int     // samples whose class is another
	Correct    int     // samples whose class is their label
}

// Accuracy returns the share of correct answers, 0 without samples.
func (o *ExitOutcome) Accuracy() float64 {
	if len(o.Exit) == 0 {
		return 0
	}
	return float64(o.Correct) / float64(len(o.Exit))
}

// Try says what the policy does to the samples of the course.
func (c *Course) Try(p *ExitPolicy) (*ExitOutcome, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	if p.Timesteps != c.Timesteps || p.Score != c.Score || p.Accumulate != c.Accumulate {
		return nil, fmt.Errorf("exit policy for %d timesteps, %s of the %s of logits, on a course of %d, %s of the %s",
			p.Timesteps, p.Score, p.Accumulate, c.Timesteps, c.Score, c.Accumulate)
	}
	return c.Apply(p.Limits), nil
}

// At returns the outcome of a fixed number of timesteps for every sample.
func (c *Course) At(t int) *ExitOutcome {
	limits := make([]float64, c.Timesteps)
	limits[t-1] = math.Inf(1)
	return c.Apply(limits)
}

// Apply says when the samples leave with limits for t = 1..T (see ExitPolicy)
// and what they answer then.
func (c *Course) Apply(limits []float64) *ExitOutcome {
	n, steps := c.Samples(), c.Timesteps
	o := &ExitOutcome{Exit: make([]int, n), Prediction: make([]int, n), Histogram: make([]int, steps)}
	sum := 0
	for i := range n {
		t := 0
		for t < steps-1 && !(c.Doubt[i*steps+t] < limits[t]) {
			t++
		}
		o.Exit[i], o.Prediction[i] = t+1, c.Prediction[i*steps+t]
		o.Histogram[t]++
		sum += t + 1
		if o.Prediction[i] != c.Prediction[i*steps+steps-1] {
			o.Differ++
		}
		if i < len(c.Labels) && c.Labels[i] == o.Prediction[i] {
			o.Correct++
		}
	}
	if n > 0 {
		o.MeanExit = float64(sum) / float64(n)
		o.Agreement = 1 - float64(o.Differ)/float64(n)
	}
	return o
}

// part returns the samples whose index i fulfils keep(i).
func (c *Course) part(keep func(i int) bool) *Course {
	out := &Course{Score: c.Score, Accumulate: c.Accumulate, Timesteps: c.Timesteps}
	for i := range c.Samples() {
		if !keep(i) {
			continue
		}
		lo, hi := i*c.Timesteps, (i+1)*c.Timesteps
		out.Doubt = append(out.Doubt, c.Doubt[lo:hi]...)
		out.Prediction = append(out.Prediction, c.Prediction[lo:hi]...)
		if len(c.Labels) > 0 {
			out.Labels = append(out.Labels, c.Labels[i])
		}
	}
	return out
}
