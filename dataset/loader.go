package dataset

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"sync"

	"github.com/adafire/adafire/internal/random"
	"github.com/adafire/adafire/tensor"
)

// LoaderOptions says how batches are made. BatchSize must be set.
type LoaderOptions struct {
	BatchSize int     `json:"batch_size"` // samples, 1..65536
	Shuffle   bool    `json:"shuffle,omitempty"`
	DropLast  bool    `json:"drop_last,omitempty"` // leave out a last batch that is not full
	Seed      uint64  `json:"seed,omitempty"`
	Workers   int     `json:"-"` // goroutines that prepare batches; 0: one per core
	Prefetch  int     `json:"-"` // batches prepared ahead; 0: one per worker, at least 2
	Augment   Augment `json:"augment,omitzero"`
	Vary      bool    `json:"vary,omitempty"` // let a data set that is a Varier vary the samples, before Augment
	Mix       Mix     `json:"mix,omitzero"`
	Normalise bool    `json:"normalise,omitempty"` // subtract Info.Mean, divide by Info.Std
	Smoothing float64 `json:"smoothing,omitempty"` // label smoothing, 0..1 (1 excluded)
}

// Validate reports fields out of range.
func (o *LoaderOptions) Validate() error {
	switch {
	case o.BatchSize < 1 || o.BatchSize > 1<<16:
		return fmt.Errorf("batch size %d: want 1 to %d", o.BatchSize, 1<<16)
	case o.Workers < 0 || o.Workers > 1024:
		return fmt.Errorf("loader workers %d: want 0 to 1024", o.Workers)
	case o.Prefetch < 0 || o.Prefetch > 1024:
		return fmt.Errorf("prefetch %d: want 0 to 1024", o.Prefetch)
	case !(o.Smoothing >= 0 && o.Smoothing < 1):
		return fmt.Errorf("label smoothing %g: want 0 to below 1", o.Smoothing)
	}
	if err := o.Augment.Validate(); err != nil {
		return err
	}
	return o.Mix.Validate()
}

// A Batch is a group of samples. It is valid until the next step of the
// iteration it came from: its memory is then used for another batch.
type Batch struct {
	X      *tensor.Tensor // [n,H,W,C], augmented, normalised and mixed as asked for
	Labels []int          // n class indices, before mixing
	Soft   *tensor.Tensor // [n,classes] smoothed and mixed labels; nil without smoothing and mixing
	Index  []int          // n indices into the data set
}

// A Loader makes batches of a data set. It may serve several epochs, also at
// the same time.
type Loader struct {
	ds   Dataset
	info Info
	opts LoaderOptions

	scale, shift []float32 // per channel: value*scale + shift

	mu   sync.Mutex
	free []*work // memory of batches that are done
}

// work is a batch being prepared, with all the memory that this takes.
type work struct {
	batch      Batch
	x, soft    []float32
	labels     []int
	augment    *augmenter
	epoch, num int
	index      []int // samples of this batch
	err        error
	done       chan struct{} // one token when prepared
}

// NewLoader checks the options against the data set.
func NewLoader(ds Dataset, opts LoaderOptions) (*Loader, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	info := ds.Info()
	if len(info.Shape) != 3 {
		return nil, fmt.Errorf("data set %s: samples of shape %v, want height, width, channels", info.Name, info.Shape)
	}
	h, w, c := info.Shape[0], info.Shape[1], info.Shape[2]
	switch {
	case ds.Len() == 0:
		return nil, fmt.Errorf("data set %s, %s: no samples", info.Name, info.Split)
	case opts.DropLast && ds.Len() < opts.BatchSize:
		return nil, fmt.Errorf("data set %s, %s: %d samples do not fill one batch of %d", info.Name, info.Split, ds.Len(), opts.BatchSize)
	case opts.Augment.AutoAugment != "" && c != 1 && c != 3:
		return nil, fmt.Errorf("data set %s: AutoAugment wants 1 or 3 channels, samples have %d", info.Name, c)
	case opts.Augment.Crop >= min(h, w):
		return nil, fmt.Errorf("data set %s: crop padding %d is not below the image size %dx%d", info.Name, opts.Augment.Crop, h, w)
	}
	if opts.Workers == 0 {
		opts.Workers = runtime.GOMAXPROCS(0)
	}
	if opts.Prefetch == 0 {
		opts.Prefetch = max(2, opts.Workers)
	}
	l := &Loader{ds: ds, info: info, opts: opts}
	if opts.Normalise {
		if len(info.Mean) != c || len(info.Std) != c {
			return nil, fmt.Errorf("data set %s: %d means and %d deviations for %d channels", info.Name, len(info.Mean), len(info.Std), c)
		}
		for ch, s := range info.Std {
			if !(s > 0) {
				return nil, fmt.Errorf("data set %s: standard deviation %g of channel %d, want above 0", info.Name, s, ch)
			}
			l.scale = append(l.scale, 1/s)
			l.shift = append(l.shift, -info.Mean[ch]/s)
		}
	}
	return l, nil
}

