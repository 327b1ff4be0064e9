// Package cexport writes a spiking network as C: one self-contained C99 file with
// its weights, and a header.
//
//	report, err := cexport.Write("net.c", &cexport.Network{Graph: g, SNN: cfg}, cexport.Options{})
//
// The code keeps its memory in static arrays, calls no library function and
// computes what package snn computes, bit for bit: spike counts and outputs of
// networks whose weights behind spikes are whole numbers (snn.I8, snn.I16). Sums
// over counts are exact; every other operation is rounded to float by itself, in
// the order of the executor. What has no such form is refused, naming the node;
// float weights behind spikes are, because their sums depend on the order in which
// a processor adds.
package cexport

import (
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/atomicfile"
	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/snn"
)

// A Network is what is exported: a graph with folded batch norms and its neurons,
// as snn.New takes them.
type Network struct {
	Graph *graph.Graph
	SNN   *snn.Config
}

// Options of an export. The zero value is the default.
type Options struct {
	// Name begins all names that the code exports, such as NAME_run; letters, digits
	// and underscores, not beginning with a digit. "" takes the file's name.
	Name string
	// Classes are the names of the outputs; they become comments.
	Classes []string
	Version string // of AdaFire, for the comment
	Force   bool   // replace existing files
}

// A Report says what an export wrote.
type Report struct {
	Name     string
	Files    []string // the C file and the header
	Flash    int64    // bytes of constants
	RAM      int64    // bytes of static variables
	Warnings []string
}

