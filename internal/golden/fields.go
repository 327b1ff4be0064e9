package golden

import (
	"encoding/json"
	"testing"
)

// Fields are the members of a JSON object whose types depend on the kind of the
// case. The methods fail the test when a member is missing or of another type.
type Fields map[string]json.RawMessage

// Has reports whether the member is there and not null.
func (f Fields) Has(name string) bool {
	v, ok := f[name]
	return ok && string(v) != "null"
}

// Decode stores a member in *v as encoding/json does.
func (f Fields) Decode(t testing.TB, name string, v any) {
	t.Helper()
	raw, ok := f[name]
	if !ok {
		t.Fatalf("case has no member %q", name)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		t.Fatalf("member %q: %v", name, err)
	}
}

// Int returns an integer member.
func (f Fields) Int(t testing.TB, name string) int { t.Helper(); return decode[int](t, f, name) }

// Ints returns a list of integers.
func (f Fields) Ints(t testing.TB, name string) []int { t.Helper(); return decode[[]int](t, f, name) }

// Float returns a number.
func (f Fields) Float(t testing.TB, name string) float64 {
	t.Helper()
	return decode[float64](t, f, name)
}

// Text returns a string.
func (f Fields) Text(t testing.TB, name string) string { t.Helper(); return decode[string](t, f, name) }

// Bool returns a boolean.
func (f Fields) Bool(t testing.TB, name string) bool { t.Helper(); return decode[bool](t, f, name) }

// Object returns a nested object.
func (f Fields) Object(t testing.TB, name string) Fields {
	t.Helper()
	return decode[Fields](t, f, name)
}

func decode[T any](t testing.TB, f Fields, name string) T {
	t.Helper()
	var v *T // a pointer, so that null is told apart from zero
	f.Decode(t, name, &v)
	if v == nil {
		t.Fatalf("member %q is null", name)
	}
	return *v
}
