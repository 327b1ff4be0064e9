//go:build amd64 && !noasm

package kernel

func intEventRow(bits int, c *intEventCall) {
	switch isa := Active(); {
	case isa == Portable:
		intEventPortable(bits, c)
	case isa == AVX512 && bits == 8:
		intEventRow8AVX512(c)
	case isa == AVX512:
		intEventRow16AVX512(c)
	case bits == 8:
		intEventRow8AVX2(c)
	default:
		intEventRow16AVX2(c)
	}
}

// intCompress reports whether there is a kernel for it: signed counts, listed as
// 16-bit numbers if wide.
func intCompress(signed, wide bool, c *intCompressCall) bool {
	switch {
	case Active() == Portable:
		return false
	case signed && wide:
		intCompressS8WideAVX2(c)
	case signed:
		intCompressS8AVX2(c)
	case wide:
		intCompressU8WideAVX2(c)
	default:
		intCompressU8AVX2(c)
	}
	return true
}
