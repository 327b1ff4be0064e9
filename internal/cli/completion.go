package cli

import (
	"io"

	"github.com/spf13/cobra"
)

func completionCommand(a *app) *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "print the script that completes commands in your shell",
		Long: `Prints a script for your shell. Once it is loaded, the Tab key completes names
of commands and flags and the values of flags that take one of a few.

Load it for one session as below, or put that line into your shell's start-up
file.`,
		Example: `  source <(adafire completion bash)
  adafire completion fish | source`,
		Args:      positional(1, 1, "one of bash, zsh, fish, powershell"),
		ValidArgs: shells,
		RunE: a.run(func(s *session, args []string) error {
			if s.JSON() {
				return s.Usagef("completion writes a script, it cannot be combined with --json")
			}
			root := s.cmd.Root()
			generate := map[string]func(io.Writer) error{
				"bash":       func(w io.Writer) error { return root.GenBashCompletionV2(w, true) },
				"zsh":        root.GenZshCompletion,
				"fish":       func(w io.Writer) error { return root.GenFishCompletion(w, true) },
				"powershell": root.GenPowerShellCompletionWithDesc,
			}[args[0]]
			if generate == nil {
				err := &UsageError{Msg: "shell \"" + args[0] + "\", want one of bash, zsh, fish, powershell", cmd: s.cmd}
				if near := nearest(args[0], shells); near != "" {
					err.Suggest = "did you mean " + near + "?"
				}
				return err
			}
			return generate(s.Out)
		}),
	}
}
