package cexport_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/adafire/adafire/cexport"
	"github.com/adafire/adafire/convert"
	"github.com/adafire/adafire/dataset"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/models"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// compiler returns a C compiler; the test is skipped if there is none.
func compiler(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"cc", "gcc", "clang"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("no C compiler")
	return ""
}

const harness = `#include "net.h"
#include <stdio.h>
#include <stdlib.h>

static float input[NET_INPUTS], output[NET_OUTPUTS];
static int32_t counts[NET_LAYERS];

int main(void)
{
	while (fread(input, sizeof(float), NET_INPUTS, stdin) == NET_INPUTS) {
		if (net_run(input, output, counts) != 0)
			return 3;
		fwrite(output, sizeof(float), NET_OUTPUTS, stdout);
		fwrite(counts, sizeof(int32_t), NET_LAYERS, stdout);
	}
	return 0;
}
`

// build compiles an exported network; flags follow the strict ones.
func build(t testing.TB, cc string, net *cexport.Network, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	if _, err := cexport.Write(filepath.Join(dir, "net.c"), net, cexport.Options{Name: "net"}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "main.c"), []byte(harness), 0o666); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror"}, flags...)
	cmd := exec.Command(cc, append(args, "-o", "net", "net.c", "main.c")...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	return filepath.Join(dir, "net")
}

