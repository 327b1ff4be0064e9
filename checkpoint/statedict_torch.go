package checkpoint

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/adafire/adafire/checkpoint/pickle"
	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/tensor"
)

// stateKeys are where training scripts keep the weights, in order of trust.
var stateKeys = []string{"state_dict", "model_state_dict", "model_state", "model", "net", "network", "params", "params_ema",
	"module", "weights", "ema_state_dict", "model_ema", "teacher", "student"}

// maxDepth bounds the nesting of dictionaries that are looked through.
const maxDepth = 1000

// fromTorch finds the tensors of the model in the object of a torch file.
func (s *StateDict) fromTorch(f *torchFile, o StateDictOptions) error {
	s.Warnings = append(s.Warnings, f.warnings...)
	object, err := s.choose(f.object, o.Key)
	if err != nil {
		return err
	}
	var found []namedView
	if err := s.collect(object, "", map[*pickle.Dict]bool{}, 0, &found); err != nil {
		return err
	}
	for _, v := range found {
		t, err := f.named(v.name, v.tensor)
		if err != nil {
			return err
		}
		s.Tensors = append(s.Tensors, t)
	}
	return nil
}

type namedView struct {
	name   string
	tensor *torchTensor
}

// choose returns the dictionary with the model's tensors.
func (s *StateDict) choose(object pickle.Value, key string) (pickle.Value, error) {
	if key != "" {
		for name := range strings.SplitSeq(key, ".") {
			d, ok := object.(*pickle.Dict)
			if !ok {
				return nil, fileerr.New(s.Path, -1, "key %q: %q is looked for in a %T", key, name, object)
			}
			if object, ok = d.Get(name); !ok {
				return nil, fileerr.New(s.Path, -1, "no key %q: there are %s", key, strings.Join(firstN(d.Keys, 20), ", "))
			}
		}
		s.Key = key
		return object, nil
	}
	d, ok := object.(*pickle.Dict)
	if !ok {
		if t, ok := object.(*torchTensor); ok {
			d = pickle.NewDict()
			d.Set("tensor", t)
			return d, nil
		}
		return nil, fileerr.New(s.Path, -1, "holds a %s: want a dictionary of tensors; save model.state_dict()", kindOf(object))
	}
	// A dictionary under one of these names comes before tensors beside it: a
	// loss, a step count.
	var chosen pickle.Value
	for _, name := range stateKeys {
		v, _ := d.Get(name)
		if _, ok := v.(*pickle.Dict); !ok || !holdsTensors(v) {
			continue
		}
		if chosen == nil {
			chosen, s.Key = v, name
		} else {
			s.Others = append(s.Others, name)
		}
	}
	if chosen == nil {
		return d, nil // the tensors themselves, or modules of them
	}
	return chosen, nil
}

func kindOf(v pickle.Value) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case pickle.Opaque:
		return v.Name
	case *pickle.List:
		return "list"
	case *pickle.Tuple:
		return "tuple"
	}
	return fmt.Sprintf("%T", v)
}

// holdsTensors says whether there is a tensor in a tree of dictionaries.
func holdsTensors(v pickle.Value) bool {
	seen := make(map[*pickle.Dict]bool)
	queue := []pickle.Value{v}
	for len(queue) > 0 {
		v, queue = queue[0], queue[1:]
		switch v := v.(type) {
		case *torchTensor:
			return true
		case *pickle.Dict:
			if !seen[v] {
				seen[v] = true
				queue = append(queue, v.Values...)
			}
		}
	}
	return false
}

// notWeights are dictionaries beside the weights that hold tensors too.
func notWeights(name string) bool {
	return strings.HasPrefix(name, "optimizer") || strings.HasPrefix(name, "optimiser") || strings.HasSuffix(name, "scheduler") ||
		name == "scaler" || name == "ema"
}

// collect lists the tensors of a tree of dictionaries, names joined with dots.
// A dictionary that occurs twice would give its tensors two names: it is
// refused, as is one that contains itself.
func (s *StateDict) collect(v pickle.Value, prefix string, seen map[*pickle.Dict]bool, depth int, out *[]namedView) error {
	d, ok := v.(*pickle.Dict)
	if !ok {
		return fileerr.New(s.Path, -1, "%q is a %s: want a dictionary of tensors", s.Key, kindOf(v))
	}
	if seen[d] || depth > maxDepth {
		return fileerr.New(s.Path, -1, "dictionary %q: it occurs twice, or is nested deeper than %d", prefix, maxDepth)
	}
	seen[d] = true
	for i, key := range d.Keys {
		switch v := d.Values[i].(type) {
		case *torchTensor:
			*out = append(*out, namedView{prefix + key, v})
		case *pickle.Dict:
			if depth == 0 && s.Key == "" && notWeights(key) {
				continue
			}
			if err := s.collect(v, prefix+key+".", seen, depth+1, out); err != nil {
				return err
			}
		}
	}
	return nil
}

