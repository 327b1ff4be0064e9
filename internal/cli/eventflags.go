package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/adafire/adafire/dataset/eventdata"
	"github.com/adafire/adafire/events/represent"
	"github.com/spf13/pflag"
)

// eventFlags say how data sets of event recordings become samples.
type eventFlags struct {
	kind, split, time string
	bins              int
	cache             string
	noCache, lenient  bool
	sensor            string
}

func (e *eventFlags) register(f *pflag.FlagSet) {
	choiceVar(f, &e.kind, "represent", represent.Kinds()[0], represent.Kinds(), "what recordings become")
	intVar(f, &e.bins, "bins", 9, 1, 1024, "bins of time of a recording, for each polarity")
	choiceVar(f, &e.time, "voxel-time", "span", []string{"span", "max"}, "time of a voxel grid: from the first event, or as the method's authors have it")
	choiceVar(f, &e.split, "split-rule", "", []string{eventdata.SplitFirst, eventdata.SplitLast, eventdata.SplitRandom}, "how recordings without a split of their own are divided (default: the data set's)")
	textVar(f, &e.sensor, "sensor", "", "WxH in pixels, such as 346x260", func(text string) error {
		_, _, err := parseSensor(text)
		return err
	}, "sensor of an eventfolder whose files do not name it")
	f.StringVar(&e.cache, "cache", "", "`DIR` of the cache of recordings (default $ADAFIRE_CACHE or the user's folder)")
	f.BoolVar(&e.noCache, "no-cache", false, "read recordings each time")
	f.BoolVar(&e.lenient, "skip-damage", false, "skip and count damage inside recordings")
}

func (e *eventFlags) options(s *session) (eventdata.Options, error) {
	o := eventdata.Options{Split: e.split, CacheDir: e.cache, NoCache: e.noCache, Lenient: e.lenient,
		Represent: represent.Config{Kind: e.kind, Bins: e.bins, Time: e.time}}
	var err error
	if o.Width, o.Height, err = parseSensor(e.sensor); err != nil {
		return o, s.Usagef("--sensor: %v", err)
	}
	if e.time == "max" {
		o.Represent.Pad = "reference"
	}
	if err := o.Represent.Validate(); err != nil {
		return o, s.Usagef("%v", err)
	}
	started := false
	o.Progress = func(done, total int) {
		if !started {
			s.Progress().Start("cache", int64(total), "recordings")
			started = true
		}
		if s.Progress().Set(int64(done)); done == total {
			s.Progress().Done()
		}
	}
	return o, nil
}

// parseSensor reads WxH; "" is 0, 0.
func parseSensor(text string) (w, h int, err error) {
	if text == "" {
		return 0, 0, nil
	}
	a, b, ok := strings.Cut(text, "x")
	w, err1 := strconv.Atoi(a)
	h, err2 := strconv.Atoi(b)
	if !ok || err1 != nil || err2 != nil || w < 1 || h < 1 || w > 65536 || h > 65536 {
		return 0, 0, fmt.Errorf("%q, want WxH in pixels, such as 346x260", text)
	}
	return w, h, nil
}

// inputSize is the side of samples when the user does not say: that of the
// sensor for simulated digits.
func inputSize(dataset string, given int) int {
	if given == 0 && (dataset == "nmnist-sim" || dataset == "nmnist") {
		return 34
	}
	return given
}
