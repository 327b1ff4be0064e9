// Package eventdata reads labelled recordings of event cameras as their makers
// distribute them and gives them to training as arrays, like any other data set.
//
//	train, test, err := eventdata.Open("cifar10dvs", dir, eventdata.Options{InputSize: 64})
//	loader, err := dataset.NewLoader(train, ...)        // samples [64,64,18]: voxel grid
//	report, err := eventdata.Check("cifar10dvs", dir, eventdata.Options{})
//
// Known are CIFAR10-DVS, N-Caltech101 (both editions), N-CARS, N-MNIST, DVS128
// Gesture, ASL-DVS, the PAF action recognition set, class folders of any
// recordings (eventfolder), and nmnist-sim: the digits inside the program as
// package events/simulate's camera sees them.
//
// The first reading writes the events of all recordings to a cache in a form
// that is quick to read: safetensors files that other programs can open too.
// Events are kept and not arrays, as arrays depend on the input size and the
// representation, take ten times the room, and cannot be augmented by
// EventAugment. The cache is rebuilt when a file of the data set has changed.
//
// Training samples are varied by the Set itself, on the events: see
// Set.SampleVaried. Nothing is downloaded.
package eventdata
