package checkpoint

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/tensor"
)

// An Assignment says what Assign did with the tensors of a state dict.
type Assignment struct {
	Assigned int      // parameters of the graph that were set
	Missing  []string // parameters that the state dict lacks, or has in another shape
	Unused   []string // tensors that no parameter took
}

// Assign copies a state dict into the parameters of a graph whose nodes carry
// the names of PyTorch's modules, translating PyTorch's layouts: convolution
// weights [O,I/g,kh,kw], transposed ones [I,O/g,kh,kw], fully connected ones
// [O,I], whose columns follow C,H,W when the layer reads a flattened map.
// Counters of batch norms (num_batches_tracked) are ignored.
//
// Modules may bear another usual name ("shortcut" for "downsample", "linear" for
// "fc"). A missing or left-over tensor or a wrong shape is an error that lists
// them, and nothing is copied; partial copies what fits and leaves the rest as
// it is. The error of a state dict that shares hardly a name with the graph
// wraps fileerr.ErrUnsupported.
func (s *StateDict) Assign(g *graph.Graph, partial bool) (Assignment, error) {
	rename := s.spelling(g)
	var a Assignment
	var values []assigned
	var wrong []string
	used := make(map[string]bool)
	for _, n := range g.Nodes {
		for _, role := range slices.Sorted(maps.Keys(n.Params)) {
			name := n.Name + "." + torchRole(n, role)
			t := s.Tensor(rename(name))
			if t == nil {
				a.Missing = append(a.Missing, name)
				continue
			}
			used[t.Name] = true
			want := torchShape(n, role)
			if !sameDims(want, t.Shape) {
				a.Missing = append(a.Missing, name)
				wrong = append(wrong, fmt.Sprintf("%s is %v, the network has %v%s", t.Name, t.Shape, want, classesHint(g, n, want, t.Shape)))
				continue
			}
			values = append(values, assigned{n, role, t})
		}
	}
	for _, t := range s.Tensors {
		if !used[t.Name] && !strings.HasSuffix(t.Name, "num_batches_tracked") {
			a.Unused = append(a.Unused, t.Name)
		}
	}
	if len(values) == 0 {
		return a, fmt.Errorf("%s: no tensor fits the network: it has names such as %s, the network %s: %w",
			s.Path, strings.Join(firstN(tensorNames(s), 3), ", "), strings.Join(firstN(a.Missing, 3), ", "), fileerr.ErrUnsupported)
	}
	if !partial {
		var errs []string
		if len(wrong) > 0 {
			errs = append(errs, "wrong shapes: "+strings.Join(firstN(wrong, 20), "; "))
		}
		if lacking := without(a.Missing, wrong); len(lacking) > 0 {
			errs = append(errs, "missing: "+strings.Join(firstN(lacking, 20), ", "))
		}
		if len(a.Unused) > 0 {
			errs = append(errs, "not part of the network: "+strings.Join(firstN(a.Unused, 20), ", "))
		}
		if len(errs) > 0 {
			return a, fileerr.New(s.Path, -1, "%s", strings.Join(errs, "; "))
		}
	}
	for _, v := range values {
		x, err := v.from.Float32()
		if err != nil {
			return a, err
		}
		if err := copyParam(v.node, v.role, x); err != nil {
			return a, err
		}
		a.Assigned++
	}
	return a, nil
}

// Fit counts the parameters of a graph, and those that Assign would find.
func (s *StateDict) Fit(g *graph.Graph) (found, parameters int) {
	rename := s.spelling(g)
	for _, n := range g.Nodes {
		for role := range n.Params {
			parameters++
			if t := s.Tensor(rename(n.Name + "." + torchRole(n, role))); t != nil && sameDims(torchShape(n, role), t.Shape) {
				found++
			}
		}
	}
	return found, parameters
}

type assigned struct {
	node *graph.Node
	role string
	from *NamedTensor
}

// torchRole is what PyTorch calls a parameter.
func torchRole(n *graph.Node, role string) string {
	if _, ok := n.Op.(*graph.BatchNorm); ok && (role == "mean" || role == "var") {
		return "running_" + role
	}
	return role
}

