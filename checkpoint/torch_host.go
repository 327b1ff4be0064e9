package checkpoint

import (
	"fmt"
	"strings"

	"github.com/adafire/adafire/checkpoint/pickle"
	"github.com/adafire/adafire/internal/fileerr"
)

// What the pickle of a torch file may refer to. A pickle is data, never code:
// names are compared as whole pairs with a list, and nothing else is known.

// A storageType is torch's class of a storage, such as torch.FloatStorage.
type storageType struct {
	dtype DType
	bytes bool // untyped: counts are bytes
}

// A dtypeValue is torch.float32 and its like.
type dtypeValue DType

// A builtin is a callable of the allow-list.
type builtin string

// A storageRef is one record of a torch file as persistent ids refer to it.
type storageRef struct {
	key   string
	dtype DType
	count int64 // elements of the whole storage
}

// A storageView is what a persistent id stands for: a storage or, in old
// files, a range of one.
type storageView struct {
	*storageRef
	offset, count int64 // in elements of the storage
	bytes         bool
}

// A torchTensor is a view of a storage.
type torchTensor struct {
	storage       *storageView
	dtype         DType
	offset        int64 // elements of dtype
	shape, stride []int64
}

// A torchHost answers for the names, calls and persistent ids of torch.save.
type torchHost struct {
	storages map[string]*storageRef
	legacy   bool
}

var torchStorages = map[string]DType{
	"FloatStorage": "F32", "DoubleStorage": "F64", "HalfStorage": "F16", "BFloat16Storage": "BF16",
	"LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8",
	"ByteStorage": "U8", "BoolStorage": "BOOL", "ComplexFloatStorage": "C64",
}

var torchDTypes = map[string]DType{
	"float32": "F32", "float": "F32", "float64": "F64", "double": "F64", "float16": "F16", "half": "F16",
	"bfloat16": "BF16", "int64": "I64", "long": "I64", "int32": "I32", "int": "I32", "int16": "I16", "short": "I16",
	"int8": "I8", "uint8": "U8", "uint16": "U16", "uint32": "U32", "uint64": "U64", "bool": "BOOL",
	"float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e4m3fnuz": "F8_E4M3FNUZ",
	"float8_e5m2fnuz": "F8_E5M2FNUZ", "float8_e8m0fnu": "F8_E8M0", "complex64": "C64",
}

// opaqueGlobals are classes that training checkpoints hold beside the weights.
// Objects of them are never looked into.
var opaqueGlobals = map[string]bool{
	"argparse.Namespace": true, "types.SimpleNamespace": true,
	"numpy.dtype": true, "numpy.ndarray": true,
	"numpy.core.multiarray.scalar": true, "numpy.core.multiarray._reconstruct": true,
	"numpy._core.multiarray.scalar": true, "numpy._core.multiarray._reconstruct": true,
	"_codecs.encode": true, "torch.torch_version.TorchVersion": true,
	"torch.Size": true, "torch.device": true,
}

// opaqueModules are packages whose classes are opaque one and all.
var opaqueModules = []string{"omegaconf", "pytorch_lightning", "lightning", "torch.optim", "datetime"}

