package dataset

import (
	"context"
	"errors"
	"hash/fnv"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"unsafe"
)

// synthetic is a data set of n random-looking h x w x c images.
func synthetic(n, h, w, c, classes int) *memory {
	m := &memory{info: Info{Name: "synthetic", Split: "train", Shape: []int{h, w, c}},
		pixels: make([]byte, n*h*w*c), labels: make([]uint8, n)}
	x := uint32(12345)
	for i := range m.pixels {
		x = x*1664525 + 1013904223
		m.pixels[i] = byte(x >> 24)
	}
	for i := range m.labels {
		m.labels[i] = uint8(i * 7 % classes)
	}
	for k := range classes {
		m.info.Classes = append(m.info.Classes, string(rune('a'+k)))
	}
	for range c {
		m.info.Mean = append(m.info.Mean, 0.4)
		m.info.Std = append(m.info.Std, 0.25)
	}
	return m
}

// everything turns all randomness on.
var everything = LoaderOptions{
	BatchSize: 7, Shuffle: true, Seed: 3, Normalise: true, Smoothing: 0.1,
	Augment: Augment{ResizedCrop: true, Crop: 4, Flip: true, Rotate: 10, Translate: 2, Scale: 0.1, AutoAugment: "cifar10", Cutout: 8},
	Mix:     Mix{Mixup: 0.5, CutMix: 1, Prob: 0.8},
}

// bits hashes every bit of a batch.
func bits(b *Batch) uint64 {
	h := fnv.New64a()
	for _, data := range [][]float32{b.X.Data, b.Soft.Data} {
		h.Write(unsafe.Slice((*byte)(unsafe.Pointer(&data[0])), 4*len(data)))
	}
	for k := range b.Labels {
		h.Write([]byte{byte(b.Labels[k]), byte(b.Index[k]), byte(b.Index[k] >> 8)})
	}
	return h.Sum64()
}

func epochBits(t *testing.T, l *Loader, epoch, start int) []uint64 {
	t.Helper()
	var sums []uint64
	for b, err := range l.Epoch(t.Context(), epoch, start) {
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, bits(b))
	}
	return sums
}

