package onnx

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/adafire/adafire/internal/fileerr"
)

// Limits that a valid file of today stays far below. They bound what a hostile
// file can make us do.
const (
	maxNesting  = 64       // messages within messages
	maxName     = 64 << 10 // bytes of a name
	maxNodes    = 1 << 20
	maxRank     = 8       // also of the graph
	maxProtobuf = 2 << 30 // bytes; protobuf's own limit
)

// A reader walks protobuf messages of one file. Positions are offsets in that
// file.
type reader struct {
	path  string
	nodes int
}

func (r *reader) errorf(off int64, format string, args ...any) error {
	return fileerr.New(r.path, off, format, args...)
}

// A field is one decoded key and value.
type field struct {
	num protowire.Number
	typ protowire.Type
	off int64  // of the value (behind its length, if it has one)
	u   uint64 // of a varint or fixed number
	b   []byte // of a length-delimited value; of a varint, its bytes
}

// A message is the bytes of one message and where they lie.
type message struct {
	b     []byte
	off   int64
	depth int
}

func (f field) message(parent message) message {
	return message{f.b, f.off, parent.depth + 1}
}

// walk calls fn for every field of m but groups, which no version of the format
// uses.
func (r *reader) walk(m message, fn func(f field) error) error {
	if m.depth > maxNesting {
		return r.errorf(m.off, "messages nested more than %d deep", maxNesting)
	}
	b, off := m.b, m.off
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return r.errorf(off, "field key: %v", protowire.ParseError(n))
		}
		b, off = b[n:], off+int64(n)
		f := field{num: num, typ: typ, off: off}
		switch typ {
		case protowire.VarintType:
			f.u, n = protowire.ConsumeVarint(b)
			if n > 0 {
				f.b = b[:n:n]
			}
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(b)
			f.u = uint64(v)
		case protowire.Fixed64Type:
			f.u, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			var size uint64
			size, n = protowire.ConsumeVarint(b)
			if n > 0 {
				if size > uint64(len(b)-n) {
					return r.errorf(off, "field %d: length %d, %d bytes remain", num, size, len(b)-n)
				}
				f.off = off + int64(n)
				f.b = b[n : n+int(size) : n+int(size)]
				n += int(size)
			}
		case protowire.StartGroupType:
			_, n = protowire.ConsumeGroup(num, b)
			if n >= 0 {
				b, off = b[n:], off+int64(n)
				continue
			}
		default:
			return r.errorf(off, "field %d: wire type %d", num, typ)
		}
		if n < 0 {
			return r.errorf(off, "field %d: %v", num, protowire.ParseError(n))
		}
		b, off = b[n:], off+int64(n)
		if err := fn(f); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) want(f field, typ protowire.Type) error {
	if f.typ != typ {
		return r.errorf(f.off, "field %d has wire type %d, want %d", f.num, f.typ, typ)
	}
	return nil
}

func (r *reader) varint(f field, dst *int64) error {
	if err := r.want(f, protowire.VarintType); err != nil {
		return err
	}
	*dst = int64(f.u)
	return nil
}

// enum reads an int32 that is written as a varint of up to 64 bits.
func (r *reader) enum(f field, dst *int32) error {
	if err := r.want(f, protowire.VarintType); err != nil {
		return err
	}
	*dst = int32(f.u)
	return nil
}

// str reads a name or another short text.
func (r *reader) str(f field, dst *string) error {
	if err := r.want(f, protowire.BytesType); err != nil {
		return err
	}
	if len(f.b) > maxName {
		return r.errorf(f.off, "field %d: name of %d bytes, want at most %d", f.num, len(f.b), maxName)
	}
	*dst = string(f.b)
	return nil
}

func (r *reader) strs(f field, dst *[]string) error {
	var s string
	if err := r.str(f, &s); err != nil {
		return err
	}
	*dst = append(*dst, s)
	return nil
}

// varints reads a repeated number, packed or not.
func (r *reader) varints(f field, dst *[]int64) error {
	switch f.typ {
	case protowire.VarintType:
		*dst = append(*dst, int64(f.u))
		return nil
	case protowire.BytesType:
		for b := f.b; len(b) > 0; {
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return r.errorf(f.off+int64(len(f.b)-len(b)), "field %d: %v", f.num, protowire.ParseError(n))
			}
			*dst = append(*dst, int64(v))
			b = b[n:]
		}
		return nil
	}
	return r.errorf(f.off, "field %d has wire type %d, want a varint", f.num, f.typ)
}

