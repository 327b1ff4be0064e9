// Package augment varies recordings and voxel grids at random for training, as
// the paper's event-camera experiments do: EventAugment on the events of a
// recording, then a flip and one of six operations on the array.
//
//	ea := augment.NewEvents(180, 240, augment.EventsOptions{})
//	rng := random.New(seed, "augment", epoch, sample)
//	ev = ea.Apply(rng, ev)    // one operation with probability 1/2, in place
//	...                       // represent.Transform makes the array x of it
//	augment.NewArray(224, 224, 18).Apply(rng, x)
//
// Everything depends on the given generator only. Mixing of samples (mixup) is
// in package dataset.
package augment
