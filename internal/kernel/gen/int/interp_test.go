package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/pass"
)

// program is the file as it is printed and its functions.
type program struct {
	file   *ir.File
	byName map[string]*ir.Function
}

var compiled = sync.OnceValues(func() (*program, error) {
	c := build.NewContext()
	generate(c)
	f, err := c.Result()
	if err != nil {
		return nil, err
	}
	if err := pass.Compile.Execute(f); err != nil {
		return nil, err
	}
	p := &program{file: f, byName: map[string]*ir.Function{}}
	for _, fn := range f.Functions() {
		p.byName[fn.Name] = fn
	}
	return p, nil
})

func compile(t *testing.T) *program {
	t.Helper()
	p, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// call runs a function of a pointer to a structure with fields at their
// offsets, and returns where the structure is.
func (p *program) call(t *testing.T, m *machine, name string, size int, fields map[int]uint64) uint64 {
	t.Helper()
	fn := p.byName[name]
	if fn == nil {
		t.Fatalf("there is no %s", name)
	}
	b := make([]byte, size)
	for off, v := range fields {
		binary.LittleEndian.PutUint64(b[off:], v)
	}
	at := m.place(b)
	if err := m.run(fn, binary.LittleEndian.AppendUint64(nil, at)); err != nil {
		t.Fatal(err)
	}
	return at
}

// planned is a segment of a plan.
type planned struct{ Steps, Flags int32 }

// tileCase is a random call of a tile kernel and its outputs.
type tileCase struct {
	fields     map[int]uint64
	m          *machine
	y          uint64
	want       []int32
	x, weights int // bytes
}

func drawTile(p *program, r *rand.Rand, t target, rows int) *tileCase {
	c := &tileCase{m: newMachine(p.file)}
	cols := 16 * t.panels
	runs, steps := 1+r.IntN(3), 1+r.IntN(7)
	// A plan as NewIntFilter makes it.
	var plan []planned
	flushes := !t.wide && !t.vnni
	for run := range runs {
		left := int32(steps)
		for flushes && left > 1 && r.IntN(3) == 0 {
			k := 1 + r.Int32N(left-1)
			plan = append(plan, planned{k, segmentFlush})
			left -= k
		}
		s := planned{left, segmentRun}
		if flushes && r.IntN(3) == 0 {
			s.Flags |= segmentFlush
		}
		if run == runs-1 {
			s.Flags = segmentLast
			if flushes {
				s.Flags |= segmentFlush
			}
		}
		plan = append(plan, s)
	}
	// The window of a pixel: runs with gaps, one of which may go back.
	start, delta, end := make([]int, runs), make([]int64, runs), 0
	for i := range start {
		if i > 0 {
			delta[i-1] = int64(r.IntN(12) - r.IntN(2)*4*steps)
			start[i] = start[i-1] + 4*steps + int(delta[i-1])
		}
		end = max(end, start[i]+4*steps)
	}
	delta[runs-1] = 1 << 40 // must not be used
	least := 0
	for _, s := range start {
		least = min(least, s)
	}
	off := make([]int64, rows)
	last := 0
	for i := range off {
		off[i] = int64(r.IntN(20) - least)
		last = max(last, int(off[i])+end)
	}
	// Inputs and weights; products that add up to 16 bits have small inputs.
	x, w := make([]byte, last), make([][]byte, t.panels)
	for i := range x {
		x[i] = byte(r.Uint32())
		if flushes {
			x[i] &= 3
		}
	}
	for q := range w {
		w[q] = make([]byte, runs*steps*64)
		for i := range w[q] {
			w[q][i] = byte(r.Uint32())
		}
	}
	c.x, c.weights = len(x), len(w[0])
	ldy := cols + r.IntN(5)
	y, init := make([]int32, (rows-1)*ldy+cols), make([]int32, cols)
	for i := range y {
		y[i] = int32(r.Uint32())
	}
	for i := range init {
		init[i] = int32(r.Uint32())
	}
	acc := r.IntN(2)
	c.want = append([]int32(nil), y...)
	for row := range rows {
		for col := range cols {
			sum := init[col]
			if acc != 0 {
				sum += y[row*ldy+col]
			}
			for run := range runs {
				for st := range steps {
					in := x[int(off[row])+start[run]+4*st:]
					wt := w[col/16][((run*steps+st)*16+col%16)*4:]
					if t.wide {
						for j := range 2 {
							sum += int32(int16(binary.LittleEndian.Uint16(in[2*j:]))) * int32(int16(binary.LittleEndian.Uint16(wt[2*j:])))
						}
						continue
					}
					for j := range 4 {
						sum += int32(in[j]) * int32(int8(wt[j]))
					}
				}
			}
			c.want[row*ldy+col] = sum
		}
	}
	c.y = put(c.m, y)
	c.fields = map[int]uint64{tileX: put(c.m, x), tileOff: put(c.m, off), tileDelta: put(c.m, delta), tileProgram: put(c.m, plan),
		tileB: put(c.m, w[0]), tileY: c.y, tileLDY: uint64(4 * ldy), tileInit: put(c.m, init), tileZeros: put(c.m, make([]int32, 32)),
		tileAcc: uint64(acc)}
	if t.panels == 2 {
		c.fields[tileB2] = put(c.m, w[1])
	}
	return c
}

func TestTile(t *testing.T) {
	p := compile(t)
	for _, target := range targets {
		for rows := 1; rows <= target.rows; rows++ {
			r := rand.New(rand.NewPCG(1, uint64(rows)))
			for n := range 20 {
				c := drawTile(p, r, target, rows)
				name := fmt.Sprintf("intTile%s_%d", target.name, rows)
				p.call(t, c.m, name, tileAcc+8, c.fields)
				for i, got := range get[int32](c.m, c.y, len(c.want)) {
					if got != c.want[i] {
						t.Fatalf("%s, scenario %d: output %d is %d, want %d", name, n, i, got, c.want[i])
					}
				}
			}
		}
	}
}

// TestMachineFaults shows that the interpreter sees what it is for.
func TestMachineFaults(t *testing.T) {
	p := compile(t)
	for _, field := range []int{tileX, tileB2, tileY} {
		c := drawTile(p, rand.New(rand.NewPCG(8, 8)), targets[3], 8)
		c.fields[field] += 64
		b := make([]byte, tileAcc+8)
		for off, v := range c.fields {
			binary.LittleEndian.PutUint64(b[off:], v)
		}
		args := binary.LittleEndian.AppendUint64(nil, c.m.place(b))
		if err := c.m.run(p.byName["intTileU8AVX512x32_8"], args); err == nil || !strings.Contains(err.Error(), "access to") {
			t.Errorf("field at %d: got error %v, want one of the access", field, err)
		}
	}
}

func TestNeurons(t *testing.T) {
	p := compile(t)
	for _, isa := range []string{"AVX2", "AVX512"} {
		lanes := map[string]int{"AVX2": 8, "AVX512": 16}[isa]
		for _, a := range []addend{addNothing, addFloats, addCounts} {
			r := rand.New(rand.NewPCG(3, uint64(lanes)))
			for n := range 40 {
				checkNeurons(t, p, r, isa, lanes, a, n)
			}
		}
	}
}

func checkNeurons(t *testing.T, p *program, r *rand.Rand, isa string, lanes int, a addend, scenario int) {
	t.Helper()
	rows, done := 1+r.IntN(3), lanes*(1+r.IntN(6))
	ch := done + r.IntN(lanes)
	n := rows * ch
	random := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = 4*r.Float32() - 2
		}
		return v
	}
	sums, counts, extra := make([]int32, n), make([]byte, n), make([]byte, n)
	for i := range sums {
		sums[i] = r.Int32N(2001) - 1000
		counts[i], extra[i] = 99, byte(r.Uint32())
	}
	v, scale, bias, add := random(n), random(ch), random(ch), random(n)
	for i := range scale {
		scale[i] /= 100
	}
	wild := r.IntN(3) == 0
	if wild {
		v[r.IntN(rows)*ch+r.IntN(done)] = []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))}[r.IntN(3)]
	}
	shift, most := 2*r.Float32()-1, float32(1+r.IntN(255))
	mask := uint64(math.MaxUint64)
	if r.IntN(2) == 0 {
		mask, bias = 0, make([]float32, lanes)
	}
	m := newMachine(p.file)
	at := put(m, v)
	out := put(m, counts)
	fields := map[int]uint64{fireCounts: out, fireV: at, fireSums: put(m, sums), fireScale: put(m, scale), fireBias: put(m, bias),
		fireBiasMask: mask, fireRows: uint64(rows), fireC: uint64(ch), fireN: uint64(done),
		fireShift: uint64(math.Float32bits(shift)) | uint64(math.Float32bits(most))<<32}
	switch a {
	case addFloats:
		fields[fireAdd] = put(m, add)
	case addCounts:
		fields[fireAdd], fields[fireAddScale] = put(m, extra), put(m, add[:ch])
	}
	call := p.call(t, m, "fireInt"+string(a)+isa, fireBad+64, fields)

	current := append([]float32(nil), v...)
	wantV, wantCounts := append([]float32(nil), v...), append([]byte(nil), counts...)
	var spikes, events int64
	for row := range rows {
		for c := range done {
			i := row*ch + c
			x := float32(float32(sums[i]) * scale[c])
			if mask != 0 {
				x += bias[c]
			} else {
				x += 0
			}
			switch a {
			case addFloats:
				x += add[i]
			case addCounts:
				x += float32(float32(extra[i]) * add[c])
			}
			current[i] = x
			u := v[i] + (x + shift)
			k := float32(0)
			if u > 0 {
				k = float32(int32(min(u, most)))
			}
			wantV[i], wantCounts[i] = u-k, byte(k)
			spikes += int64(k)
			if k > 0 {
				events++
			}
		}
	}
	what := fmt.Sprintf("fireInt%s%s, scenario %d", a, isa, scenario)
	for i, got := range get[float32](m, at, n) {
		if math.Float32bits(got) != math.Float32bits(wantV[i]) && (got == got || wantV[i] == wantV[i]) {
			t.Fatalf("%s: potential %d is %g, want %g", what, i, got, wantV[i])
		}
	}
	for i, got := range get[byte](m, out, n) {
		if got != wantCounts[i] {
			t.Fatalf("%s: neuron %d has %d spikes, want %d", what, i, got, wantCounts[i])
		}
	}
	result := m.memory[call>>32-1].data
	var gotSpikes, gotEvents int64
	for i := range 4 {
		gotSpikes += int64(binary.LittleEndian.Uint64(result[fireSpikes+8*i:]))
		gotEvents += int64(binary.LittleEndian.Uint64(result[fireEvents+8*i:]))
	}
	if gotSpikes != spikes || gotEvents != events {
		t.Fatalf("%s: %d spikes and %d events, want %d and %d", what, gotSpikes, gotEvents, spikes, events)
	}
	bad := false
	for i := range 16 {
		b := math.Float32frombits(binary.LittleEndian.Uint32(result[fireBad+4*i:]))
		bad = bad || b != 0
	}
	if bad != wild {
		t.Fatalf("%s: not finite: %t, want %t", what, bad, wild)
	}

	fields[fireV] = put(m, v)
	p.call(t, m, "intCurrents"+string(a)+isa, fireBad+64, fields)
	for i, got := range get[float32](m, fields[fireV], n) {
		if math.Float32bits(got) != math.Float32bits(current[i]) && (got == got || current[i] == current[i]) {
			t.Fatalf("intCurrents%s%s, scenario %d: current %d is %g, want %g", a, isa, scenario, i, got, current[i])
		}
	}
}