// Options returns the options with the defaults filled in.
func (l *Loader) Options() LoaderOptions { return l.opts }

// Batches returns the number of batches of an epoch.
func (l *Loader) Batches() int {
	n := l.ds.Len()
	if l.opts.DropLast {
		return n / l.opts.BatchSize
	}
	return (n + l.opts.BatchSize - 1) / l.opts.BatchSize
}

// Samples returns the number of samples of an epoch.
func (l *Loader) Samples() int {
	if l.opts.DropLast {
		return l.Batches() * l.opts.BatchSize
	}
	return l.ds.Len()
}

// Epoch yields the batches startBatch, startBatch+1, ... of an epoch. They are
// the same as in an epoch that began at 0, so that an interrupted epoch can be
// resumed. After an error (of the data set, or ctx's) the iteration ends.
// Batches are prepared in the background; when the loop ends, early or not,
// that has stopped before the next statement runs.
func (l *Loader) Epoch(ctx context.Context, epoch, startBatch int) iter.Seq2[*Batch, error] {
	return func(yield func(*Batch, error) bool) {
		if epoch < 0 || startBatch < 0 || startBatch > l.Batches() {
			yield(nil, fmt.Errorf("epoch %d, batch %d: want an epoch from 0 and a batch of 0 to %d", epoch, startBatch, l.Batches()))
			return
		}
		l.run(ctx, epoch, startBatch, yield)
	}
}

func (l *Loader) run(ctx context.Context, epoch, start int, yield func(*Batch, error) bool) {
	order := l.order(epoch)
	stop, cancel := context.WithCancel(ctx)
	ahead := min(l.opts.Prefetch+1, l.Batches()-start) // one of them is in the caller's hands
	todo := make(chan *work, ahead)                    // never blocks: it holds all that are in flight
	var workers sync.WaitGroup
	for range min(l.opts.Workers, ahead) {
		workers.Go(func() {
			for w := range todo {
				w.err = l.prepare(stop, w)
				w.done <- struct{}{}
			}
		})
	}
	var flying []*work // in order of batches
	next := start
	launch := func() {
		if next == l.Batches() {
			return
		}
		w := l.get()
		lo := next * l.opts.BatchSize
		w.epoch, w.num, w.index = epoch, next, order[lo:min(lo+l.opts.BatchSize, len(order))]
		next++
		flying = append(flying, w)
		todo <- w
	}
	defer func() {
		cancel()
		close(todo)
		workers.Wait()
		for _, w := range flying {
			<-w.done
			l.put(w)
		}
	}()

	for range ahead {
		launch()
	}
	for len(flying) > 0 {
		w := flying[0]
		<-w.done // soon even if ctx ends: prepare looks at it for every sample
		w.done <- struct{}{}
		if err := ctx.Err(); err != nil {
			yield(nil, err)
			return
		}
		if w.err != nil {
			yield(nil, w.err)
			return
		}
		if !yield(&w.batch, nil) {
			return
		}
		<-w.done
		flying = flying[1:]
		l.put(w)
		launch()
	}
}

