// Package simulate makes recordings of an event camera that looks at a moving
// image: for those who have images and no camera, and for data sets that are
// recordings of a screen (N-MNIST, N-Caltech101, CIFAR10-DVS).
//
//	cam, err := simulate.NewCamera(simulate.DefaultConfig(34, 34))
//	scene := simulate.Scene{Image: img}                        // 28x28, values 0..1
//	s, err := cam.Record(scene, simulate.ThreeSaccades(3), 0)  // an events.Reader
//	all, err := events.ReadAll(s)                              // in order of time
//
// A pixel follows the logarithm of its luminance (linear near black) and reports
// an event each time this has changed by its threshold since its last event;
// thresholds differ from pixel to pixel. Between two positions of the image the
// logarithm is taken as linear in time, so that the times of events are found
// directly, not by small steps. Refractory period, leak, shot noise, hot pixels,
// limited bandwidth and the resolution of timestamps can be switched on one by
// one.
//
// Everything random depends on the seed of the camera and the number of the
// recording. The model is that of Hu, Liu and Delbruck, v2e, CVPRW 2021, and of
// Lichtsteiner, Posch and Delbruck, JSSC 2008, in our own words: it is no
// substitute for a camera's measured noise.
package simulate
