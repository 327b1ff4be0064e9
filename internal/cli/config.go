package cli

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/adafire/adafire/internal/kernel"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// maxConfig bounds the bytes of a configuration file.
const maxConfig = 1 << 20

// An InputFile is a file that a result depends on.
type InputFile struct {
	Path   string `json:"path"`
	SHA256 string `json:"sha256"`
}

// applyConfig sets the flags of cmd that stand in the YAML file at path and
// were not given on the command line. The file is one mapping from names of
// flags to scalars or lists of scalars; everything else is a *UsageError that
// names the line.
func applyConfig(cmd *cobra.Command, path string) error {
	bad := func(line int, format string, args ...any) *UsageError {
		return &UsageError{Msg: fmt.Sprintf("--config: %s:%d: %s", path, line, fmt.Sprintf(format, args...)), cmd: cmd}
	}
	data, err := readBounded(path, maxConfig)
	if err != nil {
		return err
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
		return nil // nothing but comments
	} else if err != nil {
		return &UsageError{Msg: fmt.Sprintf("--config: %s: %s", path, strings.TrimPrefix(err.Error(), "yaml: ")), cmd: cmd}
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return &UsageError{Msg: fmt.Sprintf("--config: %s: more than one document", path), cmd: cmd}
	}
	top := doc.Content[0]
	if top.Kind == yaml.ScalarNode && top.Tag == "!!null" {
		return nil
	}
	if top.Kind != yaml.MappingNode {
		return bad(top.Line, "want lines of the form NAME: VALUE")
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, value := top.Content[i], top.Content[i+1]
		name := string(normaliseFlag(nil, key.Value))
		flag := cmd.Flags().Lookup(name)
		if key.Kind != yaml.ScalarNode || flag == nil || name == "help" || name == "version" {
			e := bad(key.Line, "unknown flag %q of %q", key.Value, cmd.CommandPath())
			if near := nearestFlag(cmd, key.Value); near != "" {
				e.Suggest = fmt.Sprintf("did you mean %s?", near)
			}
			return e
		}
		if name == "config" {
			return bad(key.Line, "a configuration file cannot name another")
		}
		if line, ok := seen[name]; ok {
			return bad(key.Line, "%s stands in line %d already", key.Value, line)
		}
		seen[name] = key.Line
		text, err := configValue(value)
		if err != nil {
			return bad(value.Line, "%s: %v", key.Value, err)
		}
		if err := setFromConfig(cmd, flag, text); err != nil {
			e := bad(value.Line, "%s: value %q, want %s", key.Value, text, allowed(flag))
			if c, ok := flag.Value.(*choice); ok {
				if near := nearest(text, c.allowed); near != "" {
					e.Suggest = fmt.Sprintf("did you mean %q?", near)
				}
			}
			return e
		}
	}
	return nil
}

// setFromConfig sets a flag unless it was given on the command line. Then the
// value is checked all the same: an error in the file must not wait for the day
// on which the flag is left out.
func setFromConfig(cmd *cobra.Command, flag *pflag.Flag, text string) error {
	if !flag.Changed {
		return cmd.Flags().Set(flag.Name, text)
	}
	given := flag.Value.String()
	if err := flag.Value.Set(text); err != nil {
		return err
	}
	return flag.Value.Set(given)
}

// configValue returns the text of a scalar or of a list of them.
func configValue(n *yaml.Node) (string, error) {
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		return "", errors.New("value missing")
	case n.Kind == yaml.ScalarNode:
		return n.Value, nil
	case n.Kind != yaml.SequenceNode:
		return "", errors.New("want a value or a list of values")
	case len(n.Content) == 0:
		return "", errors.New("list without values")
	}
	parts := make([]string, len(n.Content))
	for i, c := range n.Content {
		if c.Kind != yaml.ScalarNode || c.Tag == "!!null" || strings.Contains(c.Value, ",") {
			return "", errors.New("want a list of values without commas")
		}
		parts[i] = c.Value
	}
	return strings.Join(parts, ","), nil
}

// readBounded reads a file of at most limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s: more than %d bytes", path, limit)
	}
	return data, nil
}

// A setting is the value of a flag after the configuration file was read.
type setting struct {
	name  string
	value any // bool, int64, uint64, float64, string, []int or []string
}

// settings returns the resolved configuration in the order of the names: all
// flags of the command but those that only say how to present the run. Flags
// that were not given and stand for "nothing" (an empty text or list) are left
// out: "" is not always a value that they take.
func (s *session) settings() []setting {
	var list []setting
	s.cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if presentation[f.Name] || f.Hidden || !f.Changed && (f.Value.String() == "" || f.Value.String() == "[]") {
			return
		}
		list = append(list, setting{f.Name, flagValue(f)})
		if f.Name == "cpu" { // "auto" gives other bits on other machines
			list[len(list)-1].value = kernel.Active().String()
		}
	})
	return list
}

// flagValue returns the value of a flag in the type that files have for it.
func flagValue(f *pflag.Flag) any {
	text := f.Value.String()
	switch list := f.Value.(type) {
	case *intList:
		return *list.p
	case pflag.SliceValue:
		return list.GetSlice()
	}
	switch f.Value.Type() {
	case "bool":
		if v, err := strconv.ParseBool(text); err == nil {
			return v
		}
	case "int", "int64":
		if v, err := strconv.ParseInt(text, 10, 64); err == nil {
			return v
		}
	case "uint64":
		if v, err := strconv.ParseUint(text, 10, 64); err == nil {
			return v
		}
	case "float64":
		if v, err := strconv.ParseFloat(text, 64); err == nil && !math.IsInf(v, 0) && !math.IsNaN(v) {
			return v
		}
	}
	return text
}

// ConfigJSON returns the resolved configuration as a JSON object, for results.
func (s *session) ConfigJSON() (json.RawMessage, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, set := range s.settings() {
		value, err := json.Marshal(set.value)
		if err != nil {
			return nil, fmt.Errorf("configuration: %s: %w", set.name, err)
		}
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q:%s", set.name, value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// AddInput records the SHA-256 of a file that the result depends on, for the
// saved configuration.
func (s *session) AddInput(path string) (InputFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return InputFile{}, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return InputFile{}, err
	}
	in := InputFile{Path: path, SHA256: hex.EncodeToString(h.Sum(nil))}
	s.inputs = append(s.inputs, in)
	return in, nil
}

// SaveConfig writes the resolved configuration as YAML, so that
// "adafire COMMAND --config PATH" repeats the run. Version, command and the
// digests of the input files stand in comments.
func (s *session) SaveConfig(path string) error {
	return s.WriteFile(path, s.writeConfig)
}

func (s *session) writeConfig(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# adafire %s, version %s\n# repeat it: adafire %s --config FILE\n",
		s.commandName(), oneLine(moduleVersion()), s.commandName())
	for _, in := range s.inputs {
		fmt.Fprintf(&b, "# input %s  %s\n", in.SHA256, oneLine(in.Path))
	}
	top := &yaml.Node{Kind: yaml.MappingNode}
	for _, set := range s.settings() {
		value := new(yaml.Node)
		if err := value.Encode(set.value); err != nil {
			return fmt.Errorf("configuration: %s: %w", set.name, err)
		}
		value.Style |= flow(value)
		top.Content = append(top.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: set.name}, value)
	}
	encoder := yaml.NewEncoder(&b)
	if err := encoder.Encode(top); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if err := encoder.Close(); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// flow puts lists on one line.
func flow(n *yaml.Node) yaml.Style {
	if n.Kind == yaml.SequenceNode {
		return yaml.FlowStyle
	}
	return 0
}
