package checkpoint

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/adafire/adafire/internal/atomicfile"
	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/internal/golden"
	"github.com/adafire/adafire/internal/npy"
	"github.com/adafire/adafire/tensor"
)

// goldenManifest is the part of the manifest that is about safetensors.
type goldenManifest struct {
	Load []struct {
		File     string            `json:"file"`
		Metadata map[string]string `json:"metadata"`
		Tensors  []struct {
			Name  string `json:"name"`
			DType DType  `json:"dtype"`
			Shape []int  `json:"shape"`
			File  string `json:"file"`
		} `json:"tensors"`
	} `json:"safetensors_load"`
	Refuse []struct {
		File string `json:"file"`
		Why  string `json:"why"`
	} `json:"safetensors_refuse"`
}

func TestGoldenSafetensors(t *testing.T) {
	dir := filepath.Join(golden.Dir(t), "checkpoints")
	b, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		if os.Getenv(golden.Env) != "" {
			t.Skip(err) // another folder may lack the vectors, ours may not
		}
		t.Fatal(err)
	}
	var m goldenManifest
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	for _, c := range m.Load {
		t.Run(filepath.Base(c.File), func(t *testing.T) {
			f, err := Open(filepath.Join(dir, c.File))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if diff := cmp.Diff(c.Metadata, f.Metadata); diff != "" {
				t.Errorf("metadata: %s", diff)
			}
			if len(f.Tensors) != len(c.Tensors) {
				t.Errorf("%d tensors, want %d", len(f.Tensors), len(c.Tensors))
			}
			for _, want := range c.Tensors {
				got := f.Tensor(want.Name)
				if got == nil {
					t.Errorf("no tensor %q", want.Name)
					continue
				}
				if got.DType != want.DType || !slices.Equal(got.Shape, want.Shape) {
					t.Errorf("%q: got %s %v, want %s %v", want.Name, got.DType, got.Shape, want.DType, want.Shape)
				}
				checkValues(t, got, filepath.Join(dir, want.File))
			}
		})
	}
	for _, c := range m.Refuse {
		t.Run(filepath.Base(c.File), func(t *testing.T) {
			f, err := Open(filepath.Join(dir, c.File))
			if err == nil {
				f.Close()
				t.Fatalf("loaded, want a refusal: %s", c.Why)
			}
			var format *fileerr.FormatError
			if !errors.As(err, &format) || format.Path != filepath.Join(dir, c.File) {
				t.Errorf("got %v, want a format error with the path", err)
			}
			t.Logf("%s: %v", c.Why, err)
		})
	}
}

// checkValues compares a tensor with the array in a .npy file, where half and
// 8-bit types have been widened.
func checkValues(t *testing.T, got *Stored, path string) {
	t.Helper()
	a, err := npy.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if a.IsInt() {
		values, err := got.Int64()
		if err != nil {
			t.Error(err)
			return
		}
		want, err := a.Int()
		if err != nil {
			t.Fatal(err)
		}
		if !slices.EqualFunc(values, want, func(g int64, w int) bool { return g == int64(w) }) {
			t.Errorf("%q: got %v, want %v", got.Name, values, want)
		}
		return
	}
	x, err := got.Float32()
	if err != nil {
		t.Error(err)
		return
	}
	want, err := a.Float32()
	if err != nil {
		t.Fatal(err)
	}
	same := func(a, b float32) bool {
		return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
	}
	if !slices.EqualFunc(x.Data, want, same) {
		t.Errorf("%q: got %v, want %v", got.Name, x.Data, want)
	}
}

// raw builds a safetensors file from its parts.
func raw(header string, data ...byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), data...)
}

func parse(b []byte) (*File, error) {
	return Read(bytes.NewReader(b), int64(len(b)), "x.safetensors")
}

const one = `"dtype":"U8","shape":[2],"data_offsets":[0,2]`

