package convert

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"maps"
	"math"
	"slices"

	"github.com/adafire/adafire/ann"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// A Metric says how the outputs of a spiking network are compared with the
// ANN's.
type Metric string

// The metrics.
const (
	// MetricKL is the symmetric Kullback-Leibler divergence between the softmax
	// of the ANN's logits and that of the mean logits of the spiking network,
	// (KL(p||q) + KL(q||p))/2 in nats, mean over samples (and positions, where
	// the output has any).
	MetricKL Metric = "kl"
	// MetricAccuracy is the share of samples that the ANN classifies correctly
	// less that of the spiking network. It needs labels and may be negative.
	MetricAccuracy Metric = "accuracy"
)

// A Cost says what a layer of neurons costs.
type Cost string

// The costs.
const (
	CostSOPs   Cost = "sops"   // synaptic operations: spikes times fan-out, bursts with multiplicity
	CostSpikes Cost = "spikes" // spikes, bursts with multiplicity, as the authors
)

// A Measure is how networks are compared in a search, and on what.
type Measure struct {
	Metric Metric `json:"metric"`
	Cost   Cost   `json:"cost"`
	// Samples is how many of the samples the tables are measured on.
	Samples int `json:"samples"`
	// Labels of all samples, for MetricAccuracy.
	Labels []int `json:"-"`
	// Progress, if not nil, is called with the number of cells of the tables
	// that are measured; a table measured in several blocks of samples counts
	// its cells once per block.
	Progress func(done, total int) `json:"-"`
	// Save, if not nil, is called now and then with unfinished tables, which
	// Resume takes later to go on from there; an error ends the search. The
	// tables must not be kept or changed.
	Save   func(*Tables) error `json:"-"`
	Resume *Tables             `json:"-"`
}

func (m *Measure) validate(samples int) error {
	switch {
	case m.Metric != MetricKL && m.Metric != MetricAccuracy:
		return fmt.Errorf("metric %q: want %s or %s", m.Metric, MetricKL, MetricAccuracy)
	case m.Cost != CostSOPs && m.Cost != CostSpikes:
		return fmt.Errorf("cost %q: want %s or %s", m.Cost, CostSOPs, CostSpikes)
	case m.Samples < 1:
		return fmt.Errorf("samples %d: want at least 1", m.Samples)
	case m.Metric == MetricAccuracy && len(m.Labels) != samples:
		return fmt.Errorf("%d labels for %d samples: the metric accuracy needs one each", len(m.Labels), samples)
	}
	return nil
}

// An Estimate is what a network costs and how far its outputs are from the
// ANN's: means per sample, in the units of a Measure.
type Estimate struct {
	Cost        float64 `json:"cost"` // of all layers
	Sensitivity float64 `json:"sensitivity"`
	// Accuracy is the share of correct samples, -1 without labels.
	Accuracy float64 `json:"accuracy"`
}

// Tables say, for every layer and candidate, how the network changes when only
// this layer is changed. They can be stored as JSON.
type Tables struct {
	// Key is a hash of all that the values depend on: tables are resumed only
	// by a search of the same key.
	Key        string    `json:"key"`
	Nodes      []string  `json:"nodes"`      // per layer
	Candidates []float64 `json:"candidates"` // burst limits or threshold ratios, ascending
	Samples    int       `json:"samples"`
	// Sensitivity [layer][candidate] is a mean over samples, Cost
	// [layer][candidate] that of the layer itself, summed over samples. While
	// Pending is set both are sums over the samples and layers done.
	Sensitivity [][]float64 `json:"sensitivity"`
	Cost        [][]float64 `json:"cost"`
	Pending     *Pending    `json:"pending,omitempty"`
}

// Pending says where unfinished tables go on.
type Pending struct {
	Samples int `json:"samples"` // blocks of samples done, in samples
	Layers  int `json:"layers"`  // layers done of the block that follows
}

// CostPerSample returns the cost [layer][candidate] as a mean over samples.
func (t *Tables) CostPerSample() [][]float64 {
	out := make([][]float64, len(t.Cost))
	for l, row := range t.Cost {
		for _, c := range row {
			out[l] = append(out[l], c/float64(t.Samples))
		}
	}
	return out
}