// fixed reads a repeated number of size bytes, packed or not, as its bytes.
func (r *reader) fixed(f field, size int, dst *[]byte) error {
	switch {
	case f.typ == protowire.Fixed32Type && size == 4:
		*dst = protowire.AppendFixed32(*dst, uint32(f.u))
	case f.typ == protowire.Fixed64Type && size == 8:
		*dst = protowire.AppendFixed64(*dst, f.u)
	case f.typ == protowire.BytesType:
		if len(f.b)%size != 0 {
			return r.errorf(f.off, "field %d: %d bytes of %d-byte numbers", f.num, len(f.b), size)
		}
		r.join(dst, f.b)
	default:
		return r.errorf(f.off, "field %d has wire type %d, want numbers of %d bytes", f.num, f.typ, size)
	}
	return nil
}

// rawVarints reads a repeated number, packed or not, as its bytes.
func (r *reader) rawVarints(f field, dst *[]byte) error {
	if f.typ != protowire.VarintType && f.typ != protowire.BytesType {
		return r.errorf(f.off, "field %d has wire type %d, want a varint", f.num, f.typ)
	}
	r.join(dst, f.b)
	return nil
}

// join appends b to dst without a copy if there is nothing in dst.
func (r *reader) join(dst *[]byte, b []byte) {
	if len(*dst) == 0 {
		*dst = b
		return
	}
	*dst = append(*dst, b...)
}

// Decode parses an ONNX model. The result refers to data, which must not be
// changed afterwards. Path is the file's name in messages.
//
// Only the structure is checked; see [Import] for the meaning. Errors are
// *fileerr.FormatError with the offset of the defect.
func Decode(data []byte, path string) (*File, error) {
	if len(data) == 0 {
		return nil, fileerr.New(path, 0, "empty file")
	}
	if int64(len(data)) >= maxProtobuf {
		return nil, fileerr.New(path, -1, "%d bytes, a protobuf file has at most %d", len(data), int64(maxProtobuf)-1)
	}
	r := &reader{path: path}
	f := &File{Path: path}
	if err := r.file(message{b: data}, f); err != nil {
		return nil, err
	}
	if f.Graph == nil {
		return nil, fileerr.New(path, -1, "no graph (field 7): not an ONNX model")
	}
	return f, nil
}

func (r *reader) file(m message, out *File) error {
	return r.walk(m, func(f field) error {
		switch f.num {
		case 1:
			return r.varint(f, &out.IRVersion)
		case 2:
			return r.str(f, &out.Producer)
		case 3:
			return r.str(f, &out.ProducerVersion)
		case 4:
			return r.str(f, &out.Domain)
		case 7:
			if err := r.want(f, protowire.BytesType); err != nil {
				return err
			}
			if out.Graph == nil {
				out.Graph = &GraphDef{}
			}
			return r.graph(f.message(m), out.Graph)
		case 8:
			return r.opset(f, m, &out.Opsets)
		case 14:
			return r.entry(f, m, &out.Metadata)
		case 25:
			if err := r.want(f, protowire.BytesType); err != nil {
				return err
			}
			fn := &Function{}
			out.Functions = append(out.Functions, fn)
			return r.function(f.message(m), fn)
		}
		return nil
	})
}

func (r *reader) opset(f field, m message, dst *[]Opset) error {
	if err := r.want(f, protowire.BytesType); err != nil {
		return err
	}
	var o Opset
	err := r.walk(f.message(m), func(f field) error {
		switch f.num {
		case 1:
			return r.str(f, &o.Domain)
		case 2:
			return r.varint(f, &o.Version)
		}
		return nil
	})
	*dst = append(*dst, o)
	return err
}

func (r *reader) entry(f field, m message, dst *[]Entry) error {
	if err := r.want(f, protowire.BytesType); err != nil {
		return err
	}
	var e Entry
	err := r.walk(f.message(m), func(f field) error {
		if f.num != 1 && f.num != 2 {
			return nil
		}
		// Values may be long (class names, quantisation notes): no name limit.
		if err := r.want(f, protowire.BytesType); err != nil {
			return err
		}
		if f.num == 1 {
			e.Key = string(f.b)
		} else {
			e.Value = string(f.b)
		}
		return nil
	})
	*dst = append(*dst, e)
	return err
}

func (r *reader) graph(m message, out *GraphDef) error {
	return r.walk(m, func(f field) error {
		switch f.num {
		case 1, 5, 11, 12, 13, 15:
			if err := r.want(f, protowire.BytesType); err != nil {
				return err
			}
		}
		switch f.num {
		case 1:
			return r.node(f, m, &out.Nodes)
		case 2:
			return r.str(f, &out.Name)
		case 5:
			t := &TensorDef{Offset: f.off}
			out.Initializers = append(out.Initializers, t)
			return r.tensor(f.message(m), t)
		case 11:
			return r.value(f, m, &out.Inputs)
		case 12:
			return r.value(f, m, &out.Outputs)
		case 13:
			return r.value(f, m, &out.Values)
		case 15:
			out.Sparse++
		}
		return nil
	})
}

