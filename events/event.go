package events

import (
	"errors"
	"io"
)

// An Event is one report of one pixel.
//
// Unless a reader was asked for a raw convention, the origin is the top left
// pixel, x grows to the right and y downwards.
type Event struct {
	T    int64  // microseconds; where zero is depends on the recording
	X, Y uint16 // pixel
	P    uint8  // polarity: 0 is OFF (darker), 1 is ON (brighter)
}

// A Header says what a recording is before its first event.
type Header struct {
	Format     string // name of the file format, such as "aedat2"; empty for events that are from no file
	Width      int    // pixels; 0 when the file does not say
	Height     int    // pixels; 0 when the file does not say
	Convention string // how raw coordinates became X, Y and P; empty is the format's canonical picture

	// Meta holds what else the file says, by the file's own keys; nil when
	// it says nothing.
	Meta map[string]string
}

// A Reader gives out the events of a recording in the order of the file.
type Reader interface {
	// Read fills dst with the next events and returns how many it wrote.
	//
	// The first n events are valid whatever the error: deal with them first.
	// n is 0 with a nil error only when dst is empty. At the end the error
	// is io.EOF, with the last events or alone. After an error every call
	// returns 0 and that error. dst is not kept.
	Read(dst []Event) (n int, err error)

	// Header returns what the file says of itself. It does not change
	// between calls and must not be modified.
	Header() Header

	// Stats returns the counts of what was skipped or odd so far. They are
	// final once Read has returned an error.
	Stats() *Stats
}

// A Writer takes the events of a recording in order.
type Writer interface {
	// Write appends events. It does not keep src. An event that the format
	// cannot hold (a coordinate or a time that is too large) is an error
	// that names its number; nothing is ever clipped or wrapped silently.
	Write(src []Event) error

	// Close writes what is still held back and completes the file. It does
	// not close the writer below. Without Close a file is damaged.
	Close() error
}

// chunk is how many events are moved at once: 64 KiB.
const chunk = 4096

// ReadAll reads to the end. With an error the events before it are returned
// with it; io.EOF is no error.
//
// A recording takes 16 bytes an event: long ones do not fit into memory, read
// those piece by piece.
func ReadAll(r Reader) ([]Event, error) {
	var all []Event
	for {
		if cap(all)-len(all) < chunk {
			grown := make([]Event, len(all), 2*cap(all)+chunk)
			copy(grown, all)
			all = grown
		}
		n, err := r.Read(all[len(all):cap(all)])
		all = all[:len(all)+n]
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}

// Copy writes everything that r still has to w and returns the number of
// events. It does not close w.
func Copy(w Writer, r Reader) (int64, error) {
	buf := make([]Event, chunk)
	total := int64(0)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if err := w.Write(buf[:n]); err != nil {
				return total, err
			}
			total += int64(n)
		}
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}
