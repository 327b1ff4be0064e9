package simulate

import (
	"fmt"
	"math"
)

// An Image is a picture in shades of grey.
type Image struct {
	Width, Height int
	Pix           []float32 // 0 (black) to 1 (white), row by row
}

// NewImage returns an image of values 0..1, [height, width, channels] with 1 or
// 3 channels; red, green and blue become 0.299 R + 0.587 G + 0.114 B.
func NewImage(height, width, channels int, values []float32) (Image, error) {
	if height < 1 || width < 1 || (channels != 1 && channels != 3) {
		return Image{}, fmt.Errorf("image of %d x %d x %d: want pixels and 1 or 3 channels", height, width, channels)
	}
	if len(values) != height*width*channels {
		return Image{}, fmt.Errorf("image of %d values, want %d x %d x %d", len(values), height, width, channels)
	}
	img := Image{Width: width, Height: height, Pix: make([]float32, height*width)}
	if channels == 1 {
		copy(img.Pix, values)
		return img, nil
	}
	for i := range img.Pix {
		p := values[3*i : 3*i+3]
		img.Pix[i] = float32(0.299*p[0]) + float32(0.587*p[1]) + float32(0.114*p[2])
	}
	return img, nil
}

// A Scene is an image on a screen before the camera.
type Scene struct {
	Image Image

	Scale      float64 // sensor pixels for each pixel of the image, 0.01..100; 0 means 1
	Gamma      float64 // luminance is the value to this power, 0.1..10; 0 means 1
	Black      float64 // luminance of a value of 0, as a share of white, 0 to below 1: screens and rooms are not dark
	Background float64 // value around the image, 0..1
}

// Validate reports fields out of range.
func (s *Scene) Validate() error {
	img := &s.Image
	if img.Width < 1 || img.Height < 1 || len(img.Pix) != img.Width*img.Height {
		return fmt.Errorf("scene: image of %dx%d with %d values", img.Width, img.Height, len(img.Pix))
	}
	for _, f := range []struct {
		name         string
		value        float64
		least, above float64
	}{
		{"scale", orDefault(s.Scale, 1), 0.01, 100.001},
		{"gamma", orDefault(s.Gamma, 1), 0.1, 10.001},
		{"black level", s.Black, 0, 1},
		{"background", s.Background, 0, 1.0000001},
	} {
		if !(f.value >= f.least && f.value < f.above) {
			return fmt.Errorf("scene: %s %g: out of range", f.name, f.value)
		}
	}
	scale := orDefault(s.Scale, 1)
	if w, h := float64(img.Width)*scale, float64(img.Height)*scale; w < 0.5 || h < 0.5 || w*h > maxCanvas {
		return fmt.Errorf("scene: image of %dx%d, enlarged %g times, has %.0f pixels on the sensor: want 1 to %d", img.Width, img.Height, scale, w*h, maxCanvas)
	}
	return nil
}

// maxCanvas bounds the pixels of a scene.
const maxCanvas = 1 << 26

// luminance returns the luminance of a value as a position in the table of the
// response.
func (s *Scene) luminance(v float32) float32 {
	l := min(max(float64(v), 0), 1) // also makes NaN harmless
	if g := orDefault(s.Gamma, 1); g != 1 {
		l = math.Pow(l, g)
	}
	return float32((s.Black + float64((1-s.Black)*l)) * tableSteps)
}

// screen returns the image as it stands on the sensor: luminances, scaled.
func (s *Scene) screen() Image {
	out := Image{Width: s.Image.Width, Height: s.Image.Height, Pix: make([]float32, len(s.Image.Pix))}
	for i, v := range s.Image.Pix {
		out.Pix[i] = s.luminance(v)
	}
	if k := orDefault(s.Scale, 1); k != 1 {
		side := func(n int) int { return max(1, int(math.Round(float64(n)*k))) }
		out = out.resize(side(s.Image.Width), side(s.Image.Height))
	}
	return out
}

// resize scales bilinearly, averaging when it shrinks.
func (m Image) resize(w, h int) Image {
	across := Image{Width: w, Height: m.Height, Pix: make([]float32, w*m.Height)}
	for x := range w {
		first, shares := triangle(m.Width, w, x)
		for y := range m.Height {
			var sum float32
			for k, s := range shares {
				sum += float32(s * m.Pix[y*m.Width+first+k])
			}
			across.Pix[y*w+x] = sum
		}
	}
	out := Image{Width: w, Height: h, Pix: make([]float32, w*h)}
	for y := range h {
		first, shares := triangle(m.Height, h, y)
		row := out.Pix[y*w : (y+1)*w]
		for k, s := range shares {
			for x, v := range across.Pix[(first+k)*w : (first+k+1)*w] {
				row[x] += float32(s * v)
			}
		}
	}
	return out
}

