package dataset

import (
	"bytes"
	"image"
	"image/color"
	_ "image/jpeg" // the two formats that image.Decode is to know here
	_ "image/png"
	"path/filepath"

	"github.com/adafire/adafire/internal/fileerr"
)

// maxImagePixels bounds a decoded image; the largest of ImageNet has 61
// million pixels.
const maxImagePixels = 1 << 26

// decodeImage reads a JPEG or PNG file, told apart by content, as red, green
// and blue bytes. Transparency is dropped, not blended, and colour profiles
// and orientation tags are ignored, as the usual ImageNet readers do. JPEG
// decoders differ by a few grey levels, most where chroma is subsampled.
func decodeImage(path string) (pixels, error) {
	data, err := readFile(path)
	if err != nil {
		return pixels{}, err
	}
	head, format, err := image.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return pixels{}, fileerr.New(path, 0, "not a readable JPEG or PNG image: %v", err)
	}
	// The most pixels that a byte can encode: PNG, one bit each, deflated;
	// JPEG, progressive, two bits for a block.
	most := int64(len(data)) * 8300
	if format == "jpeg" {
		most = int64(len(data)) * 520
	}
	area := int64(head.Width) * int64(head.Height)
	switch {
	case head.Width <= 0 || head.Height <= 0:
		return pixels{}, fileerr.New(path, 0, "image of %dx%d pixels", head.Width, head.Height)
	case area > maxImagePixels:
		return pixels{}, fileerr.New(path, 0, "image of %dx%d pixels, at most %d are read", head.Width, head.Height, maxImagePixels)
	case area > most:
		return pixels{}, fileerr.New(path, 0, "header claims %dx%d pixels, the file's %d bytes cannot hold them", head.Width, head.Height, len(data))
	}
	r := bytes.NewReader(data)
	img, _, err := image.Decode(r)
	if err != nil {
		// The decoders read ahead, so this is where the defect is or a little after it.
		return pixels{}, fileerr.New(path, int64(len(data)-r.Len()), "damaged %s image %s: %v", format, filepath.Base(path), err)
	}
	return toRGB(img), nil
}

// toRGB copies an image.
func toRGB(img image.Image) pixels {
	b := img.Bounds()
	p := pixels{b.Dy(), b.Dx(), 3, make([]byte, 3*b.Dx()*b.Dy())}
	at := 0
	put := func(r, g, b byte) {
		p.data[at], p.data[at+1], p.data[at+2] = r, g, b
		at += 3
	}
	for y := b.Min.Y; y < b.Max.Y; y++ {
		switch m := img.(type) {
		case *image.YCbCr:
			for x := b.Min.X; x < b.Max.X; x++ {
				l, c := m.YOffset(x, y), m.COffset(x, y)
				put(color.YCbCrToRGB(m.Y[l], m.Cb[c], m.Cr[c]))
			}
		case *image.RGBA: // PNG without transparency
			for i := m.PixOffset(b.Min.X, y); i < m.PixOffset(b.Max.X, y); i += 4 {
				put(m.Pix[i], m.Pix[i+1], m.Pix[i+2])
			}
		case *image.NRGBA:
			for i := m.PixOffset(b.Min.X, y); i < m.PixOffset(b.Max.X, y); i += 4 {
				put(m.Pix[i], m.Pix[i+1], m.Pix[i+2])
			}
		case *image.Gray:
			for _, v := range m.Pix[m.PixOffset(b.Min.X, y):m.PixOffset(b.Max.X, y)] {
				put(v, v, v)
			}
		case *image.NRGBA64: // 16 bits; the conversion below would lose hidden colours
			for x := b.Min.X; x < b.Max.X; x++ {
				c := m.NRGBA64At(x, y)
				put(byte(c.R>>8), byte(c.G>>8), byte(c.B>>8))
			}
		default: // palettes, CMYK, 16 bits
			for x := b.Min.X; x < b.Max.X; x++ {
				c := color.NRGBAModel.Convert(img.At(x, y)).(color.NRGBA)
				put(c.R, c.G, c.B)
			}
		}
	}
	return p
}
