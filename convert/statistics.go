package convert

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/adafire/adafire/ann"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

const (
	binCount = 4096 // bins of a channel's histogram
	// exactBelow is the number of values per channel below which all of them are
	// kept instead of a histogram.
	exactBelow = 65536
	// finestLevels is the number of levels T*phi up to which a histogram has
	// enough bins, 16 per level.
	finestLevels = binCount / 16
	// So many samples at most go through the ANN at a time, fewer where their
	// activations take more than batchBytes. No result depends on it.
	batchSamples = 64
	batchBytes   = 256 << 20
)

// activations holds what is known of one layer's activations on the calibration
// samples: the maximum of every channel, and all non-zero values or a histogram.
type activations struct {
	node     string
	channels int   // 1 if the whole layer has one threshold
	total    int64 // values per channel, zeros included
	max      []float32
	values   [][]float32 // non-zero values per channel, or nil
	count    []uint32    // [channel][bin], or nil
	sum      []float64   // [channel][bin]
}

// bins returns the means and counts of the bins of a channel that are not empty.
func (a *activations) bins(ch int) (mean []float32, count []uint32) {
	for i := ch * binCount; i < (ch+1)*binCount; i++ {
		if a.count[i] > 0 {
			mean = append(mean, float32(a.sum[i]/float64(a.count[i])))
			count = append(count, a.count[i])
		}
	}
	return mean, count
}

// points returns the activations of a channel for the search of its threshold;
// they are good until the next use of the memory.
func (a *activations) points(s *searchMemory, ch int) *points {
	if a.values != nil {
		return s.newPoints(a.sorted(s, ch), nil)
	}
	return s.newPoints(a.bins(ch))
}

// sorted returns the kept values of a channel in ascending order.
func (a *activations) sorted(s *searchMemory, ch int) []float32 {
	if !slices.IsSorted(a.values[ch]) {
		s.buf = slices.Grow(s.buf[:0], len(a.values[ch]))
		sortPositive(a.values[ch], s.buf[:cap(s.buf)])
	}
	return a.values[ch]
}

// quantile is exact on kept values; on a histogram every value counts as the
// mean of its bin, so that it is off by at most a bin (1/4096 of the maximum).
func (a *activations) quantile(s *searchMemory, ch int, fraction float64) float32 {
	if a.values != nil {
		return quantile(a.sorted(s, ch), a.total-int64(len(a.values[ch])), fraction)
	}
	mean, count := a.bins(ch)
	var live int64
	for _, c := range count {
		live += int64(c)
	}
	zeros := a.total - live
	// pick returns the value of the given rank.
	pick := func(rank int64) float64 {
		if rank -= zeros; rank < 0 {
			return 0
		}
		for i, c := range count {
			if rank -= int64(c); rank < 0 {
				return float64(mean[i])
			}
		}
		return float64(a.max[ch])
	}
	at := fraction * float64(a.total-1)
	lo := math.Floor(at)
	low := pick(int64(lo))
	if at == lo {
		return float32(low)
	}
	return float32(low + (pick(int64(lo)+1)-low)*(at-lo))
}

// observer runs the folded ANN over samples and hands out activations of its
// activation nodes, batch by batch.
type observer struct {
	exec  *ann.Executor
	x     *tensor.Tensor
	nodes []*graph.Node
	index map[string]int
	first int // index of x's first sample in the calibration set, for messages
}

func newObserver(g *graph.Graph, pool *parallel.Pool, x *tensor.Tensor) (*observer, error) {
	if err := checkSamples(x); err != nil {
		return nil, err
	}
	exec, err := ann.New(g, pool)
	if err != nil {
		return nil, err
	}
	o := &observer{exec: exec, x: x, nodes: snn.Activations(g), index: make(map[string]int)}
	for i, n := range o.nodes {
		o.index[n.Name] = i
	}
	return o, nil
}

// each calls fn for every batch and every activation node of the wanted layers.
func (o *observer) each(ctx context.Context, want func(layer int) bool, fn func(layer, first int, y *tensor.Tensor) error) error {
	var names []string
	bytes := 0 // of the wanted activations of a sample, all of which stay until the end
	for i, n := range o.nodes {
		if want(i) {
			names = append(names, n.Name)
			bytes += 4 * n.Shape.Numel()
		}
	}
	if len(names) == 0 {
		return nil
	}
	size := min(max(1, batchBytes/bytes), batchSamples)
	var failed error
	for lo := 0; lo < o.x.Shape[0]; lo += size {
		if err := ctx.Err(); err != nil {
			return err
		}
		hi := min(lo+size, o.x.Shape[0])
		err := o.exec.Observe(o.x.Rows(lo, hi), names, func(name string, y *tensor.Tensor) {
			if failed == nil {
				failed = fn(o.index[name], o.first+lo, y)
			}
		})
		if err != nil {
			return err
		}
		if failed != nil {
			return failed
		}
	}
	return nil
}

