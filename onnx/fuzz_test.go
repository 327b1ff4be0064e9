package onnx_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/adafire/adafire/onnx"
)

// seeds adds every golden model of up to 8 KiB and the malformed ones.
func seeds(f *testing.F, add func([]byte)) {
	f.Helper()
	dir := goldenDir(f)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".onnx") {
			return err
		}
		b, err := os.ReadFile(path)
		if err == nil && len(b) <= 8<<10 {
			add(b)
		}
		return err
	})
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range malformed() {
		if len(c.data) <= 8<<10 {
			add(c.data)
		}
	}
}

// FuzzDecode wants the decoder to end without a panic, whatever it reads.
func FuzzDecode(f *testing.F) {
	seeds(f, func(b []byte) { f.Add(b) })
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := onnx.Decode(b, "fuzz.onnx")
		if (file == nil) == (err == nil) {
			t.Fatal("want either a file or an error")
		}
	})
}

// FuzzImport wants a whole import to end without a panic, and what it makes to be
// a well-formed graph.
func FuzzImport(f *testing.F) {
	seeds(f, func(b []byte) { f.Add(b) })
	f.Fuzz(func(t *testing.T, b []byte) {
		opts := onnx.Options{MaxFolded: 1 << 20, MaxFoldedTotal: 4 << 20}
		m, err := onnx.ImportBytes(b, "fuzz.onnx", opts)
		if err != nil {
			return
		}
		if len(m.Graph.Outputs) > 0 {
			if err := m.Graph.Infer(); err != nil {
				t.Fatal(err)
			}
		}
		opts.KeepPatterns = true
		if _, err := onnx.ImportBytes(b, "fuzz.onnx", opts); err != nil {
			t.Fatalf("only with patterns rewritten: %v", err)
		}
	})
}

// FuzzExternal reads a model whose only weight lies where the fuzzer says.
func FuzzExternal(f *testing.F) {
	for _, s := range []string{"w.bin", "../w.bin", "a/../../w.bin", "/etc/passwd", `a\b`, "C:w", "a//b", "./w.bin", ""} {
		f.Add(s, "0", "4")
	}
	f.Add("w.bin", "9223372036854775807", "4")
	dir := f.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "w.bin"), []byte{0, 0, 128, 63}, 0o644); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, location, offset, length string) {
		w := pb(nil).int(1, 1).int(2, 1).str(8, "w").int(14, 1)
		for _, e := range [][2]string{{"location", location}, {"offset", offset}, {"length", length}} {
			w = w.bytes(13, pb(nil).str(1, e[0]).str(2, e[1]))
		}
		path := filepath.Join(dir, "m.onnx")
		if err := os.WriteFile(path, one(17, []int64{1, 2}, node("Add", xw(), y), w), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := onnx.Import(path, onnx.Options{})
		if inside := filepath.Clean(location) == "w.bin"; err == nil && !inside {
			t.Fatalf("read %q", location)
		}
	})
}