// triangle returns the source positions, first and on, and their shares, of one
// of out positions when in positions are scaled.
func triangle(in, out, i int) (first int, shares []float32) {
	scale := float64(in) / float64(out)
	support := max(scale, 1)
	centre := (float64(i) + 0.5) * scale
	first = max(int(math.Floor(centre-support)), 0)
	end := min(int(math.Ceil(centre+support)), in)
	weights, sum := make([]float64, end-first), 0.0
	for k := range weights {
		weights[k] = max(1-math.Abs(float64(first+k)+0.5-centre)/support, 0)
		sum += weights[k]
	}
	shares = make([]float32, len(weights))
	for k, v := range weights {
		shares[k] = float32(v / sum)
	}
	return first, shares
}

// a view gives the response of every pixel of the sensor at a pose.
type view struct {
	cam    *Camera
	screen Image
	around float32 // luminance outside the screen

	// For movements without turns: the screen with so much around it that
	// every position of the sensor lies inside.
	canvas []float32
	stride int
	x0, y0 int // of the canvas, in sensor pixels from the screen's first
}

// newView prepares for the poses of a path.
func newView(cam *Camera, s *Scene, path Path) *view {
	v := &view{cam: cam, screen: s.screen(), around: s.luminance(float32(s.Background))}
	if path.turned() {
		return v
	}
	xlo, xhi, ylo, yhi := math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	for _, q := range path {
		u, w := v.corner(q)
		xlo, xhi, ylo, yhi = min(xlo, u), max(xhi, u), min(ylo, w), max(yhi, w)
	}
	// A pixel more on each side: poses between two can round to beyond both.
	xlo, ylo = math.Floor(xlo)-1, math.Floor(ylo)-1
	width := int(math.Floor(xhi)-xlo) + cam.cfg.Width + 3
	height := int(math.Floor(yhi)-ylo) + cam.cfg.Height + 3
	if width*height > maxCanvas {
		return v
	}
	v.x0, v.y0, v.stride = int(xlo), int(ylo), width
	v.canvas = make([]float32, width*height)
	for y := range height {
		for x := range width {
			v.canvas[y*width+x] = v.at(v.x0+x, v.y0+y)
		}
	}
	return v
}

// corner returns the place of the sensor's first pixel on the screen, when the
// image is not turned.
func (v *view) corner(q Pose) (x, y float64) {
	return float64(v.screen.Width-v.cam.cfg.Width)/2 - q.X, float64(v.screen.Height-v.cam.cfg.Height)/2 - q.Y
}

func (v *view) at(x, y int) float32 {
	if x < 0 || x >= v.screen.Width || y < 0 || y >= v.screen.Height {
		return v.around
	}
	return v.screen.Pix[y*v.screen.Width+x]
}

// look writes the response of every pixel, row by row, bilinear between the
// pixels of the screen.
func (v *view) look(dst []float32, q Pose) {
	if v.canvas == nil {
		v.lookTurned(dst, q)
		return
	}
	w, h := v.cam.cfg.Width, v.cam.cfg.Height
	cx, cy := v.corner(q)
	cx, cy = cx-float64(v.x0), cy-float64(v.y0)
	ix, iy := int(math.Floor(cx)), int(math.Floor(cy))
	fx, fy := float32(cx-float64(ix)), float32(cy-float64(iy))
	response := v.cam.response
	for y := range h {
		at := (iy+y)*v.stride + ix
		a := v.canvas[at : at+w+1]
		b := a
		if fy > 0 {
			b = v.canvas[at+v.stride : at+v.stride+w+1]
		}
		b = b[:len(a)]
		row := dst[y*w : (y+1)*w]
		left := a[0] + float32(fy*(b[0]-a[0]))
		for x := range row {
			right := a[x+1] + float32(fy*(b[x+1]-a[x+1]))
			row[x] = respondAt(response, left+float32(fx*(right-left)))
			left = right
		}
	}
}

// respondAt looks a luminance up in the table.
func respondAt(response []knot, l float32) float32 {
	i := int(l)
	k := &response[min(uint(i), tableSteps)]
	return k.value + float32((l-float32(i))*k.slope)
}

// lookTurned is look for any pose.
func (v *view) lookTurned(dst []float32, q Pose) {
	w, h := v.cam.cfg.Width, v.cam.cfg.Height
	sin, cos := math.Sincos(-q.Angle)
	k := 1 / orDefault(q.Scale, 1)
	mx, my := float64(v.screen.Width-1)/2, float64(v.screen.Height-1)/2
	for y := range h {
		dy := float64(y) - float64(h-1)/2 - q.Y
		for x := range w {
			dx := float64(x) - float64(w-1)/2 - q.X
			u := k*(float64(cos*dx)-float64(sin*dy)) + mx
			t := k*(float64(sin*dx)+float64(cos*dy)) + my
			iu, it := math.Floor(u), math.Floor(t)
			fu, ft := float32(u-iu), float32(t-it)
			i, j := int(iu), int(it)
			top := v.at(i, j) + float32(fu*(v.at(i+1, j)-v.at(i, j)))
			low := v.at(i, j+1) + float32(fu*(v.at(i+1, j+1)-v.at(i, j+1)))
			dst[y*w+x] = respondAt(v.cam.response, top+float32(ft*(low-top)))
		}
	}
}
