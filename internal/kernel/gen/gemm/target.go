package main

import (
	"fmt"
	"go/token"
	"go/types"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/gotypes"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// target is an instruction set and a number of weight panels (of 16 channels)
// that a kernel works on at once.
type target struct {
	name   string
	bytes  int // of a vector register
	panels int
	rows   int // pixels of the tallest tile
	vec    func(c *build.Context) reg.VecVirtual
}

func ymm(c *build.Context) reg.VecVirtual { return c.YMM() }
func zmm(c *build.Context) reg.VecVirtual { return c.ZMM() }

var targets = []target{
	{"AVX2x16", 32, 1, 6, ymm},
	{"AVX512x16", 64, 1, 8, zmm},
	{"AVX512x32", 64, 2, 8, zmm},
}

const panelBytes = 64

// vecs is the number of vectors in a row of the tile.
func (t target) vecs() int { return t.panels * panelBytes / t.bytes }

// row is the memory of vector v of a row of outputs, or of one panel.
func (t target) row(base reg.Register, v int) operand.Mem {
	return operand.Mem{Base: base, Disp: v * t.bytes}
}

// weights is the memory of vector v of input j behind the panel pointers.
func (t target) weights(panels []reg.GPVirtual, v, j int) operand.Mem {
	perPanel := panelBytes / t.bytes
	return operand.Mem{Base: panels[v/perPanel], Disp: j*panelBytes + v%perPanel*t.bytes}
}

// block allocates rows x vecs accumulators.
func (t target) block(c *build.Context, rows int) [][]reg.VecVirtual {
	acc := make([][]reg.VecVirtual, rows)
	for r := range acc {
		for range t.vecs() {
			acc[r] = append(acc[r], t.vec(c))
		}
	}
	return acc
}

func each(acc [][]reg.VecVirtual, fn func(r, v int, a reg.VecVirtual)) {
	for r := range acc {
		for v, a := range acc[r] {
			fn(r, v, a)
		}
	}
}

func zero(c *build.Context, acc [][]reg.VecVirtual) {
	each(acc, func(_, _ int, a reg.VecVirtual) { c.VXORPS(a, a, a) })
}

// function begins a function of one pointer to a call structure.
func function(c *build.Context, name, structure, doc string) reg.GPVirtual {
	c.Function(name)
	c.Attributes(attr.NOSPLIT)
	c.Signature(pointerTo(structure))
	c.Pragma("noescape")
	c.Doc(fmt.Sprintf("%s %s", name, doc))
	call := c.GP64()
	c.Load(c.Param("c"), call)
	return call
}

// pointerTo is the signature func(c *structure), without loading the package
// that declares the structure: it cannot be loaded while its assembly is being
// written.
func pointerTo(structure string) *gotypes.Signature {
	pkg := types.NewPackage("kernel", "kernel")
	named := types.NewNamed(types.NewTypeName(token.NoPos, pkg, structure, nil), types.NewStruct(nil, nil), nil)
	params := types.NewTuple(types.NewVar(token.NoPos, pkg, "c", types.NewPointer(named)))
	return gotypes.NewSignature(pkg, types.NewSignatureType(nil, nil, nil, params, nil, false))
}

func end(c *build.Context) {
	c.VZEROUPPER()
	c.RET()
}

// field is the memory of a field of the call structure.
func field(call reg.Register, offset int) operand.Mem {
	return operand.Mem{Base: call, Disp: offset}
}

func load(c *build.Context, call reg.Register, offset int) reg.GPVirtual {
	r := c.GP64()
	c.MOVQ(field(call, offset), r)
	return r
}
