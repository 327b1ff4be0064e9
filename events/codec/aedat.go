package codec

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/adafire/adafire/events"
)

var aedatFormats = []Format{
	{
		Name:        "aedat1",
		Title:       "AEDAT 1 (DVS128)",
		Extensions:  []string{".aedat"},
		Conventions: []string{"dvs128-jaer", "cifar10dvs-spikingjelly"},
		NewReader:   newAEDAT1Reader,
		NewWriter:   newAEDAT1Writer,
	},
	{
		Name:        "aedat2",
		Title:       "AEDAT 2.0 (jAER; CIFAR10-DVS, PAF)",
		Extensions:  []string{".aedat", ".aedat2"},
		Conventions: []string{"dvs128-jaer", "cifar10dvs-spikingjelly", "davis-jaer", "paf-toolbox"},
		NewReader:   newAEDAT2Reader,
		NewWriter:   newAEDAT2Writer,
	},
	{
		Name:       "aedat3",
		Title:      "AEDAT 3.1 (DVS128 Gesture)",
		Extensions: []string{".aedat", ".aedat3"},
		Canonical:  "aedat3.1",
		NewReader:  newAEDAT3Reader,
		NewWriter:  newAEDAT3Writer,
	},
	{
		Name:       "aedat4",
		Title:      "AEDAT 4.0 (DV)",
		Extensions: []string{".aedat4"},
		Canonical:  "aedat4",
		NewReader:  newAEDAT4Reader,
		NewWriter:  newAEDAT4Writer,
	},
}

const (
	maxHashLine  = 64 << 10 // a longer "line" is data that starts with '#'
	maxMeta      = 64       // some headers hold thousands of lines of preferences
	endOfHeader  = "#End Of ASCII Header"
	endOfHeader3 = "#!END-HEADER"
)

// hashLine takes the next line of the header of AEDAT 1 to 3 and returns it
// without its end. A line belongs to the header only if it starts with '#', ends
// with LF within 64 KiB and has no byte below 0x20 but tab and CR: an event may
// start with the byte of '#', too.
func hashLine(s *Source) (line string, ok bool, err error) {
	for n := 512; ; n = maxHashLine {
		b, err := s.Peek(n)
		if len(b) == 0 || b[0] != '#' {
			return "", false, nil // an error comes again with the data
		}
		end := bytes.IndexByte(b, '\n')
		text := b
		if end >= 0 {
			text = b[:end]
		}
		for _, c := range text {
			if c < 0x20 && c != '\t' && c != '\r' {
				return "", false, nil
			}
		}
		if end >= 0 {
			line := strings.TrimRight(string(text), "\r")
			s.Advance(end + 1)
			return line, true, nil
		}
		if n == maxHashLine || err != nil {
			return "", false, nil
		}
	}
}

// noteMeta keeps a "# key: value" line.
func noteMeta(meta map[string]string, line string) {
	key, value, ok := strings.Cut(strings.TrimLeft(line, "#!- \t"), ":")
	if ok && len(meta) < maxMeta && len(key) <= 40 && len(value) <= 400 && key != "" && !strings.ContainsAny(key, "<>\"=") {
		meta[key] = strings.TrimSpace(value)
	}
}

// chip is a sensor whose address layout AEDAT 1 and 2 use.
type chip struct {
	name          string
	width, height int
	class         string // what the writer puts into the AEChip line
}

var chips = []chip{
	{"dvs128", 128, 128, "ch.unizh.ini.jaer.chip.retina.DVS128"},
	{"davis240", 240, 180, "eu.seebetter.ini.chips.davis.DAVIS240C"},
	{"davis346", 346, 260, "eu.seebetter.ini.chips.davis.Davis346red"},
	{"davis640", 640, 480, "eu.seebetter.ini.chips.davis.DAVIS640"},
}

// Chips returns the names that Options.Chip takes.
func Chips() []string {
	names := make([]string, len(chips))
	for i, c := range chips {
		names[i] = c.name
	}
	return names
}

