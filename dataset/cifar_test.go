package dataset

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// miniCIFAR returns the files of a version: two samples in each training
// file, three in the test file; sample k has label k*3 mod 10 (or 100: k*37).
func miniCIFAR(set string, python bool) (v cifarVersion, files map[string][]byte) {
	v = cifarVersions[set][0]
	if python {
		v = cifarVersions[set][1]
	}
	files = map[string][]byte{}
	make := func(first int, labels ...byte) []byte {
		switch {
		case !python:
			return cifarRecords(first, set == "cifar100", labels...)
		case set == "cifar10":
			return cifarPickle(first, "labels", labels...)
		default:
			return cifarPickle(first, "fine_labels", labels...)
		}
	}
	for k, name := range v.train {
		files[name] = make(2*k, cifarLabel(set, 2*k), cifarLabel(set, 2*k+1))
	}
	files[v.test[0]] = make(100, cifarLabel(set, 100), cifarLabel(set, 101), cifarLabel(set, 102))
	names := cifar10Names
	if set == "cifar100" {
		names = cifar100Names
	}
	switch {
	case !python:
		files[v.meta] = []byte(strings.Join(names, "\n") + "\n\n")
	case set == "cifar10":
		files[v.meta] = metaPickle("label_names", names)
	default:
		files[v.meta] = metaPickle("fine_label_names", names)
	}
	return v, files
}

func cifarLabel(set string, k int) byte {
	if set == "cifar10" {
		return byte(k * 3 % 10)
	}
	return byte(k * 37 % 100)
}

func TestCIFAR(t *testing.T) {
	for _, set := range []string{"cifar10", "cifar100"} {
		for _, python := range []bool{false, true} {
			v, files := miniCIFAR(set, python)
			var names []string
			for name := range files {
				names = append(names, name)
			}
			slices.Sort(names)
			slices.Reverse(names) // an archive need not be in reading order
			for _, form := range []string{"folder", "itself", "archive", "no meta"} {
				dir := t.TempDir()
				at := dir
				switch form {
				case "folder":
					at = filepath.Join(dir, v.folder)
				case "archive":
					writeFile(t, filepath.Join(dir, v.archive), tarball(v.folder, names, files))
				}
				if form != "archive" {
					for name, data := range files {
						if name != v.meta || form != "no meta" {
							writeFile(t, filepath.Join(at, name), data)
						}
					}
				}
				for split, first := range map[string]int{"train": 0, "test": 100} {
					ds, err := Open(set, dir, split)
					if err != nil {
						t.Errorf("%s python=%v %s: %v", set, python, form, err)
						continue
					}
					n := 2 * len(v.train)
					if split == "test" {
						n = 3
					}
					if ds.Len() != n {
						t.Errorf("%s python=%v %s: %d samples, want %d", set, python, form, ds.Len(), n)
					}
					img := make([]float32, cifarPixels)
					for i := range n {
						y, err := ds.Sample(i, img)
						if err != nil || y != int(cifarLabel(set, first+i)) {
							t.Fatalf("%s python=%v %s: sample %d has label %d, error %v, want %d", set, python, form, i, y, err, cifarLabel(set, first+i))
						}
						raw := cifarImage(first + i)
						for p := range 1024 {
							for ch := range 3 {
								if want := float32(raw[ch*1024+p]) / 255; img[p*3+ch] != want {
									t.Fatalf("%s python=%v %s: sample %d, pixel %d, channel %d: %g, want %g", set, python, form, i, p, ch, img[p*3+ch], want)
								}
							}
						}
					}
					if c := ds.Info().Classes; c[0] != map[string]string{"cifar10": "airplane", "cifar100": "apple"}[set] {
						t.Errorf("first class %q of %d", c[0], len(c))
					}
				}
			}
		}
	}
	if n := len(cifar100Names); n != 100 || !slices.IsSorted(cifar100Names) {
		t.Errorf("%d names of CIFAR-100, sorted: %v", n, slices.IsSorted(cifar100Names))
	}
}

