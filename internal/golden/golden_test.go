package golden

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/adafire/adafire/internal/npy"
)

// Every case that is there parses, names only arrays that exist, and every
// array loads with the type and shape that case.json states.
func TestEveryCaseLoads(t *testing.T) {
	for _, c := range Cases(t) {
		t.Run(c.Name, func(t *testing.T) {
			for _, a := range c.Arrays {
				x := c.Array(t, a.Name)
				if a.DType == "int32" && len(c.Ints(t, a.Name)) != x.Len() {
					t.Errorf("%s: integers and floats differ in number", a.Name)
				}
				switch a.Role {
				case "input", "param", "expected", "alternative":
				default:
					t.Errorf("%s: role %q", a.Name, a.Role)
				}
				if a.Role == "expected" && a.Tolerance == nil {
					t.Errorf("%s: expected without a tolerance", a.Name)
				}
			}
			for name := range c.Expected {
				c.Floats(t, name)
			}
			checkNetwork(t, c, c.Network)
			checkNetwork(t, c, c.NetworkFolded)
			for _, n := range c.Neurons {
				for _, name := range []string{n.Threshold, n.InitialPotential} {
					if name != "" && !c.Has(name) {
						t.Errorf("neuron %s: no array %q", n.ReLU, name)
					}
				}
			}
		})
	}
}

func checkNetwork(t *testing.T, c *Case, nodes []Node) {
	t.Helper()
	known := map[string]bool{"input": true}
	for _, n := range nodes {
		for _, in := range n.Inputs {
			if !known[in] {
				t.Errorf("node %s: input %q is no earlier node", n.Name, in)
			}
		}
		known[n.Name] = true
		for _, name := range []string{n.Weight, n.Bias, n.Mean, n.Var} {
			if name != "" && !c.Has(name) {
				t.Errorf("node %s: no array %q", n.Name, name)
			}
		}
	}
}

// recorder notes failures in place of the real test.
type recorder struct {
	testing.TB
	errors  []string
	skipped bool
}

type stopped struct{}

func (r *recorder) Helper() {}
func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}
func (r *recorder) Fatalf(format string, args ...any) { r.Errorf(format, args...); panic(stopped{}) }
func (r *recorder) Fatal(args ...any)                 { r.Errorf("%s", fmt.Sprint(args...)); panic(stopped{}) }
func (r *recorder) Skipf(string, ...any)              { r.skipped = true; panic(stopped{}) }

// failures runs fn and returns what it reported.
func failures(t *testing.T, fn func(testing.TB)) *recorder {
	r := &recorder{TB: t}
	func() {
		defer func() {
			if e := recover(); e != nil && e != (stopped{}) {
				panic(e)
			}
		}()
		fn(r)
	}()
	return r
}

