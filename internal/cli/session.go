package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"time"

	"github.com/adafire/adafire/internal/atomicfile"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/spf13/cobra"
)

// A session is what a command works with: the global flags made usable.
type session struct {
	Ctx     context.Context // ends with the first Ctrl-C
	Seed    uint64
	Pool    *parallel.Pool
	In      io.Reader
	Out     io.Writer // the result for people; goes nowhere with --json -
	Err     io.Writer // standard error, safe beside a progress bar
	Force   bool      // replace existing files
	Quiet   bool
	Verbose bool
	Colour  bool // Out may be coloured
	Started time.Time

	cmd      *cobra.Command
	app      *app
	progress *progressPrinter
	inputs   []InputFile

	cpuProfile *bytes.Buffer
}

// newSession reads the configuration file and checks the global flags.
func (a *app) newSession(cmd *cobra.Command) (*session, error) {
	g := &a.global
	if g.config != "" {
		if err := applyConfig(cmd, g.config); err != nil {
			return nil, err
		}
	}
	if g.quiet && g.verbose {
		return nil, &UsageError{Msg: "--quiet and --verbose exclude each other", cmd: cmd}
	}
	if err := chooseKernels(cmd, g.cpu); err != nil {
		return nil, err
	}
	s := &session{
		Ctx: a.ctx, Seed: g.seed, In: a.stdin, Out: a.stdout, Force: g.force, Quiet: g.quiet, Verbose: g.verbose,
		Colour: g.colour.enabled(a.stdout.w), Started: time.Now(), cmd: cmd, app: a,
	}
	if g.json == "-" {
		s.Out = io.Discard
	}
	s.progress = newProgress(a.stderr, g.quiet || g.noProgress)
	s.progress.mute = g.quiet
	s.Err = s.progress
	for _, path := range []string{g.json, g.cpuprofile, g.memprofile} {
		if path != "" && path != "-" {
			if err := s.CheckTarget(path); err != nil {
				return nil, err
			}
		}
	}
	if g.cpuprofile != "" {
		s.cpuProfile = new(bytes.Buffer)
		if err := pprof.StartCPUProfile(s.cpuProfile); err != nil {
			return nil, fmt.Errorf("--cpuprofile: %w", err)
		}
	}
	s.Pool = parallel.New(g.workers)
	s.Verbosef("kernels %s, %d workers, seed %d", kernel.Active(), s.Pool.Workers(), s.Seed)
	return s, nil
}

// chooseKernels applies --cpu or, without it, ADAFIRE_CPU.
func chooseKernels(cmd *cobra.Command, name string) error {
	if flag := cmd.Flags().Lookup("cpu"); flag != nil && flag.Changed {
		if err := kernel.SetISA(name); err != nil {
			return &UsageError{Msg: "--cpu: " + err.Error(), cmd: cmd}
		}
		return nil
	}
	if env := os.Getenv("ADAFIRE_CPU"); env != "" {
		if err := kernel.SetISA(env); err != nil {
			return &UsageError{Msg: "environment variable ADAFIRE_CPU: " + err.Error(), cmd: cmd}
		}
		return nil
	}
	return kernel.SetISA("auto")
}

// close ends what the session began and writes the profiles.
func (s *session) close() error {
	s.progress.Done()
	s.Pool.Close()
	var failed error
	if s.cpuProfile != nil {
		pprof.StopCPUProfile()
		failed = s.WriteFile(s.app.global.cpuprofile, func(w io.Writer) error {
			_, err := s.cpuProfile.WriteTo(w)
			return err
		})
	}
	if path := s.app.global.memprofile; path != "" {
		runtime.GC() // the profile shows what is alive after the last collection
		err := s.WriteFile(path, pprof.WriteHeapProfile)
		failed = errors.Join(failed, err)
	}
	return failed
}

// Logf writes a remark to standard error, unless --quiet.
func (s *session) Logf(format string, args ...any) {
	if !s.Quiet {
		s.progress.Note(fmt.Sprintf(format, args...))
	}
}

// Verbosef is Logf with --verbose only.
func (s *session) Verbosef(format string, args ...any) {
	if s.Verbose {
		s.Logf(format, args...)
	}
}

// Progress returns the session's progress display. It is never nil.
func (s *session) Progress() Progress { return s.progress }

// Seconds returns the time since the command began.
func (s *session) Seconds() float64 { return time.Since(s.Started).Seconds() }

// JSON says whether a machine-readable result was asked for.
func (s *session) JSON() bool { return s.app.global.json != "" }

// Changed says whether the flag was given, on the command line or in the
// configuration file.
func (s *session) Changed(flag string) bool { return s.cmd.Flags().Changed(flag) }

// Require returns a *UsageError unless the flag was given.
func (s *session) Require(flag string) error {
	f := s.cmd.Flags().Lookup(flag)
	if f == nil {
		panic("cli: no flag " + flag)
	}
	if f.Changed {
		return nil
	}
	return &UsageError{Msg: fmt.Sprintf("--%s is missing, want %s", f.Name, allowed(f)), cmd: s.cmd}
}

// CheckTarget returns the error that writing path would end in because it
// exists or its folder does not: to be called before long work.
func (s *session) CheckTarget(path string) error {
	if path == "-" || isDevice(path) {
		return nil
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		dir := filepath.Dir(path)
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return fmt.Errorf("%s: there is no folder %s", path, dir)
		}
		return nil
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%s: is a folder, want the name of a file", path)
	case !s.Force:
		return &atomicfile.ExistsError{Path: path}
	}
	return nil
}

// isDevice says whether path is a device or a pipe, such as /dev/stderr or what
// the shell passes for >(command): there is nothing to replace.
func isDevice(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.Mode().IsRegular() && !info.IsDir()
}

// WriteFile replaces the file at path as a whole; without --force an existing
// one is an error. "-" is standard output. Devices and pipes are written to
// directly.
func (s *session) WriteFile(path string, write func(w io.Writer) error) error {
	if path == "-" {
		return write(s.app.stdout)
	}
	if !isDevice(path) {
		return atomicfile.Write(path, s.Force, write)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	out := &checkedWriter{w: f, name: path}
	err = write(out)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return cmp.Or(out.failure(), err)
}

// WriteJSON lets write write the machine-readable result to where --json says;
// without --json it does nothing. It must be called at most once.
func (s *session) WriteJSON(write func(w io.Writer) error) error {
	if !s.JSON() {
		return nil
	}
	return s.WriteFile(s.app.global.json, write)
}

// Emit writes the result v as JSON, if that was asked for, and the text for
// people, unless standard output belongs to JSON.
func (s *session) Emit(v any, text func(w io.Writer) error) error {
	err := s.WriteJSON(func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(v)
	})
	if err != nil || s.Out == io.Discard {
		return err
	}
	return text(s.Out)
}

// Interrupted returns the error for a command that ended early because of
// Ctrl-C, having saved what can be resumed: exit code 130. resume says how to
// go on, and may be empty.
func (s *session) Interrupted(resume string) error {
	err := fmt.Errorf("interrupted: %w", context.Canceled)
	if resume == "" {
		return err
	}
	return withHint(err, "%s", resume)
}

// Usagef returns a *UsageError of this command, for combinations of flags that
// cannot be.
func (s *session) Usagef(format string, args ...any) error {
	return &UsageError{Msg: fmt.Sprintf(format, args...), cmd: s.cmd}
}

// commandName is the command without the program's name, as in "data check".
func (s *session) commandName() string {
	return strings.TrimPrefix(s.cmd.CommandPath(), s.cmd.Root().Name()+" ")
}
