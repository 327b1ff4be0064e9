package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/adafire/adafire/dataset"
	"github.com/adafire/adafire/events"
	"github.com/adafire/adafire/events/codec"
	"github.com/adafire/adafire/events/simulate"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// simulateFlags say what is simulated and how.
type simulateFlags struct {
	dataset, dir, split string
	samples, size       int

	out, format, compression string
	resume                   bool

	path      string
	amplitude float64
	loops     int
	loopMS    float64

	camera     simulate.Config
	resolution int
	scene      simulate.Scene
}

func (f *simulateFlags) register(fs *pflag.FlagSet) {
	choiceVar(fs, &f.dataset, "dataset", "", dataset.Names(), "take the images of a data set: `NAME` as in \"adafire data list\"")
	fs.StringVar(&f.dir, "data", "", "`DIR` of the data set (default $ADAFIRE_DATA/NAME; digits need none)")
	choiceVar(fs, &f.split, "split", "both", []string{"both", "train", "test"}, "part of the data set")
	intVar(fs, &f.samples, "samples", 0, 0, 1<<30, "simulate the first `N` samples of each part only, 0 for all")
	intVar(fs, &f.size, "input-size", 0, 0, 4096, "`PIXELS` along the side of images of an imagefolder, 0 for 224")

	fs.StringVar(&f.out, "out", "", "`FILE` for one image, else the folder to write")
	choiceVar(fs, &f.format, "to", "", formatNames(func(c codec.Format) bool { return c.NewWriter != nil }), "format of the recordings (default: by the extension of FILE, aedat4 in folders)")
	choiceVar(fs, &f.compression, "compression", "", []string{"none", "lz4", "zstd"}, "compression of AEDAT 4 (default lz4)")
	fs.BoolVar(&f.resume, "resume", false, "go on with an interrupted simulation in --out")

	fs.StringVar(&f.path, "path", "saccades", "movement: saccades (N-MNIST), loop (CIFAR10-DVS) or a `FILE.csv` of time in microseconds, x, y, angle in degrees, scale")
	floatVar(fs, &f.amplitude, "amplitude", 3, 0, 1000, "how far the image moves to each side, `PIXELS` of the sensor")
	intVar(fs, &f.loops, "loops", 6, 1, 100000, "rounds of --path loop")
	floatVar(fs, &f.loopMS, "loop-ms", 200, 1, 1e6, "milliseconds of a round")

	c, d := &f.camera, simulate.DefaultConfig(1, 1)
	intVar(fs, &c.Width, "sensor-width", 0, 0, 4096, "`PIXELS`, 0 for room enough for images of a data set, 240 for others")
	intVar(fs, &c.Height, "sensor-height", 0, 0, 4096, "`PIXELS`, 0 for room enough for images of a data set, 180 for others")
	floatVar(fs, &c.ThresholdOn, "threshold-on", d.ThresholdOn, 0.01, 10, "rise of the logarithm of brightness that makes an ON event")
	floatVar(fs, &c.ThresholdOff, "threshold-off", d.ThresholdOff, 0.01, 10, "fall of it that makes an OFF event")
	floatVar(fs, &c.Mismatch, "mismatch", d.Mismatch, 0, 0.5, "deviation of the thresholds between pixels, as a share")
	floatVar(fs, &c.RefractoryUs, "refractory-us", d.RefractoryUs, 0, 1e9, "microseconds for which a pixel is blind after an event")
	floatVar(fs, &c.LeakHz, "leak-hz", d.LeakHz, 0, 1e4, "ON events of a pixel at rest, per second")
	floatVar(fs, &c.ShotHz, "shot-hz", d.ShotHz, 0, 1e4, "noise events of a dark pixel, per second")
	floatVar(fs, &c.HotShare, "hot-share", d.HotShare, 0, 1, "share of pixels that fire by themselves")
	floatVar(fs, &c.HotHz, "hot-hz", d.HotHz, 0, 1e5, "events of such a pixel, per second")
	floatVar(fs, &c.BandwidthHz, "bandwidth-hz", 0, 0, 1e6, "cut-off of the photoreceptor, 0 for none")
	intVar(fs, &f.resolution, "resolution-us", int(d.ResolutionUs), 1, 1e6, "resolution of times in microseconds")
	floatVar(fs, &c.LinearBelow, "linear-below", 20.0/255, 0.001, 1, "brightness, as a share of white, below which the response is linear")
	floatVar(fs, &c.StepPixels, "step-pixels", 0.25, 0.01, 4, "finest movement that is looked at; finer is slower")

	floatVar(fs, &f.scene.Scale, "scale", 0, 0, 100, "pixels of the sensor for each pixel of the image, 0 to fit")
	floatVar(fs, &f.scene.Gamma, "gamma", 1, 0.1, 10, "brightness is the image's value to this power; 2.2 for photographs of a screen")
	floatVar(fs, &f.scene.Black, "black", 0.15, 0, 0.99, "brightness of black, as a share of white: screens and rooms are not dark")
	floatVar(fs, &f.scene.Background, "background", 0, 0, 1, "value around the image")
}

