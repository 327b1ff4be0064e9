package kernel

import (
	"testing"
	"unsafe"
)

// The generator in gen/int knows these offsets.
func TestIntCallLayouts(t *testing.T) {
	var c intTileCall
	var e intEventCall
	var l intCompressCall
	var d intDepthwiseCall
	for _, f := range []struct {
		name      string
		got, want uintptr
	}{
		{"x", unsafe.Offsetof(c.x), 0}, {"off", unsafe.Offsetof(c.off), 8}, {"delta", unsafe.Offsetof(c.delta), 16},
		{"program", unsafe.Offsetof(c.program), 24}, {"b", unsafe.Offsetof(c.b), 32}, {"b2", unsafe.Offsetof(c.b2), 40},
		{"y", unsafe.Offsetof(c.y), 48}, {"ldy", unsafe.Offsetof(c.ldy), 56}, {"init", unsafe.Offsetof(c.init), 64},
		{"zeros", unsafe.Offsetof(c.zeros), 72}, {"acc", unsafe.Offsetof(c.acc), 80},
		{"events: start", unsafe.Offsetof(e.start), 0}, {"events: row", unsafe.Offsetof(e.row), 8},
		{"events: count", unsafe.Offsetof(e.count), 16}, {"events: w", unsafe.Offsetof(e.w), 24}, {"events: y", unsafe.Offsetof(e.y), 32},
		{"events: ldy", unsafe.Offsetof(e.ldy), 40}, {"events: n", unsafe.Offsetof(e.n), 48}, {"events: limit", unsafe.Offsetof(e.limit), 56},
		{"events: width", unsafe.Offsetof(e.width), 64}, {"events: kw", unsafe.Offsetof(e.kw), 72},
		{"events: stride", unsafe.Offsetof(e.stride), 80}, {"events: pad", unsafe.Offsetof(e.pad), 88}, {"events: cin", unsafe.Offsetof(e.cin), 96},
		{"events: kh", unsafe.Offsetof(e.kh), 104}, {"events: startStep", unsafe.Offsetof(e.startStep), 112},
		{"events: wStep", unsafe.Offsetof(e.wStep), 120}, {"events: budget", unsafe.Offsetof(e.budget), 128},
		{"events: from", unsafe.Offsetof(e.from), 136}, {"events: to", unsafe.Offsetof(e.to), 144}, {"events: left", unsafe.Offsetof(e.left), 152},
		{"depthwise: x", unsafe.Offsetof(d.x), 0}, {"depthwise: off", unsafe.Offsetof(d.off), 8},
		{"depthwise: taps", unsafe.Offsetof(d.taps), 16}, {"depthwise: pairs", unsafe.Offsetof(d.pairs), 24},
		{"depthwise: panels", unsafe.Offsetof(d.panels), 32}, {"depthwise: w", unsafe.Offsetof(d.w), 40},
		{"depthwise: y", unsafe.Offsetof(d.y), 48}, {"depthwise: ldy", unsafe.Offsetof(d.ldy), 56},
		{"depthwise: acc", unsafe.Offsetof(d.acc), 64},
		{"list: x", unsafe.Offsetof(l.x), 0}, {"list: start", unsafe.Offsetof(l.start), 8}, {"list: row", unsafe.Offsetof(l.row), 16},
		{"list: count", unsafe.Offsetof(l.count), 24}, {"list: pixels", unsafe.Offsetof(l.pixels), 32}, {"list: step", unsafe.Offsetof(l.step), 40},
		{"list: groups", unsafe.Offsetof(l.groups), 48}, {"list: n", unsafe.Offsetof(l.n), 56}, {"list: baseStep", unsafe.Offsetof(l.baseStep), 64},
		{"list: negative", unsafe.Offsetof(l.negative), 72},
		{"size of a segment", unsafe.Sizeof(intSegment{}), 8},
	} {
		if unsafe.Sizeof(uintptr(0)) == 8 && f.got != f.want {
			t.Errorf("%s: %d, want %d", f.name, f.got, f.want)
		}
	}
}