func (h *torchHost) Global(module, name string) (pickle.Value, error) {
	full := module + "." + name
	if strings.ContainsAny(name, ".\n") || name == "" {
		return nil, fmt.Errorf("global %s: dotted names are refused", full)
	}
	switch module {
	case "collections":
		switch name {
		case "OrderedDict", "defaultdict", "Counter":
			return builtin(name), nil
		}
	case "__builtin__", "builtins":
		switch name {
		case "set", "frozenset", "list", "dict", "tuple":
			return builtin(name), nil
		case "bytearray", "complex":
			return pickle.Opaque{Name: full}, nil
		}
	case "torch._utils":
		switch name {
		case "_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter", "_rebuild_parameter_with_state":
			return builtin(name), nil
		case "_rebuild_sparse_tensor", "_rebuild_sparse_csr_tensor", "_rebuild_qtensor", "_rebuild_nested_tensor":
			return nil, fmt.Errorf("%s: sparse and quantised tensors are not supported: %w", full, fileerr.ErrUnsupported)
		}
	case "torch._tensor":
		if name == "_rebuild_from_type_v2" {
			return builtin(name), nil
		}
	case "torch.nn.parameter":
		if name == "Parameter" {
			return builtin(name), nil
		}
	case "torch.storage":
		switch name {
		case "UntypedStorage":
			return storageType{"U8", true}, nil
		case "TypedStorage":
			return builtin(name), nil
		}
	case "torch", "torch.cuda":
		if t, ok := torchStorages[name]; ok {
			return storageType{t, false}, nil
		}
		if t, ok := torchDTypes[name]; ok && module == "torch" {
			return dtypeValue(t), nil
		}
		if name == "Tensor" && module == "torch" {
			return builtin(name), nil
		}
		if strings.HasSuffix(name, "Storage") {
			return nil, fmt.Errorf("%s: quantised and foreign storages are not supported: %w", full, fileerr.ErrUnsupported)
		}
	case "pathlib":
		if strings.HasSuffix(name, "Path") {
			return pickle.Opaque{Name: full}, nil
		}
	}
	if opaqueGlobals[full] {
		return pickle.Opaque{Name: full}, nil
	}
	for _, m := range opaqueModules {
		if module == m || strings.HasPrefix(module, m+".") {
			return pickle.Opaque{Name: full}, nil
		}
	}
	switch root, _, _ := strings.Cut(module, "."); root {
	case "os", "posix", "nt", "subprocess", "sys", "builtins", "__builtin__", "importlib", "shutil", "socket", "runpy", "pickle":
		return nil, fmt.Errorf("global %s: refused, a file of weights has no use for it", full)
	}
	return nil, fmt.Errorf("global %s: not part of a state dict; if this file holds a whole model, save model.state_dict() instead", full)
}

func (h *torchHost) Call(callee pickle.Value, args []pickle.Value) (pickle.Value, error) {
	switch f := callee.(type) {
	case builtin:
		return h.call(string(f), args)
	case storageType, dtypeValue:
		return pickle.Opaque{Name: "storage"}, nil
	}
	return nil, fmt.Errorf("a %T is called", callee)
}

func (h *torchHost) call(name string, args []pickle.Value) (pickle.Value, error) {
	switch name {
	case "OrderedDict", "dict", "Counter":
		if len(args) == 0 {
			return pickle.NewDict(), nil
		}
		return dictOf(args[0])
	case "defaultdict":
		if len(args) > 1 {
			return dictOf(args[1])
		}
		return pickle.NewDict(), nil
	case "set", "frozenset", "list", "tuple":
		if len(args) == 0 {
			return &pickle.List{}, nil
		}
		if l, ok := items(args[0]); ok {
			return &pickle.List{Items: l}, nil
		}
		return nil, fmt.Errorf("%s of a %T", name, args[0])
	case "_rebuild_tensor":
		return rebuildTensor(args, 4, nil)
	case "_rebuild_tensor_v2":
		return rebuildTensor(args, 6, nil)
	case "_rebuild_tensor_v3":
		if len(args) < 7 {
			return nil, fmt.Errorf("%s with %d arguments: want 7 or more", name, len(args))
		}
		t, ok := args[6].(dtypeValue)
		if !ok {
			return nil, fmt.Errorf("%s: the type is a %T: want a dtype of torch", name, args[6])
		}
		return rebuildTensor(args, 7, &t)
	case "_rebuild_parameter", "_rebuild_parameter_with_state", "Parameter", "Tensor":
		if len(args) == 0 {
			return nil, fmt.Errorf("%s without arguments", name)
		}
		switch t := args[0].(type) {
		case *torchTensor, pickle.Opaque:
			return t, nil
		}
		return nil, fmt.Errorf("%s of a %T: want a tensor", name, args[0])
	case "_rebuild_from_type_v2":
		if len(args) < 3 {
			return nil, fmt.Errorf("%s with %d arguments: want 4", name, len(args))
		}
		f, ok := args[0].(builtin)
		inner, ok2 := args[2].(*pickle.Tuple)
		if !ok || !ok2 || !strings.HasPrefix(string(f), "_rebuild_") || string(f) == name {
			return nil, fmt.Errorf("%s: want a function that rebuilds a tensor and its arguments", name)
		}
		return h.call(string(f), inner.Items)
	}
	return nil, fmt.Errorf("%s is called: want it only as a type", name)
}

