package job

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/adafire/adafire/ann"
	"github.com/adafire/adafire/convert"
	"github.com/adafire/adafire/internal/golden"
	"github.com/adafire/adafire/internal/npy"
	"github.com/adafire/adafire/onnx"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// TestGoldenConvertible imports the networks among the ONNX files, by every
// exporter and opset: exactly those convert whose report says so, and with many
// timesteps and spikes their output comes near the ANN's.
func TestGoldenConvertible(t *testing.T) {
	dir := filepath.Join(golden.Dir(t), "onnx")
	b, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Skip(err)
	}
	var m struct {
		Cases []struct {
			Name, Model string
			Inputs      []struct{ Name, File string }
		}
	}
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	for _, c := range m.Cases {
		if strings.HasPrefix(c.Model, "ops/") || strings.HasPrefix(c.Name, "snn_") || len(c.Inputs) != 1 || !strings.Contains(c.Name, "_tiny") {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			model, err := onnx.Import(filepath.Join(dir, c.Model), onnx.Options{})
			if err != nil {
				t.Fatal(err)
			}
			a, err := npy.ReadFile(filepath.Join(dir, c.Inputs[0].File))
			if err != nil {
				t.Fatal(err)
			}
			data, err := a.Float32()
			if err != nil {
				t.Fatal(err)
			}
			in := model.Inputs[0]
			batch, perm := 1, in.Perm
			if in.Batched {
				batch, perm = a.Shape[0], append([]int{0}, perm...)
			}
			x, err := (&tensor.Tensor{Shape: a.Shape, Data: data}).Permute(perm...)
			if err != nil {
				t.Fatal(err)
			}
			x = &tensor.Tensor{Shape: append([]int{batch}, in.Node.Shape...), Data: x.Data}
			g := model.Graph
			g.Outputs = g.Outputs[:1] // auxiliary outputs of the training
			cfg := convert.Default()
			cfg.Timesteps, cfg.MaxSpike = 64, 16
			res, err := convert.Convert(context.Background(), nil, g, x, cfg)
			if (err == nil) != model.Report.Convertible() {
				t.Fatalf("conversion: %v, but the report says %v", err, model.Report)
			}
			if err != nil {
				if model.Report.Layers > 0 && !strings.Contains(err.Error(), `node "`) {
					t.Errorf("the refusal names no node: %v", err)
				}
				t.Log(err)
				return
			}
			net, err := res.Network()
			if err != nil {
				t.Fatal(err)
			}
			out, err := net.Run(context.Background(), nil, x, snn.Options{})
			if err != nil {
				t.Fatal(err)
			}
			e, err := ann.NewNetwork(g, nil, ann.NetworkOptions{})
			if err != nil {
				t.Fatal(err)
			}
			ys, err := e.Forward(ann.Evaluation, 0, x)
			if err != nil {
				t.Fatal(err)
			}
			var off, all float64
			for i, v := range ys[0].Data {
				d := float64(v - out.Logits.Data[i])
				off, all = off+d*d, all+float64(v)*float64(v)
			}
			if share := math.Sqrt(off / all); !(share < 0.05) {
				t.Errorf("the output is off by %.3f of the ANN's root mean square", share)
			} else {
				t.Logf("off by %.4f of the ANN's root mean square", share)
			}
		})
	}
}
