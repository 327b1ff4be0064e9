package npy

import (
	"archive/zip"
	"bytes"
	"errors"
	"hash/crc32"
	"slices"
	"strings"
	"testing"

	"github.com/adafire/adafire/internal/fileerr"
)

type entry struct {
	name   string
	method uint16
	data   []byte
}

func archive(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, e := range entries {
		w, err := z.CreateHeader(&zip.FileHeader{Name: e.name, Method: e.method})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func open(b []byte) (*Archive, error) {
	return OpenArchive(bytes.NewReader(b), int64(len(b)), "x.npz")
}

func TestArchive(t *testing.T) {
	one := file(dict("|u1", "False", "(2,)"), 1, 2)
	two := file(dict("<i2", "False", "(1, 1)"), 3, 0)
	a, err := open(archive(t, entry{"b.npy", zip.Store, one}, entry{"a.npy", zip.Deflate, two}))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(a.Names, []string{"b", "a"}) {
		t.Fatalf("names %v, want file order", a.Names)
	}
	for name, want := range map[string][]int{"b": {1, 2}, "a": {3}} {
		array, err := a.Read(name)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := array.Int(); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, want)
		}
	}
	if _, err := a.Read("c"); err == nil {
		t.Error("an array that is not there was read")
	}
}

func TestArchiveRefuse(t *testing.T) {
	good := file(dict("|u1", "False", "(2,)"), 1, 2)
	zeros := file(dict("|u1", "False", "(100000,)"), make([]byte, 100000)...)
	damaged := archive(t, entry{"a.npy", zip.Store, good})
	damaged[bytes.Index(damaged, []byte{'\n', 1, 2})+1] = 9
	bomb := func() []byte { // 8 bytes that claim to be 1 GiB
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		w, err := z.CreateRaw(&zip.FileHeader{Name: "a.npy", Method: zip.Deflate, CompressedSize64: 8,
			UncompressedSize64: 1 << 30, CRC32: crc32.ChecksumIEEE(nil)})
		if err != nil {
			t.Fatal(err)
		}
		w.Write(make([]byte, 8))
		z.Close()
		return b.Bytes()
	}()
	for _, c := range []struct {
		name  string
		file  []byte
		limit int64
		want  string
	}{
		{"no zip", []byte("PK and nothing else"), 0, "not a zip archive"},
		{"other entry", archive(t, entry{"a.txt", zip.Store, nil}), 0, "want only NAME.npy"},
		{"twice", archive(t, entry{"a.npy", zip.Store, good}, entry{"a.npy", zip.Store, good}), 0, "occurs twice"},
		{"checksum", damaged, 0, "checksum"},
		{"bomb", bomb, 0, "deflate cannot do that"},
		{"limit", archive(t, entry{"a.npy", zip.Deflate, zeros}), 50000, "the limit is 50000"},
		{"bad array", archive(t, entry{"a.npy", zip.Deflate, good[:len(good)-1]}), 0, "x.npz(a.npy): offset"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := open(c.file)
			if err == nil {
				if c.limit > 0 {
					a.Limit = c.limit
				}
				_, err = a.Read("a")
			}
			var format *fileerr.FormatError
			if err == nil || !strings.Contains(err.Error(), c.want) || !errors.As(err, &format) {
				t.Errorf("got %v, want a format error with %q", err, c.want)
			}
		})
	}
}

func FuzzArchive(f *testing.F) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, _ := z.Create("a.npy")
	w.Write(file(dict("|u1", "False", "(2,)"), 1, 2))
	z.Close()
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 {
			return
		}
		a, err := open(b)
		if err != nil {
			return
		}
		a.Limit = 1 << 20
		for _, name := range a.Names {
			if array, err := a.Read(name); err == nil && array.Len() > 1<<20 {
				t.Fatalf("%d elements beyond the limit", array.Len())
			}
		}
	})
}
