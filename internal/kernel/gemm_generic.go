package kernel

// tileShape returns how many pixels a tile has at most, and whether it takes
// two panels at once.
func tileShape(ISA) (height int, wide bool) { return 6, false }

// tile runs the tile kernel on so many pixels (1 to the height) and panels.
func tile(_ ISA, rows, panels int, c *tileCall) { tilePortable(rows, c) }
