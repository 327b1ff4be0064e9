package cli

import (
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/adafire/adafire/convert"
	"github.com/adafire/adafire/internal/job"
	"github.com/adafire/adafire/report"
	"github.com/adafire/adafire/snn"
	"github.com/spf13/cobra"
)

// An operatingPoint is a column of the table: timesteps and burst limit.
type operatingPoint struct{ timesteps, maxSpike int }

// parsePoints reads a list such as 1x4,2x1.
func parsePoints(text string) ([]operatingPoint, error) {
	var points []operatingPoint
	seen := make(map[operatingPoint]bool)
	for part := range strings.SplitSeq(text, ",") {
		t, m, ok := strings.Cut(strings.TrimSpace(part), "x")
		steps, err1 := strconv.Atoi(t)
		limit, err2 := strconv.Atoi(m)
		p := operatingPoint{steps, limit}
		if !ok || err1 != nil || err2 != nil || steps < 1 || steps > snn.MaxTimesteps || limit < 1 || limit > snn.MaxBurst || seen[p] || len(points) == maxList {
			return nil, fmt.Errorf("point %q", part)
		}
		seen[p] = true
		points = append(points, p)
	}
	return points, nil
}

// ablations lists the rows: what each part of the conversion gives, from the
// authors' rules on.
func ablations(seed uint64) []job.Setting {
	row := func(name string, change func(c *convert.Config)) job.Setting {
		c := convert.Default()
		c.Calibration = convert.CalibrationNone
		change(&c)
		return job.Setting{Name: name, Config: c}
	}
	authors := func(c *convert.Config) { c.Shift, c.Objective = snn.ShiftPerStep, convert.ObjectiveFloor }
	light := func(change func(*convert.Config)) func(*convert.Config) {
		return func(c *convert.Config) {
			change(c)
			c.Calibration = convert.CalibrationLight
		}
	}
	ours := func(*convert.Config) {}
	signed := func(c *convert.Config) { c.Signed = true }
	accumulate := func(c *convert.Config) { c.Schedule = snn.ScheduleAccumulate }
	advanced, repair := convert.DefaultAdvanced(), convert.DefaultRepair()
	advanced.Weights.Seed = seed
	rows := []job.Setting{
		row("half threshold over the steps, flooring thresholds", authors),
		row("half threshold over the steps, flooring thresholds, light", light(authors)),
		row("half threshold at the start, flooring thresholds", func(c *convert.Config) { c.Objective = convert.ObjectiveFloor }),
		row("half threshold at the start, rounding thresholds", ours),
		row("half threshold at the start, rounding thresholds, light", light(ours)),
		row("signed", signed),
		row("signed, light calibration", light(signed)),
		row("accumulate", accumulate),
		row("accumulate, light calibration", light(accumulate)),
		row("potential calibration", func(c *convert.Config) { c.Calibration = convert.CalibrationPotential }),
		row("advanced calibration", ours),
		row("layer repair", ours),
	}
	rows[10].Advanced, rows[11].Repair = &advanced, &repair
	return rows
}

func ablationCommand(a *app) *cobra.Command {
	var data sampleFlags
	var net networkFlags
	var points, out string
	cmd := &cobra.Command{
		Use:   "ablation --model FILE --dataset NAME",
		Short: "what each part of the conversion gives, in one table",
		Long: `Converts an ANN by the rules of the method's authors and then part by part by
ours: where the half threshold goes, what the thresholds are chosen for,
calibration of biases, potentials, weights, signed spikes, and neurons that fire
once on accumulated currents. Each is measured at several numbers of timesteps T
and burst limits M.

The table shows accuracy in percent and, in brackets, spikes per neuron. Compare
within a column: rows of one column cost about the same. Signed spikes and
accumulated currents are other schedules than plain step-by-step spiking and ask
more of the hardware.`,
		Example: `  adafire ablation --model ann.safetensors --dataset digits
  adafire ablation --model ann.safetensors --dataset digits --points 2x4,4x1 --out table/`,
		Args: positional(0, 0, ""),
	}
	f := cmd.Flags()
	data.register(f)
	net.registerModel(f, "the ANN, a `FILE` of AdaFire, ONNX or PyTorch")
	textVar(f, &points, "points", "1x4,2x1,2x4,4x1,4x4", "a list of TxM such as 1x4,2x1", func(text string) error {
		_, err := parsePoints(text)
		return err
	}, "timesteps and burst limits to measure at")
	f.StringVar(&out, "out", "", "also write result.json and report.html to `DIR`")
	cmd.RunE = a.run(func(s *session, _ []string) error {
		if err := s.Require("model"); err != nil {
			return err
		}
		columns, err := parsePoints(points)
		if err != nil {
			return s.Usagef("--points: %v", err)
		}
		if out != "" {
			if err := s.outFolder(out, job.ResultFile, job.ReportFile, job.ConfigFile); err != nil {
				return err
			}
		}
		d, err := data.open(s, defaultHoldOut)
		if err != nil {
			return err
		}
		g, _, err := net.openANN(s)
		if err != nil {
			return err
		}
		model := net.path
		if err := checkFits(model, g.InputNodes()[0].Shape, g.Outputs[0].Shape.Numel(), d); err != nil {
			return err
		}
		b := job.NewBench(d, g, filepath.Base(model), s.Pool, defaultEnergy, s.Progress())
		b.Limit = data.limit
		if err := b.MeasureANN(s.Ctx); err != nil {
			return err
		}
		for _, row := range ablations(s.Seed) {
			for _, p := range columns {
				set := row
				set.Config.Timesteps, set.Config.MaxSpike = p.timesteps, p.maxSpike
				set.Name = fmt.Sprintf("%s, M=%d", row.Name, p.maxSpike)
				if _, err := b.MeasureSNN(s.Ctx, set); err != nil {
					return err
				}
			}
		}
		if out != "" {
			return s.finishAs(out, &b.Result, func(w io.Writer) error { return writeAblation(w, &b.Result, columns) })
		}
		if err := s.complete(&b.Result); err != nil {
			return err
		}
		if err := s.WriteJSON(func(w io.Writer) error { return report.WriteJSON(w, b.Result) }); err != nil {
			return err
		}
		return writeAblation(s.Out, &b.Result, columns)
	})
	return cmd
}

// writeAblation prints the entries of r, row by row, in columns.
func writeAblation(w io.Writer, r *report.Result, columns []operatingPoint) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintf(t, "ANN %.2f %%", 100**r.ANN.Accuracy)
	for _, p := range columns {
		fmt.Fprintf(t, "\tT=%d M=%d", p.timesteps, p.maxSpike)
	}
	fmt.Fprintln(t)
	for i := 0; i+len(columns) <= len(r.SNN); i += len(columns) {
		name, _, _ := strings.Cut(r.SNN[i].Name, ", M=")
		fmt.Fprint(t, name)
		for _, e := range r.SNN[i : i+len(columns)] {
			fmt.Fprintf(t, "\t%.2f (%.2f)", 100**e.Accuracy, e.Spikes/float64(max(r.Network.Neurons, 1)))
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}
