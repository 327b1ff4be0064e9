package codec

import (
	"bufio"
	"io"
	"strconv"
	"strings"

	"github.com/adafire/adafire/events"
)

// A Clip is a part of a recording that shows one gesture.
type Clip struct {
	Label      int   // from 0; the file counts classes from 1
	Start, End int64 // µs, start <= t < end
}

// ReadGestureLabels reads a label file of DVS128 Gesture: the line
// "class,startTime_usec,endTime_usec" and one clip a line. Clips may overlap,
// repeat a class or run past the recording: each line is taken for itself.
//
// The name is for errors, which are an *events.Error.
//
// Source: event_formats, section 3.3.
func ReadGestureLabels(r io.Reader, name string) ([]Clip, error) {
	const names = "class,startTime_usec,endTime_usec"
	lines := bufio.NewReader(io.LimitReader(r, maxLabelFile))
	var clips []Clip
	offset := int64(0)
	for {
		line, err := lines.ReadString('\n')
		if err != nil && err != io.EOF {
			return nil, err
		}
		text := strings.TrimSpace(line)
		if offset == 0 {
			if strings.TrimPrefix(text, "\ufeff") != names {
				return nil, events.Errorf(events.BadHeader, name, 0, "first line %.80q: want %s", text, names)
			}
		} else if text != "" {
			var v [3]int64
			fields := strings.Split(text, ",")
			ok := len(fields) == len(v)
			for i := 0; ok && i < len(v); i++ {
				n, err := strconv.ParseInt(strings.TrimSpace(fields[i]), 10, 64)
				v[i], ok = n, err == nil
			}
			if !ok || v[0] < 1 || v[0] > 1<<16 || v[1] > v[2] {
				return nil, events.Errorf(events.MalformedLine, name, offset, "%.80q: want a class from 1, a start and an end in µs", text)
			}
			clips = append(clips, Clip{Label: int(v[0]) - 1, Start: v[1], End: v[2]})
		}
		offset += int64(len(line))
		if err == io.EOF {
			return clips, nil
		}
	}
}

// maxLabelFile is the most bytes of a label file; real ones have some hundred.
const maxLabelFile = 16 << 20
