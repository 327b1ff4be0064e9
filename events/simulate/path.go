package simulate

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// A Pose is where the image is at a time.
type Pose struct {
	TUs   float64 // microseconds
	X, Y  float64 // centre of the image from the centre of the sensor, sensor pixels to the right and down
	Angle float64 // radians, clockwise as seen
	Scale float64 // enlargement beyond the scene's own; 0 means 1
}

// A Path is a movement: poses in order of time, straight lines between them. A
// recording begins with the first and ends with the last.
type Path []Pose

// Validate reports a path that cannot be followed: fewer than two poses, times
// that do not increase, values that are not finite, scales outside 0.01..100.
func (p Path) Validate() error {
	if len(p) < 2 {
		return fmt.Errorf("path of %d poses: want 2 or more", len(p))
	}
	for i, q := range p {
		for _, v := range []float64{q.TUs, q.X, q.Y, q.Angle, q.Scale} {
			if math.IsNaN(v) || math.Abs(v) > 1e15 {
				return fmt.Errorf("path: pose %d has the value %g", i, v)
			}
		}
		if math.Abs(q.X) > 1e6 || math.Abs(q.Y) > 1e6 || math.Abs(q.Angle) > 1e6 {
			return fmt.Errorf("path: pose %d at (%g, %g), angle %g: want at most a million", i, q.X, q.Y, q.Angle)
		}
		if s := orDefault(q.Scale, 1); !(s >= 0.01 && s <= 100) {
			return fmt.Errorf("path: pose %d has the scale %g: want 0.01 to 100", i, q.Scale)
		}
		if i > 0 && q.TUs <= p[i-1].TUs {
			return fmt.Errorf("path: pose %d at %g µs follows one at %g µs: times must increase", i, q.TUs, p[i-1].TUs)
		}
	}
	return nil
}

// DurationUs returns the time from the first pose to the last.
func (p Path) DurationUs() float64 { return p[len(p)-1].TUs - p[0].TUs }

// stepUs is the distance of the poses of curved movements.
const stepUs = 1000

// ThreeSaccades is the movement of N-MNIST and N-Caltech101: three saccades of
// 100 ms along the sides of an isosceles triangle, its corners amplitude pixels
// to each side of the centre, each speeding up and slowing down smoothly. The
// image moves as the authors' camera does, in the opposite direction.
//
// Source: Orchard et al., Converting static image datasets to spiking
// neuromorphic datasets using saccades, 2015, table 1. That the speed follows
// the smoothest curve between two rests (10 s^3 - 15 s^4 + 6 s^5) is ours.
func ThreeSaccades(amplitude float64) Path {
	corners := [][2]float64{{-amplitude, -amplitude}, {0, amplitude}, {amplitude, -amplitude}, {-amplitude, -amplitude}}
	const saccadeUs = 100_000
	path := Path{{X: corners[0][0], Y: corners[0][1]}}
	for i, to := range corners[1:] {
		from := corners[i]
		for k := 1; k <= saccadeUs/stepUs; k++ {
			s := float64(k) * stepUs / saccadeUs
			share := s * s * s * (10 + s*(6*s-15))
			path = append(path, Pose{
				TUs: float64(i*saccadeUs + k*stepUs),
				X:   from[0] + share*(to[0]-from[0]), Y: from[1] + share*(to[1]-from[1]),
			})
		}
	}
	return path
}

// ClosedLoop is a movement like that of CIFAR10-DVS: the image on a screen goes
// round a diamond whose corners are amplitude pixels from the centre, at
// constant speed, again and again. The data set has 6 loops of about 200 ms.
//
// Source: Li et al., CIFAR10-DVS, Frontiers in Neuroscience 2017, sec. 2.2; the
// amplitude in sensor pixels is not given there.
func ClosedLoop(amplitude float64, loops int, loopUs float64) Path {
	corners := [4][2]float64{{-amplitude, 0}, {0, -amplitude}, {amplitude, 0}, {0, amplitude}}
	var path Path
	for i := range 4*max(loops, 1) + 1 {
		c := corners[i%4]
		path = append(path, Pose{TUs: float64(i) * loopUs / 4, X: c[0], Y: c[1]})
	}
	return path
}

// ReadPath reads a movement as text: on each line the time in microseconds, x
// and y in pixels and, if wanted, the angle in degrees and the scale, separated
// by commas or blanks. Empty lines and those that start with # are skipped, as
// is a first line of names. name stands in errors.
func ReadPath(r io.Reader, name string) (Path, error) {
	var path Path
	lines := bufio.NewScanner(r)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		fields := strings.FieldsFunc(line, func(c rune) bool { return c == ',' || c == ' ' || c == '\t' || c == ';' })
		if len(fields) < 3 || len(fields) > 5 {
			return nil, fmt.Errorf("%s: line %d: %d values, want time, x, y and perhaps angle and scale", name, number, len(fields))
		}
		v := [5]float64{4: 1}
		var err error
		for i, f := range fields {
			if v[i], err = strconv.ParseFloat(f, 64); err != nil {
				break
			}
		}
		if err != nil {
			if path == nil && strings.ContainsAny(fields[0], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
				continue // names
			}
			return nil, fmt.Errorf("%s: line %d: %w", name, number, err)
		}
		path = append(path, Pose{TUs: v[0], X: v[1], Y: v[2], Angle: v[3] * math.Pi / 180, Scale: v[4]})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := path.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return path, nil
}

// turned reports whether any pose turns or scales the image.
func (p Path) turned() bool {
	for _, q := range p {
		if q.Angle != 0 || orDefault(q.Scale, 1) != 1 {
			return true
		}
	}
	return false
}

// distance is how far a point at the given distance from the centre moves at
// most from a to b, in pixels.
func distance(a, b Pose, radius float64) float64 {
	sa, sb := orDefault(a.Scale, 1), orDefault(b.Scale, 1)
	return math.Hypot(b.X-a.X, b.Y-a.Y) + radius*(math.Abs(b.Angle-a.Angle)+math.Abs(sb-sa)/min(sa, sb))
}

// between returns the pose the share s of the way from a to b.
func between(a, b Pose, s float64) Pose {
	mix := func(u, v float64) float64 { return u + float64(s*(v-u)) }
	return Pose{
		TUs: mix(a.TUs, b.TUs), X: mix(a.X, b.X), Y: mix(a.Y, b.Y), Angle: mix(a.Angle, b.Angle),
		Scale: mix(orDefault(a.Scale, 1), orDefault(b.Scale, 1)),
	}
}

// a walker goes along a path in steps.
type walker struct {
	path   Path
	at     Pose
	next   int // pose ahead
	radius float64
	pixels float64 // most movement of a step
	maxUs  float64 // most time of a step
}

func (w *walker) done() bool { return w.next >= len(w.path) }

// step goes on by at most the movement and the time of a step.
func (w *walker) step() Pose {
	room, until := w.pixels, w.at.TUs+w.maxUs
	for !w.done() {
		to := w.path[w.next]
		d, dt := distance(w.at, to, w.radius), to.TUs-w.at.TUs
		share := 1.0
		if d > room {
			share = room / d
		}
		if dt > until-w.at.TUs {
			share = min(share, (until-w.at.TUs)/dt)
		}
		// A rest of a segment too short to matter is not worth a step, and
		// rounding must not leave one that never ends.
		if share > 1-1e-9 {
			w.at = to
			w.next++
			room -= d
			if room < w.pixels/16 || w.at.TUs >= until {
				return w.at
			}
			continue
		}
		w.at = between(w.at, to, share)
		return w.at
	}
	return w.at
}
