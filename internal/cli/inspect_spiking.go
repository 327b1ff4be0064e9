package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/adafire/adafire/checkpoint"
)

// writeSpiking prints how a network fires: the settings as they stand in the
// file. Thresholds and potentials follow with the other tensors.
func writeSpiking(w io.Writer, m *checkpoint.Model) error {
	if len(m.SNN) == 0 {
		return nil
	}
	var b bytes.Buffer
	if err := json.Indent(&b, m.SNN, "", "  "); err != nil {
		return fmt.Errorf("settings of the spiking network: %w", err)
	}
	_, err := fmt.Fprintf(w, "\n%s\n", b.Bytes())
	return err
}
