package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/adafire/adafire/internal/fileerr"
)

// maxResultBytes bounds a result file: 10,000 layer rows are about 4 MB.
const maxResultBytes = 64 << 20

// WriteJSON writes the result, checked, as indented JSON with the fields in the
// order of the schema. Equal results give equal bytes.
func WriteJSON(w io.Writer, r Result) error {
	if err := r.Validate(); err != nil {
		return fmt.Errorf("result: %w", err)
	}
	r.SNN = withLists(r.SNN)
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("result: %w", err)
	}
	_, err := w.Write(buf.Bytes())
	return err
}

// withLists returns a copy whose required lists are empty instead of nil:
// programs read a list, never null.
func withLists(in []SNN) []SNN {
	out := append([]SNN{}, in...)
	for i := range out {
		if out[i].MaxSpike == nil {
			out[i].MaxSpike = []int{}
		}
		if out[i].Layers == nil {
			out[i].Layers = []Layer{}
		}
	}
	return out
}

// ReadResult reads a result file. It is strict: unknown, repeated or wrongly
// cased members, nulls, values out of range and anything behind the object are
// errors (*fileerr.FormatError).
func ReadResult(path string) (Result, error) {
	f, err := os.Open(path)
	if err != nil {
		return Result{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Result{}, err
	}
	if info.Size() > maxResultBytes {
		return Result{}, fileerr.New(path, -1, "%d bytes, a result has at most %d", info.Size(), maxResultBytes)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxResultBytes+1))
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", path, err)
	}
	return DecodeResult(path, data)
}

// DecodeResult is ReadResult for bytes at hand; name stands for the path in
// errors.
func DecodeResult(name string, data []byte) (Result, error) {
	if len(data) > maxResultBytes {
		return Result{}, fileerr.New(name, -1, "%d bytes, a result has at most %d", len(data), maxResultBytes)
	}
	if !utf8.Valid(data) {
		return Result{}, fileerr.New(name, -1, "is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := checkMembers(d, reflect.TypeFor[Result](), "result"); err != nil {
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("the file ends inside the result")
		}
		return Result{}, fileerr.New(name, d.InputOffset(), "%v", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return Result{}, fileerr.New(name, d.InputOffset(), "something follows the result")
	}
	var r Result
	if err := json.Unmarshal(data, &r); err != nil {
		offset := int64(-1)
		if typed, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			offset = typed.Offset
		}
		return Result{}, fileerr.New(name, offset, "%s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if err := r.Validate(); err != nil {
		return Result{}, fileerr.New(name, -1, "%v", err)
	}
	return r, nil
}

// checkMembers walks one JSON value along a Go type. It refuses what
// encoding/json lets pass: unknown and repeated members, members that differ in
// case, pairs of other lengths, and null.
func checkMembers(d *json.Decoder, t reflect.Type, at string) error {
	if t == reflect.TypeFor[json.RawMessage]() {
		return skipValue(d)
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	token, err := d.Token()
	if err != nil {
		return err
	}
	if token == nil {
		return fmt.Errorf("%s is null", at)
	}
	delim, _ := token.(json.Delim)
	switch {
	case t.Kind() == reflect.Slice && delim == '[':
		for d.More() {
			if err := checkMembers(d, t.Elem(), at+"[]"); err != nil {
				return err
			}
		}
		_, err := d.Token()
		return err
	case t.Kind() == reflect.Array && delim == '[':
		n := 0
		for ; d.More(); n++ {
			if err := checkMembers(d, t.Elem(), at+"[]"); err != nil {
				return err
			}
		}
		if n != t.Len() {
			return fmt.Errorf("%s has %d entries, want %d", at, n, t.Len())
		}
		_, err := d.Token()
		return err
	case t.Kind() == reflect.Struct && delim == '{':
		fields := map[string]reflect.Type{}
		members(t, fields)
		for d.More() {
			token, err := d.Token()
			if err != nil {
				return err
			}
			key, _ := token.(string)
			field, ok := fields[key]
			if !ok {
				return fmt.Errorf("%s has an unknown member %q", at, key)
			}
			if field == nil {
				return fmt.Errorf("%s has the member %q twice", at, key)
			}
			fields[key] = nil
			if err := checkMembers(d, field, at+"."+key); err != nil {
				return err
			}
		}
		if field, wanted := fields["schema"]; wanted && field != nil {
			return fmt.Errorf("%s has no member \"schema\"", at)
		}
		_, err := d.Token()
		return err
	case delim != 0:
		return fmt.Errorf("%s is an object or a list, want a %s", at, t.Kind())
	}
	return nil // a scalar; Unmarshal checks its type
}

// members lists the JSON members of a struct, those of embedded ones included.
func members(t reflect.Type, fields map[string]reflect.Type) {
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			members(f.Type, fields)
			continue
		}
		fields[name] = f.Type
	}
}

// skipValue reads one value of any kind.
func skipValue(d *json.Decoder) error {
	for depth := 0; ; {
		token, err := d.Token()
		if err != nil {
			return err
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}
