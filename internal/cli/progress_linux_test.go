package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal returns a terminal of 100 columns and a function that closes it
// and returns what was written to it.
func openTerminal(t *testing.T) (terminal *os.File, finish func() string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no terminals here:", err)
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Skip("no terminals here:", err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Skip("no terminals here:", err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 100}); err != nil {
		t.Skip("no terminals here:", err)
	}
	terminal, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no terminals here:", err)
	}
	var out bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(&out, master) // ends with an error when the terminal is closed
	}()
	return terminal, func() string {
		terminal.Close()
		<-done
		return out.String()
	}
}

// screen shows what the lines of a terminal hold in the end. It knows only what
// mpb uses: cursor up (CSI n A), clear to the end of the screen (CSI J), and
// the begin and end of an update.
func screen(t *testing.T, raw string) []string {
	t.Helper()
	lines, row := []string{""}, 0
	for len(raw) > 0 {
		switch {
		case strings.HasPrefix(raw, "\x1b["):
			end := strings.IndexFunc(raw[2:], func(r rune) bool { return r >= '@' && r <= '~' })
			if end < 0 {
				t.Fatalf("unfinished escape sequence in %q", raw)
			}
			argument, command := raw[2:2+end], raw[2+end]
			raw = raw[3+end:]
			n, _ := strconv.Atoi(argument)
			switch command {
			case 'A', 'F':
				row = max(0, row-max(1, n))
			case 'J':
				lines = lines[:row+1]
				lines[row] = ""
			case 'K':
				lines[row] = ""
			case 'h', 'l':
			default:
				t.Fatalf("unknown escape sequence CSI %s %c", argument, command)
			}
		case raw[0] == '\n':
			if row++; row == len(lines) {
				lines = append(lines, "")
			}
			raw = raw[1:]
		case raw[0] == '\r':
			raw = raw[1:]
		default:
			end := strings.IndexAny(raw, "\x1b\n\r")
			if end < 0 {
				end = len(raw)
			}
			lines[row] += raw[:end]
			raw = raw[end:]
		}
	}
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

func TestProgressBar(t *testing.T) {
	terminal, finish := openTerminal(t)
	p := newProgress(terminal, false)
	if !p.terminal {
		t.Fatal("the terminal is not seen to be one")
	}
	var want []string
	for phase := range 3 {
		p.Start(fmt.Sprintf("phase %d", phase), 10, "steps")
		for i := range 10 - phase { // complete, and ended early
			p.Add(1)
			if i == 5 {
				p.Note(fmt.Sprintf("note %d", phase))
				want = append(want, fmt.Sprintf("note %d", phase))
			}
		}
		p.Done()
	}
	p.Start("replaced", 10, "steps")
	p.Start("of unknown length", 0, "")
	p.Set(3)
	p.Done()
	fmt.Fprintln(p, "end")
	want = append(want, "end")
	raw := finish()
	if got := screen(t, raw); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("in the end the screen shows %q, want %q; raw: %q", got, want, raw)
	}
	for _, part := range []string{"phase 0 [", "of 10 steps"} {
		if !strings.Contains(raw, part) {
			t.Errorf("no bar was drawn: %q lacks %q", raw, part)
		}
	}
}

func TestColourOnTerminal(t *testing.T) {
	terminal, finish := openTerminal(t)
	defer finish()
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	if !colourMode("auto").enabled(terminal) || colourMode("never").enabled(terminal) {
		t.Error("colours on a terminal: want them with auto, not with never")
	}
	t.Setenv("TERM", "dumb")
	if colourMode("auto").enabled(terminal) {
		t.Error("a dumb terminal gets colours")
	}
}
