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

// intCompress reports whether there is a kernel for it.
func intCompress(signed bool, c *intCompressCall) bool {
	switch {
	case Active() == Portable:
		return false
	case signed:
		intCompressS8AVX2(c)
	default:
		intCompressU8AVX2(c)
	}
	return true
}
