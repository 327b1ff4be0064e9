// Package parallel runs loops on several cores without making results depend
// on how many there are: the work is cut into numbered pieces by the caller,
// workers take the next number from a counter, and every piece writes only to
// its own output. Nothing is ever summed in the order in which workers finish.
package parallel

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// A Pool is a set of worker goroutines. A nil *Pool runs everything in the
// calling goroutine. Pools may be used from several goroutines and from inside
// a running loop: the caller always takes part itself, so it never waits for
// a free worker.
type Pool struct {
	workers int
	tasks   chan *loop
	once    sync.Once
}

// A loop ends when its items are done, not when the workers it was offered to
// have come by: a worker that is busy in a loop of its own may find this one in
// the queue long after it has ended, and then has nothing to do.
type loop struct {
	n      int
	fn     func(worker, i int)
	next   atomic.Int64
	slots  atomic.Int64
	items  sync.WaitGroup
	failed atomic.Pointer[any]
}

// New returns a pool of the given number of workers, the caller of For
// included; 0 or less means one per available core.
func New(workers int) *Pool {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	p := &Pool{workers: workers, tasks: make(chan *loop, workers)}
	for range workers - 1 {
		go func() {
			for l := range p.tasks {
				l.work()
			}
		}()
	}
	return p
}

// Workers returns the number of workers, at least 1.
func (p *Pool) Workers() int {
	if p == nil {
		return 1
	}
	return p.workers
}

// Close ends the worker goroutines. A closed pool must not be used again.
func (p *Pool) Close() {
	if p != nil {
		p.once.Do(func() { close(p.tasks) })
	}
}

// For calls fn(i) for every i in 0..n-1 and returns when all calls have
// returned. The calls run in any order and in parallel. A panic in fn is
// raised again in the caller.
func (p *Pool) For(n int, fn func(i int)) {
	p.ForWorker(n, func(_, i int) { fn(i) })
}

// ForWorker is For with the number of the worker (0..Workers()-1) that makes
// the call, to choose scratch memory; two calls with the same number never
// overlap. Results must not depend on it.
func (p *Pool) ForWorker(n int, fn func(worker, i int)) {
	if p == nil || p.workers == 1 || n <= 1 {
		for i := range n {
			fn(0, i)
		}
		return
	}
	l := &loop{n: n, fn: fn}
	l.items.Add(n)
offer:
	for range min(n, p.workers) - 1 {
		select {
		case p.tasks <- l:
		default: // enough is queued already: the caller does the rest
			break offer
		}
	}
	l.work()
	l.items.Wait()
	if e := l.failed.Load(); e != nil {
		panic(*e)
	}
}

func (l *loop) work() {
	if l.next.Load() >= int64(l.n) {
		return
	}
	worker := int(l.slots.Add(1)) - 1
	for {
		i := int(l.next.Add(1)) - 1
		if i >= l.n {
			return
		}
		l.run(worker, i)
	}
}

// run does one item; after a panic the remaining items are only counted.
func (l *loop) run(worker, i int) {
	defer l.items.Done()
	defer func() {
		if e := recover(); e != nil {
			kept := e // e itself would be allocated for every item
			l.failed.CompareAndSwap(nil, &kept)
		}
	}()
	if l.failed.Load() == nil {
		l.fn(worker, i)
	}
}

// Chunks cuts n items into pieces of at most size items and calls fn(lo, hi)
// for each, in parallel. The cuts depend on n and size only.
func (p *Pool) Chunks(n, size int, fn func(lo, hi int)) {
	size = max(size, 1)
	p.For((n+size-1)/size, func(i int) {
		fn(i*size, min((i+1)*size, n))
	})
}