func TestSignedNeurons(t *testing.T) {
	p := compile(t)
	for isa, lanes := range map[string]int{"AVX2": 8, "AVX512": 16} {
		r := rand.New(rand.NewPCG(5, uint64(lanes)))
		for n := range 40 {
			checkSigned(t, p, r, isa, lanes, n)
		}
	}
}

func checkSigned(t *testing.T, p *program, r *rand.Rand, isa string, lanes, scenario int) {
	t.Helper()
	rows, done := 1+r.IntN(3), lanes*(1+r.IntN(4))
	ch := done + r.IntN(lanes)
	n := rows * ch
	v, sum, current, counts := make([]float32, n), make([]float32, n), make([]float32, n), make([]float32, n)
	most := float32(1 + r.IntN(300))
	for i := range v {
		v[i], current[i], sum[i] = 8*r.Float32()-4, most*(2*r.Float32()-1), float32(r.IntN(5))
		if r.IntN(8) == 0 {
			v[i], current[i] = float32(math.Copysign(0, -1)), float32(math.Copysign(0, -1))
		}
		counts[i] = 99
	}
	offset, mask, shift := make([]float32, ch), uint64(math.MaxUint64), 2*r.Float32()-1
	for i := range offset {
		offset[i] = r.Float32()
	}
	if r.IntN(2) == 0 {
		offset, mask, shift = make([]float32, lanes), 0, 0
	}
	m := newMachine(p.file)
	fields := map[int]uint64{signedCounts: put(m, counts), signedV: put(m, v), signedSum: put(m, sum), signedCurrent: put(m, current),
		signedOffset: put(m, offset), signedOffsetMask: mask, signedRows: uint64(rows), signedC: uint64(ch), signedN: uint64(done),
		signedShift: uint64(math.Float32bits(shift)) | uint64(math.Float32bits(most))<<32}
	call := p.call(t, m, "fireSigned"+isa, signedBad+64, fields)
	var spikes, events int32
	for row := range rows {
		for c := range done {
			i := row*ch + c
			in := current[i]
			if mask != 0 {
				in += offset[c]
			}
			u := v[i] + (in + shift)
			k := float32(int(math.Floor(float64(min(max(u, -min(most, sum[i])), most)))))
			v[i], counts[i], sum[i] = u-k, k, sum[i]+k
			spikes += int32(max(k, -k))
			if k != 0 {
				events++
			}
		}
	}
	for _, f := range []struct {
		name string
		at   int
		want []float32
	}{{"count", signedCounts, counts}, {"potential", signedV, v}, {"sum", signedSum, sum}} {
		for i, got := range get[float32](m, fields[f.at], n) {
			if math.Float32bits(got) != math.Float32bits(f.want[i]) {
				t.Fatalf("fireSigned%s, scenario %d: %s %d is %g, want %g", isa, scenario, f.name, i, got, f.want[i])
			}
		}
	}
	result := m.memory[call>>32-1].data
	for i := range 16 {
		spikes -= int32(binary.LittleEndian.Uint32(result[signedSpikes+4*i:]))
		events -= int32(binary.LittleEndian.Uint32(result[signedEvents+4*i:]))
	}
	if spikes != 0 || events != 0 {
		t.Fatalf("fireSigned%s, scenario %d: %d spikes and %d events missing", isa, scenario, spikes, events)
	}
}

