package onnx

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/internal/minifloat"
)

// A dtype is an element type (TensorProto.DataType).
type dtype int32

// The element types that may occur in a network that we read.
const (
	float32Type  dtype = 1
	uint8Type    dtype = 2
	int8Type     dtype = 3
	uint16Type   dtype = 4
	int16Type    dtype = 5
	int32Type    dtype = 6
	int64Type    dtype = 7
	stringType   dtype = 8
	boolType     dtype = 9
	float16Type  dtype = 10
	float64Type  dtype = 11
	uint32Type   dtype = 12
	uint64Type   dtype = 13
	bfloat16Type dtype = 16
)

var dtypeNames = map[dtype]string{1: "float", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string",
	9: "bool", 10: "float16", 11: "double", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128", 16: "bfloat16",
	17: "float8e4m3fn", 18: "float8e4m3fnuz", 19: "float8e5m2", 20: "float8e5m2fnuz", 21: "uint4", 22: "int4", 23: "float4e2m1",
	24: "float8e8m0", 25: "uint2", 26: "int2", 27: "float6e2m3", 28: "float6e3m2"}

func (d dtype) String() string {
	if s := dtypeNames[d]; s != "" {
		return s
	}
	return fmt.Sprintf("data type %d", int32(d))
}

// size returns the bytes of one element, 0 for types that we do not read.
func (d dtype) size() int {
	switch d {
	case uint8Type, int8Type, boolType:
		return 1
	case uint16Type, int16Type, float16Type, bfloat16Type:
		return 2
	case float32Type, int32Type, uint32Type:
		return 4
	case float64Type, int64Type, uint64Type:
		return 8
	}
	return 0
}

// float says whether values of the type are computed in float32.
func (d dtype) float() bool {
	return d == float32Type || d == float16Type || d == bfloat16Type || d == float64Type
}

// The places where a tensor's values may be.
const (
	inFloat = 1 << iota
	inInt32
	inString
	inInt64
	inRaw
	inDouble
	inUint64
)

// A TensorDef is a stored tensor (TensorProto). Its values are decoded when
// they are wanted.
type TensorDef struct {
	Name     string
	Dims     []int64
	Type     int32
	Location int32 // 1: in another file
	External []Entry
	Offset   int64

	segment  bool
	has      int
	raw      []byte
	rawOff   int64
	floats   []byte
	int32s   []byte // varints
	int64s   []byte // varints
	doubles  []byte
	uint64s  []byte // varints
	external []byte // the values, if they are in another file
}

// numel returns the product of the dims, checked.
func (t *TensorDef) numel() (int, error) {
	if len(t.Dims) > maxRank {
		return 0, fmt.Errorf("%d axes, want at most %d", len(t.Dims), maxRank)
	}
	for _, d := range t.Dims {
		if d < 0 {
			return 0, fmt.Errorf("shape %v: negative dimension", t.Dims)
		}
	}
	n := uint64(1)
	for _, d := range t.Dims {
		if d == 0 {
			return 0, nil
		}
	}
	for _, d := range t.Dims {
		hi, lo := bits.Mul64(n, uint64(d))
		if hi != 0 || lo > math.MaxInt64/8 {
			return 0, fmt.Errorf("shape %v: the number of values overflows", t.Dims)
		}
		n = lo
	}
	return int(n), nil
}

// check verifies that exactly the values that the shape promises are there,
// without decoding them.
func (t *TensorDef) check(path string) error {
	fail := func(format string, args ...any) error {
		return fileerr.New(path, t.Offset, "tensor %q: %s", t.Name, fmt.Sprintf(format, args...))
	}
	n, err := t.numel()
	if err != nil {
		return fail("%v", err)
	}
	d := dtype(t.Type)
	size := d.size()
	if size == 0 {
		return &unsupportedType{fail("%s values: no such weights can be read", d)}
	}
	if t.segment {
		return fail("stored in segments, which no exporter writes")
	}
	if t.Location != 0 && t.Location != 1 {
		return fail("data location %d, want 0 or 1", t.Location)
	}
	if t.Location == 1 {
		if t.has != 0 {
			return fail("values in the file and in another one")
		}
		if len(t.external) != n*size {
			return fail("%d bytes in the other file, shape %v of %s wants %d", len(t.external), t.Dims, d, n*size)
		}
		return nil
	}
	// An empty list of another kind cannot hide a value.
	if bits.OnesCount(uint(t.has)) > 1 {
		return fail("values in two places")
	}
	if t.has == inRaw {
		if len(t.raw) != n*size {
			return fail("%d bytes of raw data, shape %v of %s wants %d", len(t.raw), t.Dims, d, n*size)
		}
		return nil
	}
	where, count := 0, 0
	switch d {
	case float32Type:
		where, count = inFloat, len(t.floats)/4
	case float64Type:
		where, count = inDouble, len(t.doubles)/8
	case int64Type:
		where, count = inInt64, countVarints(t.int64s)
	case uint32Type, uint64Type:
		where, count = inUint64, countVarints(t.uint64s)
	default:
		where, count = inInt32, countVarints(t.int32s)
	}
	if t.has != 0 && t.has != where {
		return fail("%s values are in a field for another type", d)
	}
	if count != n {
		return fail("%d values, shape %v wants %d", count, t.Dims, n)
	}
	return nil
}

