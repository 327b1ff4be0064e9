package cli

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/adafire/adafire/cexport"
	"github.com/adafire/adafire/checkpoint"
	"github.com/adafire/adafire/internal/job"
	"github.com/adafire/adafire/nir"
	"github.com/adafire/adafire/onnx"
	"github.com/spf13/cobra"
)

// exportFlags are what the formats take.
type exportFlags struct {
	to, out string
	nir     nir.Options
	profile string
	target  string
	check   bool
	onnx    onnx.ExportOptions
	form    string
	counts  bool
	name    string
}

// exporters are the formats, by the extension that stands for them.
var exporters = []struct{ name, extension string }{
	{"nir", ".nir"}, {"onnx", ".onnx"}, {"c", ".c"}, {"safetensors", ".safetensors"},
}

func exportCommand(a *app) *cobra.Command {
	var net networkFlags
	var e exportFlags
	cmd := &cobra.Command{
		Use:   "export --model FILE --out FILE",
		Short: "write a network for other programs and for hardware",
		Long: `Writes a network in another format, which the extension of --out names, or --to:

  .nir          a spiking network for simulators and neuromorphic chips. Profile
                portable writes neurons that all of them load, with our rules
                in metadata; exact spells bursts out in primitives
  .onnx         an ANN (opset 17), or a spiking network: --form loop, scan over
                event frames, unrolled, or staircase, the quantised ANN
  .c            a spiking network with integer weights (--weights i8 or i16 when
                it was converted) as one C99 file and a header, without malloc
                and libraries, the same spikes bit for bit
  .safetensors  AdaFire's file, as import writes it

--check says what the simulator or chip --target does differently with the
network, node by node, before anything is written; without --out it only checks.`,
		Example: `  adafire export --model snn.safetensors --out net.nir
  adafire export --model snn.safetensors --target sinabs --check`,
		Args: positional(0, 0, ""),
	}
	f := cmd.Flags()
	net.registerModel(f, "the network, a `FILE` of AdaFire, ONNX, NIR or PyTorch")
	var names []string
	for _, x := range exporters {
		names = append(names, x.name)
	}
	choiceVar(f, &e.to, "to", "", names, "format (default: by the extension of --out)")
	f.StringVar(&e.out, "out", "", "`FILE` to write")
	choiceVar(f, &e.profile, "nir-profile", string(nir.Portable), []string{string(nir.Portable), string(nir.Exact)}, "how NIR holds burst neurons")
	floatVar(f, &e.nir.DT, "nir-dt", 1, 1e-9, 1e9, "length of a timestep in NIR's unit of time")
	f.BoolVar(&e.nir.Flatten, "flatten", false, "NIR: write Flatten and Affine, not a convolution as large as the map")
	f.BoolVar(&e.nir.KeepGroups, "keep-groups", false, "NIR: write grouped convolutions as they are")
	f.BoolVar(&e.nir.StartInput, "nir-start-input", false, "NIR, exact: an input for the initial potentials of every layer")
	f.BoolVar(&e.onnx.KeepBatchNorm, "keep-bn", false, "ONNX: write batch norms, not folded")
	f.BoolVar(&e.onnx.ExternalData, "external-data", false, "ONNX: weights in a second file")
	forms := []string{string(onnx.SNNLoop), string(onnx.SNNScan), string(onnx.SNNUnrolled), string(onnx.SNNStaircase)}
	choiceVar(f, &e.form, "form", forms[0], forms, "ONNX: how the time of a spiking network is written")
	f.BoolVar(&e.counts, "spike-counts", false, "ONNX: the spike counts of every layer as outputs")
	f.StringVar(&e.name, "name", "", "C: `NAME` before all names of the code (default: the file's)")
	var targets []string
	for _, t := range nir.Targets() {
		targets = append(targets, t.Name)
	}
	choiceVar(f, &e.target, "target", "", targets, "simulator or chip that the NIR file is for")
	f.BoolVar(&e.check, "check", false, "say what the target will do differently")
	cmd.RunE = a.run(func(s *session, _ []string) error {
		if err := s.Require("model"); err != nil {
			return err
		}
		if e.out == "" && !e.check {
			return s.Require("out")
		}
		if e.check && e.target == "" {
			return s.Usagef("--check wants a --target")
		}
		if e.to == "" {
			e.to = "nir"
			if e.out != "" {
				if e.to = exporterOf(e.out); e.to == "" {
					return s.Usagef("--out %s: the extension names no format, give --to", e.out)
				}
			}
		}
		if e.out != "" {
			if err := s.CheckTarget(e.out); err != nil {
				return err
			}
		}
		m, err := net.open(s)
		if err != nil {
			return err
		}
		return s.export(net.path, m, &e)
	})
	return cmd
}

