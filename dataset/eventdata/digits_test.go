package eventdata_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/adafire/adafire/dataset"
	"github.com/adafire/adafire/dataset/eventdata"
	"github.com/adafire/adafire/internal/random"
)

// The simulated digits are those of the program, in the same order, with about
// as many events as in N-MNIST, on the whole of its path.
func TestSimulatedDigits(t *testing.T) {
	train, test := open(t, "nmnist-sim", "", eventdata.Options{NoCache: true, InputSize: 34})
	if train.Len() != 10000 || test.Len() != 2000 {
		t.Fatalf("%d + %d samples, want 10,000 + 2,000", train.Len(), test.Len())
	}
	digits, err := dataset.Open("digits", "", "test")
	if err != nil {
		t.Fatal(err)
	}
	x, img := make([]float32, 34*34*18), make([]float32, 28*28)
	total := 0
	for i := range 60 {
		ev, err := test.Events(i, nil)
		if err != nil {
			t.Fatal(err)
		}
		total += len(ev)
		again, err := test.Events(i, nil)
		if err != nil || !slices.Equal(ev, again) {
			t.Fatalf("digit %d: another recording the second time, error %v", i, err)
		}
		if last := ev[len(ev)-1].T; last < 250_000 || last > 300_000 {
			t.Errorf("digit %d: ends at %d µs, want about 300,000", i, last)
		}
		y, err := test.Sample(i, x)
		if err != nil {
			t.Fatal(err)
		}
		want, err := digits.Sample(i, img)
		if err != nil || y != want {
			t.Fatalf("digit %d: label %d, want %d, error %v", i, y, want, err)
		}
	}
	if mean := total / 60; mean < 3000 || mean > 5500 {
		t.Errorf("%d events a digit, want about 4,200 as in N-MNIST", mean)
	}
}

func BenchmarkMakeDigits(b *testing.B) {
	for b.Loop() {
		begin := time.Now()
		train, _ := open(b, "nmnist-sim", "", eventdata.Options{CacheDir: b.TempDir()})
		b.ReportMetric(float64(train.Len()+2000)/time.Since(begin).Seconds(), "digits/s")
	}
}

func BenchmarkSample(b *testing.B) {
	cache := b.TempDir()
	for _, size := range []int{34, 64, 224} {
		train, _ := open(b, "nmnist-sim", "", eventdata.Options{CacheDir: cache, InputSize: size})
		x := make([]float32, size*size*18)
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if _, err := train.SampleVaried(i, x, random.New(1, "bench", uint64(i))); err != nil {
					b.Fatal(err)
				}
				i = (i + 1) % train.Len()
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "samples/s")
		})
	}
}
