package ann

import (
	"fmt"
	"math"
)

// A Schedule is a learning rate over time. With the base rate lr and a warm-up
// of w epochs, at epoch e:
//
//	constant  lr
//	cosine    MinLR + (lr-MinLR)*(1+cos(pi*(e-w)/(Epochs-w)))/2, and MinLR from Epochs on
//	step      lr*Gamma^k, k the number of Steps <= e, at least MinLR
//
// During the warm-up the rate rises in equal steps to lr, which the last of
// them reaches. With PerStep, e is a fraction that moves with every step of the
// optimiser; else it is the number of whole epochs.
type Schedule struct {
	Kind    string  `json:"kind"`     // "constant", "cosine" or "step"
	Epochs  int     `json:"epochs"`   // of the cosine; 0 for all of them
	Warmup  float64 `json:"warmup"`   // epochs
	MinLR   float64 `json:"min_lr"`   // lowest rate
	Steps   []int   `json:"steps"`    // epochs at which "step" multiplies by Gamma
	Gamma   float64 `json:"gamma"`    // of "step"
	PerStep bool    `json:"per_step"` // change with every step, not every epoch
}

// Validate reports settings out of range.
func (s *Schedule) Validate() error {
	switch s.Kind {
	case "constant", "cosine":
	case "step":
		if !(s.Gamma > 0) || s.Gamma > 1 {
			return fmt.Errorf("schedule gamma %g: want 0 < gamma <= 1", s.Gamma)
		}
		for i, e := range s.Steps {
			if e < 1 || i > 0 && e <= s.Steps[i-1] {
				return fmt.Errorf("schedule steps %v: want ascending epochs from 1", s.Steps)
			}
		}
	default:
		return fmt.Errorf("schedule %q: want constant, cosine or step", s.Kind)
	}
	if s.Epochs < 0 {
		return fmt.Errorf("schedule epochs %d: want 0 or more", s.Epochs)
	}
	if !(s.Warmup >= 0) || math.IsInf(s.Warmup, 0) {
		return fmt.Errorf("warmup of %g epochs: want 0 or more", s.Warmup)
	}
	if !(s.MinLR >= 0) || math.IsInf(s.MinLR, 0) {
		return fmt.Errorf("min lr %g: want 0 or more", s.MinLR)
	}
	return nil
}

// LR returns the rate for step batch (from 0) of epoch, where an epoch has
// batches steps and the whole training epochs.
func (s *Schedule) LR(base float64, epoch, batch, batches, epochs int) float64 {
	at, unit := float64(epoch), 1.0
	if s.PerStep {
		unit = 1 / float64(max(batches, 1))
		at += float64(batch) * unit
	}
	if at < s.Warmup {
		return base * math.Min(1, (at+unit)/s.Warmup)
	}
	switch s.Kind {
	case "cosine":
		end := float64(epochs)
		if s.Epochs > 0 {
			end = float64(s.Epochs)
		}
		if at >= end {
			return s.MinLR
		}
		return s.MinLR + (base-s.MinLR)*(1+math.Cos(math.Pi*(at-s.Warmup)/(end-s.Warmup)))/2
	case "step":
		lr := base
		for _, e := range s.Steps {
			if at >= float64(e) {
				lr *= s.Gamma
			}
		}
		return math.Max(lr, s.MinLR)
	}
	return base
}
