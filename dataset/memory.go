package dataset

// byteValue maps a byte to 0..1.
var byteValue = func() (t [256]float32) {
	for i := range t {
		t[i] = float32(i) / 255
	}
	return t
}()

// memory is a data set of bytes that are all in memory.
type memory struct {
	info   Info
	pixels []byte  // Len() * height*width*channels
	labels []uint8 // below len(info.Classes)
	planar bool    // pixels of a sample are [C,H,W] and not [H,W,C]
}

func (m *memory) Info() Info              { return m.info }
func (m *memory) Len() int                { return len(m.labels) }
func (m *memory) label(i int) (int, bool) { return int(m.labels[i]), true }

func (m *memory) Sample(i int, dst []float32) (int, error) {
	c := m.info.Shape[2]
	area := m.info.Shape[0] * m.info.Shape[1]
	if err := checkSample(m.info.Name, i, len(m.labels), len(dst), area*c); err != nil {
		return 0, err
	}
	src := m.pixels[i*area*c : (i+1)*area*c]
	if m.planar {
		for ch := range c {
			for p, b := range src[ch*area : (ch+1)*area] {
				dst[p*c+ch] = byteValue[b]
			}
		}
	} else {
		for p, b := range src {
			dst[p] = byteValue[b]
		}
	}
	return int(m.labels[i]), nil
}
