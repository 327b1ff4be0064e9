package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/adafire/adafire/dataset"
	"github.com/adafire/adafire/dataset/eventdata"
	"github.com/adafire/adafire/internal/job"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func dataCommand(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "data",
		Short: "list, check, show and measure data sets",
		Long: `Everything about data sets. AdaFire reads them as their makers distribute them
and downloads nothing: put them into $ADAFIRE_DATA/NAME or name the folder. The
digits are part of the program.`,
		Example: `  adafire data list
  adafire data show --dataset digits --out digits.png`,
	}, dataListCommand(a), dataCheckCommand(a), dataShowCommand(a), dataStatsCommand(a), dataConvertCommand(a), dataSimulateCommand(a))
}

// dataFlags are the flags of commands that read one split of a data set.
type dataFlags struct {
	name, dir, split string
	size             int
	events           eventFlags
}

// datasetFlag defines --dataset.
func datasetFlag(f *pflag.FlagSet, p *string) {
	choiceVar(f, p, "dataset", "", job.DatasetNames(), "data set: `NAME` as in \"adafire data list\"")
}

func (d *dataFlags) register(f *pflag.FlagSet) {
	datasetFlag(f, &d.name)
	f.StringVar(&d.dir, "data", "", "`DIR` of the data set (default $ADAFIRE_DATA/NAME; digits need none)")
	choiceVar(f, &d.split, "split", "train", []string{"train", "test"}, "part of the data set")
	intVar(f, &d.size, "input-size", 0, 0, 4096, "`PIXELS` along the side of samples of recordings and image folders, 0 for 224 (nmnist-sim: 34)")
	d.events.register(f)
}

// open opens the split.
func (d *dataFlags) open(s *session) (dataset.Dataset, error) {
	if err := s.Require("dataset"); err != nil {
		return nil, err
	}
	o, err := d.events.options(s)
	if err != nil {
		return nil, err
	}
	train, test, err := job.OpenSplits(s.Ctx, job.DataOptions{Name: d.name, Dir: d.dir, Seed: s.Seed, Workers: s.Pool.Workers(),
		InputSize: inputSize(d.name, d.size), Events: o, Remark: func(text string) { s.Logf("%s: %s", d.name, text) }})
	if d.split == "train" {
		return train, err
	}
	return test, err
}

// listed is a data set in the list.
type listed struct {
	dataset.Description
	Present bool   `json:"present"`
	Dir     string `json:"dir,omitempty"` // the folder looked at
}

// listDatasets looks for the folders of all data sets below root ("": nowhere).
// It does not open them: that takes minutes for the large ones.
func listDatasets(root string) []listed {
	var list []listed
	for _, name := range job.DatasetNames() {
		l := listed{Description: job.DescribeDataset(name)}
		l.Present = l.Embedded
		if root != "" && !l.Embedded {
			l.Dir = filepath.Join(root, name)
			info, err := os.Stat(l.Dir)
			l.Present = err == nil && info.IsDir()
		}
		list = append(list, l)
	}
	return list
}

func dataListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "list the data sets that AdaFire reads",
		Long: `Lists the data sets by name, with their licence, their home page, and whether
their folder is there ($ADAFIRE_DATA/NAME). "There" means the folder exists;
what is in it, "adafire data check" says. --verbose adds the files expected.`,
		Example: `  adafire data list
  adafire data list --verbose`,
		Args: positional(0, 0, ""),
		RunE: a.run(func(s *session, _ []string) error {
			root := os.Getenv("ADAFIRE_DATA")
			list := listDatasets(root)
			result := struct {
				Schema   int      `json:"schema"`
				Command  string   `json:"command"`
				Root     string   `json:"root,omitempty"` // $ADAFIRE_DATA
				Datasets []listed `json:"datasets"`
			}{1, s.commandName(), root, list}
			return s.Emit(result, func(w io.Writer) error {
				return writeDatasets(w, list, root, s.Verbose)
			})
		}),
	}
}