// Write writes the network to path, which names the C file (its header lies beside
// it), or to NAME.c and NAME.h in the folder path.
func Write(path string, net *Network, opt Options) (*Report, error) {
	dir, file := filepath.Split(path)
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		dir, file = path, ""
	}
	if file != "" && filepath.Ext(file) != ".c" {
		return nil, fmt.Errorf("%s: want a file that ends in .c, or an existing folder", path)
	}
	if opt.Name == "" {
		opt.Name = "network"
		if file != "" {
			opt.Name = identifier(strings.TrimSuffix(file, ".c"))
		}
	}
	if file == "" {
		file = opt.Name + ".c"
	}
	source := filepath.Join(dir, file)
	header := strings.TrimSuffix(source, ".c") + ".h"
	c, h, report, err := Generate(net, opt, filepath.Base(header))
	if err != nil {
		return nil, err
	}
	report.Files = []string{source, header}
	for i, text := range []string{c, h} {
		err := atomicfile.Write(report.Files[i], opt.Force, func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return report, nil
}

func checkName(name string) error {
	if name == "" || identifier(name) != name || name[0] >= '0' && name[0] <= '9' {
		return fmt.Errorf("name %q: want letters, digits and underscores, beginning with no digit", name)
	}
	return nil
}

// prepare checks the network and removes what C code leaves to its caller.
func prepare(net *Network, report *Report) (*graph.Graph, error) {
	if _, err := snn.New(net.Graph, net.SNN); err != nil { // what package snn refuses
		return nil, err
	}
	switch cfg := net.SNN; {
	case cfg.Signed:
		return nil, fmt.Errorf("signed neurons take spikes back, which the C code cannot; convert without: %w", fileerr.ErrUnsupported)
	case cfg.Weights != snn.I8 && cfg.Weights != snn.I16:
		return nil, fmt.Errorf("weights behind spikes are floats, whose sums differ between processors; convert with weights %s or %s: %w", snn.I8, snn.I16, fileerr.ErrUnsupported)
	}
	g := net.Graph.CloneShared()
	if in := len(g.InputNodes()); in != 1 || len(g.Outputs) != 1 {
		return nil, fmt.Errorf("%d inputs and %d outputs, the C code has one of each: %w", in, len(g.Outputs), fileerr.ErrUnsupported)
	}
	for {
		out := g.Outputs[0]
		switch out.Op.(type) {
		case *graph.Softmax, *graph.LogSoftmax:
			report.Warnings = append(report.Warnings, fmt.Sprintf("node %q (%s) is left out: the outputs are what it would get", out.Name, out.Kind()))
			g.Outputs[0] = out.Inputs[0]
			continue
		}
		break
	}
	graph.RemoveDead(g)
	return g, g.Infer()
}

// Generate returns the C file, which includes the named header, and the header.
func Generate(net *Network, opt Options, include string) (source, header string, report *Report, err error) {
	report = &Report{Name: opt.Name}
	if err := checkName(opt.Name); err != nil {
		return "", "", nil, err
	}
	graph, err := prepare(net, report)
	if err != nil {
		return "", "", nil, err
	}
	p, err := newPlan(graph, net.SNN)
	if err != nil {
		return "", "", nil, err
	}
	for _, w := range p.wires {
		if w.layer >= 0 && int64(w.size)*int64(w.most)*int64(p.cfg.Timesteps) > math.MaxInt32 {
			return "", "", nil, refuse(w.node, "%d neurons may emit more than %d spikes in %d timesteps", w.size, math.MaxInt32, p.cfg.Timesteps)
		}
	}
	g := &generator{p: p, mem: newLayout(p)}
	if err := g.generate(); err != nil {
		return "", "", nil, err
	}
	source, header = g.files(net, opt, include, report)
	return source, header, report, nil
}

const preamble = `
#include "%s"

#include <float.h>

/* Products and sums are rounded one by one: no compiler may fuse them. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize ("fp-contract=off")
#else
#pragma STDC FP_CONTRACT OFF
#endif
#if defined(__FAST_MATH__)
#error "compile without -ffast-math: results would differ"
#endif
#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16
#error "float arithmetic must not keep more digits: on x86 compile with -msse2 -mfpmath=sse"
#endif

`

const fire = `/*
 * One neuron, one timestep: its potential grows by the current, it emits as many
 * spikes as whole thresholds (1) fit into it, at most most, and keeps the rest.
 */
static int32_t fire(float *v, float current, float most)
{
	float u = *v + current;
	float n = u;
	int32_t k;

	if (!(u - u == 0.0f)) { /* no finite number */
		failed = 1;
		*v = u;
		return 0;
	}
	if (n < 0.0f)
		n = 0.0f;
	if (n > most)
		n = most;
	k = (int32_t)n;
	*v = u - (float)k;
	return k;
}

`

func (g *generator) files(net *Network, opt Options, include string, report *Report) (source, header string) {
	p := g.p
	in, out := p.wires[p.input], p.wires[p.output]
	for _, a := range []struct {
		in          arena
		ctype, name string
		size        int
	}{{floats, "float", "f32", 4}, {bytes, "uint8_t", "u8", 1}, {words, "uint16_t", "u16", 2}} {
		if n := g.mem.total[a.in]; n > 0 {
			g.static(a.ctype, a.name, n, a.size)
		}
	}
	scale := g.channelList("outscale", factor(out.scale, nil, out.node.Shape.Channels()), 1)
	g.static("int32_t", "spikes", len(p.cfg.Layers), 4)
	g.ram += 16 // the pointer to the input and a flag
	report.Flash, report.RAM = g.flash, g.ram

	name := opt.Name
	upper := strings.ToUpper(name)
	var h strings.Builder
	by := "AdaFire"
	if opt.Version != "" {
		by += " " + comment(opt.Version)
	}
	schedule := ""
	if net.SNN.Schedule == snn.ScheduleAccumulate {
		schedule = ", each layer fires once, on the sum over the timesteps"
	}
	fmt.Fprintf(&h, "/*\n * A spiking network, written by %s.\n *\n", by)
	fmt.Fprintf(&h, " * Constants (flash): %d bytes. Static variables (RAM): %d bytes.\n", g.flash, g.ram)
	fmt.Fprintf(&h, " * Timesteps: %d%s. Weights behind spikes: %s.\n", net.SNN.Timesteps, schedule, g.precision())
	fmt.Fprintf(&h, " * Input: %v floats, channels last. Outputs: %v floats, means over the timesteps.\n", []int(in.node.Shape), []int(out.node.Shape))
	if len(opt.Classes) > 0 {
		fmt.Fprintf(&h, " * Outputs in order: %s.\n", comment(strings.Join(opt.Classes, ", ")))
	}
	fmt.Fprintf(&h, " * Layers of neurons:\n")
	for _, w := range p.wires {
		if w.layer >= 0 {
			fmt.Fprintf(&h, " *   %d: %s, %v, up to %d spikes per timestep\n", w.layer, comment(w.node.Name), []int(w.node.Shape), w.most)
		}
	}
	h.WriteString(" */\n")
	about := h.String()

	fmt.Fprintf(&h, "#ifndef %s_H\n#define %s_H\n\n#include <stdint.h>\n\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n", upper, upper)
	fmt.Fprintf(&h, "#define %s_INPUTS %d\n#define %s_OUTPUTS %d\n#define %s_LAYERS %d\n#define %s_TIMESTEPS %d\n\n",
		upper, in.size, upper, out.size, upper, len(p.cfg.Layers), upper, net.SNN.Timesteps)
	fmt.Fprintf(&h, "/* Clears all state. Not needed between samples: a run begins afresh. */\nvoid %s_init(void);\n\n", name)
	fmt.Fprintf(&h, "/*\n * Runs one sample. input: %s_INPUTS values, rows, columns, channels (innermost);\n * output: %s_OUTPUTS values; counts: %s_LAYERS spike counts, one per layer,\n", upper, upper, upper)
	fmt.Fprintf(&h, " * or a null pointer. Returns 0, or 1 if a membrane potential was no finite number.\n * Not reentrant.\n */\n")
	fmt.Fprintf(&h, "int %s_run(const float *input, float *output, int32_t *counts);\n\n#ifdef __cplusplus\n}\n#endif\n\n#endif\n", name)

	var c strings.Builder
	c.WriteString(about)
	fmt.Fprintf(&c, preamble, include)
	c.WriteString(g.data.String())
	c.WriteString("static const float *in;\nstatic int failed;\n")
	c.WriteString(g.state.String())
	c.WriteString("\n" + fire)
	c.WriteString(g.code.String())
	fmt.Fprintf(&c, "void %s_init(void)\n{\n\tint32_t i;\n", name)
	for _, s := range g.reset {
		fmt.Fprintf(&c, "\t%s\n", strings.Replace(s, ") ", ")\n\t\t", 1))
	}
	fmt.Fprintf(&c, "\tfor (i = 0; i < %d; i++)\n\t\tspikes[i] = 0;\n\tfailed = 0;\n}\n\n", len(p.cfg.Layers))
	fmt.Fprintf(&c, "int %s_run(const float *input, float *output, int32_t *counts)\n{\n\tint32_t i, step;\n\n\t%s_init();\n\tin = input;\n", name, name)
	for _, s := range g.once {
		fmt.Fprintf(&c, "\t%s\n", s)
	}
	fmt.Fprintf(&c, "\tfor (step = 0; step < %d; step++) {\n", p.cfg.Timesteps)
	for _, s := range g.step {
		fmt.Fprintf(&c, "\t\t%s\n", s)
	}
	c.WriteString("\t}\n")
	for _, s := range g.read {
		fmt.Fprintf(&c, "\t%s\n", s)
	}
	value := g.readoutOf(out, "i")
	if scale != "" {
		fmt.Fprintf(&c, "\tfor (i = 0; i < %d; i++)\n\t\toutput[i] = %s * %s[i %% %d];\n", out.size, value, scale, out.node.Shape.Channels())
	} else {
		fmt.Fprintf(&c, "\tfor (i = 0; i < %d; i++)\n\t\toutput[i] = %s;\n", out.size, value)
	}
	fmt.Fprintf(&c, "\tif (counts)\n\t\tfor (i = 0; i < %d; i++)\n\t\t\tcounts[i] = spikes[i];\n\treturn failed;\n}\n", len(p.cfg.Layers))
	return c.String(), h.String()
}
