package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/adafire/adafire/ann"
	"github.com/adafire/adafire/checkpoint"
	"github.com/adafire/adafire/dataset"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/job"
	"github.com/adafire/adafire/internal/npy"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
	"github.com/spf13/cobra"
)

func inferCommand(a *app) *cobra.Command {
	var net networkFlags
	var timesteps, top int
	var whole bool
	var logits string
	var events streamFlags
	cmd := &cobra.Command{
		Use:   "infer --model FILE (IMAGE... | FOLDER | X.npy | --stream RECORDING)",
		Short: "run a network on images, arrays or event recordings",
		Long: `Runs an ANN or a spiking network on JPEG and PNG images (of folders too), or on
the samples [N, H, W, C] or [N, C, H, W] of .npy files, and prints the classes
with the largest outputs and their softmax.

Images are scaled so that the shorter side is 256/224 of the input, and the
centre is cut out; --whole scales the whole image to the input. They are
normalised with what the network's file says, or --mean and --std. Arrays are
taken as they are. A spiking network with exit thresholds stops when it is sure;
the number of timesteps taken is printed.

With --stream an event recording of any format, or what comes through a pipe,
is classified window by window while it is read, in memory that does not depend
on its length: one line, or with --json - one JSON object, for each window, with
its times, events, class and latency (from when an event behind the window has
come to the decision), and a summary at the end or on Ctrl-C. The end of the
recording completes the last window. Representation and sensor must be those of
the training. Name the --format of a slow pipe: finding it out takes 64 KiB.`,
		Example: `  adafire infer --model snn.safetensors cat.png
  adafire infer --model mobilenet_v2.pth --class-names imagenet.txt photos/ --json -
  adafire infer --model net.onnx x.npy --logits y.npy
  adafire infer --model snn.safetensors --stream recording.raw --window 100 --step 20
  camera | adafire infer --model snn.safetensors --stream - --format evt3 --json -`,
		Args: events.arguments,
	}
	f := cmd.Flags()
	net.registerModel(f, "the network, a `FILE` of AdaFire, ONNX or PyTorch")
	intVar(f, &timesteps, "timesteps", 0, 0, snn.MaxTimesteps, "timesteps T of a spiking network, 0 for its own")
	intVar(f, &top, "top", 5, 1, 1000, "classes to print")
	f.BoolVar(&whole, "whole", false, "scale the whole image to the input instead of cutting out the centre")
	f.StringVar(&logits, "logits", "", "write the outputs [N, ...] to `FILE.npy`")
	events.register(f)
	cmd.RunE = a.run(func(s *session, args []string) error {
		if err := s.Require("model"); err != nil {
			return err
		}
		if events.path == "" {
			if err := events.only(s); err != nil {
				return err
			}
		} else if flag := s.firstChanged("logits", "whole"); flag != "" {
			return s.Usagef("--%s is for images and arrays, not for --stream", flag)
		}
		if logits != "" {
			if err := s.CheckTarget(logits); err != nil {
				return err
			}
		}
		m, err := net.open(s)
		if err != nil {
			return err
		}
		if len(m.Graph.InputNodes()) != 1 || len(m.Graph.Outputs) != 1 {
			return fmt.Errorf("%s: the network has %d inputs and %d outputs, want one of each", net.path, len(m.Graph.InputNodes()), len(m.Graph.Outputs))
		}
		if events.path != "" {
			return s.inferStream(&events, &net, m, timesteps, top)
		}
		p, err := newPredictor(s, net.path, m, timesteps)
		if err != nil {
			return err
		}
		in, err := s.inferInputs(args, m, whole)
		if err != nil {
			return err
		}
		r, all, err := p.run(s, in, top, m.Provenance.Classes, logits != "")
		if err != nil {
			return err
		}
		if logits != "" {
			shape := append([]int{in.n}, m.Graph.Outputs[0].Shape...)
			err := s.WriteFile(logits, func(w io.Writer) error { return npy.Write(w, shape, all) })
			if err != nil {
				return err
			}
		}
		return s.Emit(r, r.write)
	})
	return cmd
}

// A sampleSource gives the samples of an inference.
type sampleSource struct {
	n    int
	name func(i int) string
	load func(i int, dst []float32) error
}

// inferInputs opens images or arrays.
func (s *session) inferInputs(args []string, m *checkpoint.Model, whole bool) (*sampleSource, error) {
	shape := m.Graph.InputNodes()[0].Shape
	arrays := 0
	for _, arg := range args {
		if strings.EqualFold(filepath.Ext(arg), ".npy") {
			arrays++
		}
	}
	switch {
	case arrays == len(args):
		var xs []*tensor.Tensor
		var from []string
		total := 0
		for _, arg := range args {
			x, err := readSamples(s, arg, shape)
			if err != nil {
				return nil, err
			}
			xs, from = append(xs, x), append(from, arg)
			total += x.Shape[0]
		}
		at := func(i int) (k, j int) {
			for k, x := range xs {
				if i < x.Shape[0] {
					return k, i
				}
				i -= x.Shape[0]
			}
			return 0, 0
		}
		size := shape.Numel()
		return &sampleSource{total,
			func(i int) string { k, j := at(i); return fmt.Sprintf("%s[%d]", from[k], j) },
			func(i int, dst []float32) error {
				k, j := at(i)
				copy(dst, xs[k].Data[j*size:(j+1)*size])
				return nil
			}}, nil
	case arrays > 0:
		return nil, s.Usagef("%s: give either images or .npy files", strings.Join(args, " "))
	}
	paths, err := dataset.FindImages(args)
	if err != nil {
		return nil, err
	}
	images, err := dataset.NewImages(paths, shape, m.Provenance.Mean, m.Provenance.Std)
	if err != nil {
		return nil, err
	}
	images.Whole = whole
	return &sampleSource{images.Len(), func(i int) string { return paths[i] }, images.Sample}, nil
}

