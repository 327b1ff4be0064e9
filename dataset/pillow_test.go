package dataset

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"slices"
	"testing"
)

type pillowCases struct {
	Images []struct {
		H, W, C int
		Data    []byte
	}
	Ops []struct {
		Image, M int
		Op       string
		Sign     float64
		SHA256   string
	}
	Resize []struct {
		Image  int
		From   [4]int
		To     [2]int
		SHA256 string
	}
}

func (c *pillowCases) image(i int) pixels {
	m := c.Images[i]
	return pixels{m.H, m.W, m.C, slices.Clone(m.Data)}
}

func shortSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

func readPillow(t *testing.T) *pillowCases {
	t.Helper()
	text, err := os.ReadFile("testdata/pillow.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases pillowCases
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	return &cases
}

// Every operation at every magnitude gives the very bytes that Pillow gives.
func TestOperationsLikePillow(t *testing.T) {
	cases := readPillow(t)
	var ops imageOps
	seen := map[string]int{}
	for _, tc := range cases.Ops {
		p := cases.image(tc.Image)
		ops.apply(p, tc.Op, tc.M, tc.Sign)
		seen[tc.Op]++
		if got := shortSum(p.data); got != tc.SHA256 {
			t.Errorf("image %d, %s magnitude %d sign %+g: bytes differ from Pillow's", tc.Image, tc.Op, tc.M, tc.Sign)
		}
	}
	for _, pair := range cifarPolicy {
		for _, op := range pair {
			if seen[op.name] < 20 {
				t.Errorf("%s: only %d cases", op.name, seen[op.name])
			}
		}
	}
}

func TestResizeLikePillow(t *testing.T) {
	cases := readPillow(t)
	if len(cases.Resize) == 0 {
		t.Fatal("no cases")
	}
	for _, tc := range cases.Resize {
		w, h := tc.To[0], tc.To[1]
		from := rect{tc.From[0], tc.From[1], tc.From[2], tc.From[3]}
		whole := cases.image(tc.Image).resize(from, w, h, rect{0, 0, w, h})
		if got := shortSum(whole.data); got != tc.SHA256 {
			t.Errorf("image %d, %v to %v: bytes differ from Pillow's", tc.Image, tc.From, tc.To)
		}
		// A window of the result is a crop of the whole.
		window := rect{w / 3, h / 4, w - w/2, h - h/2}
		part := cases.image(tc.Image).resize(from, w, h, window)
		for y := range window.h {
			at := ((window.y+y)*w + window.x) * whole.c
			row := window.w * whole.c
			if !slices.Equal(part.data[y*row:(y+1)*row], whole.data[at:at+row]) {
				t.Fatalf("image %d, %v to %v: row %d of window %v differs", tc.Image, tc.From, tc.To, y, window)
			}
		}
	}
}