// sum adds up the entries of one candidate per layer, per sample.
func (t *Tables) sum(index []int) Estimate {
	e := Estimate{Accuracy: -1}
	for l, k := range index {
		e.Cost += t.Cost[l][k]
		e.Sensitivity += t.Sensitivity[l][k]
	}
	e.Cost /= float64(t.Samples)
	return e
}

// nonNegative returns the sensitivities shifted by a constant so that none is
// below zero, as those of the metric accuracy may be: bounds by a ratio have no
// meaning otherwise (algorithms.md 5.6).
func (t *Tables) nonNegative() [][]float64 {
	least := 0.0
	for _, row := range t.Sensitivity {
		least = min(least, slices.Min(row))
	}
	if least == 0 {
		return t.Sensitivity
	}
	out := make([][]float64, len(t.Sensitivity))
	for l, row := range t.Sensitivity {
		for _, s := range row {
			out[l] = append(out[l], s-least)
		}
	}
	return out
}

// matches says whether stored tables are unfinished or finished ones of the
// search that made fresh, and well formed.
func (t *Tables) matches(fresh *Tables) bool {
	if t == nil || t.Key != fresh.Key || len(t.Sensitivity) != len(fresh.Sensitivity) || len(t.Cost) != len(fresh.Cost) || t.Samples != fresh.Samples {
		return false
	}
	for l, row := range fresh.Cost {
		if len(t.Sensitivity[l]) != len(row) || len(t.Cost[l]) != len(row) {
			return false
		}
		for k := range row {
			if v := t.Sensitivity[l][k] + t.Cost[l][k]; v-v != 0 {
				return false
			}
		}
	}
	p := t.Pending
	return p == nil || (p.Samples >= 0 && p.Samples < t.Samples && p.Layers >= 0 && p.Layers < len(t.Cost))
}

// A trial is what tables are measured of.
type trial struct {
	original, graph *graph.Graph  // the ANN and the network to simulate
	base            *snn.Config   // neurons of all layers but the one that is tried
	candidates      []float64     // what the candidates are called
	layers          [][]snn.Layer // [layer][candidate]
	labels          []int
}

// recordingLimit bounds the memory of recorded spikes, in bytes; the samples
// are measured in blocks of as many as fit. Sums over blocks are the same as
// over all samples, so it never shows in a result.
const recordingLimit = 256 << 20

// tables measures all cells on the first samples of x. Recording the spikes of
// the unchanged network once per block of samples, every cell runs only the
// layers behind the changed one (algorithms.md 5.2).
func (m *Measure) tables(ctx context.Context, pool *parallel.Pool, x *tensor.Tensor, tr *trial) (*Tables, error) {
	return m.tablesInBlocks(ctx, pool, x, tr, recordingLimit)
}

