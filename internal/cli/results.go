package cli

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/adafire/adafire/internal/job"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/report"
)

// outFolder creates the folder for results and refuses, unless --force, one
// that holds some already.
func (s *session) outFolder(dir string, files ...string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	for _, name := range files {
		if err := s.CheckTarget(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// complete fills in what a result says about the run itself.
func (s *session) complete(r *report.Result) error {
	config, err := s.ConfigJSON()
	if err != nil {
		return err
	}
	r.Command, r.Version, r.Created = s.commandName(), moduleVersion(), time.Now().UTC().Truncate(time.Second)
	r.Seed, r.CPU, r.Workers, r.Config = s.Seed, kernel.Active().String(), s.Pool.Workers(), config
	r.Machine = &report.Machine{CPU: cpuModel(), Cores: runtime.NumCPU(), OS: runtime.GOOS, Arch: runtime.GOARCH, GoVersion: runtime.Version()}
	r.Seconds = s.Seconds()
	r.Derive()
	return r.Validate()
}

// finish writes result.json, report.html and config.yaml to dir and prints the
// table.
func (s *session) finish(dir string, r *report.Result) error {
	return s.finishAs(dir, r, func(w io.Writer) error { return report.WriteTable(w, *r) })
}

// finishAs is finish with another table.
func (s *session) finishAs(dir string, r *report.Result, table func(io.Writer) error) error {
	if err := s.complete(r); err != nil {
		return err
	}
	err := s.WriteFile(filepath.Join(dir, job.ResultFile), func(w io.Writer) error { return report.WriteJSON(w, *r) })
	if err != nil {
		return err
	}
	if err := s.SaveConfig(filepath.Join(dir, job.ConfigFile)); err != nil {
		return err
	}
	err = s.WriteFile(filepath.Join(dir, job.ReportFile), func(w io.Writer) error {
		return report.WriteHTML(w, []report.Result{*r}, report.Options{})
	})
	if err != nil {
		return err
	}
	if err := s.WriteJSON(func(w io.Writer) error { return report.WriteJSON(w, *r) }); err != nil {
		return err
	}
	if err := table(s.Out); err != nil {
		return err
	}
	s.Logf("report: %s", filepath.Join(dir, job.ReportFile))
	return nil
}

// present writes the result as JSON where --json says, and as a table.
func (s *session) present(r *report.Result) error {
	if err := s.WriteJSON(func(w io.Writer) error { return report.WriteJSON(w, *r) }); err != nil {
		return err
	}
	return report.WriteTable(s.Out, *r)
}
