package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxJSONDepth is far above what our own metadata need.
const maxJSONDepth = 64

// checkJSON wants one JSON object without members that occur twice, of which
// encoding/json would drop all but the last.
func checkJSON(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var open []map[string]bool // per bracket: the members so far; nil for a list
	key := false               // the next token is a member's name
	for first := true; first || len(open) > 0; first = false {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("offset %d: %w", d.InputOffset(), err)
		}
		if first && t != json.Delim('{') {
			return errors.New("want a JSON object")
		}
		switch t {
		case json.Delim('{'):
			open = append(open, map[string]bool{})
		case json.Delim('['):
			open = append(open, nil)
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		default:
			if name, ok := t.(string); ok && key {
				members := open[len(open)-1]
				if members[name] {
					return fmt.Errorf("offset %d: member %q occurs twice", d.InputOffset(), clip(name))
				}
				members[name] = true
				key = false
				continue
			}
		}
		if len(open) > maxJSONDepth {
			return fmt.Errorf("offset %d: nested deeper than %d", d.InputOffset(), maxJSONDepth)
		}
		key = len(open) > 0 && open[len(open)-1] != nil
	}
	if rest := bytes.TrimSpace(text[d.InputOffset():]); len(rest) > 0 {
		return fmt.Errorf("offset %d: text behind the object", d.InputOffset())
	}
	return nil
}
