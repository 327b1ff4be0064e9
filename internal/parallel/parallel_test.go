package parallel

import (
	"sync/atomic"
	"testing"
)

func TestForVisitsEveryIndexOnce(t *testing.T) {
	for _, workers := range []int{1, 2, 3, 8} {
		p := New(workers)
		for _, n := range []int{0, 1, 2, 7, 1000} {
			seen := make([]int32, n)
			p.ForWorker(n, func(w, i int) {
				if w < 0 || w >= p.Workers() {
					t.Errorf("worker %d of %d", w, p.Workers())
				}
				atomic.AddInt32(&seen[i], 1)
			})
			for i, c := range seen {
				if c != 1 {
					t.Fatalf("workers %d, n %d: index %d ran %d times", workers, n, i, c)
				}
			}
		}
		p.Close()
	}
}

func TestNilPoolRunsInOrder(t *testing.T) {
	var p *Pool
	var got []int
	p.For(4, func(i int) { got = append(got, i) })
	for i, v := range got {
		if i != v {
			t.Fatalf("got %v, want ascending order", got)
		}
	}
	if p.Workers() != 1 || len(got) != 4 {
		t.Fatalf("workers %d, calls %d, want 1 and 4", p.Workers(), len(got))
	}
}

func TestNestedLoopsFinish(t *testing.T) {
	p := New(3)
	defer p.Close()
	var sum atomic.Int64
	p.For(20, func(i int) {
		p.For(20, func(j int) { sum.Add(int64(i*20 + j)) })
	})
	if got, want := sum.Load(), int64(400*399/2); got != want {
		t.Fatalf("sum %d, want %d", got, want)
	}
}

func TestWorkerNumbersNeverOverlap(t *testing.T) {
	p := New(4)
	defer p.Close()
	busy := make([]atomic.Bool, 4)
	p.ForWorker(5000, func(w, _ int) {
		if !busy[w].CompareAndSwap(false, true) {
			t.Errorf("worker number %d used twice at once", w)
		}
		busy[w].Store(false)
	})
}

func TestPanicReachesCaller(t *testing.T) {
	p := New(2)
	defer p.Close()
	defer func() {
		if e := recover(); e != "boom" {
			t.Fatalf("recovered %v, want boom", e)
		}
	}()
	p.For(100, func(i int) {
		if i == 50 {
			panic("boom")
		}
	})
	t.Fatal("no panic")
}

func TestChunksCoverTheRange(t *testing.T) {
	p := New(2)
	defer p.Close()
	seen := make([]int32, 103)
	p.Chunks(103, 10, func(lo, hi int) {
		if hi-lo > 10 {
			t.Errorf("chunk %d..%d", lo, hi)
		}
		for i := lo; i < hi; i++ {
			atomic.AddInt32(&seen[i], 1)
		}
	})
	for i, c := range seen {
		if c != 1 {
			t.Fatalf("index %d ran %d times", i, c)
		}
	}
}
