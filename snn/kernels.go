package snn

// A KernelUse says how the current of a layer of neurons was computed in a run.
type KernelUse struct {
	Kernel string // see Network.Kernel
	// Frames are the (sample, timestep) pairs that the layer's weights were
	// applied to. EventFrames are those of them in which a kernel did it that
	// spends time on counts other than zero only, since there were few of these
	// (with float32 weights that is all or none); BaseFrames those in which it
	// did so on the differences from the rounded mean of the sample's timesteps.
	Frames, EventFrames, BaseFrames int64
}

// Events returns the share of frames that were computed by events, with or
// without a base, 0..1.
func (k KernelUse) Events() float64 {
	if k.Frames == 0 {
		return 0
	}
	return float64(k.EventFrames+k.BaseFrames) / float64(k.Frames)
}

// Kernel says how the current of layer i is computed: with float32 weights
// "events" for a convolution that skips zero counts and "dense" for one that does
// not; "dense i8" or "dense i16" for one of integers, and "i8" or "i16" for one
// that skips zero counts in those timesteps and samples in which that is faster
// (Result.Kernels tells how many); "none" where the current comes from a step of
// its own.
func (n *Network) Kernel(i int) string { return n.plan.fires[i].kernel }

func (s *fireStep) kernelName(p Precision) string {
	switch {
	case s.ints != nil && s.ints.parts[0].events != nil:
		return string(p)
	case s.ints != nil:
		return "dense " + string(p)
	case s.conv == nil:
		return "none"
	case s.conv.events != nil:
		return "events"
	}
	return "dense"
}

// kernels adds up what the workers' runs counted.
func (n *Network) kernels(runs []*run, list *[]KernelUse) {
	grow(list, len(n.plan.fires))
	for i := range *list {
		use := KernelUse{Kernel: n.plan.fires[i].kernel}
		for _, r := range runs {
			if r != nil {
				use.Frames += r.uses[i].Frames
				use.EventFrames += r.uses[i].EventFrames
				use.BaseFrames += r.uses[i].BaseFrames
			}
		}
		(*list)[i] = use
	}
}