func writeDatasets(w io.Writer, list []listed, root string, layouts bool) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "name\tthere\ttrain + test\tclasses\tsample\twhat")
	for _, l := range list {
		there := "-"
		switch {
		case l.Embedded:
			there = "built in"
		case l.Present:
			there = "yes"
		}
		samples, classes := "-", "-"
		if l.Train > 0 {
			samples = fmt.Sprintf("%d + %d", l.Train, l.Test)
		}
		if l.Classes > 0 {
			classes = fmt.Sprint(l.Classes)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", l.Name, there, samples, classes, shapeText(l.Shape), l.Summary)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	t = tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, l := range list {
		fmt.Fprintf(t, "%s\t%s\t%s\n", l.Name, l.HomePage, l.Licence)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if layouts {
		fmt.Fprintln(w)
		for _, l := range list {
			fmt.Fprintf(w, "%s:\n  %s\n", l.Name, strings.Join(l.Layout, "\n  or "))
		}
	}
	var err error
	if root == "" {
		_, err = fmt.Fprintln(w, "\nADAFIRE_DATA is not set; set it to the folder that holds your data sets.")
	}
	return err
}

// shapeText writes a shape as 28x28x1, "-" if there is none.
func shapeText(shape []int) string {
	if len(shape) == 0 {
		return "-"
	}
	parts := make([]string, len(shape))
	for i, d := range shape {
		parts[i] = fmt.Sprint(d)
	}
	return strings.Join(parts, "x")
}

func dataCheckCommand(a *app) *cobra.Command {
	var name string
	var rec eventFlags
	cmd := &cobra.Command{
		Use:   "check [DIR] --dataset NAME",
		Short: "read every sample of a data set and report damage",
		Long: `Opens both splits of the data set in DIR (default $ADAFIRE_DATA/NAME, for digits
the ones in the program) and decodes every sample. Missing and damaged files end
in exit code 1; remarks, such as another number of samples than distributed, do
not. The SHA-256 identifies the files: results made from data with the same sum
can be compared.`,
		Example: `  adafire data check --dataset digits
  adafire data check ~/data/cifar10 --dataset cifar10`,
		Args: positional(0, 1, "at most one DIR"),
	}
	datasetFlag(cmd.Flags(), &name)
	rec.register(cmd.Flags())
	cmd.RunE = a.run(func(s *session, args []string) error {
		if err := s.Require("dataset"); err != nil {
			return err
		}
		dir := ""
		if len(args) > 0 {
			dir = args[0]
		}
		var r *dataset.Report
		var err error
		if eventdata.Known(name) {
			var o eventdata.Options
			if o, err = rec.options(s); err != nil {
				return err
			}
			o.Workers = s.Pool.Workers()
			r, err = eventdata.Check(s.Ctx, name, dir, o)
		} else {
			r, err = dataset.Check(name, dir)
		}
		if err != nil {
			return err
		}
		if err := s.Ctx.Err(); err != nil {
			return err
		}
		result := struct {
			Schema  int    `json:"schema"`
			Command string `json:"command"`
			OK      bool   `json:"ok"`
			*dataset.Report
		}{1, s.commandName(), r.OK(), r}
		if err := s.Emit(result, func(w io.Writer) error { return writeCheck(w, r) }); err != nil {
			return err
		}
		if !r.OK() {
			problems := 0
			for _, split := range r.Splits {
				problems += len(split.Problems)
			}
			return fmt.Errorf("data set %s is damaged or incomplete: %d problems", name, problems)
		}
		return nil
	})
	return cmd
}

func writeCheck(w io.Writer, r *dataset.Report) error {
	var err error
	for _, s := range r.Splits {
		fmt.Fprintf(w, "%s %s: %d samples of %s, %d classes\n", r.Name, s.Split, s.Samples, shapeText(s.Shape), len(s.Classes))
		if s.SHA256 != "" {
			fmt.Fprintf(w, "  sha256  %s\n", s.SHA256)
		}
		for _, p := range s.Problems {
			fmt.Fprintf(w, "  problem: %s\n", oneLine(p))
		}
		for _, n := range s.Notes {
			fmt.Fprintf(w, "  note: %s\n", oneLine(n))
		}
		verdict := "ok"
		if len(s.Problems) > 0 {
			verdict = "not ok"
		}
		_, err = fmt.Fprintf(w, "  %s\n", verdict)
	}
	return err
}
