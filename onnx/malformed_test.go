package onnx_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/onnx"
)

var x, y = []string{"x"}, []string{"y"}

func xw(more ...string) []string { return append([]string{"x", "w"}, more...) }

// kernel is a stored 3x3 weight of one input and two output channels.
func kernel() pb { return floats("w", []int64{2, 1, 3, 3}, make([]float32, 18)...) }

var image = []int64{1, 1, 4, 4}

// malformed lists models that must be refused, and what the message must name.
func malformed() map[string]struct {
	data []byte
	want []string
} {
	type m = struct {
		data []byte
		want []string
	}
	relu := node("Relu", x, y)
	simple := one(17, image, relu)
	tail := func(g pb, extra ...pb) []byte { // a model with more fields
		b := model(17, g)
		for _, e := range extra {
			b = append(b, e...)
		}
		return b
	}
	g := graphParts{nodes: []pb{relu}, inputs: []pb{value("x", 1, 4)}, outputs: []pb{pb(nil).str(1, "y")}}
	call := func(f ...pb) []byte { // a call of local function F
		n := pb(nil).str(1, "x").str(2, "y").str(4, "F").str(7, "local")
		b := model(17, graphParts{nodes: []pb{n}, inputs: g.inputs, outputs: g.outputs}.encode())
		b = pb(b).bytes(8, pb(nil).str(1, "local").int(2, 1))
		for _, x := range f {
			b = pb(b).bytes(25, x)
		}
		return b
	}
	function := func(name string, nodes ...pb) pb {
		f := pb(nil).str(1, name).str(4, "a").str(5, "b")
		for _, n := range nodes {
			f = f.bytes(7, n)
		}
		return f.bytes(9, pb(nil).int(2, 17)).bytes(9, pb(nil).str(1, "local").int(2, 1)).str(10, "local")
	}
	inner := func(op string) pb { return pb(nil).str(1, "a").str(2, "b").str(4, op).str(7, "local") }
	twoBits := func(t pb) pb { return t.int(2, 25) }
	cond := func(then pb) []byte {
		return one(17, image, node("If", []string{"c"}, y, attrGraph("then_branch", then), attrGraph("else_branch", then)),
			pb(nil).int(2, 9).str(8, "c").bytes(9, []byte{1}))
	}
	return map[string]m{
		"name too long":             {one(17, image, node("Relu", x, []string{strings.Repeat("y", 1<<17)})), []string{"offset", "name"}},
		"string field as varint":    {append([]byte(nil), pb(nil).int(2, 5)...), []string{"offset", "wire type"}},
		"graph as varint":           {append([]byte(nil), pb(nil).int(7, 5)...), []string{"offset", "wire type"}},
		"node as varint":            {tail(pb(g.encode()).int(1, 5)), []string{"offset", "wire type"}},
		"group not closed":          {append(append([]byte(nil), simple...), 0x9b, 0x06), []string{"offset"}},
		"ragged floats":             {one(17, image, relu, pb(nil).int(1, 1).int(2, 1).str(8, "w").bytes(4, []byte{1, 2, 3})), []string{"offset", "4-byte"}},
		"65 axes":                   {one(17, image, relu, floats("w", make([]int64, 65))), []string{"offset", "64 axes"}},
		"nine axes":                 {one(17, image, node("Add", xw(), y), floats("w", []int64{1, 1, 1, 1, 1, 1, 1, 1, 1}, 1)), []string{`"w"`, "9 axes"}},
		"cut varint in data":        {one(17, image, node("Add", xw(), y), pb(nil).int(1, 1).int(2, 7).str(8, "w").bytes(7, []byte{0x80})), []string{`"w"`, "values"}},
		"data of another type":      {one(17, image, node("Add", xw(), y), pb(nil).int(1, 1).int(2, 1).str(8, "w").bytes(7, []byte{1})), []string{`"w"`, "another type"}},
		"location out of range":     {one(17, image, node("Add", xw(), y), floats("w", []int64{1}, 1).int(14, 2)), []string{`"w"`, "location"}},
		"segments":                  {one(17, image, node("Add", xw(), y), floats("w", []int64{1}, 1).bytes(3, nil)), []string{`"w"`, "segments"}},
		"external without a folder": {one(17, image, node("Add", xw(), y), pb(nil).int(1, 1).int(2, 1).str(8, "w").int(14, 1).bytes(13, pb(nil).str(1, "location").str(2, "w.bin"))), []string{`"w"`, "w.bin", "folder"}},
		"entries but not external":  {one(17, image, node("Add", xw(), y), floats("w", []int64{1}, 1).bytes(13, pb(nil).str(1, "location").str(2, "w.bin"))), []string{`"w"`}},
		"2-bit weights":             {one(17, image, node("Add", xw(), y), twoBits(pb(nil).int(1, 1).str(8, "w"))), []string{`"w"`, "uint2"}},
		"sparse initialiser":        {model(17, g.encode().bytes(15, pb(nil).int(1, 1))), []string{"sparse"}},
		"nameless initialiser":      {one(17, image, relu, floats("", []int64{1}, 1)), []string{"no name"}},
		"nameless input":            {model(17, graphParts{nodes: []pb{relu}, inputs: []pb{value("x", 1, 4), value("", 1)}, outputs: g.outputs}.encode()), []string{"no name"}},
		"input twice":               {model(17, graphParts{nodes: []pb{relu}, inputs: []pb{value("x", 1, 4), value("x", 1, 4)}, outputs: g.outputs}.encode()), []string{`"x"`, "twice"}},
		"input produced by a node":  {one(17, image, node("Relu", x, x)), []string{`"x"`}},
		"no output":                 {model(17, graphParts{nodes: []pb{relu}, inputs: g.inputs}.encode()), []string{"no output"}},
		"input of no type":          {model(17, graphParts{nodes: []pb{relu}, inputs: []pb{pb(nil).str(1, "x")}, outputs: g.outputs}.encode()), []string{`"x"`, "tensor"}},
		"input without a shape":     {model(17, graphParts{nodes: []pb{relu}, inputs: []pb{pb(nil).str(1, "x").bytes(2, pb(nil).bytes(1, pb(nil).int(1, 1)))}, outputs: g.outputs}.encode()), []string{`"x"`, "shape"}},
		"open space":                {one(17, []int64{-1, 3, -1, 4}, relu), []string{`"x"`, "axis 2", "N"}},
		"input of sequences":        {model(17, graphParts{nodes: []pb{relu}, inputs: []pb{pb(nil).str(1, "x").bytes(2, pb(nil).bytes(4, nil))}, outputs: g.outputs}.encode()), []string{`"x"`, "sequence"}},
		"huge input":                {one(17, []int64{1, 1 << 20, 1 << 20, 1 << 20}, relu), []string{`"x"`, "large"}},
		"attribute twice":           {one(17, image, node("LeakyRelu", x, y, attrFloat("alpha", 1), attrFloat("alpha", 2))), []string{"LeakyRelu0", "alpha", "twice"}},
		"attribute of two kinds":    {one(17, image, node("LeakyRelu", x, y, attrFloat("alpha", 1).int(3, 1))), []string{"alpha"}},
		"attribute without a kind":  {one(17, image, node("LeakyRelu", x, y, pb(nil).str(1, "alpha"))), []string{"alpha"}},
		"reference outside":         {one(17, image, node("LeakyRelu", x, y, pb(nil).str(1, "alpha").int(20, 1).str(21, "a"))), []string{"alpha"}},
		"too few inputs":            {one(17, image, node("Conv", x, y)), []string{"Conv0", "1 inputs"}},
		"too many inputs":           {one(17, image, node("Relu", []string{"x", "x"}, y)), []string{"Relu0", "2 inputs"}},
		"needed input omitted":      {one(17, image, node("Conv", []string{"", "w"}, y), kernel()), []string{"Conv0"}},
		"too many outputs":          {one(17, image, node("Relu", x, []string{"y", "z"})), []string{"Relu0", "2 outputs"}},
		"pads of another length":    {one(17, image, node("Conv", xw(), y, attrInts("pads", 1, 1)), kernel()), []string{"Conv0", "pads"}},
		"auto_pad and pads":         {one(17, image, node("Conv", xw(), y, attrInts("pads", 1, 1, 1, 1), attrStr("auto_pad", "SAME_UPPER")), kernel()), []string{"Conv0", "auto_pad"}},
		"unknown auto_pad":          {one(17, image, node("Conv", xw(), y, attrStr("auto_pad", "SAME")), kernel()), []string{"Conv0", "auto_pad"}},
		"group 0":                   {one(17, image, node("Conv", xw(), y, attrInt("group", 0)), kernel()), []string{"Conv0", "groups"}},
		"group 2^62":                {one(17, image, node("Conv", xw(), y, attrInt("group", 1<<62)), kernel()), []string{"Conv0", "groups"}},
		"stride 2^40":               {one(17, image, node("Conv", xw(), y, attrInts("strides", 1<<40, 1)), kernel()), []string{"Conv0", "strides"}},
		"empty weight":              {one(17, image, node("Conv", xw(), y), floats("w", []int64{2, 1, 0, 3})), []string{"Conv0", "weight"}},
		"no kernel_shape":           {one(17, image, node("MaxPool", x, y)), []string{"MaxPool0", "kernel_shape"}},
		"indices of a max pool":     {one(17, image, node("MaxPool", x, []string{"y", "z"}, attrInts("kernel_shape", 2, 2))), []string{"MaxPool0", "indices"}},
		"training batch norm":       {one(17, image, node("BatchNormalization", []string{"x", "w", "w", "w", "w"}, y, attrInt("training_mode", 1)), floats("w", []int64{1}, 1)), []string{"BatchNormalization0", "training_mode"}},
		"transposition twice":       {one(17, image, node("Transpose", x, y, attrInts("perm", 0, 1, 1, 2))), []string{"Transpose0", "perm"}},
		"Gemm of four axes":         {one(17, image, node("Gemm", xw(), y), floats("w", []int64{4, 4}, make([]float32, 16)...)), []string{"Gemm0"}},
		"MatMul that does not fit":  {one(17, image, node("MatMul", xw(), y), floats("w", []int64{5, 2}, make([]float32, 10)...)), []string{"MatMul0", "features"}},
		"squeeze of a full axis":    {one(17, image, node("Squeeze", xw(), y), int64s("w", []int64{1}, 2)), []string{"Squeeze0", "axis 2"}},
		"slice with step 0":         {one(17, image, node("Slice", []string{"x", "a", "b", "a", "a"}, y), int64s("a", []int64{1}, 0), int64s("b", []int64{1}, 1)), []string{"Slice0", "step"}},
		"index out of range":        {one(17, image, node("Gather", xw(), y, attrInt("axis", 2)), int64s("w", []int64{}, 4)), []string{"Gather0", "index 4"}},
		"split that does not add":   {one(17, image, node("Split", xw(), []string{"y", "z"}, attrInt("axis", 3)), int64s("w", []int64{2}, 1, 1)), []string{"Split0", "split"}},
		"tile bomb":                 {one(17, image, node("Tile", xw(), y), int64s("w", []int64{4}, 1, 1, 1<<19, 1<<19)), []string{"Tile0"}},
		"pad bomb":                  {one(17, image, node("Pad", xw(), y), int64s("w", []int64{8}, 0, 0, 0, 0, 0, 0, 1<<40, 0)), []string{"Pad0"}},
		"resize bomb":               {one(17, image, node("Resize", []string{"x", "", "", "w"}, y), int64s("w", []int64{4}, 1, 1, 1<<50, 4)), []string{"Resize0", "size"}},
		"resize by NaN":             {one(17, image, node("Resize", []string{"x", "", "w"}, y), floats("w", []int64{4}, 1, 1, float32nan(), 1)), []string{"Resize0", "scale"}},
		"resize by both":            {one(17, image, node("Resize", []string{"x", "", "w", "w"}, y), floats("w", []int64{4}, 1, 1, 1, 1)), []string{"Resize0", "exactly one"}},
		"crop to nothing":           {one(17, image, node("Pad", xw(), y), int64s("w", []int64{8}, 0, 0, -2, 0, 0, 0, -2, 0)), []string{"Pad0"}},
		"range bomb":                {one(17, image, node("Range", []string{"a", "b", "c"}, y), int64s("a", []int64{}, 0), int64s("b", []int64{}, 1<<60), int64s("c", []int64{}, 1)), []string{"Range0"}},
		"range of step 0":           {one(17, image, node("Range", []string{"a", "b", "a"}, y), int64s("a", []int64{}, 0), int64s("b", []int64{}, 1)), []string{"Range0", "step 0"}},
		"division by zero":          {one(17, image, node("Div", []string{"a", "a"}, y), int64s("a", []int64{}, 0)), []string{"Div0", "zero"}},
		"constant with two values":  {one(17, image, node("Constant", nil, y, attrInt("value_int", 1), attrFloat("value_float", 1))), []string{"Constant0"}},
		"constant of strings":       {one(17, image, node("Constant", nil, y, attrStr("value_string", "a"))), []string{"Constant0", "value_string"}},
		"broken constant":           {one(17, image, node("Constant", nil, y, attrTensor("value", floats("", []int64{3}, 1)))), []string{"bytes of raw data"}},
		"top k of more":             {one(17, image, node("TopK", xw(), []string{"y", "z"}), int64s("w", []int64{1}, 9)), []string{"TopK0", "k 9"}},
		"cast to strings":           {one(17, image, node("Cast", x, y, attrInt("to", 8))), []string{"Cast0", "string"}},
		"If on an input":            {one(17, image, node("If", x, y, attrGraph("then_branch", g.encode()), attrGraph("else_branch", g.encode()))), []string{"If0", "control flow"}},
		"branch without outputs":    {cond(graphParts{nodes: []pb{relu}}.encode()), []string{"If0", "outputs"}},
		"branch of nobody":          {cond(graphParts{nodes: []pb{node("Relu", []string{"ghost"}, []string{"z"})}, outputs: []pb{pb(nil).str(1, "z")}}.encode()), []string{"ghost"}},
		"branch with a loop":        {cond(graphParts{nodes: []pb{node("Loop", x, []string{"z"})}, outputs: []pb{pb(nil).str(1, "z")}}.encode()), []string{"Loop0", "control flow"}},
		"quantised":                 {one(17, image, node("QuantizeLinear", xw(), y), floats("w", []int64{}, 1)), []string{"QuantizeLinear0", "export the float model"}},
		"recurrent":                 {one(17, image, node("LSTM", xw(), y), floats("w", []int64{}, 1)), []string{"LSTM0", "recurrent"}},
		"function calls itself":     {call(function("F", inner("F"))), []string{"calls itself"}},
		"functions in a circle":     {call(function("F", inner("G")), function("G", inner("F"))), []string{"calls itself"}},
		"function twice":            {call(function("F", inner("G")), function("F", inner("G"))), []string{`"F"`, "twice"}},
		"function of no such name":  {call(function("G", inner("F"))), []string{"local::F"}},
		"two versions of a domain":  {tail(g.encode(), pb(nil).bytes(8, pb(nil).str(1, "ai.onnx").int(2, 9))), []string{"17", "9"}},
	}
}

