package cli

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/adafire/adafire/convert"
	"github.com/adafire/adafire/internal/job"
	"github.com/spf13/cobra"
)

// Demo settings: what bursts, calibration and the half-threshold start each
// give, against the rules of the method's authors.
var (
	demoTimesteps      = []int{1, 2, 4, 8, 16, 32}
	demoTimestepsQuick = []int{2, 8}
	demoComparedMost   = 8 // calibration and the authors' rules matter at few timesteps
	// demoKept is the setting and T of the network that the demo saves.
	demoKept, demoKeptT = "burst-light", 4
	// demoStagesT are the timesteps at which search and compression, and exits,
	// are shown. Fewer samples for the tables than usual keep the demo short.
	demoStagesT, demoExitT              = 4, 8
	demoSearchSamples, demoRatioSamples = 512, 256
)

// demoStages are search, compression and early exits alone and together.
func demoStages(quick bool) []job.Setting {
	at := func(t int, stages string, search, compress, exit bool) job.Setting {
		cfg := convert.Default()
		cfg.Timesteps = t
		set := namedSetting(cfg)
		set.Name += stages
		if search {
			opt := convert.DefaultSearch()
			opt.Samples = demoSearchSamples
			set.Search = &opt
		}
		if compress {
			opt := convert.DefaultCompress()
			opt.Samples = demoRatioSamples
			set.Compress = &opt
		}
		if exit {
			opt := convert.DefaultExit()
			set.Exit = &opt
		}
		return set
	}
	exits := at(demoExitT, "-iat", false, false, true)
	if quick {
		return []job.Setting{exits}
	}
	return []job.Setting{at(demoStagesT, "-search", true, false, false), at(demoStagesT, "-ssc", false, true, false), exits,
		at(demoExitT, "-search-ssc-iat", true, true, true)}
}

func demoSettings(timesteps []int) []job.Setting {
	ours := convert.Default()
	burstNone, plainLight, plainNone := ours, ours, ours
	burstNone.Calibration = convert.CalibrationNone
	plainLight.MaxSpike = 1
	plainNone.MaxSpike, plainNone.Calibration = 1, convert.CalibrationNone
	reference := convert.Reference()
	referencePlain := reference
	referencePlain.MaxSpike = 1
	var all []job.Setting
	for _, cfg := range []convert.Config{ours, burstNone, plainLight, plainNone, reference, referencePlain} {
		for _, t := range timesteps {
			if (cfg.Profile == convert.ProfileReference || cfg.Calibration == convert.CalibrationNone) && t > demoComparedMost {
				continue
			}
			cfg.Timesteps = t
			all = append(all, namedSetting(cfg))
		}
	}
	return all
}

func demoCommand(a *app) *cobra.Command {
	var out string
	var quick, open bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "the main job on embedded real digits, in minutes, with a report",
		Long: `Trains a small network with max pooling on 10,000 handwritten digits that are
part of this program, converts it to spiking networks for 1 to 32 timesteps, and
measures all of them on 2,000 other digits: with bursts and with plain spikes,
with and without calibration, and by the rules of the method's authors; then
with burst limits searched per layer, with spikes compressed, with samples that
leave early, and with all three.

It needs no file and no network. In --out: ann.safetensors, snn.safetensors
(bursts, light calibration, T=4), result.json and report.html.

With 2,000 test digits an accuracy near 99 % has a standard error of 0.2 points:
smaller differences mean nothing.`,
		Example: `  adafire demo
  adafire demo --quick --out /tmp/demo --open`,
		Args: positional(0, 0, ""),
	}
	cmd.Flags().StringVar(&out, "out", "adafire-demo", "`DIR` for the results")
	cmd.Flags().BoolVar(&quick, "quick", false, "train for two epochs and measure less, to see that all works")
	cmd.Flags().BoolVar(&open, "open", false, "open the report in the browser")
	cmd.RunE = a.run(func(s *session, _ []string) error {
		files := []string{job.ANNFile, "snn.safetensors", job.ResultFile, job.ReportFile, job.ConfigFile}
		if err := s.outFolder(out, files...); err != nil {
			return err
		}
		d, err := job.OpenData(s.Ctx, job.DataOptions{Name: "digits", HoldOut: defaultHoldOut, Seed: s.Seed, Workers: s.Pool.Workers()})
		if err != nil {
			return err
		}
		o := job.Recipe("digits", "vgg-small", d.Test.Info(), s.Seed)
		timesteps := demoTimesteps
		if quick {
			o.Config.Epochs, timesteps = 2, demoTimestepsQuick
		}
		// A demo that was stopped goes on by itself.
		_, err = os.Stat(filepath.Join(out, job.StateFile))
		resume := err == nil && !s.Force
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		t, err := s.train(d, o, out, resume)
		if err != nil {
			return err
		}
		b := job.NewBench(d, t.Graph, o.Model.Arch, s.Pool, defaultEnergy, s.Progress())
		b.Augment = o.Augment
		b.Result.Timing.TrainS = t.Elapsed.Seconds()
		if err := b.MeasureANN(s.Ctx); err != nil {
			return s.interruptedIn(err, out)
		}
		kept := demoKeptT
		if quick {
			kept = timesteps[0]
		}
		for _, set := range append(demoSettings(timesteps), demoStages(quick)...) {
			res, err := b.MeasureSNN(s.Ctx, set)
			if err != nil {
				return s.interruptedIn(err, out)
			}
			if set.Name == demoKept && set.Config.Timesteps == kept {
				if err := job.SaveSNN(filepath.Join(out, "snn.safetensors"), res, b.Provenance(moduleVersion()), s.Force); err != nil {
					return err
				}
			}
		}
		if err := s.finish(out, &b.Result); err != nil {
			return err
		}
		if open {
			return openFile(filepath.Join(out, job.ReportFile))
		}
		return nil
	})
	return cmd
}

// openFile shows a file with the program the system has for it.
func openFile(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	name, args := "xdg-open", []string{path}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", path}
	}
	return exec.Command(name, args...).Start()
}
