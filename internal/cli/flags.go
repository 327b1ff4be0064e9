package cli

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// flagAliases maps other names of flags to the ones we list. Underscores are
// dashes by then.
var flagAliases = map[string]string{
	"T":             "timesteps",
	"burst":         "maxspike",
	"desired-spike": "desired-maxspike",
}

// normaliseFlag makes "_" and "-" the same in names of flags and resolves
// aliases, so that the command lines of the method's authors work.
func normaliseFlag(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	name = strings.ReplaceAll(name, "_", "-")
	if full, ok := flagAliases[name]; ok {
		name = full
	}
	return pflag.NormalizedName(name)
}

// globals are the flags of every command.
type globals struct {
	seed       uint64
	workers    int
	cpu        string
	cpuprofile string
	memprofile string
	json       string
	quiet      bool
	verbose    bool
	noProgress bool
	colour     colourMode
	config     string
	force      bool
}

// maxWorkers bounds --workers.
const maxWorkers = 1024

func (g *globals) register(f *pflag.FlagSet) {
	f.Uint64Var(&g.seed, "seed", 1, "`N` that all random numbers follow from")
	intVar(f, &g.workers, "workers", 0, 0, maxWorkers, "`N` cores to use, 0 for all; results do not depend on it")
	choiceVar(f, &g.cpu, "cpu", "auto", []string{"auto", "avx512", "avx2", "portable"}, "kernels to use (or environment variable ADAFIRE_CPU)")
	f.StringVar(&g.cpuprofile, "cpuprofile", "", "write a CPU profile to `FILE`")
	f.StringVar(&g.memprofile, "memprofile", "", "write a heap profile to `FILE`")
	f.StringVar(&g.json, "json", "", "write the result as JSON to `FILE`; - is standard output, which then holds nothing else")
	f.BoolVar(&g.quiet, "quiet", false, "no progress and no remarks, only results and errors")
	f.BoolVar(&g.verbose, "verbose", false, "more remarks on standard error")
	f.BoolVar(&g.noProgress, "no-progress", false, "no progress bar and no progress lines")
	choiceVar(f, (*string)(&g.colour), "color", "auto", []string{"auto", "always", "never"}, "colours on terminals (NO_COLOR is honoured)")
	f.StringVar(&g.config, "config", "", "read flags from `FILE.yaml`; flags given here win")
	f.BoolVar(&g.force, "force", false, "replace existing files")
}

// presentation names the flags that say how a run is presented and where its
// machine-readable result goes, not what it computes: they are no part of the
// configuration that is saved, so that it can be run again as it is.
var presentation = map[string]bool{
	"help": true, "version": true, "config": true, "json": true, "quiet": true, "verbose": true, "no-progress": true,
	"color": true, "force": true, "resume": true, "open": true, "cpuprofile": true, "memprofile": true,
}

// A colourMode is auto, always or never.
type colourMode string

// enabled says whether w gets colours.
func (m colourMode) enabled(w io.Writer) bool {
	switch m {
	case "always":
		return true
	case "never":
		return false
	}
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(w)
}

// isTerminal says whether w is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// A limited flag value says what it takes.
type limited interface{ want() string }

// allowed describes the values a flag takes.
func allowed(f *pflag.Flag) string {
	if l, ok := f.Value.(limited); ok {
		return l.want()
	}
	switch f.Value.Type() {
	case "bool":
		return "true or false"
	case "uint64":
		return "a whole number from 0 to 18446744073709551615"
	case "int", "int64":
		return "a whole number"
	case "float64":
		return "a number"
	case "duration":
		return "a time such as 90s or 1h30m"
	}
	if name, _ := pflag.UnquoteUsage(f); name != "" && name != "string" {
		return name
	}
	return "a text"
}

// A choice is a flag value out of a list. "_" and blanks count as "-", unless
// the list has the value as it stands.
type choice struct {
	p       *string
	allowed []string
}

// choiceVar defines a flag that takes one of the allowed values.
func choiceVar(f *pflag.FlagSet, p *string, name, value string, allowed []string, usage string) {
	*p = value
	f.Var(&choice{p, allowed}, name, usage)
}

func (c *choice) String() string {
	if c.p == nil { // pflag calls it on a zero value
		return ""
	}
	return *c.p
}

// Type is what the help text shows: the values, if they fit there.
func (c *choice) Type() string {
	if len(c.allowed) > 5 {
		return "name"
	}
	return strings.Join(c.allowed, "|")
}
func (c *choice) want() string { return "one of " + strings.Join(c.allowed, ", ") }
func (c *choice) Set(s string) error {
	dashed := strings.NewReplacer("_", "-", " ", "-").Replace(s)
	for _, try := range []string{s, dashed} {
		for _, a := range c.allowed {
			if a == try {
				*c.p = a
				return nil
			}
		}
	}
	return fmt.Errorf("want %s", c.want())
}

// An intRange is a flag value between two limits.
type intRange struct {
	p      *int
	lo, hi int
}

