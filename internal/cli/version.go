package cli

import (
	_ "embed"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/adafire/adafire/dataset"
	"github.com/adafire/adafire/internal/kernel"
	"github.com/spf13/cobra"
)

// mitLicence is a copy of the file LICENSE, which embed cannot reach from here;
// a test compares them.
//
//go:embed LICENSE
var mitLicence string

// moduleVersion returns the version of the main module, "devel" if the build
// does not know it.
func moduleVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

// A versionInfo says what this program is and where it runs.
type versionInfo struct {
	Schema    int      `json:"schema"`
	Version   string   `json:"version"`
	Commit    string   `json:"commit,omitempty"`
	Modified  bool     `json:"modified,omitempty"` // built from changed sources
	Go        string   `json:"go"`
	OS        string   `json:"os"`
	Arch      string   `json:"arch"`
	CPU       string   `json:"cpu,omitempty"` // model name
	Cores     int      `json:"cores"`
	Kernels   string   `json:"kernels"`           // in use
	Available []string `json:"kernels_available"` // slowest first
	Features  []string `json:"cpu_features"`      // that the kernels use
}

// features are the CPU features that each instruction set's kernels use.
var features = map[kernel.ISA][]string{
	kernel.AVX2:   {"avx2", "fma"},
	kernel.AVX512: {"avx2", "fma", "avx512f", "avx512vl", "avx512dq", "avx512bw"},
}

func readVersion() versionInfo {
	v := versionInfo{
		Schema: 1, Version: moduleVersion(), Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH,
		CPU: cpuModel(), Cores: runtime.NumCPU(), Kernels: kernel.Active().String(), Features: features[kernel.Active()],
	}
	if v.Features == nil {
		v.Features = []string{}
	}
	for _, isa := range kernel.Available() {
		v.Available = append(v.Available, isa.String())
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				v.Commit = s.Value
			case "vcs.modified":
				v.Modified = s.Value == "true"
			}
		}
	}
	return v
}

// cpuModel returns the processor's name where the system tells it in a file,
// else "".
func cpuModel() string {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		key, value, ok := strings.Cut(line, ":")
		if ok && strings.TrimSpace(key) == "model name" {
			return oneLine(strings.TrimSpace(value))
		}
	}
	return ""
}

func versionCommand(a *app) *cobra.Command {
	licences := false
	cmd := &cobra.Command{
		Use:   "version",
		Short: "print version, commit, Go version and CPU features in use",
		Long: `Prints what this program is: its version and commit, the Go version it was built
with, and which kernels it uses on this machine. Please send it along with
reports of errors. Two machines with the same kernels give the same bits; other
kernels may differ in the last places.

With --licenses it prints the licence of AdaFire, the notice for the handwritten
digits inside the program, and the modules it was built with.`,
		Example: `  adafire version
  adafire version --licenses`,
		Args: positional(0, 0, ""),
		RunE: a.run(func(s *session, _ []string) error {
			if licences {
				if s.JSON() {
					return s.Usagef("--licenses is text for people, it cannot be combined with --json")
				}
				return writeLicences(s.Out)
			}
			v := readVersion()
			return s.Emit(v, func(w io.Writer) error { return v.write(w) })
		}),
	}
	cmd.Flags().BoolVar(&licences, "licenses", false, "print the licences")
	return cmd
}

func (v *versionInfo) write(w io.Writer) error {
	commit := v.Commit
	switch {
	case commit == "":
		commit = "not known"
	case v.Modified:
		commit += ", with changes"
	}
	features := ""
	if len(v.Features) > 0 {
		features = " (" + strings.Join(v.Features, " ") + ")"
	}
	fmt.Fprintf(w, "adafire  %s\ncommit   %s\ngo       %s %s/%s\n", v.Version, commit, v.Go, v.OS, v.Arch)
	if v.CPU != "" {
		fmt.Fprintf(w, "cpu      %s, %d cores\n", v.CPU, v.Cores)
	}
	_, err := fmt.Fprintf(w, "kernels  %s%s; available: %s\n", v.Kernels, features, strings.Join(v.Available, " "))
	return err
}

func writeLicences(w io.Writer) error {
	fmt.Fprintf(w, "AdaFire\n=======\n\n%s\n", strings.TrimSpace(mitLicence))
	fmt.Fprintf(w, "\nHandwritten digits inside the program\n=====================================\n\n%s\n",
		strings.TrimSpace(dataset.MNISTLicence))
	fmt.Fprintf(w, "\nGo and modules\n==============\n\nBuilt with %s and these modules, each under its own licence:\n\n", runtime.Version())
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			fmt.Fprintf(w, "  %s %s\n", m.Path, m.Version)
		}
	}
	_, err := fmt.Fprintln(w)
	return err
}
