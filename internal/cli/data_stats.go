package cli

import (
	"context"
	"fmt"
	"io"
	"math"
	"text/tabwriter"

	"github.com/adafire/adafire/dataset"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/spf13/cobra"
)

// A channelStats describes one channel over all samples and pixels.
type channelStats struct {
	Mean float64 `json:"mean"`
	Std  float64 `json:"std"`
	Min  float64 `json:"min"`
	Max  float64 `json:"max"`
	// Used are the figures that the loader's normalisation uses.
	UsedMean float64 `json:"normalise_mean"`
	UsedStd  float64 `json:"normalise_std"`
}

// A classCount is the number of samples of a class.
type classCount struct {
	Name    string `json:"name"`
	Samples int    `json:"samples"`
}

func dataStatsCommand(a *app) *cobra.Command {
	var d dataFlags
	cmd := &cobra.Command{
		Use:   "stats --dataset NAME",
		Short: "count classes and measure mean and deviation",
		Long: `Reads every sample of a split and prints the number of samples of each class
and, for each channel, mean and standard deviation of the values 0..1. Beside
them stand the figures that normalisation uses; for image folders these are
usual constants, which may be far from your own images.

With very unequal classes accuracy misleads: always guessing the largest class
has the share printed for it.`,
		Example: `  adafire data stats --dataset digits
  adafire data stats --dataset digits --split test --json -`,
		Args: positional(0, 0, ""),
	}
	d.register(cmd.Flags())
	cmd.RunE = a.run(func(s *session, _ []string) error {
		ds, err := d.open(s)
		if err != nil {
			return err
		}
		channels, counts, err := measure(s.Ctx, s.Pool, s.Progress(), ds)
		if err != nil {
			return err
		}
		info := ds.Info()
		result := struct {
			Schema   int            `json:"schema"`
			Command  string         `json:"command"`
			Dataset  string         `json:"dataset"`
			Split    string         `json:"split"`
			Samples  int            `json:"samples"`
			Shape    []int          `json:"shape"`
			SHA256   string         `json:"sha256"`
			Channels []channelStats `json:"channels"`
			Classes  []classCount   `json:"classes"`
		}{1, s.commandName(), d.name, d.split, ds.Len(), info.Shape, info.SHA256, channels, counts}
		return s.Emit(result, func(w io.Writer) error {
			fmt.Fprintf(w, "%s %s: %d samples of %s\n\n", d.name, d.split, ds.Len(), shapeText(info.Shape))
			return writeStats(w, channels, counts, ds.Len())
		})
	})
	return cmd
}

// statChunk is the number of samples that are summed up in one piece; sums are
// added in the order of the pieces, so that the result does not depend on the
// number of workers.
const statChunk = 256

type statSums struct {
	sum, squares, min, max []float64
	labels                 []int
	err                    error
}

// measure reads all samples.
func measure(ctx context.Context, pool *parallel.Pool, progress Progress, ds dataset.Dataset) ([]channelStats, []classCount, error) {
	info := ds.Info()
	h, w, c := info.Shape[0], info.Shape[1], info.Shape[2]
	pieces := make([]statSums, (ds.Len()+statChunk-1)/statChunk)
	buffers := make([][]float32, pool.Workers())
	progress.Start("reading", int64(ds.Len()), "samples")
	defer progress.Done()
	pool.ForWorker(len(pieces), func(worker, i int) {
		if ctx.Err() != nil {
			return
		}
		if buffers[worker] == nil {
			buffers[worker] = make([]float32, h*w*c)
		}
		p := newStatSums(c, len(info.Classes))
		lo, hi := i*statChunk, min((i+1)*statChunk, ds.Len())
		for k := lo; k < hi && p.err == nil; k++ {
			p.read(ds, k, buffers[worker])
		}
		pieces[i] = p
		progress.Add(int64(hi - lo))
	})
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	total := newStatSums(c, len(info.Classes))
	for _, p := range pieces {
		if p.err != nil {
			return nil, nil, p.err
		}
		total.add(&p)
	}
	values := float64(ds.Len()) * float64(h*w)
	channels := make([]channelStats, c)
	for ch := range channels {
		s := &channels[ch]
		if values > 0 {
			s.Mean = total.sum[ch] / values
			s.Std = math.Sqrt(max(0, total.squares[ch]/values-s.Mean*s.Mean))
			s.Min, s.Max = total.min[ch], total.max[ch]
		}
		if ch < len(info.Mean) && ch < len(info.Std) {
			s.UsedMean, s.UsedStd = float64(info.Mean[ch]), float64(info.Std[ch])
		}
	}
	counts := make([]classCount, len(info.Classes))
	for i, name := range info.Classes {
		counts[i] = classCount{name, total.labels[i]}
	}
	return channels, counts, nil
}

func newStatSums(channels, classes int) statSums {
	s := statSums{sum: make([]float64, channels), squares: make([]float64, channels),
		min: make([]float64, channels), max: make([]float64, channels), labels: make([]int, classes)}
	for i := range channels {
		s.min[i], s.max[i] = math.Inf(1), math.Inf(-1)
	}
	return s
}

// read adds sample i.
func (s *statSums) read(ds dataset.Dataset, i int, buf []float32) {
	label, err := ds.Sample(i, buf)
	if err != nil {
		s.err = err
		return
	}
	s.labels[label]++
	c := len(s.sum)
	for k := 0; k < len(buf); k += c {
		for ch, v := range buf[k : k+c] {
			x := float64(v)
			s.sum[ch] += x
			s.squares[ch] += x * x
			s.min[ch], s.max[ch] = min(s.min[ch], x), max(s.max[ch], x)
		}
	}
}

// add adds the sums of a piece.
func (s *statSums) add(p *statSums) {
	for ch := range s.sum {
		s.sum[ch] += p.sum[ch]
		s.squares[ch] += p.squares[ch]
		s.min[ch], s.max[ch] = min(s.min[ch], p.min[ch]), max(s.max[ch], p.max[ch])
	}
	for i := range s.labels {
		s.labels[i] += p.labels[i]
	}
}

func writeStats(w io.Writer, channels []channelStats, counts []classCount, samples int) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "channel\tmean\tstd\tmin\tmax\tnormalised by\t\t")
	for i, c := range channels {
		fmt.Fprintf(t, "%d\t%.4f\t%.4f\t%.4f\t%.4f\t%.4f\t%.4f\t\n", i, c.Mean, c.Std, c.Min, c.Max, c.UsedMean, c.UsedStd)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	t = tabwriter.NewWriter(w, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "class\tsamples\tshare\t  name")
	for i, c := range counts {
		fmt.Fprintf(t, "%d\t%d\t%.2f%%\t  %s\n", i, c.Samples, 100*float64(c.Samples)/float64(max(samples, 1)), oneLine(c.Name))
	}
	return t.Flush()
}
