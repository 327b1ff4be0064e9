package codec

import (
	"archive/zip"
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/adafire/adafire/events"
)

// npyFile returns an npy file of format 1.0.
func npyFile(descr, shape string, fortran bool, values ...any) string {
	order := "False"
	if fortran {
		order = "True"
	}
	dict := fmt.Sprintf("{'descr': %s, 'fortran_order': %s, 'shape': %s, }", descr, order, shape)
	var b bytes.Buffer
	b.WriteString("\x93NUMPY\x01\x00")
	binary.Write(&b, binary.LittleEndian, uint16(len(dict)+1))
	b.WriteString(dict + "\n")
	for _, v := range values {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			panic(err)
		}
	}
	return b.String()
}

// reversed returns the bytes of a value in big-endian order.
func reversed(v any) []byte {
	var b bytes.Buffer
	if err := binary.Write(&b, binary.BigEndian, v); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func TestNPYLayouts(t *testing.T) {
	want := []events.Event{{T: 100, X: 10, Y: 20, P: 1}, {T: 2000000, X: 30, Y: 40}, {T: 2000001, X: 50, Y: 60, P: 1}}
	rows := []int32{10, 20, 100, 1, 30, 40, 2000000, -1, 50, 60, 2000001, 1}
	cols := []int32{10, 30, 50, 20, 40, 60, 100, 2000000, 2000001, 1, 0, 1}
	seconds := []float64{10, 20, 100e-6, 1, 30, 40, 2, 0, 50, 60, 2.000001, 1}
	type record struct {
		P bool
		_ [3]byte
		X uint16
		Y int8
		T uint64
	}
	records := []record{{P: true, X: 10, Y: 20, T: 100}, {X: 30, Y: 40, T: 2000000}, {P: true, X: 50, Y: 60, T: 2000001}}
	const recordType = "[('on', '|b1'), ('', '|V3'), ('x', '<u2'), ('y', '|i1'), ('ts', '<u8')]"
	tests := []struct{ name, file string }{
		{"rows", npyFile("'<i4'", "(3, 4)", false, rows)},
		{"columns", npyFile("'<i4'", "(4, 3)", false, cols)},
		{"rows, Fortran", npyFile("'<i4'", "(3, 4)", true, cols)},
		{"columns, Fortran", npyFile("'<i4'", "(4, 3)", true, rows)},
		{"big-endian", npyFile("'>i4'", "(3, 4)", false, reversed(rows))},
		{"seconds", npyFile("'<f8'", "(3, 4)", false, seconds)},
		{"seconds, big-endian", npyFile("'>f8'", "(3, 4)", false, reversed(seconds))},
		{"structured", npyFile(recordType, "(3,)", false, records)},
		{"Python 2", npyFile("[(u'on', '|b1'), (u'', '|V3'), (u'x', '<u2'), (u'y', '|i1'), (u'ts', '<u8')]", "(3L,)", false, records)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, o := range []Options{{}, {Width: 51, Height: 61, Mode: Strict}, {Convention: Raw}} {
				got, _, err := decode(t, test.file, o)
				if diff := cmp.Diff(want, got); err != nil || diff != "" {
					t.Errorf("error %v (-want +got):\n%s", err, diff)
				}
				rec, err := NewReader(struct{ io.Reader }{strings.NewReader(test.file)}, o) // no random access
				if err != nil {
					t.Fatal(err)
				}
				defer rec.Close()
				if got, err := readPieces(rec, 2); err != nil || !slices.Equal(got, want) {
					t.Errorf("as a stream: got %v, %v", got, err)
				}
			}
		})
	}
}