// compare runs the program and the executor on the same samples and wants the same
// bits.
func compare(t testing.TB, program string, net *cexport.Network, x *tensor.Tensor) {
	t.Helper()
	exec0, err := snn.New(net.Graph, net.SNN)
	if err != nil {
		t.Fatal(err)
	}
	want, err := exec0.Run(t.Context(), nil, x, snn.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var in bytes.Buffer
	if err := binary.Write(&in, binary.NativeEndian, x.Data); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Stdin = &in
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	samples := x.Shape[0]
	outputs, layers := want.Logits.Len()/samples, len(want.Layers)
	if len(out) != samples*4*(outputs+layers) {
		t.Fatalf("%d bytes of output for %d samples", len(out), samples)
	}
	total := int64(0)
	for s := range samples {
		for k := range outputs {
			got := math.Float32frombits(binary.NativeEndian.Uint32(out))
			if w := want.Logits.Data[s*outputs+k]; got != w {
				t.Fatalf("sample %d: output %d is %v, want %v", s, k, got, w)
			}
			out = out[4:]
		}
		for l := range layers {
			got := int64(int32(binary.NativeEndian.Uint32(out)))
			if w := want.Layers[l].Spikes[s]; got != w {
				t.Fatalf("sample %d: layer %d emits %d spikes, want %d", s, l, got, w)
			}
			total += got
			out = out[4:]
		}
	}
	if total == 0 {
		t.Error("no spikes at all")
	}
}

// random numbers for a network.
type random struct{ *rand.Rand }

func (r random) tensor(scale float64, shape ...int) *tensor.Tensor {
	t := tensor.New(shape...)
	for i := range t.Data {
		t.Data[i] = float32(scale * r.NormFloat64())
	}
	return t
}

func (r random) conv(g *graph.Graph, name string, x *graph.Node, cin, k, stride, pad, dil, groups, cout int) *graph.Node {
	p := graph.Params{"weight": r.tensor(1/math.Sqrt(float64(k*k*cin/groups)), k, k, cin/groups, cout)}
	if r.IntN(2) == 0 {
		p["bias"] = r.tensor(0.1, cout)
	}
	return g.Add(name, &graph.Conv2D{Stride: [2]int{stride, stride}, Pad: graph.Uniform(pad, pad), Dilation: [2]int{dil, dil}, Groups: groups}, p, x)
}

// everything is a network with all operations that have a form in C.
func everything(seed uint64) *graph.Graph {
	r := random{rand.New(rand.NewPCG(seed, 1))}
	g := graph.New()
	relu := func(name string, x *graph.Node) *graph.Node { return g.Add(name, &graph.ReLU{}, nil, x) }
	x := g.Input("input", graph.Shape{9, 10, 3})
	x = r.conv(g, "stem", x, 3, 3, 1, 1, 1, 1, 8)
	x = g.Add("norm", &graph.BatchNorm{Eps: 1e-5, Momentum: 0.1}, graph.Params{"mean": r.tensor(0.1, 8), "var": &tensor.Tensor{Shape: []int{8}, Data: []float32{1, 2, 0.5, 1, 1, 3, 1, 1}}}, x)
	x = relu("relu1", x)
	a := r.conv(g, "a/1", x, 8, 3, 2, 1, 1, 2, 8)
	a = relu("a relu", a)
	a = r.conv(g, "a*/2", a, 8, 3, 1, 2, 2, 1, 12)
	b := r.conv(g, "projection", x, 8, 1, 2, 0, 1, 1, 12)
	y := relu("relu2", g.Add("add", &graph.Add{}, nil, a, b)) // 5x5
	z := relu("relu3", g.Add("add2", &graph.Add{}, nil, y, r.conv(g, "c", y, 12, 3, 1, 1, 1, 12, 12)))
	m := g.Add("max", &graph.MaxPool2D{Kernel: [2]int{3, 3}, Stride: [2]int{2, 2}, Pad: graph.Uniform(1, 1)}, nil, z) // 3x3
	av := g.Add("avg", &graph.AvgPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}, Pad: graph.Pad{0, 0, 1, 1}, CountIncludePad: true}, nil, z)
	if seed == 4 { // counts that fit no byte are not summed as counts
		av = g.Add("max2", &graph.MaxPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}, Pad: graph.Pad{0, 0, 1, 1}}, nil, z)
	}
	av2 := g.Add("avg exclude", &graph.AvgPool2D{Kernel: [2]int{3, 3}, Stride: [2]int{2, 2}, Pad: graph.Uniform(1, 1)}, nil, y)
	n2 := relu("relu4", r.conv(g, "behind avg", av2, 12, 3, 1, 1, 1, 1, 5))
	cat := g.Add("cat", &graph.Concat{}, nil, m, av, n2)
	t := g.Add("up", &graph.ConvTranspose2D{Stride: [2]int{2, 2}, Pad: graph.Uniform(1, 1), OutputPad: [2]int{1, 0}, Dilation: [2]int{1, 1}, Groups: 1},
		graph.Params{"weight": r.tensor(0.15, 3, 3, 29, 6), "bias": r.tensor(0.1, 6)}, cat) // 6x5
	t = relu("relu5", t)
	near := g.Add("near", &graph.Upsample{Size: [2]int{8, 7}, Mode: "nearest"}, nil, t)
	lin := g.Add("linear", &graph.Upsample{Size: [2]int{8, 7}, Mode: "bilinear", AlignCorners: seed%2 == 0}, nil, t)
	n3 := relu("relu6", r.conv(g, "near conv", near, 6, 3, 1, 0, 1, 1, 4))
	n4 := relu("relu7", r.conv(g, "linear conv", lin, 6, 3, 1, 0, 1, 1, 4))
	f := g.Add("flat", &graph.Flatten{}, nil, g.Add("cat2", &graph.Concat{}, nil, n3, n4)) // 6x5x8
	h := relu("relu8", g.Add("fc1", &graph.Linear{}, graph.Params{"weight": r.tensor(0.1, 240, 16), "bias": r.tensor(0.1, 16)}, f))
	gap := g.Add("gap", &graph.GlobalAvgPool{}, nil, n3)
	h2 := g.Add("cat3", &graph.Concat{}, nil, h, g.Add("flat2", &graph.Flatten{}, nil, gap))
	out := g.Add("fc2", &graph.Linear{}, graph.Params{"weight": r.tensor(0.2, 20, 7), "bias": r.tensor(0.1, 7)}, h2)
	out = g.Add("softmax", &graph.Softmax{}, nil, out)
	g.Outputs = []*graph.Node{out}
	if err := g.Infer(); err != nil {
		panic(err)
	}
	return g
}

// configure gives a network random neurons.
func configure(g *graph.Graph, seed uint64, cfg snn.Config) *snn.Config {
	r := random{rand.New(rand.NewPCG(seed, 2))}
	for i, n := range snn.Activations(g) {
		l := snn.Layer{Node: n.Name, MaxSpike: 1 + (i+int(seed))%5}
		k := 1
		if (i+int(seed))%2 == 0 {
			k = n.Shape.Channels()
		}
		for range k {
			l.Threshold = append(l.Threshold, 0.2+r.Float32())
		}
		if (i+int(seed))%3 == 0 {
			l.Initial = r.tensor(0.1, n.Shape.Numel()).Data
		}
		cfg.Layers = append(cfg.Layers, l)
	}
	return &cfg
}

