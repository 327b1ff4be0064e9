package cli

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// An outcome is what a call of Main left behind.
type outcome struct {
	code           int
	stdout, stderr string
}

// call runs Main with a context that is alive.
func call(t *testing.T, args ...string) outcome {
	t.Helper()
	return callIn(t, t.Context(), args...)
}

func callIn(t *testing.T, ctx context.Context, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := Main(ctx, args, strings.NewReader(""), &stdout, &stderr)
	return outcome{code, stdout.String(), stderr.String()}
}

// wantFailure checks the exit code, that standard output is empty, and that
// standard error is one line with the message, or that and a hint.
func wantFailure(t *testing.T, got outcome, code int, message string) {
	t.Helper()
	if got.code != code {
		t.Errorf("exit code %d, want %d; stderr: %s", got.code, code, got.stderr)
	}
	if got.stdout != "" {
		t.Errorf("stdout: got %q, want nothing", got.stdout)
	}
	wantOneLine(t, got.stderr)
	if !strings.Contains(got.stderr, message) {
		t.Errorf("stderr: got %q, want it to contain %q", got.stderr, message)
	}
}

func wantOneLine(t *testing.T, stderr string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
	if !strings.HasPrefix(lines[0], "adafire: ") || len(lines) > 2 || len(lines) == 2 && !strings.HasPrefix(lines[1], "  hint: ") {
		t.Errorf("stderr: got %q, want one line and perhaps a hint", stderr)
	}
	for _, word := range []string{"goroutine ", "panic:", ".go:", "runtime."} {
		if strings.Contains(stderr, word) && !strings.Contains(stderr, "internal error") {
			t.Errorf("stderr: %q looks like a stack", stderr)
		}
	}
}

// withCommand adds a command for one test.
func withCommand(t *testing.T, command func(*app) *cobra.Command) {
	t.Helper()
	before := commands
	commands = append(append([]func(*app) *cobra.Command(nil), before...), command)
	t.Cleanup(func() { commands = before })
}

// tryFlags are the flags of the command "try", one of each kind.
type tryFlags struct {
	choice    string
	timesteps []int
	maxspike  int
	ratio     float64
	threshold string
	out       string
	channel   bool
}

// tryCommand is a command with flags of every kind that does what work says.
func tryCommand(f *tryFlags, work func(s *session, args []string) error) func(*app) *cobra.Command {
	return func(a *app) *cobra.Command {
		cmd := &cobra.Command{Use: "try", Short: "for tests", Args: positional(0, 0, ""), RunE: a.run(work)}
		choiceVar(cmd.Flags(), &f.choice, "calib", "light", []string{"none", "light", "advanced"}, "calibration")
		intListVar(cmd.Flags(), &f.timesteps, "timesteps", nil, 1, 1024, "`T,...`")
		intVar(cmd.Flags(), &f.maxspike, "maxspike", 4, 1, 255, "burst limit")
		floatVar(cmd.Flags(), &f.ratio, "maxspike-ratio", 1, 0, 10, "budget")
		textVar(cmd.Flags(), &f.threshold, "threshold", "mse", "mse or max", func(s string) error {
			if s != "mse" && s != "max" {
				return errors.New("no")
			}
			return nil
		}, "threshold")
		cmd.Flags().StringVar(&f.out, "out", "", "`DIR`")
		cmd.Flags().BoolVar(&f.channel, "channel-wise", true, "per channel")
		return cmd
	}
}