func TestRefuse(t *testing.T) {
	for _, c := range []struct {
		name string
		file []byte
		want string // part of the message
	}{
		{"empty", nil, "offset 0: 0 bytes"},
		{"header longer than the file", append(binary.LittleEndian.AppendUint64(nil, 100), "{}"...), "header of 100 bytes: 2 remain"},
		{"header above the limit", binary.LittleEndian.AppendUint64(nil, 100_000_001), "at most 100000000"},
		{"header length with the top bit", binary.LittleEndian.AppendUint64(nil, 1<<63), "at most 100000000"},
		{"empty header", raw(""), "begin with {"},
		{"leading blank", raw(" {}"), "begin with {"},
		{"cut", raw(`{"a":{`), "ends within the JSON"},
		{"bracket not closed", raw(`{"a":{`+one+`}`, 1, 2), "ends within the JSON"},
		{"text behind", raw(`{}x`), "offset 10: header goes on"},
		{"newline behind", raw("{}\n"), "header goes on"},
		{"second object", raw(`{} {}`), "header goes on"},
		{"trailing comma", raw(`{"a":{`+one+`,}}`, 1, 2), "not JSON"},
		{"no colon", raw(`{"a" {`+one+`}}`, 1, 2), "not JSON"},
		{"invalid UTF-8", raw("{\"a\xff\":{"+one+"}}", 1, 2), "UTF-8"},
		{"half a surrogate pair", raw(`{"\ud800":{`+one+`}}`, 1, 2), "surrogate"},
		{"low surrogate alone", raw(`{"\\\udc00":{`+one+`}}`, 1, 2), "surrogate"},
		{"duplicate name", raw(`{"a":{`+one+`},"a":{`+one+`}}`, 1, 2), `"a" occurs twice`},
		{"duplicate name by escape", raw(`{"a":{`+one+`},"\u0061":{`+one+`}}`, 1, 2), `"a" occurs twice`},
		{"duplicate metadata", raw(`{"__metadata__":{},"__metadata__":{}}`), "__metadata__ occurs twice"},
		{"duplicate metadata key", raw(`{"__metadata__":{"k":"1","k":"2"}}`), `metadata "k" occurs twice`},
		{"metadata number", raw(`{"__metadata__":{"k":1}}`), "want a string"},
		{"metadata list", raw(`{"__metadata__":[]}`), "want {"},
		{"duplicate dtype", raw(`{"a":{"dtype":"U8",`+one+`}}`, 1, 2), "dtype occurs twice"},
		{"duplicate shape", raw(`{"a":{"shape":[2],`+one+`}}`, 1, 2), "shape occurs twice"},
		{"duplicate offsets", raw(`{"a":{"data_offsets":[0,2],`+one+`}}`, 1, 2), "data_offsets occurs twice"},
		{"no dtype", raw(`{"a":{"shape":[2],"data_offsets":[0,2]}}`, 1, 2), "no dtype"},
		{"no shape", raw(`{"a":{"dtype":"U8","data_offsets":[0,2]}}`, 1, 2), "no shape"},
		{"no offsets", raw(`{"a":{"dtype":"U8","shape":[2]}}`, 1, 2), "no data_offsets"},
		{"case matters", raw(`{"a":{"DType":"U8","shape":[2],"data_offsets":[0,2]}}`, 1, 2), `unknown member "DType"`},
		{"unknown member", raw(`{"a":{"stride":[1],`+one+`}}`, 1, 2), `unknown member "stride"`},
		{"unknown dtype", raw(`{"a":{"dtype":"F31","shape":[2],"data_offsets":[0,2]}}`, 1, 2), `"F31"`},
		{"dtype number", raw(`{"a":{"dtype":8,"shape":[2],"data_offsets":[0,2]}}`, 1, 2), "string as dtype"},
		{"tensor is a list", raw(`{"a":[]}`), "want {"},
		{"three offsets", raw(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2,2]}}`, 1, 2), "3 data_offsets"},
		{"float dimension", raw(`{"a":{"dtype":"U8","shape":[2.0],"data_offsets":[0,2]}}`, 1, 2), "2.0"},
		{"exponent", raw(`{"a":{"dtype":"U8","shape":[2e0],"data_offsets":[0,2]}}`, 1, 2), "2e0"},
		{"negative dimension", raw(`{"a":{"dtype":"U8","shape":[-2],"data_offsets":[0,2]}}`, 1, 2), "non-negative"},
		{"negative zero", raw(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[-0,2]}}`, 1, 2), "non-negative"},
		{"beyond 64 bits", raw(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,99999999999999999999]}}`, 1, 2), "beyond 63 bits"},
		{"nested shape", raw(`{"a":{"dtype":"U8","shape":[[2]],"data_offsets":[0,2]}}`, 1, 2), "has [:"},
		{"shape product", raw(`{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,2]}}`, 1, 2), "2 bytes, shape [3] of U8 needs 3"},
		{"shape overflow", raw(`{"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,2]}}`, 1, 2), "too many bytes"},
		{"half a byte", raw(`{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}}`, 1, 2), "no whole number of bytes"},
		{"begin after end", raw(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[2,0]}}`, 1, 2), "begin <= end"},
		{"past the end", raw(`{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}`, 1, 2), "the length of the data"},
		{"truncated", raw(`{"a":{`+one+`}}`, 1), "the length of the data"},
		{"bytes behind", raw(`{"a":{`+one+`}}`, 1, 2, 3), "1 bytes behind the last tensor"},
		{"overlap", raw(`{"a":{`+one+`},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, 1, 2, 3), `tensor "b": overlaps tensor "a"`},
		{"same range", raw(`{"a":{`+one+`},"b":{`+one+`}}`, 1, 2), `overlaps tensor "a"`},
		{"empty inside another", raw(`{"a":{`+one+`},"b":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}}`, 1, 2), "overlaps"},
		{"hole", raw(`{"a":{`+one+`},"b":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}}`, 1, 2, 3, 4), `tensor "b": a hole of 1 bytes`},
		{"hole in front", raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 1, 2), "a hole of 1 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := parse(c.file)
			var format *fileerr.FormatError
			if !errors.As(err, &format) || !strings.HasPrefix(err.Error(), "x.safetensors: offset ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want a format error with %q", err, c.want)
			}
		})
	}
}

