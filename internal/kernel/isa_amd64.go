//go:build amd64 && !noasm

package kernel

import "golang.org/x/sys/cpu"

func supported(i ISA) bool {
	switch i {
	case Portable:
		return true
	case AVX2:
		return cpu.X86.HasAVX2 && cpu.X86.HasFMA && cpu.X86.HasBMI1
	case AVX512:
		return cpu.X86.HasAVX2 && cpu.X86.HasFMA && cpu.X86.HasBMI1 && cpu.X86.HasAVX512F &&
			cpu.X86.HasAVX512VL && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512BW
	}
	return false
}