func dataSimulateCommand(a *app) *cobra.Command {
	var f simulateFlags
	cmd := &cobra.Command{
		Use:   "simulate (IMAGE... | FOLDER... | --dataset NAME) --out FILE|DIR",
		Short: "record images with a simulated event camera",
		Long: `Moves each image in front of a model of an event camera and writes what it
records: pixels report changes of the logarithm of brightness by a threshold,
with mismatch between pixels, a refractory period, leak, shot noise, hot pixels
and a resolution of time, each of which can be set, and switched off with 0.

One image gives the recording FILE. Several, and folders, give a recording each
in DIR, in the same sub-folders; a data set, or a folder that holds MNIST, CIFAR
or .npy arrays, gives train/CLASS/ and test/CLASS/, which --dataset eventfolder
reads. The defaults are those of nmnist-sim, so that digits become just that.

The same seed gives the same recordings, for any number of workers. Ctrl-C
leaves whole recordings; --resume writes those that are missing. A simulated
camera has no measured noise: accuracy on its recordings says little about a
real one.`,
		Example: `  adafire data simulate cat.png --out cat.aedat4
  adafire data simulate --dataset digits --samples 100 --out digits-events --to atis
  adafire data simulate --dataset cifar10 --path loop --scale 3 --sensor-width 128 --sensor-height 128 --out cifar-events`,
		Args: cobra.ArbitraryArgs,
	}
	f.register(cmd.Flags())
	cmd.RunE = a.run(func(s *session, args []string) error { return s.simulate(&f, args) })
	return cmd
}

// A simulation is the settings that the recordings follow from, as they are kept
// beside them.
type simulation struct {
	Schema     int             `json:"schema"`
	Command    string          `json:"command"`
	Version    string          `json:"version"`
	Camera     simulate.Config `json:"camera"`
	Scale      float64         `json:"scale"` // 0: each image fits
	Gamma      float64         `json:"gamma"`
	Black      float64         `json:"black"`
	Background float64         `json:"background"`
	Path       string          `json:"path"`
	Poses      int             `json:"poses"`
	SHA256     string          `json:"poses_sha256"`
	DurationUs float64         `json:"duration_us"`
	Format     string          `json:"format"`
	Source     string          `json:"source"` // name of the data set, or "images"
	Sources    string          `json:"source_sha256,omitempty"`
	Recordings int             `json:"recordings"`
}

// simulationFile is where the settings are kept.
const simulationFile = "simulate.json"

// movement returns the path and what it is called.
func (f *simulateFlags) movement(s *session) (simulate.Path, error) {
	switch f.path {
	case "saccades":
		return simulate.ThreeSaccades(f.amplitude), nil
	case "loop":
		return simulate.ClosedLoop(f.amplitude, f.loops, 1000*f.loopMS), nil
	}
	if s.Changed("amplitude") {
		return nil, s.Usagef("--amplitude is for saccades and loop, --path %s has movements of its own", f.path)
	}
	in, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) && filepath.Ext(f.path) == "" {
		return nil, s.Usagef("--path %s: want saccades, loop or the name of a file", f.path)
	}
	if err != nil {
		return nil, err
	}
	defer in.Close()
	if _, err := s.AddInput(f.path); err != nil {
		return nil, err
	}
	return simulate.ReadPath(in, f.path)
}

