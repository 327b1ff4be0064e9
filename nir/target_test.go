package nir

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/internal/random"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// TestCheck wants, for every simulator, what was measured of it.
func TestCheck(t *testing.T) {
	b := nets["convolutions"](1)
	net := &Network{b.g, b.neurons(snn.ShiftPerStep, 4, false)}
	build := func(opt Options) *Graph {
		t.Helper()
		g, _, err := Build(net, opt)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	for _, c := range []struct {
		target string
		opt    Options
		want   []string // pieces of findings
		never  []string
	}{
		{"norse", Options{}, []string{"resets to v_reset", "above the threshold only", "one spike per step"}, []string{"refuses", "Flatten"}},
		{"norse", Options{Flatten: true}, []string{"flattens the batch"}, nil},
		{"norse", Options{Profile: Exact}, []string{"without a word", "close cycles"}, nil},
		{"spikingjelly", Options{}, []string{"resets to v_reset", "load with dt = 1"}, []string{"refuses", "above the threshold only"}},
		{"spikingjelly", Options{KeepGroups: true}, []string{"grouped convolutions"}, nil},
		{"spikingjelly", Options{DT: 1e-3}, []string{"resets to v_reset"}, []string{"refuses", "load with dt"}},
		{"sinabs", Options{}, []string{"bursts without bound", "minus the threshold"}, []string{"refuses", "v_reset"}},
		{"snntorch", Options{DT: 1e-3}, []string{"fails when it runs", "wants 1"}, nil},
		{"rockpool", Options{}, []string{`refuses: node "relu_2" (IF)`}, nil},
		{"single-spike", Options{}, []string{"maxspike 1"}, []string{"refuses"}},
		{"SINABS", Options{Profile: Exact, StartInput: true}, []string{"(Threshold)"}, nil},
	} {
		findings, err := Check(build(c.opt), c.target)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, f := range findings {
			all = append(all, f.String())
		}
		text := strings.Join(all, "\n")
		for _, w := range c.want {
			if !strings.Contains(text, w) {
				t.Errorf("%s %+v: no finding with %q in\n%s", c.target, c.opt, w, text)
			}
		}
		for _, w := range c.never {
			if strings.Contains(text, w) {
				t.Errorf("%s %+v: a finding with %q in\n%s", c.target, c.opt, w, text)
			}
		}
	}
	if _, err := Check(build(Options{}), "loihi"); err == nil || !strings.Contains(err.Error(), "sinabs") {
		t.Errorf("unknown target: error %v", err)
	}
	if len(Targets()) < 5 {
		t.Errorf("%d targets", len(Targets()))
	}
}

func TestMeasure(t *testing.T) {
	b := nets["residual"](3)
	net := &Network{b.g, b.neurons(snn.ShiftPerStep, 4, false)}
	g, _, err := Build(net, Options{})
	if err != nil {
		t.Fatal(err)
	}
	const n = 9
	r := random.New(1, "measure")
	x := tensor.New(append([]int{n}, b.g.InputNodes()[0].Shape...)...)
	for i := range x.Data {
		x.Data[i] = float32(2 * r.NormFloat64())
	}
	run, err := snn.New(net.Graph, net.SNN)
	if err != nil {
		t.Fatal(err)
	}
	res, err := run.Run(t.Context(), nil, x, snn.Options{})
	if err != nil {
		t.Fatal(err)
	}
	labels := make([]int, n)
	for i := range labels {
		row := res.Logits.Data[i*5 : (i+1)*5]
		labels[i] = slices.Index(row, slices.Max(row))
	}
	one, err := Measure(t.Context(), nil, g, x, labels, net.SNN.Timesteps, Modes()...)
	if err != nil {
		t.Fatal(err)
	}
	pool := parallel.New(3)
	defer pool.Close()
	three, err := Measure(t.Context(), pool, g, x, labels, net.SNN.Timesteps, Modes()...)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := fmt.Sprint(one), fmt.Sprint(three); a != b {
		t.Errorf("one worker:\n%s\nthree:\n%s", a, b)
	}
	own := one[0]
	if own.Correct != n || own.Agree != n {
		t.Errorf("mode burst: %d and %d of %d samples as the network", own.Correct, own.Agree, n)
	}
	for i, f := range own.Firing {
		if f.MaxSpike != net.SNN.Layers[i].MaxSpike && own.Firing[i].Node == net.SNN.Layers[i].Node {
			t.Errorf("layer %d: maxspike %d", i, f.MaxSpike)
		}
		if f.MaxSpike > 1 && f.BurstFraction == 0 {
			t.Errorf("%s: no bursts", f.Node)
		}
		if soft := one[1].Firing[i]; soft.BurstFraction != 0 || f.Rate < 0 {
			t.Errorf("%s: bursts in mode %s", f.Node, one[1].Mode)
		}
		if hard := one[2].Firing[i]; i == 0 && (hard.Spikes > one[1].Firing[i].Spikes || hard.Spikes == 0) {
			t.Errorf("first layer: %d spikes with hard reset, %d with soft", hard.Spikes, one[1].Firing[i].Spikes)
		}
	}
	text := fmt.Sprint(Explain(one))
	for _, w := range []string{"mode hard", "are bursts", "% are right"} {
		if !strings.Contains(text, w) {
			t.Errorf("no %q in %s", w, text)
		}
	}
	for name, err := range map[string]error{
		"labels":    second(Measure(t.Context(), nil, g, x, labels[1:], 3, Burst)),
		"mode":      second(Measure(t.Context(), nil, g, x, labels, 3, "other")),
		"timesteps": second(Measure(t.Context(), nil, g, x, labels, 0, Burst)),
		"samples":   second(Measure(t.Context(), nil, g, nil, labels, 3, Burst)),
		"shape":     second(Measure(t.Context(), nil, g, tensor.New(n, 4), labels, 3, Burst)),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Measure(ctx, nil, g, x, labels, 3, Burst); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

// TestWriteNets writes the networks of the tests for nir-python's type check, see
// TestWriteForSimulators.
func TestWriteNets(t *testing.T) {
	dir := os.Getenv("ADAFIRE_NIR_OUT")
	if dir == "" {
		t.Skip("ADAFIRE_NIR_OUT names no folder; scripts/nir-check.sh sets it")
	}
	var files []string
	for name, build := range nets {
		for how, opt := range map[string]Options{"portable": {}, "flatten": {Flatten: true}, "exact": {Profile: Exact}} {
			opt.Force = true
			b := build(1)
			file := "net_" + strings.ReplaceAll(name, " ", "_") + "_" + how + ".nir"
			if _, err := Export(filepath.Join(dir, file), &Network{b.g, b.neurons(snn.ShiftPerStep, 4, false)}, opt); err != nil {
				t.Fatal(err)
			}
			files = append(files, file)
		}
	}
	slices.Sort(files)
	b, err := json.Marshal(files)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "nets.json"), b, 0o666); err != nil {
		t.Fatal(err)
	}
}

// TestRecogniseNot changes one thing in the exact form: what is no longer the
// burst neuron must be refused, not taken for it.
func TestRecogniseNot(t *testing.T) {
	b := nets["fully connected"](1)
	net := &Network{b.g, b.neurons(snn.ShiftPerStep, 4, false)}
	for name, change := range map[string]func(g *Graph){
		"threshold": func(g *Graph) { g.Nodes["relu_2_spike1"].Arrays["threshold"].Data[3] = 1.01 },
		"one spike more in the way out": func(g *Graph) {
			g.Nodes["more"] = &Node{Name: "more", Type: "Threshold", Arrays: map[string]*Array{"threshold": constant([]int{7}, 3)}}
			g.Edges = append(g.Edges, [2]string{"relu_4_v", "more"}, [2]string{"more", "linear_5"})
		},
		"reset":                 func(g *Graph) { g.Nodes["relu_4_reset"].Arrays["scale"].Data[0] = -0.5 },
		"positive reset":        func(g *Graph) { g.Nodes["relu_4_reset"].Arrays["scale"].Data[0] = 1 },
		"resistance":            func(g *Graph) { g.Nodes["relu_4_v"].Arrays["r"].Data[0] = 2 },
		"missing feedback":      func(g *Graph) { g.Edges = remove(g.Edges, "relu_4_reset", "relu_4_v") },
		"a spike less fed back": func(g *Graph) { g.Edges = remove(g.Edges, "relu_4_spike1", "relu_4_reset") },
		"another reader of the membrane": func(g *Graph) {
			g.Nodes["also"] = &Node{Name: "also", Type: "Scale", Arrays: map[string]*Array{"scale": constant([]int{7}, 1)}}
			g.Edges = append(g.Edges, [2]string{"relu_4_v", "also"}, [2]string{"also", "linear_5"})
		},
	} {
		g, _, err := Build(net, Options{Profile: Exact})
		if err != nil {
			t.Fatal(err)
		}
		g.Metadata = nil
		if _, err := (&File{Graph: g}).Import(); err != nil {
			t.Fatal(name, err)
		}
		change(g)
		if got, err := (&File{Graph: g}).Import(); err == nil {
			t.Errorf("%s: imported as %v", name, got.SNN)
		}
	}
}

func remove(edges [][2]string, from, to string) [][2]string {
	return slices.DeleteFunc(slices.Clone(edges), func(e [2]string) bool { return e == [2]string{from, to} })
}

// TestImportForeign reads a file that AdaFire did not write.
func TestImportForeign(t *testing.T) {
	g := &Graph{Nodes: map[string]*Node{}, Edges: [][2]string{{"input", "fc"}, {"fc", "if"}, {"if", "scale"}, {"scale", "output"}}}
	for _, n := range []*Node{
		{Name: "input", Type: "Input", Ints: map[string][]int{"shape": {2}}},
		{Name: "fc", Type: "Linear", Arrays: map[string]*Array{"weight": {[]int{2, 2}, []float32{1, 0, 0, 1}}}},
		{Name: "if", Type: "IF", Arrays: map[string]*Array{"r": constant([]int{2}, 0.5), "v_threshold": {[]int{2}, []float32{1, 2}}, "v_reset": {[]int{2}, []float32{0, 1}}}},
		{Name: "scale", Type: "Scale", Arrays: map[string]*Array{"scale": {[]int{2}, []float32{3, 5}}}},
		{Name: "output", Type: "Output", Ints: map[string][]int{"shape": {2}}},
	} {
		g.Nodes[n.Name] = n
	}
	got, err := pass(t, g).Import()
	if err != nil {
		t.Fatal(err)
	}
	if got.Restored || len(got.Warnings) != 3 { // reset, threshold and subtraction, timesteps
		t.Errorf("restored %v, warnings %q", got.Restored, got.Warnings)
	}
	net, err := snn.New(got.Graph, got.SNN)
	if err != nil {
		t.Fatal(err)
	}
	x := &tensor.Tensor{Shape: []int{1, 2}, Data: []float32{1, 4}}
	res, err := net.Run(t.Context(), nil, x, snn.Options{})
	if err != nil {
		t.Fatal(err)
	}
	// A spike every second step (threshold 1, current 0.5), and in every step.
	if want := []float32{1.5, 5}; !slices.Equal(res.Logits.Data, want) {
		t.Errorf("mean output %v, want %v", res.Logits.Data, want)
	}
}

// TestImportRefuses lists the nodes that cannot be run.
func TestImportRefuses(t *testing.T) {
	dir, m := loadManifest(t)
	for _, c := range m.Load {
		if c.File != "every_1d_node.nir" {
			continue
		}
		_, err := Import(filepath.Join(dir, c.File))
		if err == nil {
			t.Fatal("imported")
		}
		for _, w := range []string{`"cli" (CubaLI)`, `"clif" (CubaLIF)`, `"dly" (Delay)`, `"i" (I)`, `"li" (LI)`, `"lif" (LIF)`, `"thr" (Threshold)`} {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("error %v does not name %s", err, w)
			}
		}
	}
}