// TestNPYTimeUnit has the rule that tells seconds from microseconds.
func TestNPYTimeUnit(t *testing.T) {
	tests := []struct {
		name  string
		times []float64
		unit  string
		want  []int64
	}{
		{"not whole", []float64{5000, 5000.25}, "", []int64{5000000000, 5000250000}},
		{"whole and small", []float64{1, 999}, "", []int64{1000000, 999000000}},
		{"whole and large", []float64{1, 1000}, "", []int64{1, 1000}},
		{"user says seconds", []float64{1, 1000}, "s", []int64{1000000, 1000000000}},
		{"user says microseconds", []float64{1, 2}, "us", []int64{1, 2}},
	}
	for _, test := range tests {
		var rows []float64
		for _, v := range test.times {
			rows = append(rows, 0, 0, v, 1)
		}
		file := npyFile("'<f8'", fmt.Sprintf("(%d, 4)", len(test.times)), false, rows)
		all, _, err := decode(t, file, Options{TimeUnit: test.unit})
		var got []int64
		for _, e := range all {
			got = append(got, e.T)
		}
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s: got %v, %v, want %v", test.name, got, err, test.want)
		}
	}
	if _, err := NewReader(strings.NewReader(npyFile("'<f8'", "(0, 4)", false)), Options{TimeUnit: "ms"}); err == nil {
		t.Error("the unit ms is accepted")
	}

	// float32 seconds at 80 s step by 7.6 µs.
	rec, err := NewReader(strings.NewReader(npyFile("'<f4'", "(1, 4)", false, []float32{1, 2, 80, 1})), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer rec.Close()
	if note := rec.Header().Meta["time precision"]; !strings.Contains(note, "7.6 µs") {
		t.Errorf("got the note %q, want one of 7.6 µs", note)
	}
}

func TestNPYRefuses(t *testing.T) {
	good := npyFile("'<i4'", "(1, 4)", false, []int32{1, 2, 3, 1})
	data := int64(len(good) - 16)
	tests := []struct {
		name, file string
		kind       events.Kind
		offset     int64
	}{
		{"empty", "", events.Truncated, 0},
		{"cut in the magic", "\x93NUM", events.Truncated, 4},
		{"cut in the header", good[:30], events.Truncated, 30},
		{"cut in the data", good[:len(good)-1], events.Truncated, int64(len(good) - 1)},
		{"data behind", good + "x", events.LengthMismatch, int64(len(good))},
		{"columns with data behind", npyFile("'|i1'", "(4, 2)", false, []int8{1, 2, 3, 4, 5, 6, 7, 8, 9}), events.LengthMismatch, 78},
		{"version", "\x93NUMPY\x04\x00" + good[8:], events.UnsupportedVersion, 6},
		{"pickle", npyFile("'|O'", "(1,)", false), events.UnsupportedDType, 24},
		{"pickled field", npyFile("[('t', '|O')]", "(1,)", false), events.UnsupportedDType, 31},
		{"text", npyFile("'<U5'", "(1, 4)", false), events.UnsupportedDType, 25},
		{"three columns", npyFile("'<i4'", "(5, 3)", false, make([]int32, 15)), events.BadHeader, 10},
		{"one axis", npyFile("'<i4'", "(4,)", false, make([]int32, 4)), events.BadHeader, 10},
		{"no p", npyFile("[('t', '<i4'), ('x', '<i4'), ('y', '<i4')]", "(1,)", false, make([]int32, 3)), events.MissingField, 10},
		{"x is text", npyFile("[('t', '<i4'), ('x', '|S4'), ('y', '<i4'), ('p', '<i4')]", "(1,)", false, make([]int32, 4)), events.UnsupportedDType, 10},
		{"too large", npyFile("'<i4'", "(4611686018427387904, 4)", false), events.BadHeader, 10},
		{"huge but not there", npyFile("'<i4'", "(1000000000000, 4)", false), events.Truncated, 82},
		{"huge columns, not there", npyFile("'<i4'", "(4, 1000000000000)", false), events.Truncated, 82},
		{"outside", npyFile("'<i4'", "(1, 4)", false, []int32{70000, 2, 3, 1}), events.OutOfRange, data},
		{"negative", npyFile("'<i4'", "(1, 4)", false, []int32{-1, 2, 3, 1}), events.OutOfRange, data},
		{"half a pixel", npyFile("'<f4'", "(1, 4)", false, []float32{1.5, 2, 3, 1}), events.OutOfRange, data},
		{"time", npyFile("'<f4'", "(1, 4)", false, []float32{1, 2, float32(math.Inf(1)), 1}), events.OutOfRange, data + 8},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := decode(t, test.file, Options{Name: "a.npy", Format: "npy"})
			wantError(t, err, test.kind, test.offset)
			_, stats, err := decode(t, test.file, Options{Name: "a.npy", Format: "npy", Mode: Lenient})
			if test.kind < events.Truncated {
				wantError(t, err, test.kind, test.offset)
			} else if err != nil || stats.Count(test.kind) != 1 {
				t.Errorf("lenient: got %v, %v, want one %v", stats, err, test.kind)
			}
		})
	}
}