// noSoftmax is the graph without its last node, whose outputs C code gives.
func noSoftmax(g *graph.Graph) *graph.Graph {
	g = g.CloneShared()
	if out := g.Outputs[0]; out.Kind() == "softmax" {
		g.Outputs = []*graph.Node{out.Inputs[0]}
	}
	graph.RemoveDead(g)
	return g
}

// TestSameBits compiles networks with all operations, rules and precisions, with
// and without optimisation, and wants the executor's bits.
func TestSameBits(t *testing.T) {
	cc := compiler(t)
	for i, cfg := range []snn.Config{
		{Timesteps: 4, Shift: snn.ShiftInitial, MaxPool: snn.MaxPoolExact, Weights: snn.I8},
		{Timesteps: 5, Shift: snn.ShiftPerStep, MaxPool: snn.MaxPoolExact, Weights: snn.I16},
		{Timesteps: 3, Shift: snn.ShiftNone, MaxPool: snn.MaxPoolPerStep, Weights: snn.I8},
		{Timesteps: 6, Shift: snn.ShiftInitial, MaxPool: snn.MaxPoolExact, Weights: snn.I16, Schedule: snn.ScheduleAccumulate},
		{Timesteps: 200, Shift: snn.ShiftInitial, MaxPool: snn.MaxPoolExact, Weights: snn.I8, Schedule: snn.ScheduleAccumulate},
	} {
		t.Run(fmt.Sprintf("%d_%s_%s_%s", i, cfg.Weights, cfg.Shift, cfg.Schedule), func(t *testing.T) {
			t.Parallel()
			g := noSoftmax(everything(uint64(i)))
			net := &cexport.Network{Graph: g, SNN: configure(g, uint64(i), cfg)}
			x := random{rand.New(rand.NewPCG(uint64(i), 3))}.tensor(1, append([]int{6}, g.InputNodes()[0].Shape...)...)
			compare(t, build(t, cc, net, []string{"-O2", "-O0"}[i%2]), net, x)
			if i == 0 {
				compare(t, build(t, cc, net, "-O0"), net, x)
			}
		})
	}
}

// TestDigits converts a network for the embedded digits and compares on its
// samples.
func TestDigits(t *testing.T) {
	cc := compiler(t)
	d, err := dataset.Open("digits", "", "test")
	if err != nil {
		t.Fatal(err)
	}
	x := tensor.New(24, 28, 28, 1)
	size := x.Len() / x.Shape[0]
	for i := range x.Shape[0] {
		if _, err := d.Sample(i, x.Data[i*size:(i+1)*size]); err != nil {
			t.Fatal(err)
		}
	}
	for i := range x.Data {
		x.Data[i] = x.Data[i]*2 - 0.3
	}
	for _, c := range []models.Config{
		{Arch: "vgg-small", Input: graph.Shape{28, 28, 1}, Classes: 10, Width: 4, Seed: 1},
		{Arch: "resnet20", Input: graph.Shape{28, 28, 1}, Classes: 10, Width: 4, Seed: 2},
	} {
		t.Run(c.Arch, func(t *testing.T) {
			t.Parallel()
			g, err := models.Build(c)
			if err != nil {
				t.Fatal(err)
			}
			cfg := convert.Default()
			cfg.Timesteps, cfg.MaxSpike, cfg.Weights = 4, 3, snn.I8
			res, err := convert.Convert(t.Context(), nil, g, x, cfg)
			if err != nil {
				t.Fatal(err)
			}
			net := &cexport.Network{Graph: res.Graph, SNN: res.SNN}
			compare(t, build(t, cc, net, "-O2"), net, x)
			if c.Arch == "vgg-small" {
				compare(t, build(t, cc, net, "-O0"), net, x)
			}
		})
	}
}

