package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/adafire/adafire/report"
	"github.com/spf13/cobra"
)

func reportCommand(a *app) *cobra.Command {
	var out, title string
	cmd := &cobra.Command{
		Use:   "report RESULT.json... --out REPORT.html",
		Short: "make one HTML page out of results",
		Long: `Reads results that "adafire demo", "run" and "eval" have written (--json, or
result.json in their folder; a folder stands for its result.json) and writes one
page with plots and tables. The page is self-contained: it loads nothing from
elsewhere and can be sent by mail.

Several results are drawn into the same plots. That compares them honestly only
if data set and test samples are the same; the page names both.`,
		Example: `  adafire report adafire-demo/result.json --out report.html
  adafire report runs/a runs/b --title "with and without calibration" --out both.html`,
		Args: positional(1, 1000, "RESULT.json, one or more"),
	}
	cmd.Flags().StringVar(&out, "out", "report.html", "`FILE.html` to write; - is standard output")
	cmd.Flags().StringVar(&title, "title", "", "`TEXT` above the page (default: network and data set)")
	cmd.RunE = a.run(func(s *session, args []string) error {
		if err := s.claimOutput("out", out); err != nil {
			return err
		}
		results := make([]report.Result, len(args))
		for i, path := range args {
			if info, err := os.Stat(path); err == nil && info.IsDir() {
				path = filepath.Join(path, "result.json")
			}
			r, err := report.ReadResult(path)
			if err != nil {
				return err
			}
			results[i] = r
		}
		if err := s.Ctx.Err(); err != nil {
			return err
		}
		err := s.WriteFile(out, func(w io.Writer) error {
			return report.WriteHTML(w, results, report.Options{Title: title})
		})
		if err != nil {
			return err
		}
		result := struct {
			Schema  int    `json:"schema"`
			Command string `json:"command"`
			Results int    `json:"results"`
			Out     string `json:"out"`
		}{1, s.commandName(), len(results), out}
		return s.Emit(result, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "%s: report on %d results\n", out, len(results))
			return err
		})
	})
	return cmd
}
