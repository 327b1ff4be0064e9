package hdf5

import (
	"encoding/binary"
	"math/bits"
)

// lookup3 is Jenkins' hash "lookup3" (hashlittle, start value 0), the checksum
// of all metadata since superblock 2.
func lookup3(b []byte) uint32 {
	x := 0xdeadbeef + uint32(len(b))
	y, z := x, x
	for len(b) > 12 {
		x += binary.LittleEndian.Uint32(b)
		y += binary.LittleEndian.Uint32(b[4:])
		z += binary.LittleEndian.Uint32(b[8:])
		x -= z
		x ^= bits.RotateLeft32(z, 4)
		z += y
		y -= x
		y ^= bits.RotateLeft32(x, 6)
		x += z
		z -= y
		z ^= bits.RotateLeft32(y, 8)
		y += x
		x -= z
		x ^= bits.RotateLeft32(z, 16)
		z += y
		y -= x
		y ^= bits.RotateLeft32(x, 19)
		x += z
		z -= y
		z ^= bits.RotateLeft32(y, 4)
		y += x
		b = b[12:]
	}
	if len(b) == 0 {
		return z
	}
	var last [12]byte
	copy(last[:], b)
	x += binary.LittleEndian.Uint32(last[:])
	y += binary.LittleEndian.Uint32(last[4:])
	z += binary.LittleEndian.Uint32(last[8:])
	z ^= y
	z -= bits.RotateLeft32(y, 14)
	x ^= z
	x -= bits.RotateLeft32(z, 11)
	y ^= x
	y -= bits.RotateLeft32(x, 25)
	z ^= y
	z -= bits.RotateLeft32(y, 16)
	x ^= z
	x -= bits.RotateLeft32(z, 4)
	y ^= x
	y -= bits.RotateLeft32(x, 14)
	z ^= y
	z -= bits.RotateLeft32(y, 24)
	return z
}

// fletcher32 is the checksum of filter 3, over big-endian words of 16 bits.
func fletcher32(b []byte) uint32 {
	var lo, hi uint32
	fold := func(v uint32) uint32 { return v&0xffff + v>>16 }
	for len(b) > 1 {
		n := min(len(b)&^1, 720) // no sum overflows within 360 words
		for i := 0; i < n; i += 2 {
			lo += uint32(b[i])<<8 | uint32(b[i+1])
			hi += lo
		}
		lo, hi = fold(lo), fold(hi)
		b = b[n:]
	}
	if len(b) == 1 {
		lo += uint32(b[0]) << 8
		hi += lo
		lo, hi = fold(lo), fold(hi)
	}
	return fold(hi)<<16 | fold(lo)
}
