package job_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/adafire/adafire/ann"
	"github.com/adafire/adafire/checkpoint"
	"github.com/adafire/adafire/convert"
	"github.com/adafire/adafire/dataset"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/job"
	"github.com/adafire/adafire/internal/parallel"
	"github.com/adafire/adafire/internal/random"
	"github.com/adafire/adafire/snn"
	"github.com/adafire/adafire/tensor"
)

// released opens a network that scripts/fetch-weights.sh fetched.
func released(t *testing.T, file string, input graph.Shape) (dir string, m *checkpoint.Model) {
	t.Helper()
	dir = os.Getenv("ADAFIRE_WEIGHTS")
	if dir == "" {
		t.Skip("set ADAFIRE_WEIGHTS to a folder made by scripts/fetch-weights.sh")
	}
	path := filepath.Join(dir, file)
	if _, err := os.Stat(path); err != nil {
		t.Skip(err)
	}
	m, _, err := job.OpenNetwork(path, job.OpenOptions{Input: input})
	if err != nil {
		t.Fatal(err)
	}
	return dir, m
}

// outputs runs the ANN.
func outputs(t *testing.T, pool *parallel.Pool, g *graph.Graph, x *tensor.Tensor) *tensor.Tensor {
	t.Helper()
	e, err := ann.New(g, pool)
	if err != nil {
		t.Fatal(err)
	}
	y, err := e.Forward(x)
	if err != nil {
		t.Fatal(err)
	}
	return y
}

// pictures reads images as samples, and n random crops of them.
func pictures(t *testing.T, m *checkpoint.Model, paths []string, whole bool, n int) (x, crops *tensor.Tensor) {
	t.Helper()
	shape := m.Graph.InputNodes()[0].Shape
	images, err := dataset.NewImages(paths, shape, m.Provenance.Mean, m.Provenance.Std)
	if err != nil {
		t.Fatal(err)
	}
	images.Whole = whole
	size := images.Size()
	x, crops = tensor.New(append([]int{len(paths)}, shape...)...), tensor.New(append([]int{n}, shape...)...)
	for i := range paths {
		if err := images.Sample(i, x.Data[i*size:(i+1)*size]); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		if err := images.Crop(i%len(paths), random.New(0, fmt.Sprintf("crop %d", i)), crops.Data[i*size:(i+1)*size]); err != nil {
			t.Fatal(err)
		}
	}
	return x, crops
}

// spiking converts m with crops and returns its outputs for x.
func spiking(t *testing.T, pool *parallel.Pool, m *checkpoint.Model, crops, x *tensor.Tensor, cfg convert.Config) *tensor.Tensor {
	t.Helper()
	res, err := convert.Convert(context.Background(), pool, m.Graph, crops, cfg)
	if err != nil {
		t.Fatal(err)
	}
	net, err := res.Network()
	if err != nil {
		t.Fatal(err)
	}
	out, err := net.Run(context.Background(), pool, x, snn.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return out.Logits
}

func largest(v []float32) (at int) {
	for i := range v {
		if v[i] > v[at] {
			at = i
		}
	}
	return at
}

// correlation is Pearson's, of channel c of two maps.
func correlation(a, b []float32, c, channels int) float64 {
	var n, ma, mb, aa, bb, ab float64
	for i := c; i < len(a); i += channels {
		n, ma, mb = n+1, ma+float64(a[i]), mb+float64(b[i])
	}
	ma, mb = ma/n, mb/n
	for i := c; i < len(a); i += channels {
		x, y := float64(a[i])-ma, float64(b[i])-mb
		aa, bb, ab = aa+x*x, bb+y*y, ab+x*y
	}
	return ab / math.Sqrt(aa*bb)
}

// TestReleasedMobileNet: the classes of five photographs, which PyTorch gives
// too, are those of the spiking network.
func TestReleasedMobileNet(t *testing.T) {
	dir, m := released(t, "mobilenet_v2-b0353104.pth", nil)
	pool := parallel.New(0)
	defer pool.Close()
	photographs := []struct {
		file  string
		class int
	}{{"chelsea.png", 285}, {"coffee.png", 967}, {"camera.png", 872}, {"china.jpg", 698}, {"motorcycle_left.png", 665}}
	var paths []string
	for _, p := range photographs {
		paths = append(paths, filepath.Join(dir, "photos", p.file))
	}
	x, _ := pictures(t, m, paths, false, 0)
	all, err := dataset.FindImages([]string{filepath.Join(dir, "photos")})
	if err != nil {
		t.Fatal(err)
	}
	_, crops := pictures(t, m, all, false, 64)
	cfg := convert.Default()
	cfg.Timesteps, cfg.Schedule = 4, snn.ScheduleAccumulate
	want, got := outputs(t, pool, m.Graph, x), spiking(t, pool, m, crops, x, cfg)
	for i, p := range photographs {
		for name, y := range map[string]*tensor.Tensor{"ANN": want, "SNN": got} {
			if c := largest(y.Data[i*1000 : (i+1)*1000]); c != p.class {
				t.Errorf("%s: class %d of the %s, want %d", p.file, c, name, p.class)
			}
		}
	}
}

// TestReleasedCRAFT: the text map of a page as spiking network.
func TestReleasedCRAFT(t *testing.T) {
	dir, m := released(t, "craft_mlt_25k.pth", graph.Shape{96, 192, 3})
	pool := parallel.New(0)
	defer pool.Close()
	x, crops := pictures(t, m, []string{filepath.Join(dir, "page.png")}, true, 4)
	cfg := convert.Default()
	cfg.Timesteps = 8
	want, got := outputs(t, pool, m.Graph, x), spiking(t, pool, m, crops, x, cfg)
	if r := correlation(want.Data, got.Data, 0, 2); !(r > 0.9) {
		t.Errorf("text map: correlation %.3f with the ANN's, want more than 0.9", r)
	}
}

// TestReleasedNSFW: a graph of ONNX gives what onnxruntime gives for the input
// whose value i is ((i*7919 + 13) mod 256) - 114, channels last.
func TestReleasedNSFW(t *testing.T) {
	_, m := released(t, "open-nsfw.onnx", nil)
	x := tensor.New(1, 224, 224, 3)
	for i := range x.Data {
		x.Data[i] = float32((i*7919+13)%256 - 114)
	}
	pool := parallel.New(0)
	defer pool.Close()
	y := outputs(t, pool, m.Graph, x)
	for i, want := range []float64{0.9999971, 0.0000028} {
		if got := float64(y.Data[i]); math.Abs(got-want) > 2e-7 {
			t.Errorf("output %d: got %.7f, want %.7f", i, got, want)
		}
	}
}
