package report

import (
	"math"
	"strconv"
	"strings"
)

// significant formats v with three significant digits, never in exponent form
// between 0.001 and 1e6.
func significant(v float64) string {
	a := math.Abs(v)
	switch {
	case a == 0:
		return "0"
	case a < 0.001 || a >= 1e6:
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	// Round first: 9.996 has two digits behind the point, but is 10.0.
	rounded, _ := strconv.ParseFloat(strconv.FormatFloat(v, 'e', 2, 64), 64)
	digits := 2 - int(math.Floor(math.Log10(math.Abs(rounded))))
	return strconv.FormatFloat(rounded, 'f', max(0, digits), 64)
}

// scaled formats v with a prefix in steps of 1000.
func scaled(v float64, prefixes []string) string {
	i := 0
	for i+1 < len(prefixes) && math.Abs(v) >= 999.5 {
		v /= 1000
		i++
	}
	s := significant(v)
	if prefixes[i] != "" {
		s += " " + prefixes[i]
	}
	return s
}

// count formats a mean count: 12.3, 45.6 k, 7.89 M.
func count(v float64) string { return scaled(v, []string{"", "k", "M", "G", "T"}) }

// energy formats picojoule with a fitting unit.
func energy(pj float64) string { return scaled(pj, []string{"pJ", "nJ", "µJ", "mJ", "J"}) }

// percent formats a fraction.
func percent(v float64) string { return strconv.FormatFloat(100*v, 'f', 2, 64) + " %" }

// share formats a fraction of a whole.
func share(v float64) string { return strconv.FormatFloat(100*v, 'f', 1, 64) + " %" }

// steps formats a mean number of timesteps.
func steps(v float64) string {
	if v == math.Trunc(v) {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return significant(v)
}

// trimmed formats a setting as people write it: 0.05, 1.2.
func trimmed(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) }

// points formats a difference of fractions in percentage points, with sign.
func points(v float64) string {
	s := strconv.FormatFloat(100*v, 'f', 2, 64)
	if s == "-0.00" {
		s = "0.00"
	}
	if v > 0 && s != "0.00" {
		s = "+" + s
	}
	return strings.Replace(s, "-", "−", 1)
}

// integer formats n with commas between groups of three digits.
func integer(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, s = "−", s[1:]
	}
	var groups []string
	for len(s) > 3 {
		groups = append([]string{s[len(s)-3:]}, groups...)
		s = s[:len(s)-3]
	}
	return sign + strings.Join(append([]string{s}, groups...), ",")
}

// shapeText formats a per-sample shape as 28x28x16.
func shapeText(shape []int) string {
	parts := make([]string, len(shape))
	for i, d := range shape {
		parts[i] = strconv.Itoa(d)
	}
	return strings.Join(parts, "x")
}

// burstText formats burst limits: one number if all are equal.
func burstText(limits []int) string {
	if len(limits) == 0 {
		return ""
	}
	parts := make([]string, 0, len(limits))
	equal := true
	for _, m := range limits {
		parts = append(parts, strconv.Itoa(m))
		equal = equal && m == limits[0]
	}
	if equal {
		return parts[0]
	}
	return strings.Join(parts, ",")
}

// seconds formats a duration for people.
func seconds(s float64) string {
	switch {
	case s < 1:
		return significant(1000*s) + " ms"
	case s < 120:
		return significant(s) + " s"
	case s < 7200:
		return strconv.Itoa(int(s)/60) + " min " + strconv.Itoa(int(s)%60) + " s"
	}
	return strconv.FormatFloat(s/3600, 'f', 1, 64) + " h"
}
