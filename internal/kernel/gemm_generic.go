//go:build !amd64 || noasm

package kernel

// tileShape returns how many pixels a tile has at most, and whether it takes
// two panels at once.
func tileShape(ISA) (height int, wide bool) { return 6, false }

// tile runs the tile kernel on so many pixels (1 to the height) and panels.
func tile(_ ISA, rows, panels int, c *tileCall) { tilePortable(rows, c) }

// grad runs the weight gradient kernel on so many inputs (1 to gradRows) and panels.
func grad(_ ISA, rows, panels int, c *gradCall) { gradPortable(rows, c) }

func peak(_ ISA, n int) float64 { return peakPortable(n) }

func triad(_ ISA, dst, a, b []float32, s float32) { triadPortable(dst, a, b, s) }

// depthwiseTile runs the depthwise kernel on 6 pixels and 16 channels, if there
// is one.
func depthwiseTile(ISA, *tileCall) bool { return false }

// depthwiseGradTile is never called where only portable Go runs.
func depthwiseGradTile(ISA, int, *gradCall) { panic("kernel: no depthwise gradient kernel") }

func winogradInput(_ ISA, c *winogradCall) { winogradInputPortable(c) }

func winogradOutput(_ ISA, c *winogradCall) { winogradOutputPortable(c) }

func winogradWeights(_ ISA, c *winogradCall) { winogradWeightsPortable(c) }
