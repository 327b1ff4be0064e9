package snn

// memory is the size of all buffers of a run in bytes. They grow to what the
// largest group needed and are kept, so this is what the run took at most.
func (r *run) memory() int64 {
	sc := &r.scratch
	n := 0
	for _, lists := range [][][]float32{r.floats, r.means, r.freeFloats, sc.inputs, r.slots.analog, r.slots.membrane, r.slots.sums, r.slots.running} {
		n += 4 * capacity(lists)
	}
	for _, lists := range [][][]uint8{r.bytes, r.freeBytes, sc.bases, sc.diffs} {
		n += capacity(lists)
	}
	n += 4 * (capacity(r.slots.cum) + capacity(r.slots.top))
	n += 4 * (cap(sc.expanded) + cap(sc.current) + cap(sc.addend) + cap(sc.membrane) + cap(sc.sums) + cap(sc.cum) + cap(sc.top) + cap(sc.live) + cap(sc.logits) + cap(sc.running))
	n += 8*cap(sc.masks) + capacity(sc.tiny) + 2*capacity(sc.wide)
	for i := range sc.rows {
		n += 4 * (cap(sc.rows[i].current) + cap(sc.rows[i].addend))
	}
	for i := range sc.ints {
		w := &sc.ints[i]
		n += 4*(cap(w.acc)+cap(w.membrane)+cap(w.current)+cap(w.addend)) + 2*cap(w.stuffedWide) + cap(w.stuffed) + cap(w.stuffedTiny)
		for k := range w.bases {
			n += 4 * cap(w.bases[k].sums)
		}
	}
	return int64(n)
}

// capacity adds up what the lists have room for.
func capacity[E any](lists [][]E) (n int) {
	for _, l := range lists {
		n += cap(l)
	}
	return n
}