// Files that Python 3 and NumPy 2 wrote: three images, value i/37 mod 251 for
// the i-th value, labels 3, 0, 9, keys and names as bytes.
func TestPickleFromPython(t *testing.T) {
	for _, name := range []string{"protocol2", "protocol3", "protocol4", "fortran"} {
		dir := t.TempDir()
		data, err := os.ReadFile("testdata/cifar10-" + name + ".pickle")
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, "test_batch"), data)
		ds, err := Open("cifar10", dir, "test")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if y, _ := Labels(ds); !slices.Equal(y, []int{3, 0, 9}) {
			t.Errorf("%s: labels %v", name, y)
		}
		for i, v := range ds.(*memory).pixels {
			if int(v) != i/37%251 {
				t.Errorf("%s: value %d is %d, want %d", name, i, v, i/37%251)
				break
			}
		}
	}
}

func TestBadCIFARBinary(t *testing.T) {
	for _, tc := range []struct {
		name, set, file string
		change          func([]byte) []byte
		offset          int64
		words           string
	}{
		{"empty", "cifar10", "data_batch_3.bin", func([]byte) []byte { return nil }, 0, "empty"},
		{"truncated", "cifar10", "data_batch_3.bin", func(b []byte) []byte { return b[:len(b)-1] }, 3073, "truncated"},
		{"trailing", "cifar10", "data_batch_5.bin", func(b []byte) []byte { return append(b, 1, 2) }, 2 * 3073, "2 bytes behind 2 records"},
		{"label", "cifar10", "data_batch_1.bin", func(b []byte) []byte { b[3073] = 10; return b }, 3073, "label 10 of record 1"},
		{"fine label", "cifar100", "train.bin", func(b []byte) []byte { b[3075] = 100; return b }, 3075, "label 100 of record 1"},
		{"coarse label", "cifar100", "train.bin", func(b []byte) []byte { b[0] = 20; return b }, 0, "coarse label 20"},
		{"names", "cifar10", "batches.meta.txt", func([]byte) []byte { return []byte("cat\ndog\n") }, 0, "names 2 classes"},
	} {
		v, files := miniCIFAR(tc.set, false)
		dir := t.TempDir()
		for name, data := range files {
			if name == tc.file {
				data = tc.change(bytes.Clone(data))
			}
			writeFile(t, filepath.Join(dir, v.folder, name), data)
		}
		_, err := Open(tc.set, dir, "train")
		wantFormatError(t, err, tc.file, tc.offset, tc.words)
	}

	v, files := miniCIFAR("cifar10", false)
	dir := t.TempDir()
	for name, data := range files {
		if name != "data_batch_4.bin" {
			writeFile(t, filepath.Join(dir, v.folder, name), data)
		}
	}
	_, err := Open("cifar10", dir, "train")
	wantMissing(t, err, v.folder+"/data_batch_4.bin")
}

func TestBadCIFARArchive(t *testing.T) {
	v, files := miniCIFAR("cifar10", false)
	names := append(slices.Clone(v.train), v.test...)
	good := tarball(v.folder, names, files)
	open := func(data []byte) error {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, v.archive), data)
		_, err := Open("cifar10", dir, "train")
		return err
	}
	if err := open(good); err != nil {
		t.Fatal(err)
	}
	wantFormatError(t, open(good[:len(good)/2]), v.archive, -2, "damaged")
	wantFormatError(t, open([]byte("no archive")), v.archive, 0, "not a gzip file")
	wantFormatError(t, open(gzipped([]byte(strings.Repeat("no tar file ", 100)))), v.archive, -2, "damaged")
	wantFormatError(t, open(tarball(v.folder, append(names, names[0]), files)), v.archive, -2, "twice")
	checksum := bytes.Clone(good)
	checksum[len(checksum)-5] ^= 1
	wantFormatError(t, open(checksum), v.archive, -2, "damaged")
	wantMissing(t, open(tarball(v.folder, names[1:], files)), v.archive)
}