// channelBlock is how many channels one worker handles at a time: a cache line.
const channelBlock = 16

// collect gathers what the thresholds of all layers need: in one pass over the
// ANN the maxima of all layers and the values of those of which all are kept, in
// a second one the histograms of the others. The settings differ in their burst
// limits only; the highest decides how fine the statistics are.
func (o *observer) collect(ctx context.Context, pool *parallel.Pool, cfgs []Config) ([]*activations, error) {
	c := &cfgs[0]
	method, _, _ := c.method()
	samples := o.x.Shape[0]
	all := make([]*activations, len(o.nodes))
	for i, n := range o.nodes {
		most := 0
		for _, c := range cfgs {
			most = max(most, c.maxSpike(i))
		}
		all[i] = c.newActivations(n.Name, n.Shape, samples, most)
	}
	err := o.each(ctx, func(int) bool { return true }, func(l, first int, y *tensor.Tensor) error {
		if err := all[l].addMax(pool, first, o.nodes[l].Shape, y); err != nil {
			return err
		}
		if all[l].values != nil {
			all[l].addValues(pool, y)
		}
		return nil
	})
	if err != nil || method == "max" {
		return all, err
	}
	for _, a := range all {
		a.allocate()
	}
	err = o.each(ctx, func(l int) bool { return all[l].count != nil }, func(l, _ int, y *tensor.Tensor) error {
		all[l].addValues(pool, y)
		return nil
	})
	return all, err
}

// newActivations is to hold the activations of a layer of the given shape on
// samples, for burst limits up to most: all values, or histograms.
func (c *Config) newActivations(node string, shape graph.Shape, samples, most int) *activations {
	channels := 1
	if c.perChannel(shape, samples) {
		channels = shape.Channels()
	}
	a := &activations{node: node, channels: channels, max: make([]float32, channels)}
	a.total = int64(samples) * int64(shape.Numel()/channels)
	method, _, _ := c.method()
	if method != "max" && (a.total < exactBelow || (method == "mse" && c.Timesteps*most > finestLevels)) {
		a.values = make([][]float32, channels)
	}
	return a
}

// allocate makes histograms unless all values are kept.
func (a *activations) allocate() {
	if a.values == nil {
		a.count = make([]uint32, a.channels*binCount)
		a.sum = make([]float64, a.channels*binCount)
	}
}

// perChannel says whether a layer of the given shape gets one threshold per
// channel.
func (c *Config) perChannel(shape graph.Shape, samples int) bool {
	if !c.ChannelWise {
		return false
	}
	return len(shape) > 1 || (!c.VectorScalar && samples >= minVectorSamples)
}

// minVectorSamples is how many samples the thresholds per channel of a fully
// connected layer want: it has one value per sample and channel only.
const minVectorSamples = 256

// infinity are the bits of the smallest float that is not finite: those of
// finite positive floats are smaller and in the order of their values, those of
// negative ones larger.
const infinity = 0x7f800000

// addMax adds a batch to the maxima, having checked that it holds what a
// rectifier leaves.
func (a *activations) addMax(pool *parallel.Pool, first int, shape graph.Shape, y *tensor.Tensor) error {
	most := make([]uint32, a.channels)
	pool.Chunks(a.channels, channelBlock, func(lo, hi int) {
		if hi-lo == channelBlock {
			var top [channelBlock]uint32
			for row := lo; row < len(y.Data); row += a.channels {
				for i, v := range (*[channelBlock]float32)(y.Data[row:]) {
					top[i] = max(top[i], math.Float32bits(v))
				}
			}
			copy(most[lo:hi], top[:])
			return
		}
		for row := 0; row < len(y.Data); row += a.channels {
			for ch := lo; ch < hi; ch++ {
				most[ch] = max(most[ch], math.Float32bits(y.Data[row+ch]))
			}
		}
	})
	if slices.Max(most) >= infinity {
		if i := y.FirstNonFinite(); i >= 0 {
			return fmt.Errorf("node %q: activation of calibration sample %d is %g", a.node, first+i/shape.Numel(), y.Data[i])
		}
		clear(most)
		for i, v := range y.Data {
			if v < 0 {
				return fmt.Errorf("node %q: activation of calibration sample %d is %g, want >= 0 behind a rectifier", a.node, first+i/shape.Numel(), v)
			}
			if v > 0 { // -0 is a zero like any other
				most[i%a.channels] = max(most[i%a.channels], math.Float32bits(v))
			}
		}
	}
	for ch, m := range most {
		a.max[ch] = max(a.max[ch], math.Float32frombits(m))
	}
	return nil
}