func chipByName(name string) (chip, error) {
	i := slices.IndexFunc(chips, func(c chip) bool { return c.name == name })
	if i < 0 {
		return chip{}, fmt.Errorf("unknown chip %q: want %s", name, strings.Join(Chips(), ", "))
	}
	return chips[i], nil
}

// chipByClass tells the chip from the Java class of an AEChip line.
func chipByClass(class string) (chip, bool) {
	lower := strings.ToLower(class)
	switch {
	case strings.HasSuffix(lower, "dvs128"):
		return chips[0], true
	case strings.Contains(lower, "avis240"):
		return chips[1], true
	case strings.Contains(lower, "avis346"):
		return chips[2], true
	case strings.Contains(lower, "avis640"):
		return chips[3], true
	}
	return chip{}, false
}

// chipBySize tells the chip from the size of its sensor: no two have the same.
func chipBySize(width, height int) (chip, bool) {
	i := slices.IndexFunc(chips, func(c chip) bool { return c.width == width && c.height == height })
	if i < 0 {
		return chip{}, false
	}
	return chips[i], true
}

// address says how an event lies in an address word, after a convention:
// coordinate = ((word >> shift) & mask ^ flip) + add, in 32 bits.
type address struct {
	xShift, yShift, pShift uint
	xMask, yMask           uint32
	xFlip, yFlip           uint32
	xAdd, yAdd             uint32
	pFlip                  uint32
	skip                   uint32 // a word with one of these bits is no polarity event
}

// flip makes a coordinate size - 1 - raw.
func flip(size int) (flip, add uint32) { return 1<<32 - 1, uint32(size) }

// newAddress returns the layout of a chip in a convention; empty is that of jAER.
//
// Source: event_formats, section 3.2.
func newAddress(c chip, convention string) (a address, name string, err error) {
	if c.name == "dvs128" {
		a = address{xShift: 1, yShift: 8, xMask: 127, yMask: 127, skip: 1<<15 | 1<<31}
		if convention == Raw {
			return a, Raw, nil
		}
		a.xFlip, a.xAdd = flip(c.width)
		a.yFlip, a.yAdd = flip(c.height)
		a.pFlip = 1
		switch convention {
		case "", "dvs128-jaer":
			return a, "dvs128-jaer", nil
		case "cifar10dvs-spikingjelly":
			a.xShift, a.yShift = a.yShift, a.xShift
			return a, convention, nil
		}
		return a, "", fmt.Errorf("convention %q is not for %s: want dvs128-jaer, cifar10dvs-spikingjelly or raw", convention, c.name)
	}
	a = address{xShift: 12, yShift: 22, pShift: 11, xMask: 1<<10 - 1, yMask: 1<<9 - 1, skip: 1<<10 | 1<<31}
	switch convention {
	case Raw:
		return a, Raw, nil
	case "", "davis-jaer":
		a.xFlip, a.xAdd = flip(c.width)
		a.yFlip, a.yAdd = flip(c.height)
		return a, "davis-jaer", nil
	case "paf-toolbox":
		a.xFlip, a.xAdd = flip(c.width)
		a.pFlip = 1
		return a, convention, nil
	}
	return a, "", fmt.Errorf("convention %q is not for %s: want davis-jaer, paf-toolbox or raw", convention, c.name)
}

// event returns the parts of an address word; a coordinate below 0 comes out
// above 65535.
func (a *address) event(word uint32) (x, y, p uint32) {
	return (word>>a.xShift&a.xMask ^ a.xFlip) + a.xAdd,
		(word>>a.yShift&a.yMask ^ a.yFlip) + a.yAdd,
		word>>a.pShift&1 ^ a.pFlip
}

// word is the inverse of event.
func (a *address) word(e events.Event) (uint32, error) {
	x, y := uint32(e.X)-a.xAdd^a.xFlip, uint32(e.Y)-a.yAdd^a.yFlip
	if x > a.xMask || y > a.yMask {
		return 0, fmt.Errorf("pixel (%d, %d) has no address", e.X, e.Y)
	}
	return x<<a.xShift | y<<a.yShift | (uint32(e.P)^a.pFlip)<<a.pShift, nil
}
