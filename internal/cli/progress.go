package cli

import (
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// Progress shows how far long work is. Its methods may be called from several
// goroutines; only one phase is shown at a time.
type Progress interface {
	// Start begins a phase of total units (0: not known), ending the one before.
	Start(name string, total int64, unit string)
	// Add counts n more units as done, Set sets the units done.
	Add(n int64)
	Set(done int64)
	// Note prints a line that stays.
	Note(text string)
	// Done ends the phase, complete or not.
	Done()
}

// lineInterval is the time between lines where there is no terminal.
const lineInterval = 10 * time.Second

// barWidth is the width of the bar in characters; the figures follow it.
const barWidth = 32

// A progressPrinter shows progress on standard error: a bar on a terminal, else
// a line every ten seconds, at most. It is also a writer of whole lines that
// keeps clear of the bar.
type progressPrinter struct {
	mute     bool // drop notes: --quiet
	mu       sync.Mutex
	w        io.Writer
	off      bool // no bar and no lines; notes are still printed
	terminal bool
	now      func() time.Time

	name, unit  string
	done, total int64
	running     bool
	begun       time.Time
	printed     time.Time // time of the last line
	lines       int       // lines of this phase

	bars *mpb.Progress
	bar  *mpb.Bar
}

func newProgress(w io.Writer, off bool) *progressPrinter {
	return &progressPrinter{w: w, off: off, terminal: isTerminal(w), now: time.Now}
}

// Start begins a phase.
func (p *progressPrinter) Start(name string, total int64, unit string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end()
	p.name, p.unit, p.done, p.total = oneLine(name), oneLine(unit), 0, max(total, 0)
	p.running, p.lines = true, 0
	p.begun = p.now()
	p.printed = p.begun
	if p.off || !p.terminal {
		return
	}
	p.show()
}

// show begins to draw the bar of the running phase.
func (p *progressPrinter) show() {
	p.bars = mpb.New(mpb.WithOutput(p.w), mpb.WithWidth(barWidth))
	p.bar = p.bars.AddBar(p.total,
		mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(p.name)),
		mpb.AppendDecorators(decor.Any(func(st decor.Statistics) string {
			return " " + p.figures(st.Current, p.now())
		})))
	p.bar.SetCurrent(p.done)
}

// hide removes the bar from the terminal.
func (p *progressPrinter) hide() {
	if p.bars != nil {
		p.bar.Abort(true)
		p.bars.Wait()
		p.bars, p.bar = nil, nil
	}
}

// Add counts n more units as done.
func (p *progressPrinter) Add(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.moveTo(p.done + n)
}

// Set sets the units done.
func (p *progressPrinter) Set(done int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.moveTo(done)
}

func (p *progressPrinter) moveTo(done int64) {
	if !p.running {
		return
	}
	p.done = done
	if p.bar != nil {
		p.bar.SetCurrent(done)
		return
	}
	if now := p.now(); !p.off && now.Sub(p.printed) >= lineInterval {
		p.printed = now
		p.lines++
		fmt.Fprintf(p.w, "%s: %s\n", p.name, p.figures(done, now))
	}
}

// Note prints a line that stays.
func (p *progressPrinter) Note(text string) {
	if p.mute {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.write([]byte(strings.TrimRight(text, "\n") + "\n"))
}

// Write prints whole lines.
func (p *progressPrinter) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.write(b)
}

func (p *progressPrinter) write(b []byte) (int, error) {
	if p.bars != nil {
		// mpb would print the lines above the bar, but at its next refresh, and
		// loses them when there is none any more.
		p.hide()
		defer p.show()
	}
	return p.w.Write(b)
}

// Done ends the phase.
func (p *progressPrinter) Done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end()
}

func (p *progressPrinter) end() {
	if !p.running {
		return
	}
	p.running = false
	if p.bars != nil {
		p.hide()
	} else if p.lines > 0 { // whoever saw it begin may see it end
		fmt.Fprintf(p.w, "%s: %s in %s\n", p.name, p.amount(p.done), clock(p.now().Sub(p.begun)))
	}
}

// amount is "done of total units". It reads only what Start sets.
func (p *progressPrinter) amount(done int64) string {
	text := fmt.Sprint(done)
	if p.total > 0 {
		text += fmt.Sprintf(" of %d", p.total)
	}
	if p.unit != "" {
		text += " " + p.unit
	}
	return text
}

// figures are done, total, rate and time left. It is also called by the bar's
// goroutine and reads only what Start sets.
func (p *progressPrinter) figures(done int64, now time.Time) string {
	text := p.amount(done)
	seconds := now.Sub(p.begun).Seconds()
	if done <= 0 || seconds <= 0 {
		return text
	}
	rate := float64(done) / seconds
	text += fmt.Sprintf(", %s/s", rateText(rate))
	if p.total > done {
		text += ", " + clock(time.Duration(float64(p.total-done)/rate*float64(time.Second))) + " left"
	}
	return text
}

// rateText writes a rate with three significant figures.
func rateText(rate float64) string {
	if rate >= 100 {
		return fmt.Sprint(int64(math.Round(rate)))
	}
	return fmt.Sprintf("%.3g", rate)
}

// clock writes a time as 4s, 3m04s or 2h03m.
func clock(d time.Duration) string {
	s := int64(math.Ceil(d.Seconds()))
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	}
	return fmt.Sprintf("%dh%02dm", s/3600, s/60%60)
}