func exporterOf(path string) string {
	for _, x := range exporters {
		if strings.EqualFold(filepath.Ext(path), x.extension) {
			return x.name
		}
	}
	return ""
}

// An exportResult is the machine-readable result.
type exportResult struct {
	Schema   int           `json:"schema"`
	Command  string        `json:"command"`
	Out      string        `json:"out,omitempty"`
	Format   string        `json:"format"`
	Nodes    int           `json:"nodes,omitempty"`
	Files    []string      `json:"files,omitempty"`
	Flash    int64         `json:"flash_bytes,omitempty"` // of C: constants
	RAM      int64         `json:"ram_bytes,omitempty"`   // of C: variables
	Warnings []string      `json:"warnings,omitempty"`
	Target   string        `json:"target,omitempty"`
	Findings []nir.Finding `json:"findings,omitempty"`
}

func (s *session) export(path string, m *checkpoint.Model, e *exportFlags) error {
	r := exportResult{Schema: 1, Command: s.commandName(), Out: e.out, Format: e.to}
	var err error
	switch e.to {
	case "nir":
		err = s.exportNIR(path, m, e, &r)
	case "onnx":
		err = s.exportONNX(path, m, e, &r)
	case "c":
		err = s.exportC(path, m, e, &r)
	case "safetensors":
		err = checkpoint.SaveModel(e.out, m, s.Force)
	}
	if err != nil {
		return err
	}
	return s.Emit(r, func(w io.Writer) error {
		if r.Out != "" {
			fmt.Fprintf(w, "%s: %s\n", r.Out, r.Format)
			if len(r.Files) > 0 {
				fmt.Fprintf(w, "  %s: %d bytes of constants, %d of variables\n", strings.Join(r.Files, ", "), r.Flash, r.RAM)
			}
		}
		for _, warning := range r.Warnings {
			fmt.Fprintf(w, "  note: %s\n", warning)
		}
		if e.check {
			fmt.Fprintf(w, "%s:\n", r.Target)
			for _, finding := range r.Findings {
				fmt.Fprintf(w, "  %s\n", finding)
			}
			if len(r.Findings) == 0 {
				fmt.Fprintln(w, "  nothing is different")
			}
		}
		return nil
	})
}

func (s *session) exportONNX(path string, m *checkpoint.Model, e *exportFlags, r *exportResult) error {
	p := m.Provenance
	if m.Kind != checkpoint.KindSNN {
		opt := e.onnx
		opt.Classes, opt.Mean, opt.Std, opt.Version, opt.Force = p.Classes, p.Mean, p.Std, moduleVersion(), s.Force
		return onnx.Export(e.out, m.Graph, opt)
	}
	c, err := job.Spiking(path, m)
	if err != nil {
		return err
	}
	report, err := onnx.ExportSNN(e.out, c.Graph, c.SNN, onnx.SNNOptions{Form: onnx.SNNForm(e.form), Counts: e.counts, ExternalData: e.onnx.ExternalData,
		Classes: p.Classes, Mean: p.Mean, Std: p.Std, Version: moduleVersion(), Force: s.Force})
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	r.Nodes, r.Warnings = report.Nodes, report.Warnings
	return nil
}

func (s *session) exportC(path string, m *checkpoint.Model, e *exportFlags, r *exportResult) error {
	c, err := job.Spiking(path, m)
	if err != nil {
		return withHint(err, "C holds spiking networks: convert the ANN first")
	}
	report, err := cexport.Write(e.out, &cexport.Network{Graph: c.Graph, SNN: c.SNN},
		cexport.Options{Name: e.name, Classes: m.Provenance.Classes, Version: moduleVersion(), Force: s.Force})
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	r.Files, r.Warnings, r.Flash, r.RAM = report.Files, report.Warnings, report.Flash, report.RAM
	return nil
}

func (s *session) exportNIR(path string, m *checkpoint.Model, e *exportFlags, r *exportResult) error {
	c, err := job.Spiking(path, m)
	if err != nil {
		return withHint(err, "NIR holds spiking networks: convert the ANN first")
	}
	opt := e.nir
	opt.Profile, opt.Force, opt.Classes = nir.Profile(e.profile), s.Force, m.Provenance.Classes
	g, report, err := nir.Build(&nir.Network{Graph: c.Graph, SNN: c.SNN}, opt)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	r.Nodes, r.Warnings, r.Target = report.Nodes, report.Warnings, e.target
	if e.check {
		if r.Findings, err = nir.Check(g, e.target); err != nil {
			return err
		}
	}
	if e.out == "" {
		return nil
	}
	return g.Write(e.out, s.Force)
}
