//go:build amd64 && !noasm

package kernel

func intEventRow(bits int, c *intEventCall) {
	switch {
	case Active() == Portable:
		intEventPortable(bits, c)
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