func (s *session) simulate(f *simulateFlags, args []string) error {
	if f.out == "" {
		return s.Usagef("--out is missing, want the name of a file or folder")
	}
	if (len(args) == 0) == (f.dataset == "") {
		return s.Usagef("want images, folders, or --dataset NAME, and only one of these")
	}
	f.camera.Seed, f.camera.ResolutionUs = s.Seed, int64(f.resolution)
	path, err := f.movement(s)
	if err != nil {
		return err
	}
	src, err := s.simulateSource(f, args)
	if err != nil {
		return err
	}
	f.fit(src, path)
	cam, err := simulate.NewCamera(f.camera)
	if err != nil {
		return s.Usagef("%v", err)
	}
	single, err := f.single(s, args, src.n)
	if err != nil {
		return err
	}
	format, err := codec.Find(f.format)
	if err != nil {
		return err
	}
	set := simulation{Schema: 1, Command: s.commandName(), Version: moduleVersion(), Camera: cam.Config(), Scale: f.scene.Scale, Gamma: f.scene.Gamma,
		Black: f.scene.Black, Background: f.scene.Background, Path: filepath.Base(f.path), Poses: len(path), SHA256: poseSum(path),
		DurationUs: path.DurationUs(), Format: format.Name, Source: src.name, Sources: src.sha256, Recordings: src.n}
	if single {
		if err := s.CheckTarget(f.out); err != nil {
			return err
		}
	} else if err := s.simulateFolder(f, &set); err != nil {
		return err
	}
	job := &simulateJob{f: f, src: src, path: path, cam: cam, format: format, single: single, force: s.Force}
	return s.finishSimulation(job, &set)
}

