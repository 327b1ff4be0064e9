package cli

import (
	"fmt"
	"image/png"
	"io"
	"path/filepath"
	"strings"

	"github.com/adafire/adafire/events"
	"github.com/adafire/adafire/events/picture"
)

// showRecording draws a recording into a PNG strip or an animated GIF.
func (s *session) showRecording(r *recordingFlags, path, out string, o picture.Options) error {
	if err := s.claimOutput("out", out); err != nil {
		return err
	}
	animated := strings.EqualFold(filepath.Ext(out), ".gif")
	if !animated && out != "-" && !strings.EqualFold(filepath.Ext(out), ".png") {
		return s.Usagef("--out %s: want a .png strip or a .gif animation", out)
	}
	if path == "-" {
		return s.Usagef("drawing reads a recording twice: name a file, not -")
	}
	rec, err := r.open(s, path)
	if err != nil {
		return err
	}
	sum, err := events.Summarise(contextReader{s, rec}, 400)
	s.reportSkipped(path, rec.Stats())
	rec.Close()
	if err != nil {
		return err
	}
	if rec, err = r.open(s, path); err != nil {
		return err
	}
	defer rec.Close()
	frames, err := picture.Frames(contextReader{s, rec}, sum, o)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	strip := picture.Strip(frames, sum, o.Columns)
	err = s.WriteFile(out, func(w io.Writer) error {
		if animated {
			return picture.Animate(w, frames, min(max(float64(sum.Duration())/1e6, 1), 10))
		}
		return png.Encode(w, strip)
	})
	if err != nil {
		return err
	}
	result := struct {
		Schema  int    `json:"schema"`
		Command string `json:"command"`
		Path    string `json:"path"`
		Out     string `json:"out"`
		Frames  int    `json:"frames"`
		Events  int64  `json:"events"`
		Micros  int64  `json:"duration_us"`
	}{1, s.commandName(), path, out, len(frames), sum.Events, sum.Duration()}
	return s.Emit(result, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s: %d events of %s over %.3f s in %d frames\n", out, sum.Events, path, float64(sum.Duration())/1e6, len(frames))
		return err
	})
}