// maxElements bounds the values of one tensor: a view may be far larger than
// its storage.
const maxElements = 1 << 30

// named makes a tensor of a view.
func (f *torchFile) named(name string, x *torchTensor) (*NamedTensor, error) {
	rec := f.records[x.storage.key]
	if rec == nil {
		return nil, fileerr.New(f.path, -1, "tensor %q: storage %s is not in the file", name, x.storage.key)
	}
	if x.numel(maxElements) < 0 {
		return nil, fileerr.New(f.path, rec.offset, "tensor %q of size %v: want at most %d elements", name, x.shape, maxElements)
	}
	t := &NamedTensor{Name: name, DType: x.dtype, Shape: make([]int, len(x.shape))}
	for i, n := range x.shape {
		t.Shape[i] = int(n)
	}
	place := func(format string, args ...any) error {
		return fileerr.New(f.path, rec.offset, "tensor %q: %s", name, fmt.Sprintf(format, args...))
	}
	t.float32 = func() (*tensor.Tensor, error) {
		decode := floatDecoder(x.dtype)
		if decode == nil {
			return nil, fmt.Errorf("%s: tensor %q: type %s: %w", f.path, name, x.dtype, fileerr.ErrUnsupported)
		}
		b, err := f.bytesOf(x, rec)
		if err != nil {
			return nil, err
		}
		values := make([]float32, x.extent())
		if i := decode(values, b); i >= 0 && x.dtype != "F64" { // float64 beyond float32 becomes an infinity
			return nil, place("element %d of type %s does not fit into float32", i, x.dtype)
		} else if i >= 0 {
			decodeF64(values, b)
		}
		return tensor.FromSlice(gather(values, x), t.Shape...)
	}
	t.int64 = func() ([]int64, error) {
		decode := intDecoder(x.dtype)
		if decode == nil {
			return nil, place("type %s: want integers", x.dtype)
		}
		b, err := f.bytesOf(x, rec)
		if err != nil {
			return nil, err
		}
		size := bitsOf[x.dtype] / 8
		values := make([]int64, x.extent())
		for i := range values {
			values[i] = decode(b[i*size:])
		}
		return gather(values, x), nil
	}
	return t, nil
}

// extent is the number of elements of the storage from the first that the view
// uses to the last; 0 for empty views.
func (x *torchTensor) extent() int64 {
	last := int64(0)
	for i, n := range x.shape {
		if n == 0 {
			return 0
		}
		last += (n - 1) * x.stride[i]
	}
	return last + 1
}

// bytesOf reads the part of the storage that a view uses, in little-endian
// order.
func (f *torchFile) bytesOf(x *torchTensor, rec *record) ([]byte, error) {
	if rec.r == nil {
		r, err := rec.open()
		if err != nil {
			return nil, err
		}
		rec.r = r
	}
	size := int64(bitsOf[x.dtype] / 8)
	own := int64(bitsOf[x.storage.dtype] / 8)
	from := x.storage.offset*own + x.offset*size
	b := make([]byte, x.extent()*size)
	if from+int64(len(b)) > rec.size {
		return nil, fileerr.New(f.path, rec.offset, "storage %s of %d bytes: a tensor uses %d at %d", rec.key, rec.size, len(b), from)
	}
	if _, err := rec.r.ReadAt(b, from); err != nil && (err != io.EOF || len(b) > 0 && from+int64(len(b)) > rec.size) {
		return nil, fmt.Errorf("%s: storage %s: %w", f.path, rec.key, err)
	}
	if f.big && size > 1 {
		for i := int64(0); i < int64(len(b)); i += size {
			slices.Reverse(b[i : i+size])
		}
	}
	return b, nil
}

// gather copies the elements of a view in row-major order.
func gather[T any](values []T, x *torchTensor) []T {
	contiguous, step := true, int64(1)
	for i := len(x.shape) - 1; i >= 0; i-- {
		if x.shape[i] != 1 && x.stride[i] != step {
			contiguous = false
		}
		step *= x.shape[i]
	}
	if contiguous || len(values) == 0 {
		return values
	}
	out := make([]T, 0, step)
	index := make([]int64, len(x.shape))
	at := int64(0)
	for {
		out = append(out, values[at])
		i := len(index) - 1
		for ; i >= 0; i-- {
			index[i]++
			at += x.stride[i]
			if index[i] < x.shape[i] {
				break
			}
			at -= index[i] * x.stride[i]
			index[i] = 0
		}
		if i < 0 {
			return out
		}
	}
}

func decodeF64(dst []float32, b []byte) {
	for i := range dst {
		var bits uint64
		for k := range 8 {
			bits |= uint64(b[8*i+k]) << (8 * k)
		}
		dst[i] = float32(math.Float64frombits(bits))
	}
}
