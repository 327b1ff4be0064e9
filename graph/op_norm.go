package graph

import (
	"fmt"
	"slices"
)

func init() {
	register(
		func() Op { return new(LayerNorm) },
		func() Op { return new(RMSNorm) },
		func() Op { return new(GroupNorm) },
		func() Op { return new(LRN) },
		func() Op { return new(SoftmaxAxes) },
	)
}

func checkEps(eps float64) error {
	if !(eps >= 0) || eps > 1 {
		return fmt.Errorf("eps %g: want 0 <= eps <= 1", eps)
	}
	return nil
}

// lastAxes wants parameters of the shape of the last axes, if they are there.
func lastAxes(in []Shape, p Params, axes int, roles ...string) (Shape, error) {
	if err := oneInput(in, p, roles...); err != nil {
		return nil, err
	}
	if axes < 1 || axes > len(in[0]) {
		return nil, fmt.Errorf("%d last axes: the input has %d axes", axes, len(in[0]))
	}
	tail := in[0][len(in[0])-axes:]
	for _, role := range roles {
		if t := p[role]; t != nil && !slices.Equal(t.Shape, tail) {
			return nil, fmt.Errorf("%s has shape %v, want %v", role, t.Shape, []int(tail))
		}
	}
	return slices.Clone(in[0]), nil
}

// LayerNorm normalises over the last Axes axes:
// (x-mean)/sqrt(var+Eps)*weight + bias, with the biased variance. "weight" and
// "bias" have the shape of those axes and may be missing (1 and 0).
type LayerNorm struct {
	Axes int     `json:"axes"` // how many, 1 or more
	Eps  float64 `json:"eps"`
}

// Kind returns "layernorm".
func (*LayerNorm) Kind() string { return "layernorm" }
func (o *LayerNorm) clone() Op  { c := *o; return &c }

// InferShape returns the input's shape.
func (o *LayerNorm) InferShape(in []Shape, p Params) (Shape, error) {
	if err := checkEps(o.Eps); err != nil {
		return nil, err
	}
	return lastAxes(in, p, o.Axes, "weight", "bias")
}

// RMSNorm divides by the root of the mean square over the last Axes axes:
// x/sqrt(mean(x²)+Eps)*weight. "weight" has the shape of those axes and may be
// missing.
type RMSNorm struct {
	Axes int     `json:"axes"` // how many, 1 or more
	Eps  float64 `json:"eps"`
}

// Kind returns "rmsnorm".
func (*RMSNorm) Kind() string { return "rmsnorm" }
func (o *RMSNorm) clone() Op  { c := *o; return &c }

// InferShape returns the input's shape.
func (o *RMSNorm) InferShape(in []Shape, p Params) (Shape, error) {
	if err := checkEps(o.Eps); err != nil {
		return nil, err
	}
	return lastAxes(in, p, o.Axes, "weight")
}

// GroupNorm normalises over all positions and the channels of a group, for every
// sample by itself; "weight" and "bias" [C] may be missing (1 and 0). With one
// channel per group it is instance normalisation. BatchAxes leading axes are
// positions of their own, not reduced over (a batch that is part of the sample).
type GroupNorm struct {
	Groups    int     `json:"groups"` // of equal numbers of channels
	Eps       float64 `json:"eps"`
	BatchAxes int     `json:"batch_axes"` // usually 0
}

// Kind returns "groupnorm".
func (*GroupNorm) Kind() string { return "groupnorm" }
func (o *GroupNorm) clone() Op  { c := *o; return &c }

// InferShape returns the input's shape.
func (o *GroupNorm) InferShape(in []Shape, p Params) (Shape, error) {
	if err := oneInput(in, p, "weight", "bias"); err != nil {
		return nil, err
	}
	if err := checkEps(o.Eps); err != nil {
		return nil, err
	}
	if err := checkAttr("groups", 1, o.Groups); err != nil {
		return nil, err
	}
	c := in[0].Channels()
	if c%o.Groups != 0 {
		return nil, fmt.Errorf("%d channels do not split into %d groups", c, o.Groups)
	}
	if o.BatchAxes < 0 || o.BatchAxes >= len(in[0]) {
		return nil, fmt.Errorf("%d batch axes: the input has %d axes", o.BatchAxes, len(in[0]))
	}
	for _, role := range []string{"weight", "bias"} {
		if err := wantVector(p, role, c); err != nil {
			return nil, err
		}
	}
	return slices.Clone(in[0]), nil
}

// LRN is local response normalisation over Size neighbouring channels:
// x/(Bias + Alpha/Size*sum(x²))^Beta, where the sum runs over the channels
// c-floor((Size-1)/2) .. c+ceil((Size-1)/2) that exist.
type LRN struct {
	Size  int     `json:"size"`
	Alpha float64 `json:"alpha"`
	Beta  float64 `json:"beta"`
	Bias  float64 `json:"bias"`
}

// Kind returns "lrn".
func (*LRN) Kind() string { return "lrn" }
func (o *LRN) clone() Op  { c := *o; return &c }

// InferShape returns the input's shape.
func (o *LRN) InferShape(in []Shape, p Params) (Shape, error) {
	for _, e := range []error{checkAttr("size", 1, o.Size), checkFinite("alpha", o.Alpha), checkFinite("beta", o.Beta), checkFinite("bias", o.Bias)} {
		if e != nil {
			return nil, e
		}
	}
	return sameShape(in, p)
}

// SoftmaxAxes normalises exp(x) over the given axes together, or, with Log, gives
// the logarithm of that. Softmax is the same over the channels alone.
type SoftmaxAxes struct {
	Axes Ints `json:"axes"` // ascending
	Log  bool `json:"log"`
}

// Kind returns "softmax_axes".
func (*SoftmaxAxes) Kind() string { return "softmax_axes" }
func (o *SoftmaxAxes) clone() Op  { return &SoftmaxAxes{Axes: slices.Clone(o.Axes), Log: o.Log} }

// InferShape returns the input's shape.
func (o *SoftmaxAxes) InferShape(in []Shape, p Params) (Shape, error) {
	if err := oneInput(in, p); err != nil {
		return nil, err
	}
	return slices.Clone(in[0]), checkAxes(o.Axes, len(in[0]))
}
