package codec

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/adafire/adafire/events"
)

// sensors are the encoding and the size by system_ID, for headers that have
// neither.
//
// Source: event_formats, section 5.3.
var sensors = map[int]struct {
	encoding      string
	width, height int
}{
	21: {"evt2", 640, 480}, 23: {"evt2", 640, 480}, 25: {"evt2", 640, 480}, 29: {"evt2", 640, 480}, 33: {"evt2", 640, 480},
	28: {"evt2", 640, 480}, 34: {"evt2", 640, 480}, 35: {"evt2", 640, 480}, 41: {"evt2", 640, 480},
	40: {"evt3", 640, 480},
	26: {"evt2", 1280, 720}, 31: {"evt2", 1280, 720},
	39: {"evt2", 1280, 720},
	48: {"evt3", 1280, 720},
	49: {"evt3", 1280, 720}, 50: {"evt3", 1280, 720},
}

// rawHeader is what the header of a .raw file says of the words after it.
type rawHeader struct {
	*percentHeader
	encoding      string // "evt2", "evt21" or "evt3"; empty when the header does not tell
	width, height int
	order         string // "little" or "legacy"; empty when the header does not tell
}

// parseRawHeader draws the conclusions of section 5.3 and 5.5.
func parseRawHeader(h *percentHeader) (*rawHeader, error) {
	r := &rawHeader{percentHeader: h}
	option := map[string]string{}
	byFormat, byKey := "", ""
	if format, ok := h.value["format"]; ok {
		parts := strings.Split(format, ";")
		switch name := strings.TrimSpace(parts[0]); name {
		case "EVT2":
			byFormat = "evt2"
		case "EVT21":
			byFormat = "evt21"
		case "EVT3":
			byFormat = "evt3"
		default:
			return nil, events.Errorf(events.UnsupportedVersion, h.name, h.at["format"], "encoding %.40q: want EVT2, EVT21 or EVT3", name)
		}
		for _, part := range parts[1:] {
			key, value, _ := strings.Cut(part, "=")
			option[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	if evt, ok := h.value["evt"]; ok {
		switch evt {
		case "2.0":
			byKey = "evt2"
		case "2.1":
			byKey = "evt21"
		case "3.0":
			byKey = "evt3"
		default:
			return nil, events.Errorf(events.UnsupportedVersion, h.name, h.at["evt"], "encoding evt %.40q: want 2.0, 2.1 or 3.0", evt)
		}
		if byFormat != "" && byFormat != byKey {
			return nil, h.bad("evt", "%s, but the field format says %s", evt, h.value["format"])
		}
	}
	r.encoding = byFormat
	if r.encoding == "" {
		r.encoding = byKey
	}

	var err error
	if text, ok := option["width"]; ok {
		if r.width, err = h.pixels("format", text); err != nil {
			return nil, err
		}
	}
	if text, ok := option["height"]; ok {
		if r.height, err = h.pixels("format", text); err != nil {
			return nil, err
		}
	}
	if geometry, ok := h.value["geometry"]; ok {
		w, height, found := strings.Cut(geometry, "x")
		if !found {
			return nil, h.bad("geometry", "%.40q, want WIDTHxHEIGHT", geometry)
		}
		gw, err := h.pixels("geometry", w)
		if err != nil {
			return nil, err
		}
		gh, err := h.pixels("geometry", height)
		if err != nil {
			return nil, err
		}
		if (r.width > 0 && r.width != gw) || (r.height > 0 && r.height != gh) {
			return nil, h.bad("geometry", "%dx%d, but the field format says %s", gw, gh, h.value["format"])
		}
		r.width, r.height = gw, gh
	}
	systemID, err := strconv.Atoi(h.value["system_ID"])
	if err != nil {
		systemID = 0
	}
	if known, ok := sensors[systemID]; ok {
		if r.width == 0 && r.height == 0 {
			r.width, r.height = known.width, known.height
		}
		if r.encoding == "" {
			r.encoding = known.encoding
		}
	}

	order := option["endianness"]
	if order == "" {
		order = h.value["endianness"]
	}
	switch order {
	case "little", "legacy":
		r.order = order
	case "":
		maker := func(key string) bool { return h.value[key] == "Prophesee" }
		both := maker("camera_integrator_name") && maker("plugin_integrator_name")
		if (both || maker("integrator_name")) && systemID > 0 && systemID < 55 {
			r.order = "legacy"
		}
	default:
		key := "endianness"
		if option["endianness"] != "" {
			key = "format"
		}
		return nil, h.bad(key, "byte order %.40q, want little or legacy", order)
	}
	return r, nil
}

// rawReader returns the constructor of readers of .raw files. The encoding is
// the user's; empty leaves it to the header.
func rawReader(encoding string) func(*Source, Options) (events.Reader, error) {
	return func(s *Source, o Options) (events.Reader, error) {
		lines, err := readHeaderOf(s)
		if err != nil {
			return failed(o, "raw", err)
		}
		h, err := parseRawHeader(lines)
		if err != nil {
			return nil, err
		}
		if encoding != "" && h.encoding != "" && encoding != h.encoding {
			return nil, events.Errorf(events.BadHeader, s.Name(), 0, "the header says %s, want %s", h.encoding, encoding)
		}
		if h.encoding == "" {
			h.encoding = encoding
		}
		header := h.header(h.encoding, o, h.width, h.height)
		switch h.encoding {
		case "evt2":
			d := newEVT2(o, header)
			d.src = s
			return d, nil
		case "evt21":
			return newEVT21(s, h, o, header)
		case "evt3":
			d := newEVT3(o, header)
			d.src = s
			return d, nil
		}
		return nil, events.Errorf(events.UnknownEncoding, s.Name(), 0, "the header names no encoding: say evt2, evt21 or evt3")
	}
}

// readHeaderOf reads a header of % lines; a file of no bytes is truncated.
func readHeaderOf(s *Source) (*percentHeader, error) {
	if head, err := s.Peek(1); len(head) == 0 {
		return nil, endedEarly(err, s.Name(), 0, "the file is empty")
	}
	return readPercentHeader(s)
}

// failed is the end of a constructor: a defect that the mode forgives leaves an
// empty recording that has it in its counts.
func failed(o Options, format string, err error) (events.Reader, error) {
	r := &wordReader{state: newState(o, events.Header{Format: format, Width: o.Width, Height: o.Height, Convention: o.Convention})}
	if err := r.stop(err); !errors.Is(err, io.EOF) {
		return nil, err
	}
	r.err = io.EOF
	return r, nil
}

// rawLines returns the header of a .raw file of one encoding. OpenEB finds
// encoding and size in the line "format", older tools in "evt" and "geometry".
func rawLines(h events.Header, version, format string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%% evt %s\n%% format %s", version, format)
	if h.Width > 0 && h.Height > 0 {
		fmt.Fprintf(&b, ";height=%d;width=%d\n%% geometry %dx%d", h.Height, h.Width, h.Width, h.Height)
	}
	b.WriteString("\n% integrator_name AdaFire\n% end\n")
	return b.String()
}