// write makes a folder with one case, an array x of 2x2 floats and an array n
// of 3 integers.
func write(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	one := filepath.Join(dir, "one")
	if err := os.Mkdir(one, 0o777); err != nil {
		t.Fatal(err)
	}
	text := `{"schema": "adafire-golden/1", "name": "one", "kind": "k",
		"params": {"T": 4, "shift": "initial", "momentum": null, "pad": [1, 2], "attrs": {"ceil": true, "eps": 0.5}},
		"arrays": [
			{"name": "x", "file": "x.npy", "dtype": "float32", "shape": [2, 2], "layout": "NC", "role": "expected", "tolerance": {"abs": 0.1, "rel": 0.01}},
			{"name": "n", "file": "n.npy", "dtype": "int32", "shape": [3], "layout": "", "role": "expected", "tolerance": {"abs": 0, "rel": 0}}],
		"expected": {"list": {"value": [1, null], "tolerance": {"abs": 0.5, "rel": 0}}, "one": {"value": 3}},
		"runs": [{"T": 1}, {"T": 2}], "layers": [7]}`
	if err := os.WriteFile(filepath.Join(one, "case.json"), []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := npy.WriteFile(filepath.Join(one, "x.npy"), []int{2, 2}, []float32{1, 10, -100, 0}); err != nil {
		t.Fatal(err)
	}
	if err := npy.WriteFile(filepath.Join(one, "n.npy"), []int{3}, []int32{0, 5, -1}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestCompare(t *testing.T) {
	nan := float32(math.NaN())
	t.Setenv(Env, write(t))
	c := Cases(t, "k")[0]
	for _, test := range []struct {
		name string
		fn   func(testing.TB)
		want string // part of the one message; empty: none
	}{
		{"equal", func(t testing.TB) { c.Compare(t, "x", []float32{1, 10, -100, 0}) }, ""},
		{"within", func(t testing.TB) { c.Compare(t, "x", []float32{1.109, 10.19, -98.95, -0.09}) }, ""},
		{"worst", func(t testing.TB) { c.Compare(t, "x", []float32{1.2, 10, -120, 0}) }, "2 of 4 elements differ; the worst at [1 0]: got -120, want -100"},
		{"nan", func(t testing.TB) { c.Compare(t, "x", []float32{1, nan, -200, 0}) }, "worst at [0 1]: got NaN"},
		{"short", func(t testing.TB) { c.Compare(t, "x", []float32{1}) }, "has 1 elements, want 4"},
		{"missing", func(t testing.TB) { c.Compare(t, "y", nil) }, `no array "y"`},
		{"ints", func(t testing.TB) { c.CompareInts(t, "n", []int{0, 5, -1}) }, ""},
		{"ints differ", func(t testing.TB) { c.CompareInts(t, "n", []int{0, 4, -1}) }, "at [1]: got 4, want 5"},
		{"floats as ints", func(t testing.TB) { c.CompareInts(t, "x", []int{1, 10, -100, 0}) }, "want integers"},
		{"list", func(t testing.TB) { c.CompareFloats(t, "list", 1.5, math.NaN()) }, ""},
		{"null wants NaN", func(t testing.TB) { c.CompareFloats(t, "list", 1, 0) }, "at [1]: got 0, want NaN"},
		{"scalar", func(t testing.TB) { c.CompareFloats(t, "one", 3) }, ""},
		{"scalar without tolerance is exact", func(t testing.TB) { c.CompareFloats(t, "one", 3.0001) }, "got 3.0001, want 3"},
	} {
		got := failures(t, test.fn).errors
		switch {
		case test.want == "" && len(got) > 0:
			t.Errorf("%s: got %q, want no failure", test.name, got)
		case test.want != "" && (len(got) != 1 || !strings.Contains(got[0], test.want)):
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func TestFields(t *testing.T) {
	t.Setenv(Env, write(t))
	c := Cases(t)[0]
	p := c.Params
	if p.Int(t, "T") != 4 || p.Text(t, "shift") != "initial" || p.Ints(t, "pad")[1] != 2 ||
		!p.Object(t, "attrs").Bool(t, "ceil") || p.Object(t, "attrs").Float(t, "eps") != 0.5 {
		t.Errorf("params %s", p)
	}
	if p.Has("momentum") || p.Has("none") || !p.Has("T") {
		t.Error("Has is wrong about null, missing or present members")
	}
	if len(c.Runs) != 2 || c.Runs[1].Int(t, "T") != 2 || c.All.Ints(t, "layers")[0] != 7 {
		t.Errorf("runs %v", c.Runs)
	}
	for name, fn := range map[string]func(testing.TB){
		"null":       func(t testing.TB) { p.Float(t, "momentum") },
		"missing":    func(t testing.TB) { p.Int(t, "none") },
		"wrong type": func(t testing.TB) { p.Int(t, "shift") },
	} {
		if got := failures(t, fn).errors; len(got) != 1 {
			t.Errorf("%s: got %q, want one failure", name, got)
		}
	}
}

func TestArrayKeepsLayoutAndInts(t *testing.T) {
	t.Setenv(Env, write(t))
	c := Cases(t)[0]
	if x := c.Array(t, "x"); x.Shape[0] != 2 || x.Data[2] != -100 {
		t.Errorf("x %v", x)
	}
	if n := c.Array(t, "n"); n.Data[1] != 5 || c.Ints(t, "n")[2] != -1 {
		t.Errorf("n %v", n)
	}
}

func TestMissingKindSkipsElsewhere(t *testing.T) {
	t.Setenv(Env, write(t))
	if r := failures(t, func(t testing.TB) { Cases(t, "nothing of the kind") }); !r.skipped {
		t.Errorf("got %q, want a skip", r.errors)
	}
	t.Setenv(Env, "")
	if r := failures(t, func(t testing.TB) { Cases(t, "nothing of the kind") }); r.skipped || len(r.errors) != 1 {
		t.Errorf("our own testdata without the kind: got %q, want a failure", r.errors)
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"no json":      `{`,
		"schema":       `{"schema": "adafire-golden/2", "name": "a", "kind": "b"}`,
		"no kind":      `{"schema": "adafire-golden/1", "name": "a"}`,
		"twice":        `{"schema": "adafire-golden/1", "name": "a", "kind": "b", "arrays": [{"name": "x", "file": "x.npy"}, {"name": "x", "file": "y.npy"}]}`,
		"outside":      `{"schema": "adafire-golden/1", "name": "a", "kind": "b", "arrays": [{"name": "x", "file": "../x.npy"}]}`,
		"wrong member": `{"schema": "adafire-golden/1", "name": "a", "kind": "b", "runs": 3}`,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "case.json"), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "case.json") {
			t.Errorf("%s: got %v, want an error with the file", name, err)
		}
	}
}