func (m *Measure) tablesInBlocks(ctx context.Context, pool *parallel.Pool, x *tensor.Tensor, tr *trial, memory int) (*Tables, error) {
	if err := m.validate(x.Shape[0]); err != nil {
		return nil, err
	}
	x = first(x, m.Samples)
	net, err := snn.New(tr.graph, tr.base)
	if err != nil {
		return nil, err
	}
	exec, err := ann.New(tr.original, pool)
	if err != nil {
		return nil, err
	}
	t := &Tables{Candidates: tr.candidates, Samples: x.Shape[0], Pending: &Pending{}}
	if t.Key, err = tr.key(m, x); err != nil {
		return nil, err
	}
	for l, row := range tr.layers {
		t.Nodes = append(t.Nodes, tr.base.Layers[l].Node)
		t.Sensitivity = append(t.Sensitivity, make([]float64, len(row)))
		t.Cost = append(t.Cost, make([]float64, len(row)))
	}
	if r := m.Resume; r.matches(t) {
		t.Sensitivity, t.Cost, t.Pending = cloneRows(r.Sensitivity), cloneRows(r.Cost), nil
		if r.Pending == nil {
			return t, nil
		}
		p := *r.Pending
		t.Pending = &p
	}
	block := blockSize(net.RecordingBytes(), memory)
	cells := len(tr.layers) * len(tr.candidates)
	progress := func() {
		if m.Progress != nil {
			done := (t.Pending.Samples+block-1)/block*cells + t.Pending.Layers*len(tr.candidates)
			m.Progress(done, (t.Samples+block-1)/block*cells)
		}
	}
	for t.Pending.Samples < t.Samples {
		lo, hi := t.Pending.Samples, min(t.Pending.Samples+block, t.Samples)
		want, err := exec.Forward(x.Rows(lo, hi))
		if err != nil {
			return nil, err
		}
		progress()
		rec, err := net.Record(ctx, pool, x.Rows(lo, hi))
		if err != nil {
			return nil, err
		}
		for l := t.Pending.Layers; l < len(tr.layers); l++ {
			if err := m.layer(ctx, pool, rec, tr, t, l, want, lo); err != nil {
				return nil, err
			}
			if t.Pending.Layers++; l+1 == len(tr.layers) {
				t.Pending.Samples, t.Pending.Layers = hi, 0
			}
			progress()
			if m.Save != nil && t.Pending.Samples < t.Samples {
				if err := m.Save(t); err != nil {
					return nil, err
				}
			}
		}
	}
	for _, row := range t.Sensitivity {
		for k := range row {
			row[k] /= float64(t.Samples)
		}
	}
	t.Pending = nil
	if m.Save != nil {
		return t, m.Save(t)
	}
	return t, nil
}

// layer adds a block of samples to one row of the tables; first is the index of
// the block's first sample.
func (m *Measure) layer(ctx context.Context, pool *parallel.Pool, rec *snn.Recording, tr *trial, t *Tables, l int, want *tensor.Tensor, first int) error {
	results := make([]*snn.Result, len(tr.layers[l]))
	errs := make([]error, len(results))
	pool.For(len(results), func(k int) {
		results[k], errs[k] = rec.Replace(ctx, pool, l, tr.layers[l][k])
	})
	for k, res := range results {
		if errs[k] != nil {
			return fmt.Errorf("candidate %g: %w", tr.candidates[k], errs[k])
		}
		for i := range want.Shape[0] {
			t.Sensitivity[l][k] += m.sensitivity(tr.labels, first+i, rows(want, i), rows(res.Logits, i), classes(want))
			t.Cost[l][k] += float64(m.cost(&res.Layers[l], i))
		}
	}
	return nil
}

// blockSize is how many samples of the given size fit into the memory.
func blockSize(bytes, memory int) int { return max(1, memory/max(1, bytes)) }

func rows(y *tensor.Tensor, i int) []float32 {
	size := len(y.Data) / y.Shape[0]
	return y.Data[i*size : (i+1)*size]
}

func classes(y *tensor.Tensor) int { return y.Shape[len(y.Shape)-1] }

func cloneRows(v [][]float64) [][]float64 {
	out := make([][]float64, len(v))
	for i := range v {
		out[i] = slices.Clone(v[i])
	}
	return out
}

func (m *Measure) cost(c *snn.LayerCounts, sample int) int64 {
	if m.Cost == CostSpikes {
		return c.Spikes[sample]
	}
	return c.SOPs[sample]
}

// sensitivity compares the outputs of one sample.
func (m *Measure) sensitivity(labels []int, sample int, want, got []float32, classes int) float64 {
	if m.Metric == MetricAccuracy {
		right := func(y []float32) float64 {
			if kernel.ArgMax(y) == labels[sample] {
				return 1
			}
			return 0
		}
		return right(want) - right(got)
	}
	sum := 0.0
	for lo := 0; lo < len(want); lo += classes {
		sum += symmetricKL(want[lo:lo+classes], got[lo:lo+classes])
	}
	return sum * float64(classes) / float64(len(want))
}

