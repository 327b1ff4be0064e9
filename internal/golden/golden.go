// Package golden gives tests the golden cases: folders with inputs, parameters
// and expected values for one operation or one whole conversion, described by
// a case.json each.
//
// The cases come from the folder that the environment variable ADAFIRE_GOLDEN
// names, or else from testdata/golden in the root of the module. A test asks
// for kinds, never for names, so that it runs on any folder of this format:
//
//	for _, c := range golden.Cases(t, "op") {
//		t.Run(c.Name, func(t *testing.T) {
//			x := c.Array(t, "input")
//			...
//			c.Compare(t, "output", got)
//		})
//	}
//
// Arrays are handed out as they are stored: activations channels first, weights
// OIHW. The package translates nothing; tensor has the functions for that.
package golden

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Env names the folder of cases, when it is set.
const Env = "ADAFIRE_GOLDEN"

// schema is the version of case.json that this package reads.
const schema = "adafire-golden/1"

// A Case is one folder.
type Case struct {
	Dir   string `json:"-"`
	Name  string `json:"name"`
	Kind  string `json:"kind"`
	Title string `json:"title"`

	Params   Fields           `json:"params"`
	Arrays   []Spec           `json:"arrays"`
	Expected map[string]Value `json:"expected"`
	Runs     []Fields         `json:"runs"`
	Rows     []Fields         `json:"rows"`

	Network       []Node   `json:"network"`        // in execution order; the last node gives the logits
	NetworkFolded []Node   `json:"network_folded"` // the same after batch-norm folding
	Neurons       []Neuron `json:"neurons"`        // one for each relu of the networks

	// All holds every member of case.json, for those of a single kind.
	All Fields `json:"-"`
}

// A Spec describes one array of a case.
type Spec struct {
	Name      string     `json:"name"`
	File      string     `json:"file"`
	DType     string     `json:"dtype"` // "float32" or "int32"
	Shape     []int      `json:"shape"`
	Layout    string     `json:"layout"` // such as "NCHW"; empty where obvious
	Role      string     `json:"role"`   // "input", "param", "expected" or "alternative"
	Meaning   string     `json:"meaning"`
	Tolerance *Tolerance `json:"tolerance"`
}

// A Value is an expected scalar or short list.
type Value struct {
	Raw       json.RawMessage `json:"value"`
	Role      string          `json:"role"` // "" means "expected"
	Meaning   string          `json:"meaning"`
	Tolerance *Tolerance      `json:"tolerance"`
}

// A Tolerance allows |got-want| up to Abs + Rel*|want|.
type Tolerance struct {
	Abs float64 `json:"abs"`
	Rel float64 `json:"rel"`
}

// Allows reports whether got is close enough to want. NaN equals NaN only, and
// an infinity itself only.
func (t Tolerance) Allows(got, want float64) bool {
	if got == want || got != got && want != want {
		return true
	}
	return math.Abs(got-want) <= t.Abs+t.Rel*math.Abs(want) && !math.IsInf(want, 0)
}

// A Node is one operation of a network. Inputs are names of nodes, or "input".
// Weight, Bias, Mean and Var are names of arrays, or empty.
type Node struct {
	Name   string   `json:"name"`
	Op     string   `json:"op"`
	Inputs []string `json:"inputs"`
	Attrs  Fields   `json:"attrs"`
	Weight string   `json:"weight"`
	Bias   string   `json:"bias"`
	Mean   string   `json:"mean"`
	Var    string   `json:"var"`
}

// A Neuron says what belongs to the spiking layer in place of a relu.
type Neuron struct {
	ReLU             string `json:"relu"`              // node
	Bias             string `json:"bias"`              // node whose bias light calibration corrects, or empty
	Threshold        string `json:"threshold"`         // array
	InitialPotential string `json:"initial_potential"` // array, or empty
}

// Dir returns the folder of the cases. A relative ADAFIRE_GOLDEN is seen from
// the root of the module, as every package's tests run in another folder.
func Dir(t testing.TB) string {
	t.Helper()
	dir := os.Getenv(Env)
	switch {
	case dir == "":
		return filepath.Join(root(t), "testdata", "golden")
	case filepath.IsAbs(dir):
		return dir
	}
	return filepath.Join(root(t), dir)
}

// root returns the folder of go.mod.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatalf("no go.mod above the working directory: set %s", Env)
		}
		dir = up
	}
}

// Cases returns the cases of the given kinds, or of all kinds if none is given,
// sorted by name. A folder without any is a failure when it is our own
// testdata, which must not lose its cases unseen; any other folder may lack
// them, and the test is skipped.
func Cases(t testing.TB, kinds ...string) []*Case {
	t.Helper()
	dir := Dir(t)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var cases []*Case
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if info, err := os.Stat(path); err != nil || !info.IsDir() { // a link to a folder counts
			continue
		}
		if _, err := os.Stat(filepath.Join(path, "case.json")); errors.Is(err, os.ErrNotExist) {
			continue
		}
		c, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(kinds) == 0 || slices.Contains(kinds, c.Kind) {
			cases = append(cases, c)
		}
	}
	if len(cases) == 0 {
		if os.Getenv(Env) == "" {
			t.Fatalf("no cases of kind %s in %s", strings.Join(kinds, ", "), dir)
		}
		t.Skipf("no cases of kind %s in %s", strings.Join(kinds, ", "), dir)
	}
	return cases
}

// Load reads the case.json of one folder. Arrays are read when they are asked
// for.
func Load(dir string) (*Case, error) {
	path := filepath.Join(dir, "case.json")
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c := &Case{Dir: dir}
	if err := json.Unmarshal(b, &c.All); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if got := string(c.All["schema"]); got != `"`+schema+`"` {
		return nil, fmt.Errorf("%s: schema %s: want %q", path, got, schema)
	}
	if err := json.Unmarshal(b, c); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if c.Name == "" || c.Kind == "" {
		return nil, fmt.Errorf("%s: no name or no kind", path)
	}
	seen := map[string]bool{}
	for _, a := range c.Arrays {
		if seen[a.Name] {
			return nil, fmt.Errorf("%s: array %q occurs twice", path, a.Name)
		}
		seen[a.Name] = true
		if !filepath.IsLocal(a.File) {
			return nil, fmt.Errorf("%s: array %q: file %q is not inside the folder", path, a.Name, a.File)
		}
	}
	return c, nil
}

// Has reports whether the case has an array of that name.
func (c *Case) Has(name string) bool {
	return slices.ContainsFunc(c.Arrays, func(a Spec) bool { return a.Name == name })
}

// Spec returns the description of an array.
func (c *Case) Spec(t testing.TB, name string) Spec {
	t.Helper()
	for _, a := range c.Arrays {
		if a.Name == name {
			return a
		}
	}
	t.Fatalf("%s: no array %q", c.Name, name)
	return Spec{}
}

// Tolerance returns the tolerance of an array or expected value: zero, that is
// exact, where the case gives none.
func (c *Case) Tolerance(name string) Tolerance {
	for _, a := range c.Arrays {
		if a.Name == name && a.Tolerance != nil {
			return *a.Tolerance
		}
	}
	if v := c.Expected[name]; v.Tolerance != nil {
		return *v.Tolerance
	}
	return Tolerance{}
}