func TestAccepts(t *testing.T) {
	for name, b := range map[string][]byte{
		"no tensors":         raw(`{}`),
		"padding":            raw(`{"a":{`+one+`}}   `, 1, 2),
		"any order":          raw(`{"b":{"dtype":"U8","shape":[],"data_offsets":[2,3]},"a":{`+one+`}}`, 1, 2, 3),
		"empty tensors":      raw(`{"e":{"dtype":"F32","shape":[0,4],"data_offsets":[2,2]},"a":{`+one+`},"f":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}`, 1, 2),
		"a surrogate pair":   raw(`{"\ud83d\udd25 \\udc00":{`+one+`}}`, 1, 2),
		"4-bit type, unused": raw(`{"a":{"dtype":"F4","shape":[4],"data_offsets":[0,2]}}`, 1, 2),
	} {
		if _, err := parse(b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTensorErrors(t *testing.T) {
	big := binary.LittleEndian.AppendUint64(nil, math.Float64bits(1e300))
	for _, c := range []struct {
		name, dtype string
		data        []byte
		floats      string // part of the error of Float32; empty: none
		ints        string // of Int64
	}{
		{"F4", "F4", []byte{1}, "type F4: unsupported", "type F4: unsupported"},
		{"C64", "C64", make([]byte, 8), "type C64: unsupported", "type C64: unsupported"},
		{"F32 as integers", "F32", make([]byte, 4), "", "want integers"},
		{"1e300", "F64", big, "element 0 of type F64 does not fit", "want integers"},
		{"infinite F64", "F64", binary.LittleEndian.AppendUint64(nil, math.Float64bits(math.Inf(1))), "", "want integers"},
		{"2^24+1", "I32", []byte{1, 0, 0, 1}, "element 0 of type I32", ""},
		{"-(2^24+1)", "I64", binary.LittleEndian.AppendUint64(nil, math.MaxUint64-1<<24), "element 0 of type I64", ""},
		{"smallest I64", "I64", binary.LittleEndian.AppendUint64(nil, 1<<63), "", ""},
		{"largest I64", "I64", binary.LittleEndian.AppendUint64(nil, 1<<63-1), "does not fit", ""},
		{"2^63 unsigned", "U64", binary.LittleEndian.AppendUint64(nil, 1<<63), "", "beyond the range of int64"},
		{"largest U64", "U64", binary.LittleEndian.AppendUint64(nil, math.MaxUint64), "does not fit", "beyond the range of int64"},
		{"bool 2", "BOOL", []byte{2}, "want 0 or 1", "want 0 or 1"},
	} {
		shape := "1"
		if c.dtype == "F4" {
			shape = "2"
		}
		size, _ := json.Marshal(len(c.data))
		f, err := parse(raw(`{"a":{"dtype":"`+c.dtype+`","shape":[`+shape+`],"data_offsets":[0,`+string(size)+`]}}`, c.data...))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		_, floatErr := f.Tensor("a").Float32()
		_, intErr := f.Tensor("a").Int64()
		for _, e := range []struct {
			got  error
			want string
		}{{floatErr, c.floats}, {intErr, c.ints}} {
			if e.want == "" && e.got != nil || e.want != "" && (e.got == nil || !strings.Contains(e.got.Error(), e.want) || !strings.Contains(e.got.Error(), `tensor "a"`)) {
				t.Errorf("%s: got %v, want %q", c.name, e.got, e.want)
			}
		}
	}
}

// entries draws tensors of all types that Write stores.
func drawEntries(t *rapid.T) []Entry {
	var list []Entry
	names := rapid.SliceOfNDistinct(rapid.StringN(1, 8, -1), 0, 5, rapid.ID[string]).Draw(t, "names")
	for _, name := range names {
		if name == metadataKey {
			continue
		}
		shape := rapid.SliceOfN(rapid.IntRange(0, 3), 0, 3).Draw(t, "shape")
		n, _ := tensor.Numel(shape)
		e := Entry{Name: name, Shape: shape}
		switch rapid.IntRange(0, 3).Draw(t, "type") {
		case 0:
			e.Data = rapid.SliceOfN(rapid.Float32(), n, n).Draw(t, "f32")
		case 1:
			e.Data = rapid.SliceOfN(rapid.Int64(), n, n).Draw(t, "i64")
		case 2:
			e.Data = rapid.SliceOfN(rapid.Int32(), n, n).Draw(t, "i32")
		default:
			e.Data = rapid.SliceOfN(rapid.Uint8(), n, n).Draw(t, "u8")
		}
		list = append(list, e)
	}
	return list
}

func TestWriteRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries := drawEntries(t)
		metadata := rapid.MapOfN(rapid.String(), rapid.String(), 0, 4).Draw(t, "metadata")
		delete(metadata, digestKey)
		var b, again bytes.Buffer
		if err := Encode(&b, entries, metadata); err != nil {
			t.Fatal(err)
		}
		if err := Encode(&again, entries, metadata); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b.Bytes(), again.Bytes()) {
			t.Fatal("equal arguments give different bytes")
		}
		f, err := parse(b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Verify(); err != nil {
			t.Fatal(err)
		}
		if f.dataFrom%8 != 0 {
			t.Fatalf("data begin at %d", f.dataFrom)
		}
		delete(f.Metadata, digestKey)
		if diff := cmp.Diff(metadata, f.Metadata); diff != "" {
			t.Fatal(diff)
		}
		if len(f.Tensors) != len(entries) {
			t.Fatalf("%d tensors, want %d", len(f.Tensors), len(entries))
		}
		for _, e := range entries {
			s := f.Tensor(e.Name)
			if !slices.Equal(s.Shape, e.Shape) {
				t.Fatalf("%q: shape %v, want %v", e.Name, s.Shape, e.Shape)
			}
			if s.begin%int64(bitsOf[s.DType]/8) != 0 {
				t.Fatalf("%q: %s begins at %d", e.Name, s.DType, s.begin)
			}
			switch want := e.Data.(type) {
			case []float32:
				got, err := s.Float32()
				if err != nil || !slices.EqualFunc(got.Data, want, func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }) {
					t.Fatalf("%q: got %v, %v, want %v", e.Name, got, err, want)
				}
			case []int64:
				checkInts(t, s, want)
			case []int32:
				checkInts(t, s, want)
			case []uint8:
				checkInts(t, s, want)
			}
		}
	})
}

