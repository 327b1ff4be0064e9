package job

import (
	"testing"

	"github.com/adafire/adafire/cexport"
	"github.com/adafire/adafire/convert"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/random"
	"github.com/adafire/adafire/nir"
	"github.com/adafire/adafire/onnx"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// TestExportLimitedActivations: neurons that replace a clip from 0 to a limit
// can be exported like those of any ReLU.
func TestExportLimitedActivations(t *testing.T) {
	g := graph.New()
	r := random.New(1, "clip")
	weight := func(shape ...int) *tensor.Tensor {
		w := tensor.New(shape...)
		for i := range w.Data {
			w.Data[i] = float32(r.NormFloat64())
		}
		return w
	}
	x := g.Input("input", graph.Shape{6, 6, 2})
	for _, name := range []string{"a", "b"} {
		x = g.Add("conv_"+name, &graph.Conv2D{Stride: [2]int{1, 1}, Pad: graph.Uniform(1, 1), Dilation: [2]int{1, 1}, Groups: 1},
			graph.Params{"weight": weight(3, 3, map[string]int{"a": 2, "b": 4}[name], 4)}, x)
		x = g.Add("clip_"+name, &graph.Clip{Min: 0, Max: 3}, nil, x)
	}
	x = g.Add("flatten", &graph.Flatten{}, nil, x)
	x = g.Add("fc", &graph.Linear{}, graph.Params{"weight": weight(144, 3)}, x)
	g.Outputs = []*graph.Node{x}
	if err := g.Infer(); err != nil {
		t.Fatal(err)
	}
	cfg := convert.Default()
	cfg.Timesteps, cfg.Shift, cfg.Weights = 4, snn.ShiftPerStep, snn.I8
	res, err := convert.Convert(t.Context(), nil, g, weight(8, 6, 6, 2), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := nir.Build(&nir.Network{Graph: res.Graph, SNN: res.SNN}, nir.Options{}); err != nil {
		t.Errorf("NIR: %v", err)
	}
	if _, _, err := onnx.ExportSNNFile(res.Graph, res.SNN, onnx.SNNOptions{}); err != nil {
		t.Errorf("ONNX: %v", err)
	}
	if _, _, _, err := cexport.Generate(&cexport.Network{Graph: res.Graph, SNN: res.SNN}, cexport.Options{Name: "net"}, "net.h"); err != nil {
		t.Errorf("C: %v", err)
	}
}
