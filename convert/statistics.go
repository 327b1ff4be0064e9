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
	// batchSamples is how many samples go through the ANN at a time.
	batchSamples = 64
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

// points returns the activations of a channel for the search of its threshold.
func (a *activations) points(ch int) *points {
	if a.values != nil {
		return newPoints(a.sorted(ch), nil)
	}
	return newPoints(a.bins(ch))
}

// sorted returns the kept values of a channel in ascending order.
func (a *activations) sorted(ch int) []float32 {
	if !slices.IsSorted(a.values[ch]) {
		slices.Sort(a.values[ch])
	}
	return a.values[ch]
}

// quantile is exact on kept values; on a histogram every value counts as the
// mean of its bin, so that it is off by at most a bin (1/4096 of the maximum).
func (a *activations) quantile(ch int, fraction float64) float32 {
	if a.values != nil {
		return quantile(a.sorted(ch), a.total-int64(len(a.values[ch])), fraction)
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
	for i, n := range o.nodes {
		if want(i) {
			names = append(names, n.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	var failed error
	for lo := 0; lo < o.x.Shape[0]; lo += batchSamples {
		if err := ctx.Err(); err != nil {
			return err
		}
		hi := min(lo+batchSamples, o.x.Shape[0])
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

// collect gathers what the thresholds of all layers need, in two passes over the
// ANN: maxima, then values or histograms. The settings differ in their burst
// limits only; the highest decides how fine the statistics are.
func (o *observer) collect(ctx context.Context, pool *parallel.Pool, cfgs []Config) ([]*activations, error) {
	c := &cfgs[0]
	samples := o.x.Shape[0]
	all := make([]*activations, len(o.nodes))
	for i, n := range o.nodes {
		channels := n.Shape.Channels()
		if !c.perChannel(n, samples) {
			channels = 1
		}
		a := &activations{node: n.Name, channels: channels, max: make([]float32, channels)}
		a.total = int64(samples) * int64(n.Shape.Numel()/channels)
		all[i] = a
	}
	err := o.each(ctx, func(int) bool { return true }, func(l, first int, y *tensor.Tensor) error {
		return all[l].addMax(pool, first, o.nodes[l].Shape, y)
	})
	if err != nil {
		return nil, err
	}
	method, _, _ := c.method()
	for i, a := range all {
		if method == "max" {
			continue
		}
		most := 0
		for _, c := range cfgs {
			most = max(most, c.maxSpike(i))
		}
		if a.total < exactBelow || (method == "mse" && c.Timesteps*most > finestLevels) {
			a.values = make([][]float32, a.channels)
		} else {
			a.count = make([]uint32, a.channels*binCount)
			a.sum = make([]float64, a.channels*binCount)
		}
	}
	err = o.each(ctx, func(l int) bool { return method != "max" }, func(l, _ int, y *tensor.Tensor) error {
		all[l].addValues(pool, y)
		return nil
	})
	return all, err
}

// perChannel says whether the layer of node n gets one threshold per channel.
func (c *Config) perChannel(n *graph.Node, samples int) bool {
	if !c.ChannelWise {
		return false
	}
	return len(n.Shape) > 1 || (!c.VectorScalar && samples >= minVectorSamples)
}

// minVectorSamples is how many samples the thresholds per channel of a fully
// connected layer want: it has one value per sample and channel only.
const minVectorSamples = 256

func (a *activations) addMax(pool *parallel.Pool, first int, shape graph.Shape, y *tensor.Tensor) error {
	if i := y.FirstNonFinite(); i >= 0 {
		return fmt.Errorf("node %q: activation of calibration sample %d is %g", a.node, first+i/shape.Numel(), y.Data[i])
	}
	for i, v := range y.Data {
		if v < 0 {
			return fmt.Errorf("node %q: activation of calibration sample %d is %g, want >= 0 behind a rectifier", a.node, first+i/shape.Numel(), v)
		}
	}
	pool.Chunks(a.channels, channelBlock, func(lo, hi int) {
		for row := 0; row < len(y.Data); row += a.channels {
			for ch := lo; ch < hi; ch++ {
				a.max[ch] = max(a.max[ch], y.Data[row+ch])
			}
		}
	})
	return nil
}

// addValues keeps the non-zero values, or counts them into bins of equal width
// on (0, max]. Each worker owns some channels and sees the values in order, so
// the sums do not depend on the number of workers.
func (a *activations) addValues(pool *parallel.Pool, y *tensor.Tensor) {
	pool.Chunks(a.channels, channelBlock, func(lo, hi int) {
		if a.values != nil {
			for row := 0; row < len(y.Data); row += a.channels {
				for ch := lo; ch < hi; ch++ {
					if v := y.Data[row+ch]; v > 0 {
						a.values[ch] = append(a.values[ch], v)
					}
				}
			}
			return
		}
		var width [channelBlock]float32
		for ch := lo; ch < hi; ch++ {
			if a.max[ch] >= smallestMax {
				width[ch-lo] = binCount / a.max[ch]
			}
		}
		for row := 0; row < len(y.Data); row += a.channels {
			for ch := lo; ch < hi; ch++ {
				if v := y.Data[row+ch]; v > 0 {
					bin := ch*binCount + min(int(v*width[ch-lo]), binCount-1)
					a.count[bin]++
					a.sum[bin] += float64(v)
				}
			}
		}
	})
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
		if i := y.FirstNonFinite(); i >= 0 {
			return fmt.Errorf("node %q: activation of calibration sample %d is %g", o.nodes[l].Name, first+i/o.nodes[l].Shape.Numel(), y.Data[i])
		}
		sums := channel[l]
		if perNeuron {
			sums = neuron[l]
		}
		pool.Chunks(len(sums), channelBlock, func(lo, hi int) {
			for row := 0; row < len(y.Data); row += len(sums) {
				for i := lo; i < hi; i++ {
					sums[i] += float64(y.Data[row+i])
				}
			}
		})
		return nil
	})
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
	return channel, neuron, err
}
