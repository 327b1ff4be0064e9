package job

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/adafire/adafire/convert"
	"github.com/adafire/adafire/internal/atomicfile"
)

// A TableFile keeps the tables of a search on disk, so that a search that was
// interrupted goes on and one that is repeated is spared. Tables of other
// networks, samples or settings in the file are found out by their key and
// measured again.
type TableFile string

// tableFile names the file for a stage of a setting in a run's folder; none
// without a folder.
func tableFile(dir string, s *Setting, stage string) TableFile {
	if dir == "" {
		return ""
	}
	return TableFile(filepath.Join(dir, fmt.Sprintf("%s-%s-T%d.json", stage, s.Name, s.Config.Timesteps)))
}

// attach lets a measure read and write the file.
func (f TableFile) attach(m *convert.Measure) error {
	if f == "" {
		return nil
	}
	data, err := os.ReadFile(string(f))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		t := new(convert.Tables)
		if err := json.Unmarshal(data, t); err != nil {
			return fmt.Errorf("%s: saved tables: %w; remove the file to measure them again", f, err)
		}
		m.Resume = t
	}
	m.Save = func(t *convert.Tables) error {
		return atomicfile.Write(string(f), true, func(w io.Writer) error { return json.NewEncoder(w).Encode(t) })
	}
	return nil
}
