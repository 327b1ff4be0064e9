package onnx

import (
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/adafire/adafire/internal/atomicfile"
	"github.com/adafire/adafire/internal/fileerr"
)

// An encoder appends protobuf fields. Fields are written in the order of their
// numbers, so that equal models give equal bytes.
type encoder []byte

func (b encoder) bytes(num protowire.Number, v []byte) encoder {
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), v)
}

func (b encoder) str(num protowire.Number, v string) encoder {
	if v == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), v)
}

func (b encoder) strs(num protowire.Number, list []string) encoder {
	for _, v := range list { // empty names count: they are omitted inputs
		b = protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), v)
	}
	return b
}

func (b encoder) int(num protowire.Number, v int64) encoder {
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), uint64(v))
}

func (b encoder) float(num protowire.Number, v float32) encoder {
	return protowire.AppendFixed32(protowire.AppendTag(b, num, protowire.Fixed32Type), math.Float32bits(v))
}

func (b encoder) entries(num protowire.Number, list []Entry) encoder {
	for _, e := range list {
		b = b.bytes(num, encoder(nil).str(1, e.Key).str(2, e.Value))
	}
	return b
}

// Encode returns the file's bytes (ModelProto). Tensors must hold their values
// as raw data, as those of NewTensor do, or lie in another file; equal files give
// equal bytes. Functions are not written.
func (f *File) Encode() ([]byte, error) {
	if len(f.Functions) > 0 {
		return nil, fmt.Errorf("%d functions, which are not written: %w", len(f.Functions), fileerr.ErrUnsupported)
	}
	if f.Graph == nil {
		return nil, fmt.Errorf("no graph to write")
	}
	g, err := f.Graph.encode()
	if err != nil {
		return nil, err
	}
	var b encoder
	b = b.int(1, f.IRVersion).str(2, f.Producer).str(3, f.ProducerVersion).str(4, f.Domain).bytes(7, g)
	for _, o := range f.Opsets {
		b = b.bytes(8, encoder(nil).str(1, o.Domain).int(2, o.Version))
	}
	b = b.entries(14, f.Metadata)
	if int64(len(b)) >= maxProtobuf {
		return nil, fmt.Errorf("%d bytes, a protobuf file has at most %d", len(b), int64(maxProtobuf)-1)
	}
	return b, nil
}

func (g *GraphDef) encode() (encoder, error) {
	var b encoder
	for _, n := range g.Nodes {
		v, err := n.encode()
		if err != nil {
			return nil, err
		}
		b = b.bytes(1, v)
	}
	b = b.str(2, g.Name)
	for _, t := range g.Initializers {
		v, err := t.encode()
		if err != nil {
			return nil, err
		}
		b = b.bytes(5, v)
	}
	for _, v := range g.Inputs {
		b = b.bytes(11, v.encode())
	}
	for _, v := range g.Outputs {
		b = b.bytes(12, v.encode())
	}
	for _, v := range g.Values {
		b = b.bytes(13, v.encode())
	}
	return b, nil
}

func (n *NodeDef) encode() (encoder, error) {
	b := encoder(nil).strs(1, n.Inputs).strs(2, n.Outputs).str(3, n.Name).str(4, n.Op)
	for _, a := range n.Attributes {
		v, err := a.encode()
		if err != nil {
			return nil, fmt.Errorf("node %q (%s): %w", n.Name, n.Op, err)
		}
		b = b.bytes(5, v)
	}
	return b.str(7, n.Domain).str(8, n.Overload).entries(9, n.Metadata), nil
}