func TestBadCIFARPickle(t *testing.T) {
	good := cifarPickle(0, "labels", 1, 2)
	at := func(text string) int64 {
		i := bytes.Index(good, []byte(text))
		if i < 0 {
			t.Fatalf("the file holds no %q", text)
		}
		return int64(i)
	}
	replace := func(old, new string) []byte {
		if !bytes.Contains(good, []byte(old)) {
			t.Fatalf("the file holds no %q", old)
		}
		return bytes.Replace(good, []byte(old), []byte(new), 1)
	}
	pickle := func(text string) []byte { return []byte("\x80\x02" + text) }
	nested := pickle(strings.Repeat("]", 1<<20+1) + ".")
	for _, tc := range []struct {
		name   string
		data   []byte
		offset int64
		words  string
	}{
		{"empty", nil, 0, "truncated"},
		{"no stop", good[:len(good)-1], int64(len(good) - 1), "STOP"},
		{"half", good[:len(good)/2], -2, "truncated"},
		{"trailing", append(bytes.Clone(good), '.'), int64(len(good)), "trailing"},
		{"protocol 0", []byte("(dp1\n."), 1, "DICT"},
		{"protocol 5", []byte("\x80\x05}."), 0, "protocol 5"},
		{"a command", pickle("cos\nsystem\nU\x04true\x85R."), 2, `GLOBAL: global "os.system"`},
		{"a command by STACK_GLOBAL", pickle("X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93."), -2, "os.system"},
		{"eval", pickle("c__builtin__\neval\nU\x011\x85R."), 2, "__builtin__.eval"},
		{"an instance", pickle("(ios\nsystem\n."), 3, "INST"},
		{"an object", pickle("(cnumpy\nndarray\no."), -2, "OBJ"},
		{"new object", pickle("cnumpy\nndarray\n)\x81."), -2, "NEWOBJ"},
		{"extension", pickle("\x82\x01."), 2, "EXT1"},
		{"persistent id", pickle("U\x01aQ."), 5, "BINPERSID"},
		{"unknown instruction", pickle("\xff."), 2, "0xff"},
		{"ndarray called", pickle("cnumpy\nndarray\n)R."), -2, "not expected"},
		{"list called", pickle("])R."), 4, "calls a list"},
		{"empty stack", pickle("."), 2, "0 values"},
		{"two values", pickle("}}."), 4, "2 values"},
		{"a list", pickle("]."), 0, "want a dict"},
		{"no mark", pickle("}u."), 3, "no mark"},
		{"odd items", pickle("}(U\x01au."), 7, "pairs"},
		{"key twice", pickle("}(U\x01aNU\x01aNu."), -2, "twice"},
		{"key a number", pickle("}(K\x01Nu."), -2, "key is a number"},
		{"append to dict", pickle("}Na."), 4, "appends to a dict"},
		{"nothing stored", pickle("h\x07."), 2, "nothing was stored"},
		{"pop through a mark", pickle("(\x85."), 3, "mark"},
		{"too many values", nested, -2, "more than"},
		{"string beyond the end", pickle("T\xff\xff\xff\x7fabc."), 2, "4 remain"},
		{"long string", pickle("\x8e\xff\xff\xff\xff\xff\xff\xff\xffabc."), 2, "4 remain"},
		{"no end of line", pickle("cnumpy"), 2, "end of line"},
		{"no latin1", pickle("c_codecs\nencode\nX\x02\x00\x00\x00\xc4\x80X\x06\x00\x00\x00latin1\x86R."), -2, "cannot be encoded"},
		{"no data", replace("U\x04data", "U\x04date"), 2, "data"},
		{"no labels", replace("U\x06labels", "U\x06lapels"), 2, "labels"},
		{"label 10", replace("K\x01K\x02e", "K\x01K\x0ae"), at("K\x01K\x02e") + 2, "label 10 of image 1"},
		{"label negative", replace("K\x01K\x02e", "J\xff\xff\xff\xffK\x02e"), at("K\x01K\x02e"), "label -1"},
		{"label a string", replace("K\x01K\x02e", "U\x01aK\x02e"), -2, "not an integer"},
		{"one label less", replace("K\x01K\x02e", "K\x01e"), -2, "1 labels for 2 images"},
		{"shape", replace("K\x02M\x00\x0c\x86", "K\x02M\x01\x0c\x86"), -2, "want 6146"},
		{"huge shape", replace("K\x02M\x00\x0c\x86", "J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86"), -2, "array"},
		{"negative shape", replace("K\x02M\x00\x0c\x86", "J\xfe\xff\xff\xffM\x00\x0c\x86"), -2, "shape"},
		{"floats", replace("U\x02u1", "U\x02f4"), -2, `dtype "f4"`},
	} {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, "test_batch"), tc.data)
		_, err := Open("cifar10", dir, "test")
		t.Run(tc.name, func(t *testing.T) { wantFormatError(t, err, "test_batch", tc.offset, tc.words) })
	}

	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "test"), cifarPickle(0, "labels", 1))
	_, err := Open("cifar100", dir, "test")
	wantFormatError(t, err, "test", 2, "fine_labels")
	writeFile(t, filepath.Join(dir, "meta"), metaPickle("fine_label_names", cifar10Names))
	writeFile(t, filepath.Join(dir, "test"), cifarPickle(0, "fine_labels", 99))
	_, err = Open("cifar100", dir, "test")
	wantFormatError(t, err, "meta", 0, "names 10 classes")
}