// A predictor runs an ANN or a spiking network on batches.
type predictor struct {
	shape     graph.Shape
	timesteps int
	forward   func(ctx context.Context, x *tensor.Tensor) (y *tensor.Tensor, steps []int, err error)
}

func newPredictor(s *session, path string, m *checkpoint.Model, timesteps int) (*predictor, error) {
	p := &predictor{shape: m.Graph.InputNodes()[0].Shape}
	if m.Kind != checkpoint.KindSNN {
		if timesteps > 0 {
			return nil, s.Usagef("--timesteps: %s holds an ANN, which has none: convert it first", path)
		}
		e, err := ann.New(m.Graph, s.Pool, ann.Winograd())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		p.forward = func(_ context.Context, x *tensor.Tensor) (*tensor.Tensor, []int, error) {
			y, err := e.Forward(x)
			return y, nil, err
		}
		return p, nil
	}
	c, err := job.Spiking(path, m)
	if err != nil {
		return nil, err
	}
	cfg := c.SNN.Clone()
	p.timesteps = cmp.Or(timesteps, cfg.Timesteps)
	if p.timesteps != cfg.Timesteps {
		s.Logf("%s was converted for T=%d, running T=%d", path, cfg.Timesteps, p.timesteps)
		cfg.Timesteps, c.Exit = p.timesteps, nil
	}
	network, err := snn.New(m.Graph, cfg)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	exit := c.Exit
	p.forward = func(ctx context.Context, x *tensor.Tensor) (*tensor.Tensor, []int, error) {
		if exit == nil {
			res, err := network.Run(ctx, s.Pool, x, snn.Options{})
			if err != nil {
				return nil, nil, err
			}
			return res.Logits, nil, nil
		}
		res, err := network.RunSteps(ctx, s.Pool, x, exit.Rule())
		if err != nil {
			return nil, nil, err
		}
		return res.Logits, res.Exit, nil
	}
	return p, nil
}

// An inference is the machine-readable result of infer.
type inference struct {
	Schema    int          `json:"schema"`
	Command   string       `json:"command"`
	Timesteps int          `json:"T,omitempty"`
	Seconds   float64      `json:"seconds"` // in the network
	Samples   []prediction `json:"samples"`
}

type prediction struct {
	Name  string  `json:"name"`
	Steps int     `json:"timesteps,omitempty"`
	Top   []score `json:"top"`
}

type score struct {
	Class   int     `json:"class"`
	Name    string  `json:"name,omitempty"`
	Output  float64 `json:"output"`
	Softmax float64 `json:"softmax"`
}

// inferBatch bounds the samples that are run together.
const inferBatch = 16

func (p *predictor) run(s *session, in *sampleSource, top int, classes []string, keep bool) (*inference, []float32, error) {
	r := &inference{Schema: 1, Command: s.commandName(), Timesteps: p.timesteps}
	var all []float32
	size := p.shape.Numel()
	s.Progress().Start("infer", int64(in.n), "samples")
	defer s.Progress().Done()
	for from := 0; from < in.n; from += inferBatch {
		if err := s.Ctx.Err(); err != nil {
			return nil, nil, err
		}
		n := min(inferBatch, in.n-from)
		x := tensor.New(append([]int{n}, p.shape...)...)
		for i := range n {
			if err := in.load(from+i, x.Data[i*size:(i+1)*size]); err != nil {
				return nil, nil, err
			}
		}
		start := time.Now()
		y, steps, err := p.forward(s.Ctx, x)
		if err != nil {
			return nil, nil, err
		}
		r.Seconds += time.Since(start).Seconds()
		outputs := y.Len() / n
		for i := range n {
			pred := prediction{Name: in.name(from + i), Top: best(y.Data[i*outputs:(i+1)*outputs], y.Shape[1:], top, classes)}
			if steps != nil {
				pred.Steps = steps[i]
			}
			r.Samples = append(r.Samples, pred)
		}
		if keep {
			all = append(all, y.Data...)
		}
		s.Progress().Set(int64(from + n))
	}
	return r, all, nil
}

// best returns the largest outputs of a vector; of a map, those of the mean
// over its positions.
func best(y []float32, shape []int, top int, classes []string) []score {
	channels := shape[len(shape)-1]
	mean := make([]float64, channels)
	for i, v := range y {
		mean[i%channels] += float64(v) * float64(channels) / float64(len(y))
	}
	order := make([]int, channels)
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(mean[b], mean[a]) })
	sum := 0.0
	for _, v := range mean {
		sum += math.Exp(v - mean[order[0]])
	}
	var out []score
	for _, c := range order[:min(top, channels)] {
		sc := score{Class: c, Output: mean[c], Softmax: math.Exp(mean[c]-mean[order[0]]) / sum}
		if c < len(classes) {
			sc.Name = classes[c]
		}
		out = append(out, sc)
	}
	return out
}

func (r *inference) write(w io.Writer) error {
	for _, p := range r.Samples {
		fmt.Fprintf(w, "%s", oneLine(p.Name))
		if p.Steps > 0 {
			fmt.Fprintf(w, "  (%d timesteps)", p.Steps)
		}
		fmt.Fprintln(w)
		for _, t := range p.Top {
			fmt.Fprintf(w, "  %5d  %8.4f  %6.2f %%  %s\n", t.Class, t.Output, 100*t.Softmax, oneLine(t.Name))
		}
	}
	_, err := fmt.Fprintf(w, "%d samples, %.1f ms each in the network\n", len(r.Samples), 1000*r.Seconds/float64(max(len(r.Samples), 1)))
	return err
}