func float32nan() float32 { var z float32; return z / z }

// TestMalformed refuses damaged and hostile models: with an error that names
// what is wrong, quickly, and without allocating for what they claim.
func TestMalformed(t *testing.T) {
	for name, c := range malformed() {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := onnx.ImportBytes(c.data, "model.onnx", onnx.Options{})
			runtime.ReadMemStats(&after)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, w := range append(c.want, "model.onnx") {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("the error does not name %q: %v", w, err)
				}
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > uint64(len(c.data))*64+1<<20 {
				t.Errorf("allocated %d bytes for a model of %d", used, len(c.data))
			}
		})
	}
}

// TestFunctionBomb has 2^40 calls in a file of a few kilobytes.
func TestFunctionBomb(t *testing.T) {
	b := pb(model(17, graphParts{nodes: []pb{pb(nil).str(1, "x").str(2, "y").str(4, "F0").str(7, "l")}, inputs: []pb{value("x", 1, 4)},
		outputs: []pb{pb(nil).str(1, "y")}}.encode())).bytes(8, pb(nil).str(1, "l").int(2, 1))
	for i := range 40 {
		f := pb(nil).str(1, "F"+string(rune('0'+i))).str(4, "a").str(5, "b").str(10, "l").bytes(9, pb(nil).str(1, "l").int(2, 1))
		next := "F" + string(rune('0'+i+1))
		f = f.bytes(7, pb(nil).str(1, "a").str(2, "m").str(4, next).str(7, "l"))
		f = f.bytes(7, pb(nil).str(1, "m").str(2, "b").str(4, next).str(7, "l"))
		b = b.bytes(25, f)
	}
	_, err := onnx.ImportBytes(b, "bomb.onnx", onnx.Options{})
	if err == nil || !strings.Contains(err.Error(), "after inlining") {
		t.Fatalf("got %v", err)
	}
}

