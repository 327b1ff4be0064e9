package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The exit codes.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

var errPipe error = syscall.EPIPE

// A UsageError says that the command line (or the configuration file) is wrong:
// exit code 2. Its message names the flag, the value and what is allowed.
type UsageError struct {
	Msg     string
	Suggest string // the hint; empty for "see adafire help ..."

	cmd *cobra.Command
}

// Error returns the message.
func (e *UsageError) Error() string { return e.Msg }

// A hintError carries a hint for the line below the error.
type hintError struct {
	error
	hint string
}

func (e *hintError) Unwrap() error { return e.error }

// withHint adds a hint to an error.
func withHint(err error, format string, args ...any) error {
	return &hintError{err, fmt.Sprintf(format, args...)}
}

// exitCode is the exit code for the outcome of a command.
func exitCode(ctx context.Context, err error) int {
	var usage *UsageError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &usage):
		return exitUsage
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	return exitFailed
}

// describe is the text of an error without what means nothing to a user.
func describe(err error) string {
	if errors.Is(err, context.Canceled) {
		return "interrupted"
	}
	if path, ok := err.(*fs.PathError); ok { // "open x: no such file" at the top only
		return path.Path + ": " + path.Err.Error()
	}
	return err.Error()
}

// hintOf returns the hint for an error of cmd, "" for none.
func hintOf(err error, cmd *cobra.Command) string {
	var hint *hintError
	if errors.As(err, &hint) {
		return hint.hint
	}
	var usage *UsageError
	if !errors.As(err, &usage) {
		return ""
	}
	if usage.Suggest != "" {
		return usage.Suggest
	}
	if usage.cmd != nil {
		cmd = usage.cmd
	}
	if cmd == nil {
		return ""
	}
	return fmt.Sprintf("see %q", cmd.CommandPath()+" --help")
}

// oneLine replaces line ends by "; " and shows other control characters, which
// may come from a file's name or content, as escapes.
func oneLine(s string) string {
	lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' })
	for i, l := range lines {
		lines[i] = strings.TrimSpace(l)
	}
	s = strings.Join(lines, "; ")
	var b strings.Builder
	for _, r := range s {
		if r == '\t' {
			r = ' '
		}
		if unicode.IsPrint(r) || r == ' ' {
			b.WriteRune(r)
			continue
		}
		b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
	}
	return b.String()
}

// flagError turns an error of the flag parser into a *UsageError.
func flagError(cmd *cobra.Command, err error) error {
	if errors.Is(err, pflag.ErrHelp) {
		return err
	}
	var (
		unknown  *pflag.NotExistError
		missing  *pflag.ValueRequiredError
		invalid  *pflag.InvalidValueError
		syntax   *pflag.InvalidSyntaxError
		usageErr = &UsageError{Msg: err.Error(), cmd: cmd}
	)
	switch {
	case errors.As(err, &unknown):
		name, short := unknown.GetSpecifiedName(), unknown.GetSpecifiedShortnames()
		if short == "" {
			usageErr.Msg = fmt.Sprintf("unknown flag --%s", name)
			if near := nearestFlag(cmd, name); near != "" {
				usageErr.Suggest = fmt.Sprintf("did you mean --%s?", near)
			}
			break
		}
		usageErr.Msg = fmt.Sprintf("unknown flag -%s", short)
		word, _, _ := strings.Cut(short, "=")
		if near := nearestFlag(cmd, word); near != "" {
			usageErr.Suggest = fmt.Sprintf("flags have two dashes: --%s", near)
		}
	case errors.As(err, &missing):
		flag := missing.GetFlag()
		usageErr.Msg = fmt.Sprintf("--%s: value missing, want %s", flag.Name, allowed(flag))
	case errors.As(err, &invalid):
		return invalidValue(cmd, invalid.GetFlag(), invalid.GetValue())
	case errors.As(err, &syntax):
		usageErr.Msg = fmt.Sprintf("%s: want --NAME or --NAME=VALUE", syntax.GetSpecifiedFlag())
	}
	return usageErr
}

// invalidValue is the error for a value that a flag does not take.
func invalidValue(cmd *cobra.Command, flag *pflag.Flag, value string) error {
	e := &UsageError{Msg: fmt.Sprintf("--%s: value %q, want %s", flag.Name, value, allowed(flag)), cmd: cmd}
	if c, ok := flag.Value.(*choice); ok {
		if near := nearest(value, c.allowed); near != "" {
			e.Suggest = fmt.Sprintf("did you mean %q?", near)
		}
	}
	return e
}
