package cli

import (
	"cmp"
	"fmt"
	"io"
	"time"

	"github.com/adafire/adafire/events"
	"github.com/adafire/adafire/events/codec"
	"github.com/spf13/cobra"
)

func dataConvertCommand(a *app) *cobra.Command {
	var in recordingFlags
	var out codec.WriteOptions
	var fromZero bool
	cmd := &cobra.Command{
		Use:   "convert IN OUT",
		Short: "write an event recording in another format",
		Long: `Reads a recording and writes it in another format, event by event in constant
memory. The format of OUT is that of its extension, or --to. Times, order and
polarity are kept; what a format cannot hold is an error.`,
		Example: `  adafire data convert cat.aedat cat.raw --to evt3
  adafire data convert recording.raw events.csv
  adafire data convert - out.npz < recording.aedat4
  adafire data convert recording.raw - --to text | head`,
		Args: positional(2, 2, "IN and OUT"),
	}
	f := cmd.Flags()
	in.register(f)
	choiceVar(f, &out.Format, "to", "", formatNames(func(c codec.Format) bool { return c.NewWriter != nil }), "format of OUT (default: by its extension)")
	choiceVar(f, &out.Compression, "compression", "", []string{"none", "lz4", "zstd"}, "compression of AEDAT 4 (default lz4)")
	f.BoolVar(&fromZero, "from-zero", false, "subtract the time of the first event")
	cmd.RunE = a.run(func(s *session, args []string) error {
		if err := s.claimOutput("to", args[1]); err != nil {
			return err
		}
		if out.Format == "" {
			if _, err := codec.ByExtension(args[1]); err != nil {
				return s.Usagef("%v: name the format with --to", err)
			}
		}
		rec, err := in.open(s, args[0])
		if err != nil {
			return err
		}
		defer rec.Close()
		var r events.Reader = contextReader{s, rec}
		if fromZero {
			r = events.SubtractFirst(r)
		}
		start := time.Now()
		out.Force = s.Force
		var n int64
		h := rec.Header()
		if h.Convention != codec.Raw {
			h.Convention = "" // the events are in the canonical picture now
		}
		if args[1] == "-" {
			var w events.Writer
			if w, err = codec.NewWriter(s.app.stdout, h, out); err == nil {
				n, err = events.Copy(w, r)
				err = cmp.Or(err, w.Close())
			}
		} else {
			err = codec.Create(args[1], h, out, func(w events.Writer) (err error) {
				n, err = events.Copy(w, r)
				return err
			})
		}
		if err != nil {
			return err
		}
		s.reportSkipped(args[0], rec.Stats())
		took := time.Since(start).Seconds()
		result := struct {
			Schema  int      `json:"schema"`
			Command string   `json:"command"`
			In      string   `json:"in"`
			Out     string   `json:"out"`
			Format  string   `json:"in_format"`
			Events  int64    `json:"events"`
			Seconds float64  `json:"seconds"`
			Remarks []remark `json:"remarks,omitempty"`
		}{1, s.commandName(), args[0], args[1], rec.Format.Name, n, took, remarks(rec.Stats())}
		return s.Emit(result, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "%s: %d events of %s in %.2f s (%.1f million/s)\n", args[1], n, rec.Format.Title, took, float64(n)/1e6/max(took, 1e-9))
			return err
		})
	})
	return cmd
}
