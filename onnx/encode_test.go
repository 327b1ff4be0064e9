package onnx_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/adafire/adafire/onnx"
)

// TestEncodeGolden writes decoded files, those with control flow too, and wants
// what is read again to be the same.
func TestEncodeGolden(t *testing.T) {
	dir, m := loadManifest(t)
	written := 0
	for _, c := range m.Cases {
		if strings.HasPrefix(c.Model, "encodings/") {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, c.Model))
		if err != nil {
			t.Fatal(err)
		}
		f, err := onnx.Decode(b, c.Model)
		if err != nil {
			t.Fatal(err)
		}
		first, err := f.Encode()
		if err != nil {
			if !strings.Contains(err.Error(), "raw data") {
				t.Errorf("%s: %v", c.Name, err)
			}
			continue
		}
		again, err := onnx.Decode(first, c.Model)
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		second, err := again.Encode()
		if err != nil || !bytes.Equal(first, second) {
			t.Errorf("%s: %d bytes, then %d (%v)", c.Name, len(first), len(second), err)
		}
		if len(first) < len(b)/3 && len(b) > 4<<10 {
			t.Errorf("%s: %d bytes of %d", c.Name, len(first), len(b))
		}
		written++
		if usesControlFlow(t, filepath.Join(dir, c.Model)) || len(f.Graph.Inputs) != len(c.Inputs) || externalTensors(f) {
			continue
		}
		for name, data := range map[string][]byte{"file": b, "encoded": first} {
			model, err := onnx.ImportBytes(data, c.Model, onnx.Options{})
			if err != nil {
				t.Fatalf("%s, %s: %v", c.Name, name, err)
			}
			if name == "encoded" && strings.HasPrefix(c.Model, "ops/") {
				ys := run(t, model, dir, c)
				w := readTensor(t, filepath.Join(dir, c.Outputs[0].File))
				if err := differ(ys[0], w, c.Tolerance.RTol, c.Tolerance.ATol); err != nil {
					t.Errorf("%s: %v", c.Name, err)
				}
			}
		}
	}
	if written < 50 {
		t.Errorf("%d files written", written)
	}
}

func externalTensors(f *onnx.File) bool {
	for _, t := range f.Graph.Initializers {
		if t.Location != 0 {
			return true
		}
	}
	return false
}
