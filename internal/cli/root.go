// Package cli is the command line of AdaFire: it parses, wires and prints, and
// does nothing else.
//
//	code := cli.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
//
// A command is a function in a file of its own that returns a *cobra.Command
// and is listed in commands. Its RunE is made by app.run, which reads the
// configuration file, checks the global flags and hands the command a session.
// Results for people go to session.Out, progress and remarks to standard error,
// the machine-readable result to wherever --json says.
//
// Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
)

// commands lists the commands in the order of the help text.
var commands = []func(*app) *cobra.Command{
	demoCommand,
	runCommand,
	trainCommand,
	convertCommand,
	evalCommand,
	inferCommand,
	ablationCommand,
	inspectCommand,
	importCommand,
	exportCommand,
	dataCommand,
	benchCommand,
	reportCommand,
	versionCommand,
	completionCommand,
}

// An app is one invocation of the program.
type app struct {
	ctx    context.Context
	stdin  io.Reader
	stdout *checkedWriter
	stderr io.Writer
	global globals
	root   *cobra.Command
}

// Main runs the command line args (without the program's name) and returns the
// exit code. It changes nothing outside but what the command is to write, the
// kernels' instruction set, and, in case of --cpuprofile, the process's
// profiler; it may be called again.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	a := &app{ctx: ctx, stdin: stdin, stdout: &checkedWriter{w: stdout, name: "standard output"}, stderr: stderr}
	defer func() {
		if r := recover(); r != nil {
			a.printError(fmt.Errorf("internal error: %v (%s)", r, origin()), nil)
			code = exitFailed
		}
	}()
	if args == nil {
		args = []string{} // nil makes cobra take the process's own
	}
	a.root = newRoot(a, args)
	cmd, err := a.root.ExecuteContextC(ctx)
	if err == nil {
		err = a.stdout.failure()
	}
	if err != nil {
		a.printError(err, cmd)
	}
	return exitCode(ctx, err)
}

// newRoot builds the tree of commands for the given arguments.
func newRoot(a *app, args []string) *cobra.Command {
	root := &cobra.Command{
		Use:   "adafire",
		Short: "turn a trained network into a spiking one, without retraining",
		Long: `AdaFire takes a trained network (ANN) and makes a spiking network (SNN) of it
that needs few timesteps and few spikes, without training it again. It trains
the ANN too, measures accuracy, spikes, synaptic operations and energy, and
writes a report.

Begin with the demo: it needs no file, takes minutes and leaves a report that
explains every number. Then look at "adafire help run".

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted (what can be
resumed has been saved). "_" may stand for "-" in the names of flags, and every
flag may stand in a file instead (--config).`,
		Example: `  adafire data list
  adafire help inspect`,
		Args:              cobra.ArbitraryArgs,
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Version:           moduleVersion(),
	}
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(cmd, args[0])
		}
		return cmd.Help()
	}
	root.SetVersionTemplate("adafire {{.Version}}\n")
	root.Flags().Bool("version", false, "print the version") // cobra's has a shorthand
	root.SetGlobalNormalizationFunc(normaliseFlag)
	root.SetFlagErrorFunc(flagError)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetArgs(args)
	root.SetHelpCommand(helpCommand())
	a.global.register(root.PersistentFlags())
	for _, command := range commands {
		root.AddCommand(command(a))
	}
	if len(args) > 0 && strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) {
		completeChoices(root)
	}
	return root
}

// run makes the RunE of a command out of the function that does its work.
func (a *app) run(work func(s *session, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) (err error) {
		s, err := a.newSession(cmd)
		if err != nil {
			return err
		}
		defer func() {
			// A panic goes on to Main; the terminal is put in order first.
			if closeErr := s.close(); err == nil {
				err = closeErr
			}
		}()
		if err := a.ctx.Err(); err != nil {
			return err
		}
		return work(s, args)
	}
}

// group makes a command that only holds others.
func group(cmd *cobra.Command, sub ...*cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(cmd, args[0])
		}
		return &UsageError{Msg: "no subcommand given, want one of " + strings.Join(commandNames(cmd), ", "), cmd: cmd}
	}
	cmd.AddCommand(sub...)
	return cmd
}

func commandNames(cmd *cobra.Command) []string {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() || c.Name() == "help" {
			names = append(names, c.Name())
		}
	}
	return names
}

func unknownCommand(cmd *cobra.Command, name string) error {
	e := &UsageError{Msg: fmt.Sprintf("unknown command %q, want one of %s", name, strings.Join(commandNames(cmd), ", ")), cmd: cmd}
	if near := nearest(name, commandNames(cmd)); near != "" {
		e.Suggest = fmt.Sprintf("did you mean %q?", cmd.CommandPath()+" "+near)
	}
	return e
}

// helpCommand replaces cobra's, which reports an unknown topic as a success.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "explain a command",
		Long: `Explains the program or one of its commands; "adafire COMMAND --help" does the
same.`,
		Example: `  adafire help inspect
  adafire help data check`,
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if cmd, rest, err := c.Root().Find(args); err == nil && len(rest) == 0 {
				return commandNames(cmd), cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			cmd, rest, err := c.Root().Find(args)
			if err != nil {
				return &UsageError{Msg: err.Error(), cmd: c}
			}
			if len(rest) > 0 {
				return unknownCommand(cmd, rest[0])
			}
			cmd.InitDefaultHelpFlag()
			cmd.InitDefaultVersionFlag()
			return cmd.Help()
		},
	}
}

// printError writes the one line of an error, and a hint on the next line if
// there is one.
func (a *app) printError(err error, cmd *cobra.Command) {
	if a.stdoutBroken(err) {
		return
	}
	colour := a.global.colour.enabled(a.stderr)
	prefix, hint := "adafire: ", "  hint: "
	if colour {
		prefix, hint = "\x1b[1;31madafire:\x1b[0m ", "  \x1b[36mhint:\x1b[0m "
	}
	fmt.Fprintf(a.stderr, "%s%s\n", prefix, oneLine(describe(err)))
	if text := hintOf(err, cmd); text != "" {
		fmt.Fprintf(a.stderr, "%s%s\n", hint, oneLine(text))
	}
}

// stdoutBroken says whether err only tells that the reader of standard output
// has gone, as in "adafire data list | head -1": no fault worth a message.
func (a *app) stdoutBroken(err error) bool {
	return errors.Is(err, errPipe) && a.stdout.failure() != nil
}

// origin names the function, file and line that panicked: enough for a bug
// report, without a stack.
func origin() string {
	pc := make([]uintptr, 32)
	frames := runtime.CallersFrames(pc[:runtime.Callers(3, pc)])
	for {
		f, more := frames.Next()
		if f.Function != "" && !strings.HasPrefix(f.Function, "runtime.") {
			file := f.File[strings.LastIndexByte(f.File, '/')+1:]
			return fmt.Sprintf("%s, %s:%d", f.Function[strings.LastIndexByte(f.Function, '/')+1:], file, f.Line)
		}
		if !more {
			return "place unknown"
		}
	}
}

// A checkedWriter remembers the first error, since nobody looks at those of
// fmt.Fprintf: a table cut short by a full disk must not count as a success.
type checkedWriter struct {
	w    io.Writer
	name string // for messages
	err  error
}

func (c *checkedWriter) Write(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.w.Write(p)
	if err != nil {
		var path *os.PathError
		if errors.As(err, &path) {
			err = path.Err
		}
		c.err = fmt.Errorf("%s: %w", c.name, err)
		err = c.err
	}
	return n, err
}

// failure returns the first error.
func (c *checkedWriter) failure() error { return c.err }
