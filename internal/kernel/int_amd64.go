//go:build amd64 && !noasm

package kernel

func intEventRow(bits int, c *intEventCall) { intEventPortable(bits, c) }