func (h *torchHost) Build(object, state pickle.Value) error {
	if _, ok := object.(*torchTensor); ok {
		return nil // attributes of a tensor say nothing about its values
	}
	return fmt.Errorf("the state of a %T is set", object)
}

// Persistent resolves ("storage", type, key, location, count[, view]).
func (h *torchHost) Persistent(id pickle.Value) (pickle.Value, error) {
	tuple, ok := id.(*pickle.Tuple)
	if !ok || len(tuple.Items) < 1 {
		return nil, fmt.Errorf("persistent id is a %T: want a tuple that begins with \"storage\"", id)
	}
	p := tuple.Items
	kind, _ := p[0].(string)
	if kind == "module" {
		return nil, fmt.Errorf("this file holds the source of a class, so a whole model: save model.state_dict() instead")
	}
	if kind != "storage" || len(p) < 5 || len(p) > 6 {
		return nil, fmt.Errorf("persistent id %q with %d members: want \"storage\" with 5 or 6", kind, len(p))
	}
	t, ok := p[1].(storageType)
	if !ok {
		return nil, fmt.Errorf("persistent id: the storage type is a %T", p[1])
	}
	key, ok := p[2].(string)
	if !ok || !plainKey(key) {
		return nil, fmt.Errorf("storage key %q: want letters, digits and _", fmt.Sprint(p[2]))
	}
	count, ok := p[4].(int64)
	if !ok || count < 0 || count > 1<<50 {
		return nil, fmt.Errorf("storage %s: %v elements", key, p[4])
	}
	s := h.storages[key]
	if s == nil {
		s = &storageRef{key, t.dtype, count}
		h.storages[key] = s
	} else if s.dtype != t.dtype || s.count != count {
		return nil, fmt.Errorf("storage %s is %d of %s here and was %d of %s before", key, count, t.dtype, s.count, s.dtype)
	}
	v := &storageView{storageRef: s, count: count, bytes: t.bytes}
	if len(p) == 6 && p[5] != nil {
		view, ok := p[5].(*pickle.Tuple)
		if !ok || len(view.Items) != 3 {
			return nil, fmt.Errorf("storage %s: its view is a %T: want (key, offset, size)", key, p[5])
		}
		offset, ok1 := view.Items[1].(int64)
		size, ok2 := view.Items[2].(int64)
		if !ok1 || !ok2 || offset < 0 || size < 0 || offset > count || size > count-offset {
			return nil, fmt.Errorf("storage %s of %d elements: its view begins at %v and has %v", key, count, view.Items[1], view.Items[2])
		}
		v.offset, v.count = offset, size
	}
	return v, nil
}

func plainKey(key string) bool {
	return key != "" && len(key) <= 256 && strings.Trim(key, "0123456789_ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") == ""
}

func items(v pickle.Value) ([]pickle.Value, bool) {
	switch v := v.(type) {
	case *pickle.List:
		return v.Items, true
	case *pickle.Tuple:
		return v.Items, true
	}
	return nil, false
}

