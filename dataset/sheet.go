package dataset

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"slices"
)

// ContactSheet draws the given samples in rows of the given number of columns,
// small ones enlarged, with the number of its class below each. Samples of 1,
// 3 or 4 channels are shown as grey or colour (a fourth channel is left out),
// of others the first channel.
func ContactSheet(ds Dataset, indices []int, columns int) (image.Image, error) {
	if len(indices) == 0 || columns < 1 {
		return nil, fmt.Errorf("contact sheet of %d samples in %d columns: want at least 1 of each", len(indices), columns)
	}
	columns = min(columns, len(indices))
	rows := (len(indices) + columns - 1) / columns
	h, w, c := ds.Info().Shape[0], ds.Info().Shape[1], ds.Info().Shape[2]
	zoom := max(1, 64/max(h, w))
	const gap, caption = 4, 12
	tileW, tileH := w*zoom+gap, h*zoom+caption+gap
	if area := int64(tileW*columns+gap) * int64(tileH*rows+gap); area > maxImagePixels {
		return nil, fmt.Errorf("contact sheet of %d samples of %dx%d: %d pixels, at most %d are drawn", len(indices), w, h, area, maxImagePixels)
	}
	sheet := image.NewRGBA(image.Rect(0, 0, tileW*columns+gap, tileH*rows+gap))
	draw.Draw(sheet, sheet.Bounds(), image.White, image.Point{}, draw.Src)
	buf, raw := make([]float32, h*w*c), make([]byte, h*w*c)
	for k, i := range indices {
		label, err := ds.Sample(i, buf)
		if err != nil {
			return nil, err
		}
		quantise(raw, buf)
		x0, y0 := gap+k%columns*tileW, gap+k/columns*tileH
		for y := range h * zoom {
			for x := range w * zoom {
				px := raw[(y/zoom*w+x/zoom)*c:]
				v := color.RGBA{px[0], px[0], px[0], 255}
				if c == 3 || c == 4 {
					v.G, v.B = px[1], px[2]
				}
				sheet.SetRGBA(x0+x, y0+y, v)
			}
		}
		drawNumber(sheet, x0, y0+h*zoom+2, label)
	}
	return sheet, nil
}

// digitRows are the digits as 3x5 pixels, a row in each octal figure.
var digitRows = [10]int{0o75557, 0o26227, 0o71747, 0o71717, 0o55711, 0o74717, 0o74757, 0o71222, 0o75757, 0o75717}

// drawNumber writes n >= 0 in digits of 6x10 pixels from the corner (x, y).
func drawNumber(img *image.RGBA, x, y, n int) {
	digits := []int{n % 10}
	for n /= 10; n > 0; n /= 10 {
		digits = append(digits, n%10)
	}
	slices.Reverse(digits)
	for k, d := range digits {
		for bit := range 15 {
			if digitRows[d]>>(14-bit)&1 == 0 {
				continue
			}
			px := image.Rect(0, 0, 2, 2).Add(image.Pt(x+k*8+bit%3*2, y+bit/3*2))
			draw.Draw(img, px, image.Black, image.Point{}, draw.Src)
		}
	}
}