// order returns the indices of the samples of an epoch.
func (l *Loader) order(epoch int) []int {
	if l.opts.Shuffle {
		return random.New(l.opts.Seed, "shuffle", uint64(epoch)).Perm(l.ds.Len())
	}
	order := make([]int, l.ds.Len())
	for i := range order {
		order[i] = i
	}
	return order
}

// get returns memory for a batch.
func (l *Loader) get() *work {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.free); n > 0 {
		w := l.free[n-1]
		l.free = l.free[:n-1]
		return w
	}
	size := min(l.opts.BatchSize, l.ds.Len())
	w := &work{
		x:       make([]float32, size*sampleLen(l.ds)),
		labels:  make([]int, size),
		augment: newAugmenter(l.opts.Augment, l.info.Shape),
		done:    make(chan struct{}, 1),
	}
	if l.opts.Mix.Enabled() || l.opts.Smoothing > 0 {
		w.soft = make([]float32, size*len(l.info.Classes))
	}
	return w
}

func (l *Loader) put(w *work) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free = append(l.free, w)
}

// prepare fills w.batch.
func (l *Loader) prepare(ctx context.Context, w *work) error {
	h, wd, c := l.info.Shape[0], l.info.Shape[1], l.info.Shape[2]
	size := h * wd * c
	n := len(w.index)
	augment := l.opts.Augment != Augment{}
	varier, varies := l.ds.(Varier)
	varies = varies && l.opts.Vary
	for k, i := range w.index {
		if err := ctx.Err(); err != nil {
			return err
		}
		img := w.x[k*size : (k+1)*size]
		var err error
		switch {
		case varies:
			rng := random.New(l.opts.Seed, "augment", uint64(w.epoch), uint64(i))
			if w.labels[k], err = varier.SampleVaried(i, img, rng); err == nil && augment {
				w.augment.apply(rng, img, false)
			}
		case !augment:
			w.labels[k], err = l.ds.Sample(i, img)
		default:
			rng := random.New(l.opts.Seed, "augment", uint64(w.epoch), uint64(i))
			cropped := false
			if l.opts.Augment.ResizedCrop {
				w.labels[k], cropped, err = sampleResizedCrop(l.ds, i, img, rng)
			} else {
				w.labels[k], err = l.ds.Sample(i, img)
			}
			if err == nil {
				w.augment.apply(rng, img, cropped)
			}
		}
		if err != nil {
			return err
		}
		if y := w.labels[k]; y < 0 || y >= len(l.info.Classes) {
			return fmt.Errorf("data set %s, %s: sample %d has label %d, want 0 to %d", l.info.Name, l.info.Split, i, y, len(l.info.Classes)-1)
		}
		l.normalise(img)
	}
	mix := mixing{lambda: 1}
	if l.opts.Mix.Enabled() {
		rng := random.New(l.opts.Seed, "mix", uint64(w.epoch), uint64(w.num))
		mix = l.opts.Mix.draw(rng, w.epoch, h, wd)
		mix.images(w.x, n, h, wd, c)
	}
	w.batch = Batch{
		X:      &tensor.Tensor{Shape: []int{n, h, wd, c}, Data: w.x[:n*size]},
		Labels: w.labels[:n],
		Index:  w.index,
	}
	if w.soft != nil {
		classes := len(l.info.Classes)
		mix.labels(w.soft, w.labels[:n], classes, l.opts.Smoothing)
		w.batch.Soft = &tensor.Tensor{Shape: []int{n, classes}, Data: w.soft[:n*classes]}
	}
	return nil
}

// normalise maps img to (v-mean)/std as v*(1/std) - mean/std.
func (l *Loader) normalise(img []float32) {
	switch len(l.scale) {
	case 0:
	case 1:
		a, b := l.scale[0], l.shift[0]
		for i, v := range img {
			img[i] = float32(v*a) + b
		}
	default:
		for i := 0; i < len(img); i += len(l.scale) {
			px := img[i : i+len(l.scale)]
			for ch, a := range l.scale {
				px[ch] = float32(px[ch]*a) + l.shift[ch]
			}
		}
	}
}