func (a *Attribute) encode() (encoder, error) {
	b := encoder(nil).str(1, a.Name)
	switch a.Type {
	case attrFloat:
		b = b.float(2, a.F)
	case attrInt:
		b = b.int(3, a.I)
	case attrString:
		b = b.bytes(4, a.S)
	case attrTensor:
		t, err := a.T.encode()
		if err != nil {
			return nil, err
		}
		b = b.bytes(5, t)
	case attrGraph:
		g, err := a.G.encode()
		if err != nil {
			return nil, err
		}
		b = b.bytes(6, g)
	case attrFloats:
		for _, v := range a.Floats {
			b = b.float(7, v)
		}
	case attrInts:
		for _, v := range a.Ints {
			b = b.int(8, v)
		}
	case attrStrings:
		b = b.strs(9, a.Strings)
	default:
		return nil, fmt.Errorf("attribute %q has type %s, which is not written: %w", a.Name, attrTypeName(a.Type), fileerr.ErrUnsupported)
	}
	return b.int(20, int64(a.Type)), nil
}

func (t *TensorDef) encode() (encoder, error) {
	if t.has&^inRaw != 0 {
		return nil, fmt.Errorf("tensor %q does not hold raw data, which alone is written: %w", t.Name, fileerr.ErrUnsupported)
	}
	var b encoder
	for _, d := range t.Dims {
		b = b.int(1, d)
	}
	b = b.int(2, int64(t.Type)).str(8, t.Name)
	if t.Location == 0 {
		return b.bytes(9, t.raw), nil
	}
	return b.entries(13, t.External).int(14, int64(t.Location)), nil
}

func (v *ValueDef) encode() encoder {
	var shape encoder
	for _, d := range v.Shape {
		switch {
		case d.Param != "":
			shape = shape.bytes(1, encoder(nil).str(2, d.Param))
		case d.Value >= 0:
			shape = shape.bytes(1, encoder(nil).int(1, d.Value))
		default:
			shape = shape.bytes(1, nil)
		}
	}
	t := encoder(nil).int(1, int64(v.Type))
	if v.HasShape {
		t = t.bytes(2, shape)
	}
	return encoder(nil).str(1, v.Name).bytes(2, encoder(nil).bytes(1, t))
}

// External data: tensors from so many bytes on leave the file.
const (
	minExternal   = 1 << 10
	alignExternal = 64
	maxInline     = 3 << 29 // bytes of weights in the file, 1.5 GiB
)

// rawSize is the sum of the tensors' bytes.
func (g *GraphDef) rawSize() (n int64) {
	for _, t := range g.Initializers {
		n += int64(len(t.raw))
	}
	return n
}

// Write writes the file to path. With external, or if its weights are more than
// 1.5 GiB, tensors of 1 KiB or more go to a second file beside it, PATH.data, at
// multiples of 64 bytes; that file is complete before the first one takes its
// place. force replaces existing files.
func (f *File) Write(path string, external, force bool) error {
	if f.Graph == nil {
		return fmt.Errorf("no graph to write")
	}
	var moved []*TensorDef
	if external || f.Graph.rawSize() > maxInline {
		data := path + ".data"
		at := int64(0)
		for _, t := range f.Graph.Initializers {
			if len(t.raw) < minExternal || t.Location != 0 {
				continue
			}
			at = (at + alignExternal - 1) / alignExternal * alignExternal
			t.Location = 1
			t.External = []Entry{{"location", filepath.Base(data)}, {"offset", strconv.FormatInt(at, 10)}, {"length", strconv.Itoa(len(t.raw))}}
			at += int64(len(t.raw))
			moved = append(moved, t)
		}
	}
	defer func() { // the file in memory stays what it was
		for _, t := range moved {
			t.Location, t.External = 0, nil
		}
	}()
	b, err := f.Encode()
	if err != nil {
		return err
	}
	writeModel := func() error {
		return atomicfile.Write(path, force, func(w io.Writer) error {
			_, err := w.Write(b)
			return err
		})
	}
	if len(moved) == 0 {
		return writeModel()
	}
	if !force { // before the data are written for nothing
		if err := absent(path); err != nil {
			return err
		}
	}
	err = atomicfile.Write(path+".data", force, func(w io.Writer) error {
		at := 0
		for _, t := range moved {
			if pad := -at & (alignExternal - 1); pad > 0 {
				if _, err := w.Write(make([]byte, pad)); err != nil {
					return err
				}
				at += pad
			}
			if _, err := w.Write(t.raw); err != nil {
				return err
			}
			at += len(t.raw)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return writeModel()
}
