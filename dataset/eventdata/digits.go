package eventdata

import (
	"fmt"
	"sync"

	"github.com/adafire/adafire/dataset"
	"github.com/adafire/adafire/events"
	"github.com/adafire/adafire/events/simulate"
)

// simulated is the name of the data set that is made and not read.
const simulated = "nmnist-sim"

// digits makes the recordings of nmnist-sim: MNIST digits on a screen that is
// not quite black, on the 34x34 pixels and along the path of N-MNIST.
type digits struct {
	split map[string]dataset.Dataset
	scene simulate.Scene // without image
	path  simulate.Path
	cam   *simulate.Camera

	streams sync.Pool // *digitStream
}

// a digitStream is what one goroutine needs.
type digitStream struct {
	image  []float32
	stream *simulate.Stream
}

// digitCamera is the camera of nmnist-sim. It is always the same: the data set
// must not depend on the seed of a training run. With it a digit has about as
// many events as in N-MNIST (4,000).
func digitCamera() simulate.Config {
	cfg := simulate.DefaultConfig(34, 34)
	cfg.Seed = 1
	return cfg
}

func openDigits(dir string) (*digits, error) {
	cam, err := simulate.NewCamera(digitCamera())
	if err != nil {
		return nil, err
	}
	d := &digits{
		split: map[string]dataset.Dataset{}, cam: cam, path: simulate.ThreeSaccades(3),
		scene: simulate.Scene{Black: 0.15},
	}
	for _, part := range []string{"train", "test"} {
		if d.split[part], err = dataset.Open("digits", dir, part); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// settings describe the recordings for the key of the cache.
func (d *digits) settings() string {
	return fmt.Sprintf("%+v %+v %s %s", d.cam.Config(), d.scene, d.split["train"].Info().SHA256, d.split["test"].Info().SHA256)
}

// listDigits lists the digits.
func listDigits(l *lister, _ *Options) *collection {
	c := &collection{rule: "as in MNIST"}
	for _, part := range []string{"train", "test"} {
		ds, err := dataset.Open("digits", l.dir, part)
		if err != nil {
			l.find("%v", err)
			return c
		}
		labels, err := dataset.Labels(ds)
		if err != nil {
			l.find("%v", err)
			return c
		}
		c.classes = ds.Info().Classes
		items := make([]item, len(labels))
		for i, y := range labels {
			items[i] = item{path: fmt.Sprintf("%s/%d", part, i), label: y}
		}
		if part == "train" {
			c.train = items
		} else {
			c.test = items
		}
	}
	return c
}

// record appends the events of one digit to dst.
func (d *digits) record(it *item, dst []events.Event) ([]events.Event, error) {
	var part string
	var i int
	for _, p := range []string{"train", "test"} {
		if n, err := fmt.Sscanf(it.path, p+"/%d", &i); n == 1 && err == nil {
			part = p
		}
	}
	ds := d.split[part]
	if ds == nil || i >= ds.Len() {
		return dst, fmt.Errorf("%s: no digit %q", simulated, it.path)
	}
	shape := ds.Info().Shape
	w, _ := d.streams.Get().(*digitStream)
	if w == nil {
		w = &digitStream{image: make([]float32, shape[0]*shape[1])}
	}
	defer d.streams.Put(w)
	if _, err := ds.Sample(i, w.image); err != nil {
		return dst, err
	}
	scene := d.scene
	scene.Image = simulate.Image{Width: shape[1], Height: shape[0], Pix: w.image}
	number := uint64(i)
	if part == "test" {
		number |= 1 << 32
	}
	var err error
	if w.stream == nil {
		w.stream, err = d.cam.Record(scene, d.path, number)
	} else {
		err = w.stream.Restart(scene, d.path, number)
	}
	if err != nil {
		return dst, err
	}
	return w.stream.AppendAll(dst), nil
}
