package cli

import (
	"fmt"
	"io"

	"github.com/adafire/adafire/checkpoint"
	"github.com/spf13/cobra"
)

func importCommand(a *app) *cobra.Command {
	var net networkFlags
	var out string
	cmd := &cobra.Command{
		Use:   "import FILE --out FILE",
		Short: "read a network of others and write it as AdaFire's file",
		Long: `Reads an ONNX network, or the weights (PyTorch's .pth, safetensors, .npz) of an
architecture that AdaFire builds, and writes a checkpoint with the network, its
input normalisation and its class names. A NIR file of spiking neurons becomes
a spiking network.

A file of weights holds no network: which one it belongs to is recognised by
the names and shapes of its tensors, or told by --arch. Pickles are read as
data; nothing in a file is ever run. convert, eval, infer and bench read the
same files directly.`,
		Example: `  adafire import mobilenet_v2.pth --out mobilenet.safetensors --class-names imagenet.txt
  adafire import net.onnx --out net.safetensors --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225
  adafire import resnet18.pth --arch resnet18 --input-shape 3x224x224 --out r18.safetensors`,
		Args: positional(1, 1, "one FILE"),
	}
	f := cmd.Flags()
	net.register(f)
	f.StringVar(&out, "out", "", "`FILE` for the network")
	cmd.RunE = a.run(func(s *session, args []string) error {
		if err := s.Require("out"); err != nil {
			return err
		}
		if err := s.CheckTarget(out); err != nil {
			return err
		}
		net.path = args[0]
		m, err := net.open(s)
		if err != nil {
			return err
		}
		if err := checkpoint.SaveModel(out, m, s.Force); err != nil {
			return err
		}
		result := struct {
			Schema     int                   `json:"schema"`
			Command    string                `json:"command"`
			Out        string                `json:"out"`
			Kind       string                `json:"kind"`
			Nodes      int                   `json:"nodes"`
			Parameters int64                 `json:"parameters"`
			MACs       int64                 `json:"macs"`
			Provenance checkpoint.Provenance `json:"provenance"`
		}{1, s.commandName(), out, m.Kind, len(m.Graph.Nodes), m.Graph.Parameters(), m.Graph.MACs(), m.Provenance}
		return s.Emit(result, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "%s: %s of %d nodes, %d parameters, %.1f million multiply-accumulates a sample\n",
				out, modelKinds[m.Kind], len(m.Graph.Nodes), m.Graph.Parameters(), float64(m.Graph.MACs())/1e6)
			return err
		})
	})
	return cmd
}
