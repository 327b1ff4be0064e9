package codec

import (
	"io"
	"math"
	"strings"

	"github.com/adafire/adafire/events"
)

// A Box is one labelled object of the automotive data sets GEN1 and 1Mpx.
type Box struct {
	T          int64   // µs
	X, Y       float32 // top left corner in pixels; may lie outside the frame
	W, H       float32 // pixels
	Class      uint32
	Confidence float32 // 1 when the file does not say
	Track      uint32  // the same object has one number in all its boxes; 0 when the file does not say
}

// The columns of boxes.
const (
	boxT = iota
	boxX
	boxY
	boxW
	boxH
	boxClass
	boxConfidence
	boxTrack
	boxColumns
)

// boxNames are the names of the fields in the layouts that occur, the usual one
// first. Fields from boxConfidence on may be missing.
var boxNames = [boxColumns][]string{
	{"t", "ts"}, {"x"}, {"y"}, {"w"}, {"h"}, {"class_id"}, {"class_confidence", "confidence"}, {"track_id"},
}

// ReadBoxes reads a *_bbox.npy file: a structured array whose fields are told by
// name, as three layouts occur. The name is for errors, which are an
// *events.Error.
//
// Source: event_formats, section 7.4.
func ReadBoxes(r io.Reader, name string) ([]Box, error) {
	h, err := readNPYHeader(r, name)
	if err != nil {
		return nil, err
	}
	if h.fields == nil || len(h.shape) != 1 {
		return nil, events.Errorf(events.UnsupportedDType, name, 10, "array of shape %v, want a structured array of one axis", h.shape)
	}
	var fields [boxColumns]*field
	var names []string
	for i := range h.fields {
		f := &h.fields[i]
		names = append(names, f.name)
		for c, known := range boxNames {
			for _, n := range known {
				if f.name == n && fields[c] == nil {
					if f.number.class == 0 {
						return nil, events.Errorf(events.UnsupportedDType, name, 10, "field %q of type %q, want a number", f.name, f.descr)
					}
					fields[c] = f
				}
			}
		}
	}
	for c, f := range fields {
		if f == nil && c < boxConfidence {
			return nil, events.Errorf(events.MissingField, name, 10, "no field %s among %s", boxNames[c][0], strings.Join(names, ", "))
		}
	}
	var boxes []Box
	rows := &items{in: r, name: name, start: h.start, size: h.item}
	for left := h.shape[0]; left > 0; {
		n, block, err := rows.next(int(min(left, 1024)))
		for i := range n {
			at := h.start + (h.shape[0]-left+int64(i))*int64(h.item)
			item := block.data[0][i*h.item:]
			var f [boxColumns]float64
			var whole [boxColumns]int64
			var exact [boxColumns]bool
			for c, field := range fields {
				if field != nil {
					f[c], whole[c], exact[c] = field.number.load(item[field.at:])
				}
			}
			if fields[boxConfidence] == nil {
				f[boxConfidence] = 1
			}
			if fields[boxTrack] == nil {
				exact[boxTrack] = true
			}
			for _, c := range []int{boxT, boxClass, boxTrack} {
				if !exact[c] || c != boxT && uint64(whole[c]) > math.MaxUint32 {
					return boxes, events.Errorf(events.OutOfRange, name, at, "field %s is %g, want a whole number that is not too large", boxNames[c][0], f[c])
				}
			}
			boxes = append(boxes, Box{
				T: whole[boxT], X: float32(f[boxX]), Y: float32(f[boxY]), W: float32(f[boxW]), H: float32(f[boxH]),
				Class: uint32(whole[boxClass]), Confidence: float32(f[boxConfidence]), Track: uint32(whole[boxTrack]),
			})
		}
		if err != nil {
			return boxes, err
		}
		left -= int64(n)
	}
	return boxes, nil
}

// A BoxFilter drops and clips boxes as is usual before scores are computed. Its
// zero value changes nothing.
type BoxFilter struct {
	SkipUntil   int64   // µs; boxes at or before it are dropped when it is above 0
	MinDiagonal float32 // pixels; smaller boxes are dropped
	MinSide     float32 // pixels; boxes with a smaller side are dropped

	// With a frame, in pixels, boxes are clipped to it, and those without
	// any area left are dropped.
	FrameWidth, FrameHeight int

	// ClipFirst clips before sizes are compared; else they are those in the
	// file. Both are in use.
	ClipFirst bool

	// MaxWidth, a share of the frame's width, drops wider boxes, which are
	// mistakes of the labelling, when it is above 0. It is meant for training.
	MaxWidth float32
}

// The filters of the published results.
//
// Source: event_formats, section 7.4.
var (
	GEN1Boxes = BoxFilter{SkipUntil: 500_000, MinDiagonal: 30, MinSide: 10, FrameWidth: 304, FrameHeight: 240}
	MpxBoxes  = BoxFilter{SkipUntil: 500_000, MinDiagonal: 60, MinSide: 20, FrameWidth: 1280, FrameHeight: 720}
)

// Apply returns the boxes that are kept, in order. It does not change its
// argument.
func (f BoxFilter) Apply(boxes []Box) []Box {
	var kept []Box
	for _, b := range boxes {
		if f.SkipUntil > 0 && b.T <= f.SkipUntil {
			continue
		}
		clipped, area := f.clip(b)
		measured := b
		if f.ClipFirst {
			measured = clipped
		}
		w, h := float64(measured.W), float64(measured.H)
		if !area || math.Hypot(w, h) < float64(f.MinDiagonal) || w < float64(f.MinSide) || h < float64(f.MinSide) ||
			f.MaxWidth > 0 && f.FrameWidth > 0 && clipped.W > f.MaxWidth*float32(f.FrameWidth) {
			continue
		}
		kept = append(kept, clipped)
	}
	return kept
}

// clip cuts a box to the frame, and reports whether anything is left.
func (f BoxFilter) clip(b Box) (Box, bool) {
	if f.FrameWidth <= 0 || f.FrameHeight <= 0 {
		return b, true
	}
	x0, x1 := max(b.X, 0), min(b.X+b.W, float32(f.FrameWidth))
	y0, y1 := max(b.Y, 0), min(b.Y+b.H, float32(f.FrameHeight))
	b.X, b.W, b.Y, b.H = x0, x1-x0, y0, y1-y0
	return b, b.W > 0 && b.H > 0
}
