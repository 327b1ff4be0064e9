package kernel

import "unsafe"

type chunk = [panelCols]float32

func chunkAt(p *float32, i int) *chunk { return (*chunk)(unsafe.Pointer(at(p, i))) }

// winogradInputPortable is the specification of the input transform.
func winogradInputPortable(c *winogradCall) {
	for q := range c.n {
		var half [36]chunk
		for col := range 6 {
			var d, t [6]*chunk
			for r := range d {
				if o := *at(c.off, 6*r+col); o >= 0 {
					d[r] = chunkAt(c.x, o+q*panelCols)
				} else {
					d[r] = chunkAt(c.zeros, 0)
				}
				t[r] = &half[6*r+col]
			}
			winogradBt(d, t)
		}
		for r := range 6 {
			var d, t [6]*chunk
			for col := range d {
				d[col] = &half[6*r+col]
				t[col] = chunkAt(c.y, (6*r+col)*c.stride/4+q*panelCols)
			}
			winogradBt(d, t)
		}
	}
}

// winogradBt sets t to the product of the matrix Bt of F(4, 3) and d. The
// conversions keep compilers from fusing operations.
func winogradBt(d, t [6]*chunk) {
	for i := range panelCols {
		t[0][i] = float32(float32(d[0][i]*4)-float32(d[2][i]*5)) + d[4][i]
		t[5][i] = float32(float32(d[1][i]*4)-float32(d[3][i]*5)) + d[5][i]
		p, q := d[4][i]-float32(d[2][i]*4), d[3][i]-float32(d[1][i]*4)
		t[1][i], t[2][i] = p+q, p-q
		p, q = d[4][i]-d[2][i], float32((d[3][i]-d[1][i])*2)
		t[3][i], t[4][i] = p+q, p-q
	}
}

// winogradOutputPortable is the specification of the output transform.
func winogradOutputPortable(c *winogradCall) {
	for q := range c.n {
		var half [24]chunk // [6][4]
		for r := range 6 {
			var m [6]*chunk
			for col := range m {
				m[col] = chunkAt(c.x, (6*r+col)*c.stride/4+q*panelCols)
			}
			winogradAt(m, [4]*chunk{&half[4*r], &half[4*r+1], &half[4*r+2], &half[4*r+3]})
		}
		for col := range 4 {
			var m [6]*chunk
			for r := range m {
				m[r] = &half[4*r+col]
			}
			var y [4]chunk
			winogradAt(m, [4]*chunk{&y[0], &y[1], &y[2], &y[3]})
			for r := range y {
				o := *at(c.off, 4*r+col) + q*panelCols
				for i, v := range y[r] {
					v += *at(c.bias, q*panelCols+i)
					if c.add != nil {
						v += *at(c.add, o+i)
					}
					if v < c.lo {
						v = c.lo
					}
					if v > c.hi {
						v = c.hi
					}
					*at(c.y, o+i) = v
				}
			}
		}
	}
}

// winogradAt sets y to the product of the matrix At of F(4, 3) and m.
func winogradAt(m [6]*chunk, y [4]*chunk) {
	for i := range panelCols {
		a, b, s, d := m[1][i]+m[2][i], m[1][i]-m[2][i], m[3][i]+m[4][i], m[3][i]-m[4][i]
		y[0][i] = (a + m[0][i]) + s
		y[1][i] = b + float32(d*2)
		y[2][i] = a + float32(s*4)
		y[3][i] = (b + float32(d*8)) + m[5][i]
	}
}

// winogradWeightsPortable is the specification of the weight transform.
func winogradWeightsPortable(c *winogradCall) {
	for q := range c.n {
		var half [18]chunk // [6][3]
		for col := range 3 {
			var g [3]*chunk
			for r := range g {
				g[r] = chunkAt(c.x, *at(c.off, 3*r+col)+q*c.step/4)
			}
			winogradG(c, g, [6]*chunk{&half[col], &half[3+col], &half[6+col], &half[9+col], &half[12+col], &half[15+col]})
		}
		for r := range 6 {
			var t [6]*chunk
			for col := range t {
				t[col] = chunkAt(c.y, (6*r+col)*c.stride/4+q*panelCols)
			}
			winogradG(c, [3]*chunk{&half[3*r], &half[3*r+1], &half[3*r+2]}, t)
		}
	}
}

// winogradG sets t to the product of the matrix G of F(4, 3) and g.
func winogradG(c *winogradCall, g [3]*chunk, t [6]*chunk) {
	for i := range panelCols {
		a, b, s := g[0][i], g[1][i], g[0][i]+g[2][i]
		t[1][i], t[2][i] = (s+b)*c.minusSixth, (s-b)*c.minusSixth
		a, b = float32(a*c.quarter), float32(b*c.half)
		s = a + g[2][i]
		t[0][i], t[3][i], t[4][i], t[5][i] = a, (s+b)*c.sixth, (s-b)*c.sixth, g[2][i]
	}
}