// dictOf is dict(v) for a dictionary or a list of pairs.
func dictOf(v pickle.Value) (pickle.Value, error) {
	switch v := v.(type) {
	case *pickle.Dict, pickle.Opaque:
		return v, nil
	}
	list, ok := items(v)
	if !ok {
		return nil, fmt.Errorf("a dictionary of a %T", v)
	}
	d := pickle.NewDict()
	for _, pair := range list {
		kv, ok := items(pair)
		if !ok || len(kv) != 2 {
			return nil, fmt.Errorf("a dictionary of a list whose items are no pairs")
		}
		key, ok := kv[0].(string)
		if !ok {
			return nil, fmt.Errorf("a dictionary with the key %T: want a string", kv[0])
		}
		d.Set(key, kv[1])
	}
	return d, nil
}

// rebuildTensor reads (storage, offset, size, stride, ...).
func rebuildTensor(args []pickle.Value, want int, t *dtypeValue) (pickle.Value, error) {
	if len(args) < want {
		return nil, fmt.Errorf("a tensor with %d arguments: want %d", len(args), want)
	}
	s, ok := args[0].(*storageView)
	if !ok {
		return nil, fmt.Errorf("a tensor of a %T: want a storage", args[0])
	}
	offset, ok := args[1].(int64)
	if !ok {
		return nil, fmt.Errorf("a tensor whose offset is a %T", args[1])
	}
	shape, err := integers("size", args[2])
	if err != nil {
		return nil, err
	}
	stride, err := integers("stride", args[3])
	if err != nil {
		return nil, err
	}
	x := &torchTensor{storage: s, dtype: s.dtype, offset: offset, shape: shape, stride: stride}
	if t != nil {
		x.dtype = DType(*t)
	}
	return x, x.check()
}

func integers(what string, v pickle.Value) ([]int64, error) {
	list, ok := items(v)
	if !ok || len(list) > 64 {
		return nil, fmt.Errorf("a tensor whose %s is a %T: want a tuple of at most 64", what, v)
	}
	out := make([]int64, len(list))
	for i, item := range list {
		n, ok := item.(int64)
		if !ok {
			return nil, fmt.Errorf("a tensor whose %s holds a %T", what, item)
		}
		out[i] = n
	}
	return out, nil
}

// check holds the view against its storage.
func (x *torchTensor) check() error {
	if len(x.shape) != len(x.stride) {
		return fmt.Errorf("a tensor with %d sizes and %d strides", len(x.shape), len(x.stride))
	}
	if x.offset < 0 {
		return fmt.Errorf("a tensor that begins at element %d of its storage", x.offset)
	}
	size := int64(bitsOf[x.dtype] / 8)
	have := x.storage.count
	if x.storage.bytes && size > 0 {
		have /= size
	}
	empty := false
	last := x.offset
	for i, n := range x.shape {
		if n < 0 || x.stride[i] < 0 {
			return fmt.Errorf("a tensor of size %v and stride %v: want no negative numbers", x.shape, x.stride)
		}
		if n == 0 {
			empty = true
		}
	}
	for i, n := range x.shape {
		if empty {
			break
		}
		if n > 1 && x.stride[i] > (have-last)/(n-1) { // have-last may not become negative, see below
			return fmt.Errorf("a tensor of size %v and stride %v at %d: storage %s has %d elements", x.shape, x.stride, x.offset, x.storage.key, have)
		}
		last += (n - 1) * x.stride[i]
		if last >= have {
			return fmt.Errorf("a tensor of size %v and stride %v at %d: storage %s has %d elements", x.shape, x.stride, x.offset, x.storage.key, have)
		}
	}
	if !empty && last >= have {
		return fmt.Errorf("a tensor at element %d: storage %s has %d", x.offset, x.storage.key, have)
	}
	return nil
}

// numel returns the number of elements, or -1 if it exceeds limit.
func (x *torchTensor) numel(limit int64) int64 {
	n := int64(1)
	for _, d := range x.shape {
		if d == 0 {
			return 0
		}
	}
	for _, d := range x.shape {
		if n > limit/d {
			return -1
		}
		n *= d
	}
	return n
}
