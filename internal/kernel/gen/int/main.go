// Command int generates the assembly of the integer convolutions, of the
// neurons behind them and of their events:
//
//	go run ./int -out ../int_amd64.s -stubs ../int_stubs_amd64.go -pkg kernel
//
// Every function trusts its arguments; the Go code around it checks them. See
// interp_test.go for how the AVX-512 versions are tested on machines that
// cannot run them.
package main

import (
	"flag"
	"fmt"
	"go/token"
	"go/types"
	"os"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/gotypes"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func main() {
	set := flag.NewFlagSet(os.Args[0], flag.ExitOnError)
	flags := build.NewFlags(set) // the default set has those of avo's global context
	if err := set.Parse(os.Args[1:]); err != nil {
		os.Exit(2)
	}
	c := build.NewContext()
	generate(c)
	os.Exit(build.Main(flags.Config(), c))
}

// generate emits all functions.
func generate(c *build.Context) {
	c.ConstraintExpr("amd64,!noasm")
	for _, t := range targets {
		for rows := 1; rows <= t.rows; rows++ {
			tile(c, t, rows)
		}
	}
	neurons(c)
	events(c)
	depthwise(c, 4)
	depthwise(c, 1)
	widen(c)
	narrow(c)
	signedNeurons(c)
}

// target is an instruction set, what it multiplies, and a number of weight
// panels (of 16 channels) that a kernel works on at once.
type target struct {
	name   string
	bytes  int // of a vector register
	panels int
	rows   int  // pixels of the tallest tile
	wide   bool // 16-bit factors, else bytes
	vnni   bool // has products that add up in 32 bits
	vec    func(c *build.Context) reg.VecVirtual
}

func ymm(c *build.Context) reg.VecVirtual { return c.YMM() }
func zmm(c *build.Context) reg.VecVirtual { return c.ZMM() }

var targets = []target{
	{"U8AVX2x16", 32, 1, 6, false, false, ymm},
	{"S16AVX2x16", 32, 1, 6, true, false, ymm},
	{"U8AVX512x16", 64, 1, 8, false, false, zmm},
	{"U8AVX512x32", 64, 2, 8, false, false, zmm},
	{"S16AVX512x16", 64, 1, 8, true, false, zmm},
	{"S16AVX512x32", 64, 2, 8, true, false, zmm},
	{"U8VNNIx16", 64, 1, 8, false, true, zmm},
	{"U8VNNIx32", 64, 2, 8, false, true, zmm},
	{"S16VNNIx16", 64, 1, 8, true, true, zmm},
	{"S16VNNIx32", 64, 2, 8, true, true, zmm},
}

// panelBytes is the size of a step of weights, of a row of sums and of their
// initial values, per panel.
const panelBytes = 64

// vecs is the number of vectors in a row of the tile.
func (t target) vecs() int { return t.panels * panelBytes / t.bytes }

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