// intVar defines a flag that takes whole numbers from lo to hi.
func intVar(f *pflag.FlagSet, p *int, name string, value, lo, hi int, usage string) {
	*p = value
	f.Var(&intRange{p, lo, hi}, name, usage)
}

func (v *intRange) String() string {
	if v.p == nil {
		return "0"
	}
	return strconv.Itoa(*v.p)
}
func (v *intRange) Type() string { return "int" }
func (v *intRange) want() string { return fmt.Sprintf("a whole number from %d to %d", v.lo, v.hi) }
func (v *intRange) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < v.lo || n > v.hi {
		return fmt.Errorf("want %s", v.want())
	}
	*v.p = n
	return nil
}

// A floatRange is a flag value between two limits, both allowed.
type floatRange struct {
	p      *float64
	lo, hi float64
}

// floatVar defines a flag that takes numbers from lo to hi.
func floatVar(f *pflag.FlagSet, p *float64, name string, value, lo, hi float64, usage string) {
	*p = value
	f.Var(&floatRange{p, lo, hi}, name, usage)
}

func (v *floatRange) String() string {
	if v.p == nil {
		return "0"
	}
	return strconv.FormatFloat(*v.p, 'g', -1, 64)
}
func (v *floatRange) Type() string { return "float64" }
func (v *floatRange) want() string { return fmt.Sprintf("a number from %g to %g", v.lo, v.hi) }
func (v *floatRange) Set(s string) error {
	x, err := strconv.ParseFloat(s, 64)
	if err != nil || !(x >= v.lo && x <= v.hi) { // also NaN
		return fmt.Errorf("want %s", v.want())
	}
	*v.p = x
	return nil
}

// maxList bounds the values of one intList.
const maxList = 64

// An intList is a flag value such as 1,2,4: numbers between two limits, each at
// most once. Every Set replaces the list.
type intList struct {
	p      *[]int
	lo, hi int
}

// intListVar defines a flag that takes lists of whole numbers from lo to hi.
// value may be nil; then the flag's absence can be seen.
func intListVar(f *pflag.FlagSet, p *[]int, name string, value []int, lo, hi int, usage string) {
	*p = value
	f.Var(&intList{p, lo, hi}, name, usage)
}

func (v *intList) String() string {
	if v.p == nil {
		return ""
	}
	texts := make([]string, len(*v.p))
	for i, n := range *v.p {
		texts[i] = strconv.Itoa(n)
	}
	return strings.Join(texts, ",")
}
func (v *intList) Type() string { return "int,..." }
func (v *intList) want() string {
	return fmt.Sprintf("whole numbers from %d to %d separated by commas, each once, at most %d", v.lo, v.hi, maxList)
}
func (v *intList) Set(s string) error {
	parts := strings.Split(s, ",")
	list, seen := make([]int, 0, min(len(parts), maxList)), map[int]bool{}
	for _, part := range parts {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || n < v.lo || n > v.hi || seen[n] || len(list) == maxList {
			return fmt.Errorf("want %s", v.want())
		}
		seen[n] = true
		list = append(list, n)
	}
	*v.p = list
	return nil
}

// A checkedText is a flag value with a grammar of its own.
type checkedText struct {
	p      *string
	text   string
	parses func(string) error
}

// textVar defines a flag whose values parses accepts; want says what they are,
// as in "mse, max or percentile:P with P from 0 to 100".
func textVar(f *pflag.FlagSet, p *string, name, value, want string, parses func(string) error, usage string) {
	*p = value
	f.Var(&checkedText{p, want, parses}, name, usage)
}

func (v *checkedText) String() string {
	if v.p == nil {
		return ""
	}
	return *v.p
}
func (v *checkedText) Type() string { return "text" }
func (v *checkedText) want() string { return v.text }
func (v *checkedText) Set(s string) error {
	if err := v.parses(s); err != nil {
		return err
	}
	*v.p = s
	return nil
}

// completeChoices offers the values of choices to the shell.
func completeChoices(cmd *cobra.Command) {
	for _, flags := range []*pflag.FlagSet{cmd.LocalNonPersistentFlags(), cmd.PersistentFlags()} {
		flags.VisitAll(func(f *pflag.Flag) {
			if c, ok := f.Value.(*choice); ok {
				// Only flags of other commands or defined twice give errors.
				_ = cmd.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(c.allowed, cobra.ShellCompDirectiveNoFileComp))
			}
		})
	}
	for _, sub := range cmd.Commands() {
		completeChoices(sub)
	}
}

// positional checks the number of arguments that are no flags; names says what
// they are, as in "FILE".
func positional(least, most int, names string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return &UsageError{Msg: fmt.Sprintf("%d arguments, want %s", len(args), names), cmd: cmd}
		case len(args) > most && most == 0:
			e := &UsageError{Msg: fmt.Sprintf("argument %q, want none", args[0]), cmd: cmd}
			if args[0] == "true" || args[0] == "false" {
				e.Suggest = "switches take their value after =, as in --force=" + args[0]
			}
			return e
		case len(args) > most:
			return &UsageError{Msg: fmt.Sprintf("argument %q is one too many, want %s", args[most], names), cmd: cmd}
		}
		return nil
	}
}