// unsupportedType is the error about a tensor of a type that we do not read.
type unsupportedType struct{ error }

func (e *unsupportedType) Unwrap() []error { return []error{e.error, fileerr.ErrUnsupported} }

// countVarints returns how many varints b holds, -1 if the last one is cut.
func countVarints(b []byte) int {
	n := 0
	for _, c := range b {
		if c < 0x80 {
			n++
		}
	}
	if len(b) > 0 && b[len(b)-1] >= 0x80 {
		return -1
	}
	return n
}

// A constant is a tensor that is known: weights and numbers of shape
// arithmetic. Floats are in f, integers and booleans in i. If batch is not nil,
// element k is i[k] + batch[k]*N, with N the number of samples.
type constant struct {
	shape []int
	dtype dtype
	f     []float32
	i     []int64
	batch []int64
	name  string // of the initialiser it is

	overflow int // doubles that are too large for float32
}

func (c *constant) numel() int { return numel(c.shape) }

func numel(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// decode returns the values of t, which check has accepted. Doubles too large
// for float32 become infinities and are counted.
func (t *TensorDef) decode() *constant {
	n, _ := t.numel()
	c := &constant{dtype: dtype(t.Type), shape: make([]int, len(t.Dims)), name: t.Name}
	for k, d := range t.Dims {
		c.shape[k] = int(d)
	}
	b := t.raw
	if t.Location == 1 {
		b = t.external
	}
	le := binary.LittleEndian
	if t.Location == 1 || t.has == inRaw || c.dtype == float32Type || c.dtype == float64Type {
		switch {
		case t.has&inFloat != 0:
			b = t.floats
		case t.has&inDouble != 0:
			b = t.doubles
		}
		if c.dtype.float() {
			c.f = make([]float32, n)
		} else {
			c.i = make([]int64, n)
		}
		switch c.dtype {
		case float32Type:
			for k := range c.f {
				c.f[k] = math.Float32frombits(le.Uint32(b[4*k:]))
			}
		case float16Type:
			for k := range c.f {
				c.f[k] = minifloat.Half(le.Uint16(b[2*k:]))
			}
		case bfloat16Type:
			for k := range c.f {
				c.f[k] = minifloat.BFloat16(le.Uint16(b[2*k:]))
			}
		case float64Type:
			for k := range c.f {
				v := math.Float64frombits(le.Uint64(b[8*k:]))
				c.f[k] = float32(v)
				if math.IsInf(float64(c.f[k]), 0) && !math.IsInf(v, 0) {
					c.overflow++
				}
			}
		case uint8Type:
			for k := range c.i {
				c.i[k] = int64(b[k])
			}
		case boolType:
			for k := range c.i {
				if b[k] != 0 {
					c.i[k] = 1
				}
			}
		case int8Type:
			for k := range c.i {
				c.i[k] = int64(int8(b[k]))
			}
		case uint16Type:
			for k := range c.i {
				c.i[k] = int64(le.Uint16(b[2*k:]))
			}
		case int16Type:
			for k := range c.i {
				c.i[k] = int64(int16(le.Uint16(b[2*k:])))
			}
		case int32Type:
			for k := range c.i {
				c.i[k] = int64(int32(le.Uint32(b[4*k:])))
			}
		case uint32Type:
			for k := range c.i {
				c.i[k] = int64(le.Uint32(b[4*k:]))
			}
		case int64Type, uint64Type:
			for k := range c.i {
				c.i[k] = int64(le.Uint64(b[8*k:]))
			}
		}
		return c
	}
	b = t.int32s
	switch c.dtype {
	case int64Type:
		b = t.int64s
	case uint32Type, uint64Type:
		b = t.uint64s
	}
	next := func() int64 {
		v, size := protowire.ConsumeVarint(b)
		if size < 0 { // eleven bytes; check has counted the ends only
			b = nil
			return 0
		}
		b = b[size:]
		return int64(v)
	}
	if c.dtype.float() {
		c.f = make([]float32, n)
		for k := range c.f {
			if h := uint16(next()); c.dtype == float16Type {
				c.f[k] = minifloat.Half(h)
			} else {
				c.f[k] = minifloat.BFloat16(h)
			}
		}
		return c
	}
	c.i = make([]int64, n)
	for k := range c.i {
		c.i[k] = wrapInt(c.dtype, next())
	}
	return c
}

// wrapInt reduces v to the range of an integer type.
func wrapInt(d dtype, v int64) int64 {
	switch d {
	case uint8Type:
		return int64(uint8(v))
	case int8Type:
		return int64(int8(v))
	case uint16Type:
		return int64(uint16(v))
	case int16Type:
		return int64(int16(v))
	case int32Type:
		return int64(int32(v))
	case uint32Type:
		return int64(uint32(v))
	case boolType:
		if v != 0 {
			return 1
		}
	}
	return v
}

// NewTensor returns a stored tensor: typ is ONNX's number of the element type,
// raw its little-endian values.
func NewTensor(name string, typ int32, dims []int64, raw []byte) *TensorDef {
	return &TensorDef{Name: name, Type: typ, Dims: dims, raw: raw, has: inRaw}
}
