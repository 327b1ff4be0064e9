package atomicfile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func put(text string) func(io.Writer) error {
	return func(w io.Writer) error { _, err := io.WriteString(w, text); return err }
}

// check fails unless dir holds exactly the files in want.
func check(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		got[e.Name()] = string(b)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("folder holds %q, want %q", got, want)
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	if err := Write(path, false, put("one")); err != nil {
		t.Fatal(err)
	}
	check(t, dir, map[string]string{"a": "one"})

	called := false
	err := Write(path, false, func(io.Writer) error { called = true; return nil })
	var exists *ExistsError
	if !errors.Is(err, ErrExists) || !errors.Is(err, fs.ErrExist) || !errors.As(err, &exists) ||
		!strings.Contains(err.Error(), "--force") || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want ErrExists with the path and --force", err)
	}
	if called {
		t.Error("the work was done before the refusal")
	}
	check(t, dir, map[string]string{"a": "one"})

	if err := Write(path, true, put("two")); err != nil {
		t.Fatal(err)
	}
	check(t, dir, map[string]string{"a": "two"})
}

func TestFailureLeavesTheOldFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	if err := Write(path, false, put("old")); err != nil {
		t.Fatal(err)
	}
	cause := errors.New("no such layer")
	for name, fn := range map[string]func(io.Writer) error{
		"at once":    func(io.Writer) error { return cause },
		"in the end": func(w io.Writer) error { w.Write(make([]byte, 1<<20)); return cause },
	} {
		err := Write(path, true, fn)
		if !errors.Is(err, cause) || !strings.HasPrefix(err.Error(), path+": ") {
			t.Errorf("%s: got %v", name, err)
		}
		check(t, dir, map[string]string{"a": "old"})
		if err := Write(filepath.Join(dir, "new"), false, fn); !errors.Is(err, cause) {
			t.Errorf("%s: got %v", name, err)
		}
		check(t, dir, map[string]string{"a": "old"})
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		Write(path, true, func(io.Writer) error { panic("boom") })
	}()
	check(t, dir, map[string]string{"a": "old"})
}

// A file that appears while we write is not replaced without force.
func TestFileAppearsMeanwhile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	err := Write(path, false, func(w io.Writer) error {
		return os.WriteFile(path, []byte("theirs"), 0o666)
	})
	if !errors.Is(err, ErrExists) {
		t.Errorf("got %v, want ErrExists", err)
	}
	check(t, dir, map[string]string{"a": "theirs"})
}

func TestReaderSeesTheOldFileUntilTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	if err := Write(path, false, put("old")); err != nil {
		t.Fatal(err)
	}
	err := Write(path, true, func(w io.Writer) error {
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		if string(b) != "old" {
			t.Errorf("in mid-write the file holds %d bytes", len(b))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(path); len(b) != 1<<20 {
		t.Errorf("got %d bytes", len(b))
	}
}

func TestPermissionsAndLinks(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	real, link := filepath.Join(other, "real"), filepath.Join(dir, "link")
	if err := os.WriteFile(real, []byte("old"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, link); err != nil {
		t.Skip(err)
	}
	if err := Write(link, true, put("new")); err != nil {
		t.Fatal(err)
	}
	check(t, other, map[string]string{"real": "new"})
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link became %v, %v", info.Mode(), err)
	}
	if info, err := os.Stat(real); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, want 0640", info.Mode())
	}
}

func TestRefusesWhatIsNoFile(t *testing.T) {
	for _, path := range []string{t.TempDir(), os.DevNull} {
		if err := Write(path, true, put("x")); err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("%s: got %v", path, err)
		}
	}
	path := filepath.Join(t.TempDir(), "none", "a")
	if err := Write(path, true, put("x")); !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), path) {
		t.Errorf("missing folder: got %v", err)
	}
}

// A device that is always full stands in for a full disk.
func TestDiskFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	out := &counter{w: full}
	buf := bufio.NewWriterSize(out, 16)
	_, err = buf.Write(make([]byte, 1000))
	if err == nil {
		t.Fatal("a full device took bytes")
	}
	err = out.explain("model.safetensors", err)
	var space *SpaceError
	if !errors.As(err, &space) || space.Need != 1000 {
		t.Fatalf("got %v, want a SpaceError for 1000 bytes", err)
	}
	if got, want := err.Error(), "model.safetensors: disk full: needs at least 1000 bytes"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	// fn may hide the cause; the writer remembers it.
	if err := out.explain("a", errors.New("hidden")); !errors.As(err, &space) {
		t.Errorf("got %v, want a SpaceError", err)
	}
}

func TestCheckSpace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	if err := CheckSpace(path, 1); err != nil {
		t.Errorf("one byte: %v", err)
	}
	_, ok, err := freeSpace(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		t.Skip("the platform does not tell")
	}
	err = CheckSpace(path, math.MaxInt64)
	var space *SpaceError
	if !errors.As(err, &space) || space.Need != math.MaxInt64 || space.Free < 1 || !strings.HasPrefix(err.Error(), path) {
		t.Errorf("got %v, want a SpaceError", err)
	}
	if err := CheckSpace(filepath.Join(path, "no", "folder"), 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing folder: got %v", err)
	}
}

const killedEnv = "ATOMICFILE_TEST_KILLED"

// A run that is killed leaves the old file and one temporary file, which the
// next run removes once it is old.
func TestKilledRun(t *testing.T) {
	if path := os.Getenv(killedEnv); path != "" {
		Write(path, true, func(w io.Writer) error {
			w.Write(make([]byte, 1<<20))
			self, _ := os.FindProcess(os.Getpid())
			self.Kill()
			select {}
		})
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	if err := Write(path, false, put("old")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledRun$")
	cmd.Env = append(os.Environ(), killedEnv+"="+path)
	if out, err := cmd.CombinedOutput(); err == nil {
		t.Fatalf("the run survived: %s", out)
	}
	if b, err := os.ReadFile(path); string(b) != "old" {
		t.Errorf("got %q, %v, want the old file", b, err)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".a.tmp-*"))
	if err != nil || len(left) != 1 {
		t.Fatalf("temporary files %q, %v, want one", left, err)
	}
	cleanStale(path, time.Now())
	if _, err := os.Stat(left[0]); err != nil {
		t.Errorf("a fresh temporary file was removed: %v", err)
	}
	past := time.Now().Add(-2 * staleAge)
	if err := os.Chtimes(left[0], past, past); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, true, put("new")); err != nil {
		t.Fatal(err)
	}
	check(t, dir, map[string]string{"a": "new"})
}

// What a running writer holds, what others wrote, and other names stay.
func TestCleanStaleKeepsOthers(t *testing.T) {
	if !locksWork(t) {
		t.Skip("no locks here")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	past := time.Now().Add(2 * staleAge)
	keep := []string{".a.tmp-mine", ".b.tmp-0123456789abcdef", ".a.tmp-0123456789abcdef.bak", "a.tmp-0123456789abcdef"}
	for _, name := range keep {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	err := Write(path, false, func(w io.Writer) error {
		cleanStale(path, past)
		return put("x")(w)
	})
	if err != nil {
		t.Fatalf("a second run removed our temporary file: %v", err)
	}
	want := map[string]string{"a": "x"}
	for _, name := range keep {
		want[name] = ""
	}
	cleanStale(path, past)
	check(t, dir, want)
}

func locksWork(t *testing.T) bool {
	f, err := os.Create(filepath.Join(t.TempDir(), "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lock(f)
	return !abandoned(f.Name())
}