// symmetricKL is 1/2 * sum (p-q)*(log p - log q) for p = softmax(a), q =
// softmax(b): by log-softmax in float64, so that no probability underflows to
// infinity or NaN.
func symmetricKL(a, b []float32) float64 {
	la, lb := logSum(a), logSum(b)
	sum := 0.0
	for i := range a {
		p, q := float64(a[i])-la, float64(b[i])-lb
		sum += (math.Exp(p) - math.Exp(q)) * (p - q)
	}
	return max(sum/2, 0) // rounding may fall below
}

// logSum is log(sum exp(y)).
func logSum(y []float32) float64 {
	top := float64(slices.Max(y))
	sum := 0.0
	for _, v := range y {
		sum += math.Exp(float64(v) - top)
	}
	return top + math.Log(sum)
}

// estimate measures a whole network on x, whose first sample is number first of
// all.
func (m *Measure) estimate(ctx context.Context, pool *parallel.Pool, original, g *graph.Graph, cfg *snn.Config, x *tensor.Tensor, first int) (Estimate, error) {
	exec, err := ann.New(original, pool)
	if err != nil {
		return Estimate{}, err
	}
	net, err := snn.New(g, cfg)
	if err != nil {
		return Estimate{}, err
	}
	e, samples, right := Estimate{Accuracy: -1}, x.Shape[0], 0
	for lo := 0; lo < samples; lo += batchSamples {
		part := x.Rows(lo, min(lo+batchSamples, samples))
		want, err := exec.Forward(part)
		if err != nil {
			return Estimate{}, err
		}
		res, err := net.Run(ctx, pool, part, snn.Options{})
		if err != nil {
			return Estimate{}, err
		}
		for i := range part.Shape[0] {
			at := first + lo + i
			e.Sensitivity += m.sensitivity(m.Labels, at, rows(want, i), rows(res.Logits, i), classes(want))
			if at < len(m.Labels) && kernel.ArgMax(rows(res.Logits, i)) == m.Labels[at] {
				right++
			}
			for l := range res.Layers {
				e.Cost += float64(m.cost(&res.Layers[l], i))
			}
		}
	}
	e.Sensitivity /= float64(samples)
	e.Cost /= float64(samples)
	if len(m.Labels) > 0 {
		e.Accuracy = float64(right) / float64(samples)
	}
	return e, nil
}

// key hashes all that the tables depend on.
func (tr *trial) key(m *Measure, x *tensor.Tensor) (string, error) {
	h := sha256.New()
	describe := func(v any) error { return json.NewEncoder(h).Encode(v) }
	for _, g := range []*graph.Graph{tr.original, tr.graph} {
		if err := describe(g); err != nil {
			return "", err
		}
		for _, n := range g.Nodes {
			for _, role := range slices.Sorted(maps.Keys(n.Params)) {
				hashFloats(h, n.Params[role].Data)
			}
		}
	}
	if err := describe([]any{tr.base.Timesteps, tr.base.Shift, tr.base.MaxPool, tr.candidates, m.Metric, m.Cost, x.Shape}); err != nil {
		return "", err
	}
	if tr.base.Signed || tr.base.Schedule == snn.ScheduleAccumulate { // else the key is that of files from before these settings
		if err := describe([]any{tr.base.Signed, tr.base.Schedule}); err != nil {
			return "", err
		}
	}
	if m.Metric == MetricAccuracy {
		if err := describe(tr.labels[:x.Shape[0]]); err != nil {
			return "", err
		}
	}
	for _, row := range append(slices.Clone(tr.layers), tr.base.Layers) {
		for _, l := range row {
			if err := describe([]any{l.Node, l.MaxSpike, len(l.Threshold), len(l.Initial)}); err != nil {
				return "", err
			}
			hashFloats(h, l.Threshold)
			hashFloats(h, l.Initial)
		}
	}
	hashFloats(h, x.Data)
	return hex.EncodeToString(h.Sum(nil)), nil
}

func hashFloats(h hash.Hash, v []float32) {
	var buf [4096]byte
	for len(v) > 0 {
		n := min(len(v), len(buf)/4)
		for i, f := range v[:n] {
			binary.LittleEndian.PutUint32(buf[4*i:], math.Float32bits(f))
		}
		h.Write(buf[:4*n])
		v = v[n:]
	}
}