// TestChanged edits an exported file: the nodes count then, not their
// description.
func TestChanged(t *testing.T) {
	b := nets["fully connected"](1)
	net := &Network{b.g, b.neurons(snn.ShiftPerStep, 4, false)}
	g, _, err := Build(net, Options{})
	if err != nil {
		t.Fatal(err)
	}
	g.Nodes["extra"] = &Node{Name: "extra", Type: "Scale", Arrays: map[string]*Array{"scale": constant([]int{4}, 2)}}
	g.Edges = append(remove(g.Edges, "linear_5", "output"), [2]string{"linear_5", "extra"}, [2]string{"extra", "output"})
	got, err := pass(t, g).Import()
	if err != nil {
		t.Fatal(err)
	}
	if got.Restored || len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], "changed") {
		t.Errorf("restored %v, warnings %q", got.Restored, got.Warnings)
	}
	if last := got.Graph.Outputs[0]; last.Name != "extra" {
		t.Errorf("output %q", last.Name)
	}
	for name, meta := range map[string]string{
		"no JSON": "{", "format": `{"format": 2}`, "huge": `{"format":1,"profile":"portable","structure":{"schema":1}}`,
	} {
		g.Metadata["adafire"] = meta
		if got, err := (&File{Graph: g}).Import(); err == nil && got.Restored {
			t.Errorf("%s: restored", name)
		}
	}
}