// TestNPYTruncatedColumns: the rows of which all four columns are there come out.
func TestNPYTruncatedColumns(t *testing.T) {
	file := npyFile("'|i1'", "(4, 3)", false, []int8{10, 11, 12, 20, 21, 22, 30, 31, 32, 1, 0, 1})
	got, stats, err := decode(t, file[:len(file)-1], Options{Mode: Lenient})
	want := []events.Event{{T: 30, X: 10, Y: 20, P: 1}, {T: 31, X: 11, Y: 21}}
	if err != nil || !slices.Equal(got, want) || stats.Count(events.Truncated) != 1 {
		t.Errorf("got %v, %v, %v, want %v", got, stats, err, want)
	}
}

// npzFile packs members in order.
func npzFile(method uint16, members ...string) string {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(members); i += 2 {
		w, err := z.CreateHeader(&zip.FileHeader{Name: members[i], Method: method})
		if err == nil {
			_, err = io.WriteString(w, members[i+1])
		}
		if err != nil {
			panic(err)
		}
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return b.String()
}

func TestNPZ(t *testing.T) {
	t4 := npyFile("'<u4'", "(2,)", false, []uint32{5, 4e9})
	x := npyFile("'<i8'", "(2,)", false, []int64{1, 2})
	y := npyFile("'>u2'", "(2,)", false, reversed([]uint16{3, 4}))
	p := npyFile("'|b1'", "(2,)", false, []bool{true, false})
	want := []events.Event{{T: 5, X: 1, Y: 3, P: 1}, {T: 4e9, X: 2, Y: 4}}
	for _, method := range []uint16{zip.Store, zip.Deflate} {
		file := npzFile(method, "p.npy", p, "t.npy", t4, "label.npy", x, "x.npy", x, "y.npy", y)
		if got, _, err := decode(t, file, Options{Width: 3, Height: 5}); err != nil || !slices.Equal(got, want) {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
	}
	tests := []struct {
		name, file string
		kind       events.Kind
	}{
		{"no y", npzFile(zip.Store, "p.npy", p, "t.npy", t4, "x.npy", x), events.MissingField},
		{"frames", npzFile(zip.Store, "frames.npy", p), events.MissingField},
		{"lengths", npzFile(zip.Store, "p.npy", p, "t.npy", t4, "x.npy", x, "y.npy", npyFile("'|u1'", "(3,)", false, []byte("abc"))), events.LengthMismatch},
		{"member cut", npzFile(zip.Store, "p.npy", p, "t.npy", t4, "x.npy", x[:len(x)-1], "y.npy", y), events.Truncated},
		{"member too long", npzFile(zip.Store, "p.npy", p, "t.npy", t4, "x.npy", x+"x", "y.npy", y), events.LengthMismatch},
		{"pickle", npzFile(zip.Store, "p.npy", p, "t.npy", t4, "x.npy", npyFile("'|O'", "(2,)", false), "y.npy", y), events.UnsupportedDType},
		{"matrix", npzFile(zip.Store, "p.npy", p, "t.npy", t4, "x.npy", npyFile("'|u1'", "(1, 2)", false, []byte("ab")), "y.npy", y), events.UnsupportedDType},
		{"damaged", strings.Replace(npzFile(zip.Store, "p.npy", p, "t.npy", t4, "x.npy", x, "y.npy", y), "\x05\x00\x00\x00\x00\x28", "\x06\x00\x00\x00\x00\x28", 1), events.CorruptCompression},
		{"no archive", "PK\x03\x04", events.CorruptCompression},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := decode(t, test.file, Options{})
			var got *events.Error
			if !errors.As(err, &got) || got.Kind != test.kind {
				t.Errorf("got error %v, want %v", err, test.kind)
			}
		})
	}
}