// A string that is stored once and encoded again and again must not fill the
// memory.
func TestPickleDoesNotGrow(t *testing.T) {
	var b bytes.Buffer
	b.WriteString("\x80\x02c_codecs\nencode\nq\x00X")
	b.Write([]byte{0, 0, 1, 0}) // 65,536 bytes
	b.Write(bytes.Repeat([]byte{'a'}, 1<<16))
	b.WriteString("q\x01X\x06\x00\x00\x00latin1q\x02")
	for range 10000 {
		b.WriteString("h\x00h\x01h\x02\x86R")
	}
	b.WriteString(".")
	var err error
	grown := testing.AllocsPerRun(1, func() { _, err = readPickleDict(blob{"fuzz", b.Bytes()}) })
	wantFormatError(t, err, "fuzz", -2, "encodes more than")
	if grown > 1000 {
		t.Errorf("%g allocations", grown)
	}
}

func FuzzCIFARBinary(f *testing.F) {
	const pixels = 5 // instead of 3072, so that the fuzzer finds whole records
	f.Add([]byte{1, 10, 11, 12, 13, 14, 9, 0, 0, 0, 0, 0}, false)
	f.Add([]byte{1, 99, 10, 11, 12, 13, 14, 19, 0, 0, 0, 0, 0, 0}, true)
	f.Fuzz(func(t *testing.T, data []byte, hundred bool) {
		classes := 10
		if hundred {
			classes = 100
		}
		var m memory
		if err := m.addRecords(blob{"fuzz", data}, classes, pixels); err != nil {
			return
		}
		record := 1 + pixels + classes/100
		if len(m.labels)*record != len(data) || len(m.pixels) != len(m.labels)*pixels {
			t.Fatalf("%d labels, %d pixels out of %d bytes", len(m.labels), len(m.pixels), len(data))
		}
		for i, y := range m.labels {
			if int(y) >= classes || y != data[i*record+classes/100] {
				t.Fatalf("label %d of sample %d", y, i)
			}
		}
	})
}

func FuzzPickle(f *testing.F) {
	var p python2
	p.WriteString("\x80\x02}")
	p.put()
	p.WriteByte('(')
	p.str("labels")
	p.numbers([]byte{1, 2})
	p.str("data")
	p.array(2, 3, []byte("abcdef"))
	p.WriteString("u.")
	f.Add(p.Bytes())
	f.Add(metaPickle("label_names", cifar10Names[:3]))
	f.Add([]byte("\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x01a\x94NC\x02xy\x94\x88\x8c\x05numpy\x94\x8c\x05dtype\x94\x93u."))
	f.Add([]byte("\x80\x02}c_codecs\nencode\nq\x00X\x02\x00\x00\x00\xc3\xa4X\x06\x00\x00\x00latin1\x86RNs."))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := readPickleDict(blob{"fuzz", data})
		if err != nil {
			return
		}
		for key, v := range d.values {
			a, ok := v.(*pickleArray)
			if len(key) > len(data) || ok && len(a.data) > len(data) {
				t.Fatalf("key %q: more data than the file has", key)
			}
		}
		var m memory
		if err := m.addPickle(blob{"fuzz", data}, 10); err == nil && len(m.pixels) != len(m.labels)*cifarPixels {
			t.Fatalf("%d pixels for %d labels out of %d bytes", len(m.pixels), len(m.labels), len(data))
		}
	})
}