// torchShape is the shape of a parameter in PyTorch's layout.
func torchShape(n *graph.Node, role string) []int {
	s := n.Params[role].Shape
	if role != "weight" {
		return s
	}
	switch n.Op.(type) {
	case *graph.Conv2D:
		return []int{s[3], s[2], s[0], s[1]}
	case *graph.ConvTranspose2D:
		return []int{s[2], s[3], s[0], s[1]}
	case *graph.Linear:
		return []int{s[1], s[0]}
	}
	return s
}

// sameDims compares shapes; the weights of a 1x1 convolution may lack their
// last axes and those of a fully connected layer have them, as timm does.
func sameDims(want, got []int) bool {
	trim := func(s []int) []int {
		for len(s) > 2 && s[len(s)-1] == 1 {
			s = s[:len(s)-1]
		}
		return s
	}
	return slices.Equal(want, got) || len(want) != 1 && slices.Equal(trim(want), trim(got))
}

// copyParam copies x, in PyTorch's layout or with axes of 1 more or fewer, into
// a parameter of a node.
func copyParam(n *graph.Node, role string, x *tensor.Tensor) error {
	x, err := tensor.FromSlice(x.Data, torchShape(n, role)...)
	if err != nil {
		return err
	}
	if role == "weight" {
		switch n.Op.(type) {
		case *graph.Conv2D:
			x, err = tensor.ConvWeight(x)
		case *graph.ConvTranspose2D:
			x, err = tensor.ConvTransposeWeight(x)
		case *graph.Linear:
			if h, w, c := flattened(n); c > 0 {
				x, err = tensor.LinearWeightAfterFlatten(x, h, w, c)
			} else {
				x, err = tensor.LinearWeight(x)
			}
		}
	}
	if err != nil {
		return fmt.Errorf("node %q: %s: %w", n.Name, role, err)
	}
	copy(n.Params[role].Data, x.Data)
	return nil
}

// flattened returns the shape of the map that a fully connected layer reads
// flattened, or zeros.
func flattened(n *graph.Node) (h, w, c int) {
	for in := n.Inputs[0]; ; in = in.Inputs[0] {
		switch in.Op.(type) {
		case *graph.Flatten:
			if len(in.Inputs[0].Shape) > 1 {
				return in.Inputs[0].Shape.HWC()
			}
		case *graph.Dropout, *graph.Identity, *graph.ReLU, *graph.ReLU6:
		default:
			return 0, 0, 0
		}
	}
}

// classesHint words the commonest wrong shape.
func classesHint(g *graph.Graph, n *graph.Node, want, got []int) string {
	if len(g.Outputs) != 1 || g.Outputs[0] != n || len(want) == 0 || len(got) != len(want) || want[0] == got[0] {
		return ""
	}
	return fmt.Sprintf(" (the file was trained for %d classes, the network has %d)", got[0], want[0])
}

// spellings are other usual names of the modules of our networks.
var spellings = [][]string{
	nil,
	{"downsample.", "shortcut."},
	{"fc.", "linear."},
	{"fc.", "classifier."},
	{"classifier.", "fc."},
	{"classifier.", "linear."},
	{"downsample.", "shortcut.", "fc.", "linear."},
	{"downsample.", "shortcut.", "fc.", "classifier."},
}

// spelling returns the renaming under which most parameters are found.
func (s *StateDict) spelling(g *graph.Graph) func(string) string {
	best, found := strings.NewReplacer(), -1
	for _, pairs := range spellings {
		r := strings.NewReplacer(pairs...)
		n := 0
		for _, node := range g.Nodes {
			for role := range node.Params {
				if s.Tensor(r.Replace(node.Name+"."+torchRole(node, role))) != nil {
					n++
				}
			}
		}
		if n > found {
			best, found = r, n
		}
	}
	return best.Replace
}

func tensorNames(s *StateDict) []string {
	names := make([]string, len(s.Tensors))
	for i, t := range s.Tensors {
		names[i] = t.Name
	}
	return names
}

func firstN(list []string, n int) []string {
	if len(list) <= n {
		return list
	}
	return append(slices.Clone(list[:n]), fmt.Sprintf("and %d more", len(list)-n))
}

// without returns the names that no message begins with.
func without(names, messages []string) []string {
	var out []string
	for _, name := range names {
		if !slices.ContainsFunc(messages, func(m string) bool { return strings.HasPrefix(m, name+" ") }) {
			out = append(out, name)
		}
	}
	return out
}
