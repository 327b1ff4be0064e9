package checkpoint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/fileerr"
	"github.com/adafire/adafire/tensor"
)

// A LoadOption changes how LoadModel reads.
type LoadOption func(*loadOptions)

type loadOptions struct{ skipDigest bool }

// SkipDigest leaves out the comparison of the data with their SHA-256.
func SkipDigest() LoadOption { return func(o *loadOptions) { o.skipDigest = true } }

// LoadModel reads a checkpoint that SaveModel has written. A safetensors file
// without AdaFire's metadata gives an error that wraps ErrForeign, one that
// needs a newer reader ErrNewer, and one with another operation, attribute,
// parameter, tensor or metadata key than this version knows is refused: what is
// not understood is never ignored. So are values that are not finite.
func LoadModel(path string, options ...LoadOption) (*Model, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Model(options...)
}

// ReadModel is LoadModel from a reader of size bytes; path is for messages.
func ReadModel(r io.ReaderAt, size int64, path string, options ...LoadOption) (*Model, error) {
	f, err := Read(r, size, path)
	if err != nil {
		return nil, err
	}
	return f.Model(options...)
}

// IsModel reports whether the file at path is a safetensors file with AdaFire's
// metadata, without reading more than its header.
func IsModel(path string) bool {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	f, err := Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return f.Metadata[formatKey] == ourFormat
}

// Model reads the AdaFire network that the file holds; see LoadModel.
func (f *File) Model(options ...LoadOption) (*Model, error) {
	var o loadOptions
	for _, option := range options {
		option(&o)
	}
	if err := f.checkVersion(); err != nil {
		return nil, err
	}
	if !o.skipDigest {
		if err := f.Verify(); err != nil {
			return nil, err
		}
	}
	m := &Model{Kind: f.Metadata[kindKey]}
	var err error
	if m.SNN, err = f.raw(snnKey); err != nil {
		return nil, err
	}
	if m.Train, err = f.raw(trainKey); err != nil {
		return nil, err
	}
	if err := f.provenance(&m.Provenance); err != nil {
		return nil, err
	}
	used := make(map[string]bool, len(f.Tensors))
	if m.Graph, err = f.graph(used); err != nil {
		return nil, err
	}
	if err := m.check(); err != nil {
		return nil, fileerr.New(f.Path, -1, "%s", err)
	}
	for _, s := range f.Tensors {
		if used[s.Name] {
			continue
		}
		if !isExtra(s.Name) {
			return nil, s.errorf("the graph does not use it, and its name begins with none of %s", strings.Join(extraPrefixes, " "))
		}
		t, err := s.finite()
		if err != nil {
			return nil, err
		}
		if m.Extra == nil {
			m.Extra = make(map[string]*tensor.Tensor)
		}
		m.Extra[s.Name] = t
	}
	return m, nil
}

// checkVersion looks at the format, the schema and the metadata keys.
func (f *File) checkVersion() error {
	if got := f.Metadata[formatKey]; got != ourFormat {
		return fmt.Errorf("%s: %w: metadata %q is %q, want %q", f.Path, ErrForeign, formatKey, clip(got), ourFormat)
	}
	schema, err := f.number(schemaKey)
	if err != nil {
		return err
	}
	minReader, err := f.number(minReaderKey)
	if err != nil {
		return err
	}
	if minReader > Schema {
		return fmt.Errorf("%s: %w (schema %d), this one reads up to %d", f.Path, ErrNewer, schema, Schema)
	}
	// A newer writer that lets us read may add keys; one of our own time may not.
	if schema > Schema {
		return nil
	}
	known := []string{schemaKey, minReaderKey, kindKey, graphKey, snnKey, trainKey, provenanceKey, digestKey}
	for _, key := range slices.Sorted(maps.Keys(f.Metadata)) {
		if strings.HasPrefix(key, ourPrefix) && !slices.Contains(known, key) {
			return fileerr.New(f.Path, -1, "unknown metadata %q", clip(key))
		}
	}
	return nil
}

// number reads a version number from the metadata.
func (f *File) number(key string) (int, error) {
	text, ok := f.Metadata[key]
	v, err := strconv.ParseUint(text, 10, 31)
	if !ok || err != nil || v < 1 {
		return 0, fileerr.New(f.Path, -1, "metadata %s is %q: want a positive number", key, clip(text))
	}
	return int(v), nil
}

// raw returns an optional JSON object of the metadata.
func (f *File) raw(key string) (json.RawMessage, error) {
	text, ok := f.Metadata[key]
	if !ok {
		return nil, nil
	}
	if err := checkJSON([]byte(text)); err != nil {
		return nil, fmt.Errorf("%s: %s: %w", f.Path, key, err)
	}
	return json.RawMessage(text), nil
}

func (f *File) provenance(p *Provenance) error {
	text, err := f.raw(provenanceKey)
	if err != nil || text == nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(p); err != nil {
		return fmt.Errorf("%s: %s: %w", f.Path, provenanceKey, err)
	}
	return nil
}

// graph builds the network and notes the tensors that it uses.
func (f *File) graph(used map[string]bool) (*graph.Graph, error) {
	text, err := f.raw(graphKey)
	if err != nil {
		return nil, err
	}
	if text == nil {
		return nil, fileerr.New(f.Path, -1, "no %s in the metadata", graphKey)
	}
	if err := checkNames(text); err != nil {
		return nil, fmt.Errorf("%s: %s: %w", f.Path, graphKey, err)
	}
	var ours error // an error of reading names the file by itself
	g, err := graph.ParseJSON(text, func(name string) (*tensor.Tensor, error) {
		t, err := f.parameter(name, used)
		if err != nil {
			ours = err
		}
		return t, err
	})
	if ours != nil {
		return nil, ours
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", f.Path, graphKey, err)
	}
	return g, nil
}

// checkNames wants every parameter to be the tensor NODE.PARAM: ParseJSON would
// follow any name, and saving the network again would move the tensors.
func checkNames(text []byte) error {
	var g struct {
		Nodes []struct {
			Name  string
			Param map[string]string
		}
	}
	if err := json.Unmarshal(text, &g); err != nil {
		return err
	}
	for _, n := range g.Nodes {
		for _, role := range slices.Sorted(maps.Keys(n.Param)) {
			if got, want := n.Param[role], graph.ParamName(n.Name, role); got != want {
				return fmt.Errorf("node %q: parameter %q is tensor %q, want %q", n.Name, role, clip(got), want)
			}
		}
	}
	return nil
}

func (f *File) parameter(name string, used map[string]bool) (*tensor.Tensor, error) {
	s := f.Tensor(name)
	switch {
	case s == nil:
		return nil, fileerr.New(f.Path, -1, "no tensor %q, which the graph uses", clip(name))
	case isExtra(name):
		return nil, s.errorf("the graph uses it, but its name is one for state beside the graph")
	case s.DType != "F32" && s.DType != "F16" && s.DType != "BF16":
		return nil, s.errorf("type %s: want F32, F16 or BF16 for a parameter", s.DType)
	}
	used[name] = true
	return s.finite()
}

// finite reads a tensor and refuses NaN and infinities.
func (s *Stored) finite() (*tensor.Tensor, error) {
	t, err := s.Float32()
	if err != nil {
		return nil, err
	}
	if i := t.FirstNonFinite(); i >= 0 {
		return nil, s.errorf("element %d is %g: want finite values", i, t.Data[i])
	}
	return t, nil
}
