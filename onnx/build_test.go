package onnx_test

import (
	"encoding/binary"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// The helpers below write models for tests, field by field, so that every
// defect can be written, too.

type pb []byte

func (b pb) bytes(num protowire.Number, v []byte) pb {
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), v)
}
func (b pb) str(num protowire.Number, v string) pb { return b.bytes(num, []byte(v)) }
func (b pb) int(num protowire.Number, v int64) pb {
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), uint64(v))
}
func (b pb) float(num protowire.Number, v float32) pb {
	return protowire.AppendFixed32(protowire.AppendTag(b, num, protowire.Fixed32Type), math.Float32bits(v))
}

func attrInt(name string, v int64) pb     { return pb(nil).str(1, name).int(3, v).int(20, 2) }
func attrFloat(name string, v float32) pb { return pb(nil).str(1, name).float(2, v).int(20, 1) }
func attrStr(name, v string) pb           { return pb(nil).str(1, name).str(4, v).int(20, 3) }
func attrTensor(name string, t pb) pb     { return pb(nil).str(1, name).bytes(5, t).int(20, 4) }
func attrGraph(name string, g pb) pb      { return pb(nil).str(1, name).bytes(6, g).int(20, 5) }
func attrInts(name string, v ...int64) pb {
	a := pb(nil).str(1, name)
	for _, x := range v {
		a = a.int(8, x)
	}
	return a.int(20, 7)
}

// node writes a node; empty names are omitted inputs.
func node(op string, inputs, outputs []string, attrs ...pb) pb {
	var n pb
	for _, s := range inputs {
		n = n.str(1, s)
	}
	for _, s := range outputs {
		n = n.str(2, s)
	}
	n = n.str(3, op+"0").str(4, op)
	for _, a := range attrs {
		n = n.bytes(5, a)
	}
	return n
}

func dims(b pb, shape []int64) pb {
	for _, d := range shape {
		b = b.int(1, d)
	}
	return b
}

func floats(name string, shape []int64, values ...float32) pb {
	raw := make([]byte, 0, 4*len(values))
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	return dims(nil, shape).int(2, 1).str(8, name).bytes(9, raw)
}

func int64s(name string, shape []int64, values ...int64) pb {
	raw := make([]byte, 0, 8*len(values))
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint64(raw, uint64(v))
	}
	return dims(nil, shape).int(2, 7).str(8, name).bytes(9, raw)
}

// value declares a float tensor; -1 is an open dimension called N.
func value(name string, shape ...int64) pb {
	var s pb
	for _, d := range shape {
		if d < 0 {
			s = s.bytes(1, pb(nil).str(2, "N"))
		} else {
			s = s.bytes(1, pb(nil).int(1, d))
		}
	}
	return pb(nil).str(1, name).bytes(2, pb(nil).bytes(1, pb(nil).int(1, 1).bytes(2, s)))
}

type graphParts struct{ nodes, inits, inputs, outputs []pb }

func (g graphParts) encode() pb {
	var b pb
	for _, n := range g.nodes {
		b = b.bytes(1, n)
	}
	b = b.str(2, "g")
	for _, t := range g.inits {
		b = b.bytes(5, t)
	}
	for _, v := range g.inputs {
		b = b.bytes(11, v)
	}
	for _, v := range g.outputs {
		b = b.bytes(12, v)
	}
	return b
}

func model(opset int64, g pb) []byte {
	return pb(nil).int(1, 8).bytes(7, g).bytes(8, pb(nil).str(1, "").int(2, opset))
}

// one is a model of one node with data input x, output y and stored tensors.
func one(opset int64, shape []int64, n pb, inits ...pb) []byte {
	return model(opset, graphParts{nodes: []pb{n}, inits: inits, inputs: []pb{value("x", shape...)},
		outputs: []pb{pb(nil).str(1, "y")}}.encode())
}