func (r *reader) node(f field, m message, dst *[]*NodeDef) error {
	if err := r.want(f, protowire.BytesType); err != nil {
		return err
	}
	if r.nodes++; r.nodes > maxNodes {
		return r.errorf(f.off, "more than %d nodes", maxNodes)
	}
	n := &NodeDef{Offset: f.off}
	*dst = append(*dst, n)
	m = f.message(m)
	return r.walk(m, func(f field) error {
		switch f.num {
		case 1:
			return r.strs(f, &n.Inputs)
		case 2:
			return r.strs(f, &n.Outputs)
		case 3:
			return r.str(f, &n.Name)
		case 4:
			return r.str(f, &n.Op)
		case 5:
			return r.attribute(f, m, &n.Attributes)
		case 7:
			return r.str(f, &n.Domain)
		case 8:
			return r.str(f, &n.Overload)
		case 9:
			return r.entry(f, m, &n.Metadata)
		}
		return nil
	})
}

func (r *reader) attribute(f field, m message, dst *[]*Attribute) error {
	if err := r.want(f, protowire.BytesType); err != nil {
		return err
	}
	a := &Attribute{Offset: f.off}
	*dst = append(*dst, a)
	m = f.message(m)
	err := r.walk(m, func(f field) error {
		switch f.num {
		case 5, 6, 10, 11, 14, 15, 22, 23:
			if err := r.want(f, protowire.BytesType); err != nil {
				return err
			}
		}
		switch f.num {
		case 1:
			return r.str(f, &a.Name)
		case 2:
			if err := r.want(f, protowire.Fixed32Type); err != nil {
				return err
			}
			a.has(attrFloat)
			a.F = math.Float32frombits(uint32(f.u))
		case 3:
			a.has(attrInt)
			return r.varint(f, &a.I)
		case 4:
			if err := r.want(f, protowire.BytesType); err != nil {
				return err
			}
			a.has(attrString)
			a.S = f.b
		case 5:
			a.has(attrTensor)
			if a.T == nil {
				a.T = &TensorDef{Offset: f.off}
			}
			return r.tensor(f.message(m), a.T)
		case 6:
			a.has(attrGraph)
			if a.G == nil {
				a.G = &GraphDef{}
			}
			return r.graph(f.message(m), a.G)
		case 7:
			a.has(attrFloats)
			var b []byte
			if err := r.fixed(f, 4, &b); err != nil {
				return err
			}
			for ; len(b) > 0; b = b[4:] {
				v, _ := protowire.ConsumeFixed32(b)
				a.Floats = append(a.Floats, math.Float32frombits(v))
			}
		case 8:
			a.has(attrInts)
			return r.varints(f, &a.Ints)
		case 9:
			a.has(attrStrings)
			return r.strs(f, &a.Strings)
		case 10:
			a.has(attrTensors)
		case 11:
			a.has(attrGraphs)
			g := &GraphDef{}
			a.Graphs = append(a.Graphs, g)
			return r.graph(f.message(m), g)
		case 14:
			a.has(attrTypeProto)
		case 15:
			a.has(attrTypeProtos)
		case 20:
			return r.enum(f, &a.Type)
		case 21:
			return r.str(f, &a.Ref)
		case 22:
			a.has(attrSparse)
		case 23:
			a.has(attrSparses)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return a.settle(r)
}

// settle finds the kind of the attribute and checks that no value of another
// kind is there.
func (a *Attribute) settle(r *reader) error {
	if a.Ref != "" {
		if a.present != 0 {
			return r.errorf(a.Offset, "attribute %q refers to %q and has a value too", a.Name, a.Ref)
		}
		return nil
	}
	if a.Type == 0 { // IR 1 wrote no type
		for t := int32(1); t <= attrTypeProtos; t++ {
			if a.present == 1<<t {
				a.Type = t
			}
		}
		if a.Type == 0 {
			return r.errorf(a.Offset, "attribute %q has neither type nor exactly one value", a.Name)
		}
		return nil
	}
	if a.Type < 0 || a.Type > attrTypeProtos {
		return r.errorf(a.Offset, "attribute %q has type %d, want 1 to %d", a.Name, a.Type, attrTypeProtos)
	}
	if other := a.present &^ (1 << a.Type); other != 0 {
		return r.errorf(a.Offset, "attribute %q has type %s and a value of another type", a.Name, attrTypeName(a.Type))
	}
	if a.Type == attrTensor && a.T == nil || a.Type == attrGraph && a.G == nil {
		return r.errorf(a.Offset, "attribute %q has type %s and no value", a.Name, attrTypeName(a.Type))
	}
	return nil
}

func (r *reader) tensor(m message, t *TensorDef) error {
	return r.walk(m, func(f field) error {
		switch f.num {
		case 1:
			if err := r.varints(f, &t.Dims); err != nil {
				return err
			}
			if len(t.Dims) > 64 {
				return r.errorf(f.off, "tensor of more than 64 axes")
			}
		case 2:
			return r.enum(f, &t.Type)
		case 3:
			t.segment = true
		case 4:
			t.has |= inFloat
			return r.fixed(f, 4, &t.floats)
		case 5:
			t.has |= inInt32
			return r.rawVarints(f, &t.int32s)
		case 6:
			t.has |= inString
		case 7:
			t.has |= inInt64
			return r.rawVarints(f, &t.int64s)
		case 8:
			return r.str(f, &t.Name)
		case 9:
			if err := r.want(f, protowire.BytesType); err != nil {
				return err
			}
			t.has |= inRaw
			t.raw, t.rawOff = f.b, f.off
		case 10:
			t.has |= inDouble
			return r.fixed(f, 8, &t.doubles)
		case 11:
			t.has |= inUint64
			return r.rawVarints(f, &t.uint64s)
		case 13:
			return r.entry(f, m, &t.External)
		case 14:
			return r.enum(f, &t.Location)
		}
		return nil
	})
}

func (r *reader) value(f field, m message, dst *[]*ValueDef) error {
	v := &ValueDef{Offset: f.off}
	*dst = append(*dst, v)
	m = f.message(m)
	return r.walk(m, func(f field) error {
		switch f.num {
		case 1:
			return r.str(f, &v.Name)
		case 2:
			if err := r.want(f, protowire.BytesType); err != nil {
				return err
			}
			return r.typ(f.message(m), v)
		}
		return nil
	})
}

// typ reads a TypeProto.
func (r *reader) typ(m message, v *ValueDef) error {
	return r.walk(m, func(f field) error {
		switch f.num {
		case 1:
			v.Kind = "tensor"
			if err := r.want(f, protowire.BytesType); err != nil {
				return err
			}
			m := f.message(m)
			return r.walk(m, func(f field) error {
				switch f.num {
				case 1:
					return r.enum(f, &v.Type)
				case 2:
					if err := r.want(f, protowire.BytesType); err != nil {
						return err
					}
					v.HasShape = true
					return r.shape(f.message(m), v)
				}
				return nil
			})
		case 4, 5, 7, 8, 9:
			v.Kind = map[protowire.Number]string{4: "sequence", 5: "map", 7: "opaque", 8: "sparse tensor", 9: "optional"}[f.num]
		}
		return nil
	})
}

func (r *reader) shape(m message, v *ValueDef) error {
	return r.walk(m, func(f field) error {
		if f.num != 1 {
			return nil
		}
		if err := r.want(f, protowire.BytesType); err != nil {
			return err
		}
		if len(v.Shape) >= 64 {
			return r.errorf(f.off, "shape of more than 64 axes")
		}
		d := DimDef{Value: -1}
		err := r.walk(f.message(m), func(f field) error {
			switch f.num {
			case 1:
				return r.varint(f, &d.Value)
			case 2:
				return r.str(f, &d.Param)
			}
			return nil
		})
		v.Shape = append(v.Shape, d)
		return err
	})
}

func (r *reader) function(m message, fn *Function) error {
	return r.walk(m, func(f field) error {
		switch f.num {
		case 1:
			return r.str(f, &fn.Name)
		case 4:
			return r.strs(f, &fn.Inputs)
		case 5:
			return r.strs(f, &fn.Outputs)
		case 6:
			return r.strs(f, &fn.Attributes)
		case 7:
			return r.node(f, m, &fn.Nodes)
		case 9:
			return r.opset(f, m, &fn.Opsets)
		case 10:
			return r.str(f, &fn.Domain)
		case 11:
			return r.attribute(f, m, &fn.Defaults)
		case 13:
			return r.str(f, &fn.Overload)
		}
		return nil
	})
}

func attrTypeName(t int32) string {
	names := [...]string{"?", "FLOAT", "INT", "STRING", "TENSOR", "GRAPH", "FLOATS", "INTS", "STRINGS", "TENSORS", "GRAPHS",
		"SPARSE_TENSOR", "SPARSE_TENSORS", "TYPE_PROTO", "TYPE_PROTOS"}
	if t < 1 || int(t) >= len(names) {
		return fmt.Sprintf("type %d", t)
	}
	return names[t]
}