func checkInts[T int64 | int32 | uint8](t *rapid.T, s *Stored, want []T) {
	got, err := s.Int64()
	if err != nil || !slices.EqualFunc(got, want, func(a int64, b T) bool { return a == int64(b) }) {
		t.Fatalf("%q: got %v, %v, want %v", s.Name, got, err, want)
	}
}

func TestWriteRefuses(t *testing.T) {
	for _, c := range []struct {
		name     string
		tensors  []Entry
		metadata map[string]string
		want     string
	}{
		{"type", []Entry{{"a", []int{1}, []string{"x"}}}, nil, "cannot store []string"},
		{"shape", []Entry{{"a", []int{2}, []float32{1}}}, nil, "1 values for shape [2]"},
		{"twice", []Entry{{"a", nil, []uint8{1}}, {"a", nil, []uint8{1}}}, nil, "occurs twice"},
		{"empty name", []Entry{{"", nil, []uint8{1}}}, nil, "tensor name"},
		{"reserved name", []Entry{{"__metadata__", nil, []uint8{1}}}, nil, "tensor name"},
		{"name", []Entry{{"\xff", nil, []uint8{1}}}, nil, "UTF-8"},
		{"metadata", nil, map[string]string{"k": "\xff"}, "UTF-8"},
	} {
		path := filepath.Join(t.TempDir(), "a.safetensors")
		if err := Write(path, c.tensors, c.metadata, false); err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), path) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s: a file was left", c.name)
		}
	}
}

