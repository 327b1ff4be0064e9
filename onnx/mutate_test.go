package onnx

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/internal/golden"
)

// A dice hands out small choices from the fuzzer's bytes.
type dice struct{ b []byte }

func (d *dice) next(n int) int {
	if len(d.b) == 0 || n < 1 {
		return 0
	}
	v := int(d.b[0]) % n
	d.b = d.b[1:]
	return v
}

// numbers are the integers that break things.
var numbers = []int64{0, 1, 2, 3, 4, 5, 7, -1, -2, -3, 8, 16, 1 << 20, 1 << 31, 1 << 40, math.MaxInt64, math.MinInt64}

func (d *dice) number() int64 { return numbers[d.next(len(numbers))] }

// mutate changes one thing in a decoded file.
func (d *dice) mutate(f *File) {
	g := f.Graph
	if len(g.Nodes) == 0 {
		return
	}
	n := g.Nodes[d.next(len(g.Nodes))]
	switch d.next(12) {
	case 0: // another operator
		names := Operators()
		n.Op = names[(d.next(256)<<8|d.next(256))%len(names)]
	case 1: // another opset
		if len(f.Opsets) > 0 {
			f.Opsets[0].Version = int64(6 + d.next(23))
		}
	case 2: // an attribute's number
		if len(n.Attributes) > 0 {
			a := n.Attributes[d.next(len(n.Attributes))]
			a.I, a.F = d.number(), float32(d.number())
			if len(a.Ints) > 0 {
				a.Ints[d.next(len(a.Ints))] = d.number()
			}
		}
	case 3: // fewer or more numbers
		if len(n.Attributes) > 0 {
			a := n.Attributes[d.next(len(n.Attributes))]
			if d.next(2) == 0 && len(a.Ints) > 0 {
				a.Ints = a.Ints[:len(a.Ints)-1]
			} else {
				a.Ints = append(a.Ints, d.number())
			}
		}
	case 4: // an attribute less, or one that the operator knows more
		if d.next(2) == 0 && len(n.Attributes) > 0 {
			n.Attributes = n.Attributes[1:]
		} else if op := operators[n.Op]; op != nil {
			for _, name := range sortedKeys(op.attrs) {
				if d.next(4) == 0 {
					s := op.attrs[name]
					n.Attributes = append(n.Attributes, &Attribute{Name: name, Type: s.typ, I: d.number(), Ints: []int64{d.number()}, S: []byte("edge")})
					break
				}
			}
		}
	case 5: // another input
		if len(n.Inputs) > 0 {
			all := []string{""}
			for _, t := range g.Initializers {
				all = append(all, t.Name)
			}
			for _, v := range g.Inputs {
				all = append(all, v.Name)
			}
			n.Inputs[d.next(len(n.Inputs))] = all[d.next(len(all))]
		}
	case 6: // fewer or more inputs
		if d.next(2) == 0 && len(n.Inputs) > 0 {
			n.Inputs = n.Inputs[:len(n.Inputs)-1]
		} else if len(g.Initializers) > 0 {
			n.Inputs = append(n.Inputs, g.Initializers[d.next(len(g.Initializers))].Name)
		}
	case 7: // a declared dimension
		if len(g.Inputs) > 0 {
			v := g.Inputs[d.next(len(g.Inputs))]
			if len(v.Shape) > 0 {
				k := d.next(len(v.Shape))
				v.Shape[k] = DimDef{Value: int64(d.next(9)) - 1}
				if d.next(4) == 0 {
					v.Shape[0] = DimDef{Value: -1, Param: "N"}
				}
			}
		}
	case 8: // another rank
		if len(g.Inputs) > 0 {
			v := g.Inputs[d.next(len(g.Inputs))]
			if d.next(2) == 0 && len(v.Shape) > 0 {
				v.Shape = v.Shape[1:]
			} else {
				v.Shape = append(v.Shape, DimDef{Value: int64(1 + d.next(4))})
			}
		}
	case 9: // a stored number
		if len(g.Initializers) > 0 {
			t := g.Initializers[d.next(len(g.Initializers))]
			if t.has == inRaw && dtype(t.Type) == int64Type && len(t.raw) >= 8 {
				t.raw = slices.Clone(t.raw)
				binary.LittleEndian.PutUint64(t.raw[8*d.next(len(t.raw)/8):], uint64(d.number()))
			}
		}
	case 10: // a stored tensor of another shape or type
		if len(g.Initializers) > 0 {
			t := g.Initializers[d.next(len(g.Initializers))]
			types := []dtype{float32Type, int64Type, int32Type, boolType, float16Type, uint8Type}
			typ := types[d.next(len(types))]
			var dims []int64
			count := 1
			for range d.next(5) {
				s := d.next(4)
				dims, count = append(dims, int64(s)), count*s
			}
			raw := make([]byte, count*typ.size())
			for k := range raw {
				raw[k] = byte(d.next(3))
			}
			*t = *NewTensor(t.Name, int32(typ), dims, raw)
		}
	case 11: // fewer or more outputs
		if d.next(2) == 0 {
			n.Outputs = append(n.Outputs, "more")
		} else if len(n.Outputs) > 1 {
			n.Outputs = n.Outputs[:1]
		}
	}
}

func sortedKeys(m map[string]attrSpec) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// FuzzMutate changes golden models in ways that stay well-formed protobuf, so
// that the import itself is tested, not the decoder: no panic, and a graph that
// is well formed.
func FuzzMutate(f *testing.F) {
	var models [][]byte
	for _, pattern := range []string{"ops/*/model.onnx", "encodings/*.onnx", "*_tiny/*.onnx"} {
		files, err := filepath.Glob(filepath.Join(golden.Dir(f), "onnx", pattern))
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range files {
			b, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			if len(b) < 64<<10 && !strings.Contains(name, "external") {
				models = append(models, b)
			}
		}
	}
	if len(models) == 0 {
		f.Skip("no models")
	}
	for i := range models {
		f.Add(uint16(i), []byte{9, 1, 2, 3})
		f.Add(uint16(i), []byte{0, 2, 9, 4, 0, 7, 10, 2, 1})
	}
	f.Fuzz(func(t *testing.T, which uint16, choices []byte) {
		if len(choices) > 200 {
			return
		}
		var errs [2]error
		for i := range errs {
			file, err := Decode(models[int(which)%len(models)], "mutated.onnx")
			if err != nil {
				t.Fatal(err)
			}
			d := &dice{choices}
			for len(d.b) > 0 {
				d.mutate(file)
			}
			m, err := importFile(file, "", Options{MaxFolded: 1 << 20, MaxFoldedTotal: 4 << 20, KeepPatterns: i == 1})
			if errs[i] = err; err == nil && len(m.Graph.Outputs) > 0 {
				if err := m.Graph.Infer(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if (errs[0] == nil) != (errs[1] == nil) {
			t.Fatalf("with rewriting: %v; without: %v", errs[0], errs[1])
		}
	})
}