// single says whether --out names one recording, and settles the format.
func (f *simulateFlags) single(s *session, args []string, n int) (bool, error) {
	info, err := os.Stat(f.out)
	folder := err == nil && info.IsDir()
	byName, extErr := codec.ByExtension(f.out)
	named := extErr == nil && !folder // the name of a recording
	one := n == 1 && len(args) == 1 && !isFolder(args[0]) && !folder && filepath.Ext(f.out) != ""
	switch {
	case one && f.format == "" && extErr != nil:
		return false, s.Usagef("%v: name the format with --to", extErr)
	case one && f.format == "":
		f.format = byName.Name
	case named && !one:
		return false, s.Usagef("--out %s names a recording, there are %d images: name a folder", f.out, n)
	case f.format == "":
		f.format = "aedat4"
	}
	return one, nil
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// simulateFolder prepares the folder of many recordings: new, to be completed,
// or to be overwritten.
func (s *session) simulateFolder(f *simulateFlags, set *simulation) error {
	want, err := json.MarshalIndent(set, "", "  ")
	if err != nil {
		return err
	}
	want = append(want, '\n')
	entries, err := os.ReadDir(f.out)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	settings := filepath.Join(f.out, simulationFile)
	switch {
	case len(entries) == 0:
	case f.resume:
		got, err := os.ReadFile(settings)
		if err != nil {
			return fmt.Errorf("%s: holds no simulation to go on with: %w", f.out, err)
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("%s: was made with other settings than these: choose another --out, or --force", settings)
		}
		return nil
	case !s.Force:
		return withHint(fmt.Errorf("%s: folder is not empty; --force replaces recordings in it", f.out), "--resume goes on with an interrupted simulation")
	}
	if err := os.MkdirAll(f.out, 0o777); err != nil {
		return err
	}
	return s.WriteFile(settings, func(w io.Writer) error {
		_, err := w.Write(want)
		return err
	})
}

// fit chooses what is left open of the size of the sensor.
func (f *simulateFlags) fit(src *simulateSource, path simulate.Path) {
	var dx, dy float64 // how far the image moves
	for _, p := range path {
		dx, dy = max(dx, math.Abs(p.X)), max(dy, math.Abs(p.Y))
	}
	src.marginX, src.marginY = 2*int(math.Ceil(dx)), 2*int(math.Ceil(dy))
	c := &f.camera
	if src.width > 0 && c.Width == 0 && c.Height == 0 {
		if f.scene.Scale == 0 {
			f.scene.Scale = 1
		}
		c.Width = int(math.Ceil(float64(src.width)*f.scene.Scale)) + src.marginX
		c.Height = int(math.Ceil(float64(src.height)*f.scene.Scale)) + src.marginY
	}
	if c.Width == 0 {
		c.Width = 240
	}
	if c.Height == 0 {
		c.Height = 180
	}
}

// A simulateJob writes the recordings.
type simulateJob struct {
	f      *simulateFlags
	src    *simulateSource
	path   simulate.Path
	cam    *simulate.Camera
	format codec.Format
	single bool
	force  bool
}

// a simulateWorker is what one goroutine needs.
type simulateWorker struct {
	stream *simulate.Stream
	buf    []float32
}

// target returns the file of a recording.
func (j *simulateJob) target(name string) string {
	if j.single {
		return j.f.out
	}
	return filepath.Join(j.f.out, filepath.FromSlash(name)+j.format.Extensions[0])
}

// record writes recording i and returns its events; kept means that it was there
// already.
func (j *simulateJob) record(w *simulateWorker, i int) (n int64, kept bool, err error) {
	// Names of samples are known only once they are read; so is the class.
	shot, err := j.src.load(i, w, j.f)
	if err != nil {
		return 0, false, err
	}
	target := j.target(shot.name)
	if j.f.resume {
		if _, err := os.Stat(target); err == nil {
			return 0, true, nil
		}
	}
	scene := j.f.scene
	scene.Image, scene.Scale = shot.image, shot.scale
	if w.stream == nil {
		w.stream, err = j.cam.Record(scene, j.path, shot.number)
	} else {
		err = w.stream.Restart(scene, j.path, shot.number)
	}
	if err != nil {
		return 0, false, fmt.Errorf("%s: %w", shot.name, err)
	}
	if !j.single {
		if err := os.MkdirAll(filepath.Dir(target), 0o777); err != nil {
			return 0, false, err
		}
	}
	o := codec.WriteOptions{Format: j.format.Name, Compression: j.f.compression, Force: j.force}
	err = codec.Create(target, w.stream.Header(), o, func(out events.Writer) (err error) {
		n, err = events.Copy(out, w.stream)
		return err
	})
	return n, false, err
}

// finishSimulation records everything and says what came out.
func (s *session) finishSimulation(j *simulateJob, set *simulation) error {
	n := j.src.n
	counts, kept, failures := make([]int64, n), make([]bool, n), make([]error, n)
	workers := make([]simulateWorker, s.Pool.Workers())
	var stop atomic.Bool
	s.Progress().Start("simulate", int64(n), "recordings")
	s.Pool.ForWorker(n, func(worker, i int) {
		if stop.Load() || s.Ctx.Err() != nil {
			return
		}
		counts[i], kept[i], failures[i] = j.record(&workers[worker], i)
		if failures[i] != nil {
			stop.Store(true)
		}
		s.Progress().Add(1)
	})
	s.Progress().Done()
	for _, err := range failures {
		if err != nil {
			return err
		}
	}
	if s.Ctx.Err() != nil {
		if j.single {
			return s.Interrupted("")
		}
		return s.Interrupted("the same command with --resume goes on")
	}
	total, resumed := int64(0), 0
	for i, k := range counts {
		total += k
		if kept[i] {
			resumed++
		}
	}
	result := struct {
		simulation
		Out     string  `json:"out"`
		Kept    int     `json:"kept"` // were there already
		Events  int64   `json:"events"`
		Seconds float64 `json:"seconds"`
	}{*set, j.f.out, resumed, total, s.Seconds()}
	return s.Emit(result, func(w io.Writer) error {
		fmt.Fprintf(w, "%s: %d recordings of %s, %dx%d pixels, %.3f s each", j.f.out, n-resumed, j.format.Title, set.Camera.Width, set.Camera.Height, set.DurationUs/1e6)
		if resumed > 0 {
			fmt.Fprintf(w, " (%d were there)", resumed)
		}
		fmt.Fprintln(w)
		if fresh := n - resumed; fresh > 0 {
			fmt.Fprintf(w, "%d events, %.0f each, in %.2f s (%.2f million/s)\n", total, float64(total)/float64(fresh), result.Seconds,
				float64(total)/1e6/max(result.Seconds, 1e-9))
		}
		return nil
	})
}

// className is a class as the name of a folder.
func className(name string) string {
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, name)
	if strings.Trim(clean, ".") == "" {
		return "_" + clean
	}
	return clean
}
