package cli

import (
	"fmt"
	"io"
	"os"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/job"
	"github.com/spf13/cobra"
)

// A finding is what inspect has to say about a file or folder.
type finding struct {
	kind  string // of the file, for people
	json  any    // an object
	text  func(w io.Writer) error
	graph *graph.Graph // nil if the file holds no network
}

func inspectCommand(a *app) *cobra.Command {
	var (
		dot  bool
		name string
		rec  recordingFlags
	)
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "say what a file or folder is",
		Long: `Says what a file is, judging by its content and not by its name, and shows what
is in it: the layers of a network (operation, output shape, parameters,
multiply-accumulates) and where it comes from, the thresholds and burst limits
of a spiking network, the tensors of a file of weights, the arrays of .npy and
.npz files, IDX files, results, folders that hold a data set, networks of
others, and event recordings (format, sensor, duration, rates, oddities).

MACs count taps on zero padding too, as is usual; parameters count what training
changes, not the running statistics of batch normalisation. Networks are checked
while they are read: a damaged file is an error, not half a table.`,
		Example: `  adafire inspect adafire-demo/snn.safetensors
  adafire inspect --dot adafire-demo/ann.safetensors | dot -Tsvg > net.svg`,
		Args: positional(1, 1, "one FILE or folder"),
	}
	cmd.Flags().BoolVar(&dot, "dot", false, "print the network in Graphviz's language instead")
	choiceVar(cmd.Flags(), &name, "dataset", "", job.DatasetNames(), "what a folder is to be read as: `NAME` as in \"adafire data list\"")
	rec.register(cmd.Flags())
	cmd.RunE = a.run(func(s *session, args []string) error {
		if dot && s.JSON() {
			return s.Usagef("--dot and --json exclude each other")
		}
		path := args[0]
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		var f *finding
		switch {
		case info.IsDir():
			f, err = inspectFolder(path, name)
		case s.Changed("dataset"):
			return s.Usagef("--dataset: %s is a file, want a folder", path)
		case !info.Mode().IsRegular():
			return fmt.Errorf("%s: not a regular file", path)
		case rec.format != "" || isRecording(path):
			f, err = inspectRecording(s, &rec, path)
		default:
			f, err = inspectFile(path, info.Size())
		}
		if err != nil {
			return err
		}
		if dot {
			if f.graph == nil {
				return s.Usagef("--dot: %s is no network but %s", path, f.kind)
			}
			return f.graph.Graphviz(s.Out)
		}
		result := struct {
			Schema  int    `json:"schema"`
			Command string `json:"command"`
			Path    string `json:"path"`
			Kind    string `json:"kind"`
			Content any    `json:"content"`
		}{1, s.commandName(), path, f.kind, f.json}
		return s.Emit(result, func(w io.Writer) error {
			fmt.Fprintf(w, "%s: %s\n", oneLine(path), f.kind)
			return f.text(w)
		})
	})
	return cmd
}