// TestMemory checks what the report and the comment say, and that the files are
// the same each time.
func TestMemory(t *testing.T) {
	g := noSoftmax(everything(1))
	net := &cexport.Network{Graph: g, SNN: configure(g, 1, snn.Config{Timesteps: 4, Shift: snn.ShiftInitial, MaxPool: snn.MaxPoolExact, Weights: snn.I8})}
	c, h, report, err := cexport.Generate(net, cexport.Options{Name: "net", Classes: []string{"a*/b"}}, "net.h")
	if err != nil {
		t.Fatal(err)
	}
	again, _, _, err := cexport.Generate(net, cexport.Options{Name: "net", Classes: []string{"a*/b"}}, "net.h")
	if err != nil || again != c {
		t.Error("two exports differ:", err)
	}
	if want := fmt.Sprintf("Constants (flash): %d bytes. Static variables (RAM): %d bytes.", report.Flash, report.RAM); !strings.Contains(h, want) || !strings.Contains(c, want) {
		t.Errorf("no %q in the comments", want)
	}
	if report.Flash < 6000 || report.RAM < 5000 || report.RAM > 100000 {
		t.Errorf("report %+v", report)
	}
	cc := compiler(t)
	dir := t.TempDir()
	if _, err := cexport.Write(dir, net, cexport.Options{Name: "net"}); err != nil {
		t.Fatal(err)
	}
	if _, err := cexport.Write(dir, net, cexport.Options{Name: "net"}); err == nil {
		t.Error("replaced without force")
	}
	cmd := exec.Command(cc, "-std=c99", "-O2", "-c", "net.c")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	size, err := exec.LookPath("size")
	if err != nil {
		t.Skip(err)
	}
	cmd = exec.Command(size, "net.o")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var text, data, bss int64
	if _, err := fmt.Sscanf(strings.SplitN(string(out), "\n", 2)[1], "%d %d %d", &text, &data, &bss); err != nil {
		t.Fatal(err)
	}
	if text < report.Flash || data != 0 || bss < report.RAM-16 || bss > report.RAM+2048 {
		t.Errorf("the compiler says text %d, data %d, bss %d; the report %+v", text, data, bss, report)
	}
}

// TestRefuses names what has no form in C.
func TestRefuses(t *testing.T) {
	base := snn.Config{Timesteps: 4, Shift: snn.ShiftInitial, MaxPool: snn.MaxPoolExact, Weights: snn.I8}
	for _, c := range []struct {
		want   string
		change func(*snn.Config)
	}{
		{"convert with weights i8 or i16", func(c *snn.Config) { c.Weights = snn.F32 }},
		{"signed neurons", func(c *snn.Config) { c.Signed = true }},
	} {
		g := noSoftmax(everything(1))
		cfg := configure(g, 1, base)
		c.change(cfg)
		_, err := cexport.Write(filepath.Join(t.TempDir(), "net.c"), &cexport.Network{Graph: g, SNN: cfg}, cexport.Options{})
		if !errors.Is(err, fileerr.ErrUnsupported) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %s", err, c.want)
		}
	}
	g := graph.New()
	x := g.Input("x", graph.Shape{4, 4, 2})
	w := &tensor.Tensor{Shape: []int{2, 2, 2, 2}, Data: make([]float32, 16)}
	x = g.Add("deconv", &graph.ConvTranspose2D{Stride: [2]int{2, 2}, Dilation: [2]int{1, 1}, Groups: 1}, graph.Params{"weight": w}, x)
	x = g.Add("relu", &graph.ReLU{}, nil, x)
	g.Outputs = []*graph.Node{g.Add("mean", &graph.GlobalAvgPool{}, nil, x)}
	if err := g.Infer(); err != nil {
		t.Fatal(err)
	}
	_, err := cexport.Write(filepath.Join(t.TempDir(), "net.c"), &cexport.Network{Graph: g, SNN: configure(g, 1, base)}, cexport.Options{})
	if !errors.Is(err, fileerr.ErrUnsupported) || !strings.Contains(err.Error(), `node "deconv"`) {
		t.Errorf("error %v", err)
	}
	for _, name := range []string{"2x", "a-b", "ä"} {
		if _, err := cexport.Write(filepath.Join(t.TempDir(), "net.c"), &cexport.Network{Graph: g, SNN: configure(g, 1, base)}, cexport.Options{Name: name}); err == nil {
			t.Errorf("name %q accepted", name)
		}
	}
}
