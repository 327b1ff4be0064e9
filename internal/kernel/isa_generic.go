//go:build !amd64 || noasm

package kernel

func supported(i ISA) bool { return i == Portable }