func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.safetensors")
	long := make([]float32, 3*piece+5)
	for i := range long {
		long[i] = float32(i)
	}
	if err := Write(path, []Entry{{"a", []int{len(long)}, long}}, nil, false); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, nil, nil, false); !errors.Is(err, atomicfile.ErrExists) {
		t.Errorf("got %v, want ErrExists", err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.Tensor("a").Float32()
	if err != nil || !slices.Equal(got.Data, long) {
		t.Errorf("got other values, %v", err)
	}
	if err := f.Verify(); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if err := Write(path, nil, nil, true); err != nil {
		t.Errorf("with force: %v", err)
	}
}

func TestVerifyFindsDamage(t *testing.T) {
	var b bytes.Buffer
	if err := Encode(&b, []Entry{{"a", []int{3}, []float32{1, 2, 3}}}, nil); err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(b.Bytes())
	damaged[len(damaged)-1] ^= 1
	f, err := parse(damaged)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Verify(); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("got %v", err)
	}
	f, err = parse(raw(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Verify(); err == nil || !strings.Contains(err.Error(), "no adafire.sha256") {
		t.Errorf("got %v", err)
	}
}

// A file that shrinks after it was opened gives an error, not zeros.
func TestShrunkFile(t *testing.T) {
	b := raw(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, make([]byte, 8)...)
	f, err := Read(bytes.NewReader(b[:len(b)-3]), int64(len(b)), "x.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Tensor("a").Float32(); err == nil || !strings.Contains(err.Error(), "want 3 more bytes") {
		t.Errorf("got %v", err)
	}
	if _, err := f.Digest(); err == nil || !strings.Contains(err.Error(), "want 3 more bytes") {
		t.Errorf("got %v", err)
	}
}

func FuzzSafetensors(f *testing.F) {
	f.Add(raw(`{"a":{`+one+`}}  `, 1, 2))
	f.Add(raw(`{"__metadata__":{"k":"v"},"\ud83d\udd25":{"dtype":"F16","shape":[1,1],"data_offsets":[0,2]}}`, 0, 0x3c))
	f.Add(raw(`{"b":{"dtype":"I64","shape":[],"data_offsets":[1,9]},"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}`, make([]byte, 9)...))
	seeds, _ := filepath.Glob(filepath.Join("..", "testdata", "golden", "checkpoints", "safetensors", "*"))
	for _, path := range seeds {
		if b, err := os.ReadFile(path); err == nil && len(b) < 4096 {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 {
			return
		}
		file, err := parse(b)
		if err != nil {
			return
		}
		var entries []Entry
		for _, s := range file.Tensors {
			if _, err := s.Int64(); err == nil && bitsOf[s.DType] == 64 {
				continue // float32 may not hold them
			}
			x, err := s.Float32()
			if err != nil || s.Name == "" {
				continue
			}
			entries = append(entries, NewEntry(s.Name, x))
		}
		var out bytes.Buffer
		if err := Encode(&out, entries, file.Metadata); err != nil {
			t.Fatal(err)
		}
		again, err := parse(out.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if err := again.Verify(); err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			x, err := again.Tensor(e.Name).Float32()
			same := func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }
			if err != nil || !slices.Equal(x.Shape, e.Shape) || !slices.EqualFunc(x.Data, e.Data.([]float32), same) {
				t.Fatalf("%q: got %v, %v, want %v %v", e.Name, x, err, e.Shape, e.Data)
			}
		}
	})
}