// rowBlock is how many rows of a block of channels are looked at channel by
// channel: they fit in the first level of the cache.
const rowBlock = 256

// addValues keeps the non-zero values, or counts them into bins of equal width
// on (0, max]. Each worker owns some channels and sees the values in order, so
// the sums do not depend on the number of workers.
func (a *activations) addValues(pool *parallel.Pool, y *tensor.Tensor) {
	pool.Chunks(a.channels, channelBlock, func(lo, hi int) {
		var block [rowBlock]float32
		for begin := 0; begin < len(y.Data); begin += rowBlock * a.channels {
			rows := y.Data[begin:min(begin+rowBlock*a.channels, len(y.Data))]
			for ch := lo; ch < hi; ch++ {
				live := 0
				for at := ch; at < len(rows); at += a.channels {
					v := rows[at]
					block[live&(rowBlock-1)] = v
					if v > 0 {
						live++
					}
				}
				if a.values != nil {
					a.values[ch] = append(a.values[ch], block[:live]...)
				} else {
					a.countBins(ch, block[:live])
				}
			}
		}
	})
}

func (a *activations) countBins(ch int, values []float32) {
	var width float32
	if a.max[ch] >= smallestMax {
		width = binCount / a.max[ch]
	}
	count, sum := a.count[ch*binCount:][:binCount], a.sum[ch*binCount:][:binCount]
	for _, v := range values {
		bin := min(int(v*width), binCount-1)
		count[bin]++
		sum[bin] += float64(v)
	}
}

// means returns, for every layer, the mean activation per channel and, if
// wanted, per neuron of a sample, over all samples.
func (o *observer) means(ctx context.Context, pool *parallel.Pool, perNeuron bool) (channel, neuron [][]float64, err error) {
	channel, neuron = make([][]float64, len(o.nodes)), make([][]float64, len(o.nodes))
	for i, n := range o.nodes {
		channel[i] = make([]float64, n.Shape.Channels())
		if perNeuron {
			neuron[i] = make([]float64, n.Shape.Numel())
		}
	}
	err = o.each(ctx, func(int) bool { return true }, func(l, first int, y *tensor.Tensor) error {
		sums := channel[l]
		if perNeuron {
			sums = neuron[l]
		}
		pool.Chunks(len(sums), channelBlock, func(lo, hi int) {
			if hi-lo == channelBlock {
				s := (*[channelBlock]float64)(sums[lo:])
				for row := lo; row < len(y.Data); row += len(sums) {
					for i, v := range (*[channelBlock]float32)(y.Data[row:]) {
						s[i] += float64(v)
					}
				}
				return
			}
			for row := 0; row < len(y.Data); row += len(sums) {
				for i := lo; i < hi; i++ {
					sums[i] += float64(y.Data[row+i])
				}
			}
		})
		// Sums of finite floats are finite.
		if i := slices.IndexFunc(sums, func(s float64) bool { return s-s != 0 }); i >= 0 {
			if i := y.FirstNonFinite(); i >= 0 {
				return fmt.Errorf("node %q: activation of calibration sample %d is %g", o.nodes[l].Name, first+i/o.nodes[l].Shape.Numel(), y.Data[i])
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	samples := float64(o.x.Shape[0])
	for l, n := range o.nodes {
		c := len(channel[l])
		for i := range neuron[l] {
			channel[l][i%c] += neuron[l][i]
			neuron[l][i] /= samples
		}
		for ch := range channel[l] {
			channel[l][ch] /= samples * float64(n.Shape.Positions())
			if math.IsInf(channel[l][ch], 0) {
				return nil, nil, fmt.Errorf("node %q: the mean activation of channel %d overflows", n.Name, ch)
			}
		}
	}
	return channel, neuron, nil
}