// lane is where a row of weights holds an output channel, see intEventLane in
// the kernel package.
func lane(width, j int) int {
	quarter := 64 / width
	switch j / quarter % 4 {
	case 1:
		return j + quarter
	case 2:
		return j - quarter
	}
	return j
}

func TestEvents(t *testing.T) {
	p := compile(t)
	for _, name := range []string{"intEventRow8AVX2", "intEventRow8AVX512", "intEventRow16AVX2", "intEventRow16AVX512"} {
		r := rand.New(rand.NewPCG(4, 4))
		for n := range 30 {
			checkEvents(t, p, r, name, n)
		}
	}
}

func checkEvents(t *testing.T, p *program, r *rand.Rand, name string, scenario int) {
	t.Helper()
	width := 8
	if strings.Contains(name, "16") {
		width = 16
	}
	columns, kh, kw, cin, pixels := 1+r.IntN(6), 1+r.IntN(3), 1+r.IntN(4), 1+r.IntN(5), 1+r.IntN(6)
	stride, pad := 1+r.IntN(3), r.IntN(5)
	// Entries of kh rows of columns, and one more behind the last.
	var start, rows []int32
	var counts []int16
	for range kh {
		for x := range columns {
			start = append(start, int32(len(rows)))
			for c := range cin {
				if r.IntN(2) == 0 {
					rows, counts = append(rows, int32((x*cin+c)*eventCols)), append(counts, int16(1+r.IntN(129)))
					if width == 16 && r.IntN(2) == 0 {
						counts[len(counts)-1] *= -1
					}
				}
			}
		}
		start = append(start, int32(len(rows)))
	}
	weights := make([]int16, kh*kw*cin*eventCols)
	for i := range weights {
		weights[i] = int16(int8(r.Uint32()))
		if width == 16 {
			weights[i] = int16(r.Uint32())
		}
		if weights[i] == -128 {
			weights[i] = 127
		}
	}
	ldy := eventCols + r.IntN(3)
	y := make([]int32, (pixels-1)*ldy+eventCols)
	for i := range y {
		y[i] = int32(r.Uint32())
	}
	want := append([]int32(nil), y...)
	for ow := range pixels {
		first := ow*stride - pad
		for k := range kh {
			for x := max(first, 0); x < min(first+kw, columns); x++ {
				for e := start[k*(columns+1)+x]; e < start[k*(columns+1)+x+1]; e++ {
					at := (k*kw-first)*cin*eventCols + int(rows[e])
					for j := range eventCols {
						want[ow*ldy+j] += int32(counts[e]) * int32(weights[at+lane(width, j)])
					}
				}
			}
		}
	}
	m := newMachine(p.file)
	counts = append(counts, 0)
	w, n := put(m, weights), put(m, counts)
	if width == 8 {
		w, n = put(m, narrowed(weights)), put(m, narrowed(counts))
	}
	out := put(m, y)
	p.call(t, m, name, eventLeft+8, map[int]uint64{eventStart: put(m, start), eventRow: put(m, append(rows, 0)), eventCount: n,
		eventW: w, eventY: out, eventLDY: uint64(4 * ldy), eventN: uint64(pixels), eventLimit: 2, eventWidth: uint64(columns), eventKW: uint64(kw),
		eventStride: uint64(stride), eventPad: uint64(pad), eventCin: uint64(cin), eventKH: uint64(kh), eventStartStep: uint64(4 * (columns + 1)),
		eventWStep: uint64(kw * cin * eventCols * width / 8)})
	for i, got := range get[int32](m, out, len(want)) {
		if got != want[i] {
			t.Fatalf("%s, scenario %d: sum %d is %d, want %d", name, scenario, i, got, want[i])
		}
	}
}

func narrowed(v []int16) []byte {
	b := make([]byte, len(v))
	for i, x := range v {
		b[i] = byte(x)
	}
	return b
}

// TestEveryFunctionIsTested fails when a function is added that neither these
// tests nor, as AVX2 code, those of the kernel package can run.
func TestEveryFunctionIsTested(t *testing.T) {
	for name := range compile(t).byName {
		known := strings.Contains(name, "AVX2")
		for _, p := range []string{"intTile", "fireInt", "intCurrents", "fireSigned", "intEventRow"} {
			known = known || strings.HasPrefix(name, p)
		}
		if !known {
			t.Errorf("%s has no test", name)
		}
	}
}
