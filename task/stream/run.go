package stream

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/adafire/adafire/events"
	"github.com/adafire/adafire/tensor"
)

// A Classifier runs a network on one sample x [1, H, W, C], which it may change
// but not keep, and returns the outputs and, of a spiking network that is left
// early, the timesteps run, else 0.
type Classifier func(ctx context.Context, x *tensor.Tensor) (logits []float32, timesteps int, err error)

// A Decision is what is known of a window.
type Decision struct {
	StartUs, EndUs int64 // start <= t < end, in the recording's own time
	Windows        int64 // 1, or the number of empty windows in a row that are reported at once
	Events         int64 // on the sensor
	Partial        bool  // the recording ended before the window did

	Classified bool      // else it has fewer events than Config.MinEvents
	Logits     []float32 // valid until the report returns
	Timesteps  int       // as Classifier returned it

	// Latency is the time from when the window was known to be complete to
	// the decision: making the array and running the network.
	Latency time.Duration
}

// A Summary is what is known at the end. Windows are divided into Classified and
// Quiet ones.
type Summary struct {
	Events     int64 // read
	FirstUs    int64 // time of the first event
	LastUs     int64 // largest time
	Windows    int64
	Classified int64
	Quiet      int64 // fewer events than Config.MinEvents

	Late    int64 // events older than the window that was current, left out
	Between int64 // events between windows, where the step is longer
	Outside int64 // events outside the sensor, left out

	Latency Latency
	Stats   events.Stats // of the reader
	Elapsed time.Duration
}

// a chunk is what the reading goroutine hands over.
type chunk struct {
	events []events.Event
	stats  events.Stats
	err    error
}

// Run reads a recording to its end and reports every window in order: complete
// ones as soon as an event behind their end has come, and at the end of the
// recording the oldest that is not complete, which reaches to the last event. A
// source that falls silent leaves the last windows waiting, as time passes by
// events only.
//
// When ctx ends or an error occurs, the summary so far is returned with it. The
// reader is then no longer used, save that a call of its Read that is under way,
// in a goroutine, may go on until the source gives something or is closed.
func Run(ctx context.Context, r events.Reader, cfg Config, classify Classifier, report func(*Decision) error) (*Summary, error) {
	s, err := newSlicer(cfg)
	if err != nil {
		return nil, err
	}
	w := &run{slicer: s, classify: classify, report: report, sum: &Summary{},
		x: tensor.New(append([]int{1}, s.transform.Shape()...)...)}
	begun := time.Now()
	err = w.run(ctx, r)
	w.sum.Late, w.sum.Between, w.sum.Outside = s.late, s.between, s.outside
	w.sum.FirstUs, w.sum.Elapsed = s.first, time.Since(begun)
	return w.sum, err
}

// a run is the state of Run.
type run struct {
	*slicer
	classify Classifier
	report   func(*Decision) error
	sum      *Summary
	x        *tensor.Tensor
}

func (w *run) run(ctx context.Context, r events.Reader) error {
	size := w.cfg.Chunk
	if size == 0 {
		size = defaultChunk
	}
	// Three chunks: one is read, one waits, one is worked on.
	full, free := make(chan chunk, 1), make(chan []events.Event, 3)
	for range 3 {
		free <- make([]events.Event, size)
	}
	ended := make(chan struct{})
	defer close(ended)
	go read(r, full, free, ended)
	for {
		var c chunk
		select {
		case <-ctx.Done():
			return ctx.Err()
		case c = <-full:
		}
		w.sum.Stats = c.stats
		if err := w.take(ctx, c.events); err != nil {
			return err
		}
		switch {
		case errors.Is(c.err, io.EOF):
			return w.finish(ctx)
		case c.err != nil:
			return c.err
		}
		free <- c.events[:cap(c.events)]
	}
}

// read fills chunks until the recording or the run ends.
func read(r events.Reader, full chan<- chunk, free <-chan []events.Event, ended <-chan struct{}) {
	for {
		var buf []events.Event
		select {
		case <-ended:
			return
		case buf = <-free:
		}
		n, err := r.Read(buf)
		select {
		case <-ended:
			return
		case full <- chunk{buf[:n], *r.Stats(), err}:
		}
		if err != nil {
			return
		}
	}
}

// take counts events and reports the windows that they complete.
func (w *run) take(ctx context.Context, list []events.Event) error {
	for i := range list {
		e := &list[i]
		d, err := w.since(e.T)
		if err != nil {
			return err
		}
		if w.sum.Events == 0 {
			w.sum.LastUs = e.T
		}
		w.sum.Events++
		w.sum.LastUs = max(w.sum.LastUs, e.T)
		if d >= w.end() {
			if err := w.closeUntil(ctx, d); err != nil {
				return err
			}
		}
		w.add(e, d)
	}
	return nil
}

// closeUntil reports the windows that end at or before d.
func (w *run) closeUntil(ctx context.Context, d int64) error {
	for d >= w.end() {
		if w.events() == 0 && w.cfg.MinEvents > 0 {
			n := (d-w.end())/w.cfg.StepUs + 1
			if err := w.quiet(n, false); err != nil {
				return err
			}
			w.skip(n)
			continue
		}
		if err := w.decide(ctx, false); err != nil {
			return err
		}
		w.advance()
	}
	return nil
}

// finish reports the window that the end of the recording cuts off.
func (w *run) finish(ctx context.Context) error {
	if w.events() == 0 {
		return nil
	}
	return w.decide(ctx, true)
}

// decide reports the current window.
func (w *run) decide(ctx context.Context, partial bool) error {
	if w.events() < w.cfg.MinEvents {
		return w.quiet(1, partial)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	begun := time.Now()
	if err := w.fill(w.x.Data); err != nil {
		return err
	}
	logits, timesteps, err := w.classify(ctx, w.x)
	if err != nil {
		return err
	}
	d := &Decision{Windows: 1, Partial: partial, Classified: true, Logits: logits, Timesteps: timesteps, Latency: time.Since(begun)}
	w.sum.Latency.Add(d.Latency)
	w.sum.Classified++
	return w.tell(d)
}

// quiet reports n windows without a decision.
func (w *run) quiet(n int64, partial bool) error {
	w.sum.Quiet += n
	return w.tell(&Decision{Windows: n, Partial: partial})
}

func (w *run) tell(d *Decision) error {
	d.StartUs = w.first + w.start()
	d.EndUs = w.first + w.end() + (d.Windows-1)*w.cfg.StepUs
	d.Events = w.events()
	w.sum.Windows += d.Windows
	return w.report(d)
}