func TestLoaderIsDeterministic(t *testing.T) {
	ds := synthetic(60, 16, 16, 3, 5)
	load := func(workers, prefetch int) *Loader {
		opts := everything
		opts.Workers, opts.Prefetch = workers, prefetch
		l, err := NewLoader(ds, opts)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	one := load(1, 1)
	want := epochBits(t, one, 2, 0)
	if len(want) != 9 || one.Batches() != 9 {
		t.Fatalf("%d batches, Batches says %d, want 9", len(want), one.Batches())
	}
	if got := epochBits(t, load(7, 5), 2, 0); !slices.Equal(got, want) {
		t.Error("7 workers give other batches than 1")
	}
	if got := epochBits(t, one, 2, 0); !slices.Equal(got, want) {
		t.Error("the same epoch of the same loader differs the second time")
	}
	for start := range 10 {
		if got := epochBits(t, load(3, 2), 2, start); !slices.Equal(got, want[start:]) {
			t.Errorf("resumed at batch %d: other batches", start)
		}
	}
	other := epochBits(t, one, 3, 0)
	opts := everything
	opts.Seed++
	reseeded, err := NewLoader(ds, opts)
	if err != nil {
		t.Fatal(err)
	}
	for k, s := range epochBits(t, reseeded, 2, 0) {
		if slices.Contains(want, other[k]) || slices.Contains(want, s) {
			t.Errorf("batch %d does not depend on epoch and seed", k)
		}
	}
}

// What happens to a sample depends on its index, not on its batch.
func TestAugmentationIgnoresBatches(t *testing.T) {
	ds := synthetic(30, 16, 16, 3, 5)
	images := func(size int, shuffle bool) map[int][]float32 {
		opts := LoaderOptions{BatchSize: size, Shuffle: shuffle, Seed: 3, Augment: everything.Augment}
		l, err := NewLoader(ds, opts)
		if err != nil {
			t.Fatal(err)
		}
		out := map[int][]float32{}
		for b, err := range l.Epoch(t.Context(), 1, 0) {
			if err != nil {
				t.Fatal(err)
			}
			for k, i := range b.Index {
				out[i] = slices.Clone(b.X.Rows(k, k+1).Data)
			}
		}
		return out
	}
	a, b := images(7, true), images(4, false)
	for i := range ds.Len() {
		if !slices.Equal(a[i], b[i]) {
			t.Errorf("sample %d differs in another batch", i)
		}
	}
}

func TestLoaderCoversEachSampleOnce(t *testing.T) {
	ds := synthetic(23, 4, 4, 1, 3)
	for _, tc := range []struct {
		name          string
		shuffle, drop bool
		want          int
	}{{"in order", false, false, 23}, {"shuffled", true, false, 23}, {"drop last", true, true, 20}} {
		l, err := NewLoader(ds, LoaderOptions{BatchSize: 5, Shuffle: tc.shuffle, DropLast: tc.drop, Workers: 2})
		if err != nil {
			t.Fatal(err)
		}
		var index []int
		plain := make([]float32, 16)
		for b, err := range l.Epoch(t.Context(), 0, 0) {
			if err != nil {
				t.Fatal(err)
			}
			if b.Soft != nil {
				t.Fatalf("%s: soft labels without smoothing or mixing", tc.name)
			}
			if b.X.Shape[0] != len(b.Labels) || len(b.X.Data) != len(b.Labels)*16 {
				t.Fatalf("%s: shape %v of %d values for %d labels", tc.name, b.X.Shape, len(b.X.Data), len(b.Labels))
			}
			for k, i := range b.Index {
				y, err := ds.Sample(i, plain)
				if err != nil {
					t.Fatal(err)
				}
				if y != b.Labels[k] || !slices.Equal(plain, b.X.Data[k*16:(k+1)*16]) {
					t.Fatalf("%s: sample %d is not what the data set says", tc.name, i)
				}
			}
			index = append(index, b.Index...)
		}
		if len(index) != tc.want || l.Samples() != tc.want {
			t.Errorf("%s: %d samples, Samples says %d, want %d", tc.name, len(index), l.Samples(), tc.want)
		}
		if sorted := slices.IsSorted(index); sorted == tc.shuffle {
			t.Errorf("%s: indices %v", tc.name, index)
		}
		slices.Sort(index)
		if len(slices.Compact(index)) != tc.want {
			t.Errorf("%s: samples occur more than once", tc.name)
		}
	}
}

func TestLoaderNormalises(t *testing.T) {
	ds := synthetic(4, 3, 3, 3, 2)
	l, err := NewLoader(ds, LoaderOptions{BatchSize: 4, Normalise: true})
	if err != nil {
		t.Fatal(err)
	}
	for b, err := range l.Epoch(t.Context(), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range b.X.Data {
			want := (float64(ds.pixels[i])/255 - 0.4) / 0.25
			if math.Abs(float64(v)-want) > 1e-5 {
				t.Fatalf("value %d is %g, want %g", i, v, want)
			}
		}
	}
}

// Nothing runs on after the loop, however it ends: a synctest bubble fails if
// goroutines are left behind.
func TestLoaderStops(t *testing.T) {
	load := func(t *testing.T) *Loader {
		opts := everything
		opts.Workers, opts.Prefetch = 4, 6
		l, err := NewLoader(synthetic(200, 16, 16, 3, 5), opts)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	synctest.Test(t, func(t *testing.T) {
		l := load(t)
		for range 2 {
			for range l.Epoch(t.Context(), 0, 0) {
				break
			}
		}
		if n := len(l.free); n != 7 {
			t.Errorf("%d batch buffers for a prefetch of 6, want 7", n)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		steps := 0
		var last error
		for _, err := range load(t).Epoch(ctx, 0, 0) {
			steps++
			last = err
			cancel()
		}
		if steps != 2 || !errors.Is(last, context.Canceled) {
			t.Errorf("cancelled in the first step: %d steps, last error %v", steps, last)
		}
	})
}

// broken fails at one sample.
type broken struct {
	*memory
	at int
}

func (b broken) Sample(i int, dst []float32) (int, error) {
	if i == b.at {
		return 0, errors.New("sample is damaged")
	}
	return b.memory.Sample(i, dst)
}

func TestLoaderReportsErrors(t *testing.T) {
	l, err := NewLoader(broken{synthetic(50, 4, 4, 1, 2), 23}, LoaderOptions{BatchSize: 5, Workers: 3})
	if err != nil {
		t.Fatal(err)
	}
	good, bad := 0, 0
	for b, err := range l.Epoch(t.Context(), 0, 0) {
		if err != nil {
			bad++
			if b != nil || err.Error() != "sample is damaged" {
				t.Errorf("got batch %v, error %v", b, err)
			}
		} else {
			good++
		}
	}
	if good != 4 || bad != 1 {
		t.Errorf("%d batches and %d errors, want 4 and 1", good, bad)
	}
	for _, start := range []int{-1, 11} {
		for _, err := range l.Epoch(t.Context(), 0, start) {
			if err == nil {
				t.Errorf("start at batch %d of 10 is accepted", start)
			}
		}
	}
}

func TestLoaderRefusesOptions(t *testing.T) {
	ds := synthetic(10, 8, 8, 2, 2)
	for name, opts := range map[string]LoaderOptions{
		"no batch size":     {},
		"huge batch":        {BatchSize: 1 << 20},
		"negative workers":  {BatchSize: 1, Workers: -1},
		"negative prefetch": {BatchSize: 1, Prefetch: -1},
		"smoothing 1":       {BatchSize: 1, Smoothing: 1},
		"smoothing NaN":     {BatchSize: 1, Smoothing: math.NaN()},
		"no full batch":     {BatchSize: 11, DropLast: true},
		"policy":            {BatchSize: 1, Augment: Augment{AutoAugment: "svhn"}},
		"channels":          {BatchSize: 1, Augment: Augment{AutoAugment: "cifar10"}},
		"crop":              {BatchSize: 1, Augment: Augment{Crop: 8}},
		"rotate":            {BatchSize: 1, Augment: Augment{Rotate: math.Inf(1)}},
		"translate":         {BatchSize: 1, Augment: Augment{Translate: -1}},
		"scale":             {BatchSize: 1, Augment: Augment{Scale: 1}},
		"cutout":            {BatchSize: 1, Augment: Augment{Cutout: -2}},
		"mixup":             {BatchSize: 1, Mix: Mix{Mixup: -1}},
		"cutmix":            {BatchSize: 1, Mix: Mix{CutMix: math.NaN()}},
		"probability":       {BatchSize: 1, Mix: Mix{Mixup: 1, Prob: 2}},
		"off epoch":         {BatchSize: 1, Mix: Mix{Mixup: 1, OffEpoch: -1}},
	} {
		if _, err := NewLoader(ds, opts); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := NewLoader(Subset(ds, nil), LoaderOptions{BatchSize: 1}); err == nil {
		t.Error("empty data set: accepted")
	}
}

func TestSplitAndSubset(t *testing.T) {
	ds := synthetic(101, 2, 2, 1, 4)
	train, valid := Split(ds, 0.2, 5)
	if train.Len() != 81 || valid.Len() != 20 {
		t.Fatalf("%d and %d samples, want 81 and 20", train.Len(), valid.Len())
	}
	all := append(slices.Clone(train.(*subset).indices), valid.(*subset).indices...)
	slices.Sort(all)
	for i, j := range all {
		if i != j {
			t.Fatalf("parts do not cover sample %d once", i)
		}
	}
	again, _ := Split(ds, 0.2, 5)
	other, _ := Split(ds, 0.2, 6)
	if !slices.Equal(again.(*subset).indices, train.(*subset).indices) {
		t.Error("the same seed gives another split")
	}
	if slices.Equal(other.(*subset).indices, train.(*subset).indices) {
		t.Error("another seed gives the same split")
	}
	sub := Subset(Subset(ds, []int{9, 3, 3, 200}), []int{1, 0, 3, 7})
	buf := make([]float32, 4)
	for k, want := range []int{3, 9} {
		if y, err := sub.Sample(k, buf); err != nil || y != int(ds.labels[want]) {
			t.Errorf("subset sample %d: label %d, error %v, want label %d", k, y, err, ds.labels[want])
		}
	}
	for k := 2; k < 5; k++ {
		if _, err := sub.Sample(k, buf); err == nil {
			t.Errorf("subset sample %d, which does not exist: no error", k)
		}
	}
	if _, err := Labels(sub); err == nil {
		t.Error("labels of a subset with bad indices: no error")
	}
}
