//go:build amd64 && !noasm

package kernel

import (
	"testing"
	"unsafe"
)

// The generator in gen/int knows these offsets.
func TestFireIntCallLayout(t *testing.T) {
	var c fireIntCall
	for _, f := range []struct {
		name      string
		got, want uintptr
	}{
		{"counts", unsafe.Offsetof(c.counts), 0}, {"v", unsafe.Offsetof(c.v), 8}, {"sums", unsafe.Offsetof(c.sums), 16},
		{"scale", unsafe.Offsetof(c.scale), 24}, {"bias", unsafe.Offsetof(c.bias), 32}, {"biasMask", unsafe.Offsetof(c.biasMask), 40},
		{"add", unsafe.Offsetof(c.add), 48}, {"addScale", unsafe.Offsetof(c.addScale), 56}, {"rows", unsafe.Offsetof(c.rows), 64},
		{"c", unsafe.Offsetof(c.c), 72}, {"n", unsafe.Offsetof(c.n), 80}, {"shift", unsafe.Offsetof(c.shift), 88},
		{"most", unsafe.Offsetof(c.most), 92}, {"spikes", unsafe.Offsetof(c.spikes), 96}, {"events", unsafe.Offsetof(c.events), 128},
		{"bad", unsafe.Offsetof(c.bad), 160},
	} {
		if f.got != f.want {
			t.Errorf("%s: %d, want %d", f.name, f.got, f.want)
		}
	}
}

func TestFireSignedCallLayout(t *testing.T) {
	var c fireSignedCall
	for _, f := range []struct {
		name      string
		got, want uintptr
	}{
		{"counts", unsafe.Offsetof(c.counts), 0}, {"v", unsafe.Offsetof(c.v), 8}, {"sum", unsafe.Offsetof(c.sum), 16},
		{"current", unsafe.Offsetof(c.current), 24}, {"offset", unsafe.Offsetof(c.offset), 32}, {"offsetMask", unsafe.Offsetof(c.offsetMask), 40},
		{"rows", unsafe.Offsetof(c.rows), 48}, {"c", unsafe.Offsetof(c.c), 56}, {"n", unsafe.Offsetof(c.n), 64},
		{"shift", unsafe.Offsetof(c.shift), 72}, {"most", unsafe.Offsetof(c.most), 76}, {"spikes", unsafe.Offsetof(c.spikes), 80},
		{"events", unsafe.Offsetof(c.events), 144}, {"bad", unsafe.Offsetof(c.bad), 208},
	} {
		if f.got != f.want {
			t.Errorf("%s: %d, want %d", f.name, f.got, f.want)
		}
	}
}
