// Package picture draws recordings of event cameras: images of the events of
// an interval, ON in blue and OFF in red on white, side by side over time, as an
// animation, and with their rate below.
package picture

import (
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"io"

	"github.com/adafire/adafire/events"
)

// Options say what is drawn.
type Options struct {
	Frames     int   // intervals of equal length, 1..1000
	Start, End int64 // µs; both 0 for the whole recording, which Summary then must have
	Zoom       int   // pixels per pixel of the sensor, 1..16; 0 makes frames of about 200 pixels
	Columns    int   // frames in a row of a strip; 0 chooses
}

// palette is white, shades of red for OFF and of blue for ON, lightest first,
// then black and grey.
var palette = func() color.Palette {
	p := color.Palette{color.RGBA{255, 255, 255, 255}}
	for i := range shades {
		v := uint8(200 - 200*i/(shades-1))
		p = append(p, color.RGBA{215, v, v, 255})
	}
	for i := range shades {
		v := uint8(200 - 200*i/(shades-1))
		p = append(p, color.RGBA{v, v/2 + v/3 + 30, 235, 255})
	}
	return append(p, color.RGBA{30, 30, 30, 255}, color.RGBA{200, 200, 200, 255})
}()

const (
	shades = 12
	ink    = 2*shades + 1
	line   = 2*shades + 2
	gap    = 4 // pixels between frames
	bars   = 60
)

// Frames reads r to the end and returns one image for each interval: the colour
// is the polarity that prevails at a pixel, its depth the number of events. The
// size is the summary's.
func Frames(r events.Reader, s *events.Summary, o Options) ([]*image.Paletted, error) {
	if o.Frames < 1 || o.Frames > 1000 {
		return nil, fmt.Errorf("%d frames: want 1 to 1000", o.Frames)
	}
	if s.Events == 0 || s.Width < 1 || s.Height < 1 {
		return nil, fmt.Errorf("no events to draw")
	}
	if o.Start == 0 && o.End == 0 {
		o.Start, o.End = s.First, s.Last+1
	}
	if o.End <= o.Start {
		return nil, fmt.Errorf("from %d to %d µs: want a later end", o.Start, o.End)
	}
	zoom := o.Zoom
	if zoom == 0 {
		zoom = min(16, max(1, 200/max(s.Width, s.Height)))
	}
	const most = 1 << 28
	if area := int64(s.Width) * int64(s.Height) * int64(zoom*zoom) * int64(o.Frames); area > most {
		return nil, fmt.Errorf("%d frames of %dx%d pixels, %d times: want fewer frames or a smaller zoom", o.Frames, s.Width, s.Height, zoom)
	}
	on, off := make([][]int32, o.Frames), make([][]int32, o.Frames)
	for i := range on {
		on[i], off[i] = make([]int32, s.Width*s.Height), make([]int32, s.Width*s.Height)
	}
	buf := make([]events.Event, 8192)
	for {
		n, err := r.Read(buf)
		for _, e := range buf[:n] {
			if e.T < o.Start || e.T >= o.End || int(e.X) >= s.Width || int(e.Y) >= s.Height {
				continue
			}
			k := int(float64(e.T-o.Start) / float64(o.End-o.Start) * float64(o.Frames))
			k = min(k, o.Frames-1)
			at := int(e.Y)*s.Width + int(e.X)
			if e.P == 1 {
				on[k][at]++
			} else {
				off[k][at]++
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	full := reference(on, off)
	frames := make([]*image.Paletted, o.Frames)
	for k := range frames {
		img := image.NewPaletted(image.Rect(0, 0, s.Width*zoom, s.Height*zoom), palette)
		for y := range s.Height * zoom {
			for x := range s.Width * zoom {
				at := y/zoom*s.Width + x/zoom
				img.Pix[y*img.Stride+x] = shade(on[k][at], off[k][at], full)
			}
		}
		frames[k] = img
	}
	return frames, nil
}

// reference is the count that is drawn in full colour: what 98 % of the pixels
// with events stay below.
func reference(on, off [][]int32) int32 {
	var histogram [256]int
	total := 0
	for k := range on {
		for i, v := range on[k] {
			if n := v + off[k][i]; n > 0 {
				histogram[min(n, 255)]++
				total++
			}
		}
	}
	seen := 0
	for n, c := range histogram {
		if seen += c; seen*100 >= total*98 {
			return int32(max(n, 1))
		}
	}
	return 255
}

func shade(on, off, full int32) uint8 {
	n := on + off
	if n == 0 {
		return 0
	}
	depth := uint8(min((n*shades-1)/full, shades-1))
	if on > off {
		return 1 + shades + depth
	}
	return 1 + depth
}

// Strip lays frames out in rows, in order of time, with the rate of events over
// the whole recording below.
func Strip(frames []*image.Paletted, s *events.Summary, columns int) *image.Paletted {
	w, h := frames[0].Rect.Dx(), frames[0].Rect.Dy()
	if columns == 0 {
		columns = min(len(frames), max(1, 1600/(w+gap)))
		rows := (len(frames) + columns - 1) / columns
		columns = (len(frames) + rows - 1) / rows // rows of equal length
	}
	columns = min(columns, len(frames))
	rows := (len(frames) + columns - 1) / columns
	width := columns*(w+gap) + gap
	height := rows*(h+gap) + gap
	img := image.NewPaletted(image.Rect(0, 0, width, height+bars+gap), palette)
	for i := range img.Pix {
		img.Pix[i] = line
	}
	for k, f := range frames {
		x, y := gap+k%columns*(w+gap), gap+k/columns*(h+gap)
		for row := range h {
			copy(img.Pix[(y+row)*img.Stride+x:], f.Pix[row*f.Stride:row*f.Stride+w])
		}
	}
	for y := height; y < height+bars; y++ {
		for x := gap; x < width-gap; x++ {
			img.Pix[y*img.Stride+x] = 0
		}
	}
	span := width - 2*gap
	for x := range span {
		rate := s.Rate[x*len(s.Rate)/span]
		top := 0
		if s.PeakRate > 0 {
			top = int(rate / s.PeakRate * (bars - 2))
		}
		for y := range top {
			img.Pix[(height+bars-1-y)*img.Stride+gap+x] = ink
		}
	}
	return img
}

// Animate writes frames as an animated GIF that lasts seconds, and begins again.
func Animate(w io.Writer, frames []*image.Paletted, seconds float64) error {
	delay := max(2, int(seconds*100/float64(len(frames))+0.5)) // viewers slow down anything below 2/100 s
	g := &gif.GIF{Image: frames, Delay: make([]int, len(frames))}
	for i := range g.Delay {
		g.Delay[i] = delay
	}
	return gif.EncodeAll(w, g)
}
