package represent

import (
	"testing"

	"github.com/adafire/adafire/events"
	"github.com/adafire/adafire/internal/golden"
)

// toCHW turns [H,W,C] into the order of the golden cases.
func toCHW(src []float32, h, w, c int) []float32 {
	dst := make([]float32, len(src))
	for p := range h * w {
		for k := range c {
			dst[k*h*w+p] = src[p*c+k]
		}
	}
	return dst
}

func TestGoldenVoxel(t *testing.T) {
	for _, c := range golden.Cases(t, "voxel") {
		t.Run(c.Name, func(t *testing.T) {
			x, y, ts, p := c.Ints(t, "x"), c.Ints(t, "y"), c.Ints(t, "t"), c.Ints(t, "p")
			ev := make([]events.Event, len(x))
			for i := range ev {
				ev[i] = events.Event{T: int64(ts[i]), X: uint16(x[i]), Y: uint16(y[i]), P: uint8(p[i])}
			}
			h, w, bins := c.Params.Int(t, "height"), c.Params.Int(t, "width"), c.Params.Int(t, "bins")
			out := c.Params.Ints(t, "output")
			c.CompareFloats(t, "events", float64(len(ev)))

			grid := make([]float32, h*w*2*bins)
			lost, err := VoxelGrid(grid, h, w, bins, Max, ev)
			if err != nil {
				t.Fatal(err)
			}
			c.Compare(t, "voxel", toCHW(grid, h, w, 2*bins))
			c.CompareFloats(t, "events_lost", float64(lost.Untimed+lost.Outside))

			if lost, err = VoxelGrid(grid, h, w, bins, Span, ev); err != nil || lost != (Lost{}) {
				t.Fatalf("span: lost %+v, error %v; want nothing lost", lost, err)
			}
			c.Compare(t, "voxel_span", toCHW(grid, h, w, 2*bins))

			if out[0] != out[1] {
				t.Fatalf("output %v: want a square", out)
			}
			resized := func(name, pad string) {
				tr, err := New(Config{Bins: bins, Time: "max", Size: out[0], Pad: pad}, h, w)
				if err != nil {
					t.Fatal(err)
				}
				dst := make([]float32, tr.Len())
				if _, err := tr.Fill(dst, ev); err != nil {
					t.Fatal(err)
				}
				c.Compare(t, name, toCHW(dst, out[0], out[1], 2*bins))
			}
			resized("resized", PadReference)
			if c.Has("resized_square") {
				resized("resized_square", PadSquare)
			} else {
				resized("resized", PadSquare) // even difference: the same
			}
		})
	}
}

func TestGoldenResizeIndex(t *testing.T) {
	for _, c := range golden.Cases(t, "resize_index") {
		t.Run(c.Name, func(t *testing.T) {
			for _, row := range c.Rows {
				c.CompareInts(t, row.Text(t, "index"), NearestIndex(row.Int(t, "in"), row.Int(t, "out")))
			}
		})
	}
}