func TestReadFrames(t *testing.T) {
	counts := make([]float64, 2*2*3*4)
	counts[17] = 5
	file := npzFile(zip.Deflate, "frames.npy", npyFile("'<f8'", "(2, 2, 3, 4)", false, counts))
	got, err := ReadFrames(strings.NewReader(file), int64(len(file)), "a.npz")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&Frames{Steps: 2, Height: 3, Width: 4, Counts: counts}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	file = npzFile(zip.Store, "frames.npy", npyFile("'<f8'", "(2, 3, 4)", false, counts))
	if _, err := ReadFrames(strings.NewReader(file), int64(len(file)), "a.npz"); err == nil {
		t.Error("frames of three axes are read")
	}
}

// matElement packs an element in the long form.
func matElement(order binary.ByteOrder, kind uint32, data []byte) []byte {
	b := make([]byte, 8)
	order.PutUint32(b, kind)
	order.PutUint32(b[4:], uint32(len(data)))
	b = append(b, data...)
	return append(b, make([]byte, (8-len(data)%8)%8)...)
}

// matVariableOf packs a variable of a class, stored as a type.
func matVariableOf(order binary.ByteOrder, name string, class byte, rows, cols uint32, kind uint32, values any) []byte {
	var data bytes.Buffer
	if err := binary.Write(&data, order, values); err != nil {
		panic(err)
	}
	flags, dims := make([]byte, 8), make([]byte, 8)
	order.PutUint32(flags, uint32(class))
	order.PutUint32(dims, rows)
	order.PutUint32(dims[4:], cols)
	return matElement(order, matMatrix, slices.Concat(matElement(order, 6, flags), matElement(order, 5, dims),
		matElement(order, 1, []byte(name)), matElement(order, kind, data.Bytes())))
}

func matFileOf(order binary.ByteOrder, elements ...[]byte) string {
	head := append([]byte("MATLAB 5.0 MAT-file"), bytes.Repeat([]byte(" "), 128-19)...)
	order.PutUint16(head[124:], 0x0100)
	copy(head[126:], "IM")
	if order == binary.ByteOrder(binary.BigEndian) {
		copy(head[126:], "MI")
	}
	return string(append(head, slices.Concat(elements...)...))
}

func packMAT(element []byte) []byte {
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	z.Write(element)
	z.Close()
	head := make([]byte, 8)
	binary.LittleEndian.PutUint32(head, matCompressed)
	binary.LittleEndian.PutUint32(head[4:], uint32(b.Len()))
	return append(head, b.Bytes()...)
}

