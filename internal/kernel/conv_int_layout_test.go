package kernel

import (
	"testing"
	"unsafe"
)

// The generator in gen/int knows these offsets.
func TestIntCallLayouts(t *testing.T) {
	var c intTileCall
	for _, f := range []struct {
		name      string
		got, want uintptr
	}{
		{"x", unsafe.Offsetof(c.x), 0}, {"off", unsafe.Offsetof(c.off), 8}, {"delta", unsafe.Offsetof(c.delta), 16},
		{"program", unsafe.Offsetof(c.program), 24}, {"b", unsafe.Offsetof(c.b), 32}, {"b2", unsafe.Offsetof(c.b2), 40},
		{"y", unsafe.Offsetof(c.y), 48}, {"ldy", unsafe.Offsetof(c.ldy), 56}, {"init", unsafe.Offsetof(c.init), 64},
		{"zeros", unsafe.Offsetof(c.zeros), 72}, {"acc", unsafe.Offsetof(c.acc), 80},
		{"size of a segment", unsafe.Sizeof(intSegment{}), 8},
	} {
		if unsafe.Sizeof(uintptr(0)) == 8 && f.got != f.want {
			t.Errorf("%s: %d, want %d", f.name, f.got, f.want)
		}
	}
}