// TestUnsupportedListsAll wants every unsupported node in one error.
func TestUnsupportedListsAll(t *testing.T) {
	g := graphParts{nodes: []pb{node("Foo", x, []string{"a"}), node("Relu", []string{"a"}, []string{"b"}), node("GRU", []string{"b"}, y)},
		inputs: []pb{value("x", 1, 4)}, outputs: []pb{pb(nil).str(1, "y")}}
	_, err := onnx.ImportBytes(model(17, g.encode()), "m.onnx", onnx.Options{})
	var u *onnx.UnsupportedError
	if !errors.As(err, &u) || len(u.Nodes) != 2 || !errors.Is(err, fileerr.ErrUnsupported) {
		t.Fatalf("got %v, want an UnsupportedError of 2 nodes", err)
	}
	for _, w := range []string{"Foo0", "GRU0"} {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%v does not name %s", err, w)
		}
	}
}

// TestExternalFiles refuses every way out of the model's folder.
func TestExternalFiles(t *testing.T) {
	dir := t.TempDir()
	sub := filepath.Join(dir, "model")
	for _, d := range []string{sub, filepath.Join(sub, "folder")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	secret := filepath.Join(dir, "secret.bin")
	for _, f := range []string{secret, filepath.Join(sub, "good.bin")} {
		if err := os.WriteFile(f, []byte{0, 0, 128, 63, 0, 0, 0, 64}, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(secret, filepath.Join(sub, "link.bin")); err != nil {
		t.Skip(err)
	}
	if err := os.Symlink(dir, filepath.Join(sub, "up")); err != nil {
		t.Fatal(err)
	}
	load := func(entries ...string) error {
		w := pb(nil).int(1, 2).int(2, 1).str(8, "w").int(14, 1)
		for i := 0; i < len(entries); i += 2 {
			w = w.bytes(13, pb(nil).str(1, entries[i]).str(2, entries[i+1]))
		}
		path := filepath.Join(sub, "m.onnx")
		if err := os.WriteFile(path, one(17, []int64{1, 2}, node("Add", xw(), y), w), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := onnx.Import(path, onnx.Options{})
		return err
	}
	if err := load("location", "good.bin"); err != nil {
		t.Fatal(err)
	}
	for _, entries := range [][]string{
		{"location", "link.bin"}, {"location", "up/secret.bin"}, {"location", "../secret.bin"}, {"location", secret}, {"location", "folder"},
		{"location", `..\secret.bin`}, {"location", "C:good.bin"}, {"location", "."}, {"location", ""}, {"location", "good.bin\x00"},
		{"location", "good.bin", "offset", "-1"}, {"location", "good.bin", "offset", "+1"}, {"location", "good.bin", "offset", "0x1"},
		{"location", "good.bin", "length", "99999999999999999999"}, {"location", "good.bin", "offset", "1"}, {"location", "good.bin", "length", "4"},
	} {
		if err := load(entries...); err == nil || !strings.Contains(err.Error(), `"w"`) {
			t.Errorf("%q: got %v, want an error that names w", entries, err)
		}
	}
}