func TestMAT(t *testing.T) {
	want := []events.Event{{T: 10, X: 234, Y: 172, P: 1}, {T: 250, X: 39, Y: 79}, {T: 250, X: 239, Y: 179, P: 1}}
	le, be := binary.ByteOrder(binary.LittleEndian), binary.ByteOrder(binary.BigEndian)
	four := func(order binary.ByteOrder) [][]byte {
		return [][]byte{
			matVariableOf(order, "ts", 6, 3, 1, 9, []float64{10, 250, 250}),
			matVariableOf(order, "x", 12, 1, 3, 2, []uint8{5, 200, 0}), // stored smaller than its class
			matVariableOf(order, "y", 7, 3, 1, 7, []float32{7, 100, 0}),
			matVariableOf(order, "pol", 10, 3, 1, 3, []int16{1, 0, 1}),
		}
	}
	packed := four(le)
	for i := range packed {
		packed[i] = packMAT(packed[i])
	}
	for _, test := range []struct{ name, file string }{
		{"little-endian", matFileOf(le, four(le)...)},
		{"big-endian", matFileOf(be, four(be)...)},
		{"packed", matFileOf(le, packed...)},
		{"another variable", matFileOf(le, append([][]byte{matVariableOf(le, "name", 4, 1, 2, 4, []uint16{65, 66})}, four(le)...)...)},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, _, err := decode(t, test.file, Options{})
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("error %v (-want +got):\n%s", err, diff)
			}
		})
	}
	tonic, _, err := decode(t, matFileOf(le, four(le)...), Options{Convention: "asldvs-tonic"})
	if err != nil || tonic[0] != (events.Event{T: 10, X: 5, Y: 172, P: 1}) {
		t.Errorf("asldvs-tonic: got %v, %v", tonic, err)
	}

	swap := func(at int, with []byte) string {
		list := four(le)
		list[at] = with
		return matFileOf(le, list...)
	}
	good := matFileOf(le, four(le)...)
	damaged := []byte(matFileOf(le, packed...))
	damaged[128+8+20] ^= 0xff
	for _, test := range []struct {
		name, file string
		kind       events.Kind
	}{
		{"no pol", matFileOf(le, four(le)[:3]...), events.MissingField},
		{"lengths", swap(1, matVariableOf(le, "x", 9, 1, 2, 2, []uint8{5, 200})), events.LengthMismatch},
		{"text", swap(1, matVariableOf(le, "x", 4, 1, 3, 4, []uint16{5, 200, 0})), events.UnsupportedDType},
		{"matrix", swap(1, matVariableOf(le, "x", 9, 2, 2, 2, []uint8{5, 200, 0, 0})), events.LengthMismatch},
		{"too few bytes", swap(1, matVariableOf(le, "x", 9, 1, 3, 2, []uint8{5, 200})), events.BadHeader},
		{"half a pixel", swap(1, matVariableOf(le, "x", 6, 1, 3, 9, []float64{5, 200.5, 0})), events.OutOfRange},
		{"outside", swap(1, matVariableOf(le, "x", 9, 1, 3, 2, []uint8{5, 250, 0})), events.OutOfRange},
		{"cut", good[:len(good)-9], events.Truncated},
		{"cut in the header", good[:100], events.Truncated},
		{"order", good[:126] + "II" + good[128:], events.BadHeader},
		{"damaged", string(damaged), events.CorruptCompression},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := decode(t, test.file, Options{})
			var got *events.Error
			if !errors.As(err, &got) || got.Kind != test.kind {
				t.Errorf("got error %v, want %v", err, test.kind)
			}
		})
	}
}

// TestGoldenFrames reads the frame caches of golden/events.
func TestGoldenFrames(t *testing.T) {
	for _, c := range eventCases(t) {
		if c.Format != "npz-frames" {
			continue
		}
		t.Run(c.File, func(t *testing.T) {
			var spec struct {
				Cases []struct {
					File    string       `json:"file"`
					Shape   [4]int       `json:"shape"`
					Nonzero [][5]float64 `json:"nonzero"` // four indices and the value
				} `json:"cases"`
			}
			if err := json.Unmarshal(readTestFile(t, filepath.Join(c.dir, "manifest.json")), &spec); err != nil {
				t.Fatal(err)
			}
			file := c.read(t)
			got, err := ReadFrames(bytes.NewReader(file), int64(len(file)), c.File)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range spec.Cases {
				if s.File != c.File {
					continue
				}
				want := &Frames{Steps: s.Shape[0], Height: s.Shape[2], Width: s.Shape[3], Counts: make([]float64, s.Shape[0]*s.Shape[1]*s.Shape[2]*s.Shape[3])}
				for _, n := range s.Nonzero {
					want.Counts[((int(n[0])*s.Shape[1]+int(n[1]))*s.Shape[2]+int(n[2]))*s.Shape[3]+int(n[3])] = n[4]
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
		})
	}
}
