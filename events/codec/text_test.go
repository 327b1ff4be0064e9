package codec

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/adafire/adafire/events"
)

func TestTextForms(t *testing.T) {
	want := []events.Event{{T: 1500001, X: 3, Y: 4, P: 1}, {T: 2000000, X: 5, Y: 6}}
	for _, c := range []struct {
		text string
		o    Options
	}{
		{"1500001 3 4 1\n2000000 5 6 0\n", Options{}},
		{"1500001,3,4,1\r\n2000000 , 5\t6,-1", Options{}},
		{"# comment\n\n1.500001 3 4 true\n  \n% more\n2e0 5 6 false\n", Options{}},
		{"t,x,y,p\n1500001,3,4,1\n2000000,5,6,0\n", Options{}},
		{"Polarity timestamp y x extra\n1 1500001 4 3 9\n0 2000000 6 5 9\n", Options{}},
		{"%geometry:10,20\n3,4,1,1500001\n5,6,0,2000000\n", Options{}},
		{"3 4 1 1500001\n5 6 0 2000000\n", Options{Order: "xypt"}},
		{"%geometry:10,20\n1500001 3 4 1\n2000000 5 6 0\n", Options{Order: "txyp"}},
		{"%geometry:10,20\nt x y p\n1500001 3 4 1\n2000000 5 6 0\n", Options{}},
		{"1.500001 3 4 1\n2 5 6 0\n", Options{TimeUnit: "s"}},
		{"1500001 3 4 1\n2000000.0 5 6 0\n", Options{TimeUnit: "us"}},
		{"1.5000009999999999999999999 3 4 1\n0.0000020e+6 5 6 0\n", Options{}},
	} {
		c.o.Format = "text"
		list, rec := decoded(t, []byte(c.text), c.o)
		if diff := cmp.Diff(want, list); diff != "" {
			t.Errorf("%q: want (-), got (+):\n%s", c.text, diff)
		}
		if h := rec.Header(); strings.HasPrefix(c.text, "%geometry") != (h.Width == 10 && h.Height == 20) {
			t.Errorf("%q: header %+v", c.text, h)
		}
	}
}

func TestTextDamage(t *testing.T) {
	long := strings.Repeat("1", 70_000)
	for _, c := range []struct {
		text   string
		kind   events.Kind
		offset int64
		rest   int // events in lenient mode
	}{
		{"1 2 3 0\n1 2 3\n1 2 3 0\n", events.MalformedLine, 8, 2},
		{"1 2 3 0\n1 2 3 0 1\n", events.MalformedLine, 8, 1},
		{"1 2 3 0\n1,,2 3 0\n", events.MalformedLine, 8, 1},
		{"1 2 3 0\n1 2 3 0,\n", events.MalformedLine, 8, 1},
		{"1 2 3 0\n1 2 3 2\n", events.MalformedLine, 8, 1},
		{"1 2 3 0\n1 2.0 3 1\n", events.MalformedLine, 8, 1},
		{"1 2 3 0\n1e 2 3 1\n", events.MalformedLine, 8, 1},
		{"1 2 3 0\n1e99 2 3 1\n", events.MalformedLine, 8, 1},
		{"1 2 3 0\n. 2 3 1\n", events.MalformedLine, 8, 1},
		{"1 2 3 0\n" + long + "\n1 2 3 0\n", events.MalformedLine, 8, 2},
		{"1 2 3 0\n" + long, events.MalformedLine, 8, 1},
		{"1 2 3 0\n1 -2 3 0\n", events.OutOfRange, 8, 1},
		{"1 2 3 0\n1 2 65536 0\n", events.OutOfRange, 8, 1},
	} {
		o := Options{Format: "text"}
		refused(t, fmt.Sprintf("%.40q", c.text), []byte(c.text), o, c.kind, c.offset)
		o.Mode = Lenient
		list, rec := decoded(t, []byte(c.text), o)
		if first, ok := rec.Stats().First(c.kind); len(list) != c.rest || !ok || first != c.offset {
			t.Errorf("%.40q: lenient: %d events, counted %v", c.text, len(list), rec.Stats())
		}
	}
	refused(t, "names", []byte("t x p extra\n"), Options{Format: "text"}, events.MissingField, 0)
	refused(t, "geometry", []byte("%geometry:3\n"), Options{Format: "text"}, events.BadHeader, 0)
}

// TestDecimal compares seconds with their digits.
func TestDecimal(t *testing.T) {
	for text, want := range map[string]int64{
		"0.0000005": 1, "0.0000004999": 0, "-0.0000005": -1, "9223372036854.775807": math.MaxInt64, "-9223372036854.775808": math.MinInt64,
		"0.1": 100000, ".25": 250000, "5.": 5000000, "1E-6": 1, "1e-7": 0, "0e999": 0, "123456789e-3": 123456789000,
	} {
		if got, ok := decimal([]byte(text), 6); !ok || got != want {
			t.Errorf("%s: got %d, %v, want %d", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "-", ".", "1..2", "1e", "1e1.5", "9223372036854.775808", "-9223372036854.775809", "1e20", "0x1", "1_0", "inf"} {
		if got, ok := decimal([]byte(text), 6); ok {
			t.Errorf("%q: got %d, want none", text, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		us := rapid.Int64().Draw(t, "us")
		whole, sign := uint64(us), ""
		if us < 0 {
			whole, sign = -uint64(us), "-"
		}
		text := fmt.Sprintf("%s%d.%06d", sign, whole/1e6, whole%1e6)
		if got, ok := decimal([]byte(text), 6); !ok || got != us {
			t.Fatalf("%s: got %d, %v", text, got, ok)
		}
	})
}
