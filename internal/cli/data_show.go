package cli

import (
	"fmt"
	"image/png"
	"io"
	"slices"

	"github.com/adafire/adafire/dataset"
	"github.com/adafire/adafire/events/picture"
	"github.com/adafire/adafire/internal/random"
	"github.com/spf13/cobra"
)

func dataShowCommand(a *app) *cobra.Command {
	var (
		d              dataFlags
		count, columns int
		out            string
		rec            recordingFlags
		pic            picture.Options
		frameSpan      []int
	)
	cmd := &cobra.Command{
		Use:   "show (--dataset NAME | RECORDING) --out FILE",
		Short: "draw samples of a data set, or an event recording",
		Long: `Draws samples with the number of their class below, as a PNG picture: a look at
it finds swapped axes and wrong labels faster than any statistic. The samples
are drawn at random; another --seed shows others. They are shown in the order of
the data set, before augmentation and normalisation.

An event recording is drawn as a strip of images over time (.png) with the rate
of events below, or as an animation (.gif): ON events are blue, OFF events red.`,
		Example: `  adafire data show --dataset digits --out digits.png
  adafire data show --dataset digits --split test --count 20 --columns 5 --seed 2 --out more.png
  adafire data show recording.aedat4 --frames 20 --out strip.png
  adafire data show recording.raw --span 0,500000 --out clip.gif`,
		Args: positional(0, 1, "at most one RECORDING"),
	}
	d.register(cmd.Flags())
	intVar(cmd.Flags(), &count, "count", 64, 1, 10000, "`N` samples to show")
	intVar(cmd.Flags(), &columns, "columns", 8, 1, 1000, "`N` samples in a row")
	cmd.Flags().StringVar(&out, "out", "", "`FILE.png` to write; - is standard output")
	rec.register(cmd.Flags())
	intVar(cmd.Flags(), &pic.Frames, "frames", 12, 1, 1000, "`N` images of a recording")
	intListVar(cmd.Flags(), &frameSpan, "span", nil, 0, 1<<62, "microseconds START,END of a recording to draw (default: all of it)")
	intVar(cmd.Flags(), &pic.Zoom, "zoom", 0, 0, 16, "pixels for each pixel of the sensor, 0 to fit")
	cmd.RunE = a.run(func(s *session, args []string) error {
		if len(args) == 1 {
			if s.Changed("dataset") {
				return s.Usagef("--dataset and a recording exclude each other")
			}
			if s.Changed("columns") {
				pic.Columns = columns
			}
			if len(frameSpan) > 0 {
				if len(frameSpan) != 2 || frameSpan[0] >= frameSpan[1] {
					return s.Usagef("--span: want two times, START before END")
				}
				pic.Start, pic.End = int64(frameSpan[0]), int64(frameSpan[1])
			}
			return s.showRecording(&rec, args[0], out, pic)
		}
		if err := s.claimOutput("out", out); err != nil {
			return err
		}
		ds, err := d.open(s)
		if err != nil {
			return err
		}
		indices := sampleIndices(ds.Len(), count, s.Seed)
		sheet, err := dataset.ContactSheet(ds, indices, columns)
		if err != nil {
			return err
		}
		if err := s.Ctx.Err(); err != nil {
			return err
		}
		if err := s.WriteFile(out, func(w io.Writer) error { return png.Encode(w, sheet) }); err != nil {
			return err
		}
		result := struct {
			Schema  int    `json:"schema"`
			Command string `json:"command"`
			Dataset string `json:"dataset"`
			Split   string `json:"split"`
			Seed    uint64 `json:"seed"`
			Indices []int  `json:"indices"`
			Width   int    `json:"width"`
			Height  int    `json:"height"`
			Out     string `json:"out"`
		}{1, s.commandName(), d.name, d.split, s.Seed, indices, sheet.Bounds().Dx(), sheet.Bounds().Dy(), out}
		return s.Emit(result, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "%s: %d of %d samples of %s (%s), %dx%d pixels\n", out, len(indices), ds.Len(),
				d.name, d.split, result.Width, result.Height)
			return err
		})
	})
	return cmd
}

// sampleIndices draws at most count of n indices, each once, in rising order.
func sampleIndices(n, count int, seed uint64) []int {
	count = min(count, n)
	rng := random.New(seed, "data show")
	// Floyd's algorithm: memory for count, however large n is.
	chosen := make(map[int]bool, count)
	for i := n - count; i < n; i++ {
		k := rng.IntN(i + 1)
		if chosen[k] {
			k = i
		}
		chosen[k] = true
	}
	indices := make([]int, 0, count)
	for i := range chosen {
		indices = append(indices, i)
	}
	slices.Sort(indices)
	return indices
}

// claimOutput checks the target of a flag before any work; "-" makes standard
// output its own, so that neither the text for people nor JSON may go there.
func (s *session) claimOutput(flag, path string) error {
	if path == "" {
		return s.Usagef("--%s is missing, want the name of a file or - for standard output", flag)
	}
	if path != "-" {
		return s.CheckTarget(path)
	}
	if s.app.global.json == "-" {
		return s.Usagef("--%s - and --json - exclude each other: there is one standard output", flag)
	}
	s.Out = io.Discard
	return nil
}
