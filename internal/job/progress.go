package job

// Progress shows a person how far long work is. All methods may be called from
// one goroutine only.
type Progress interface {
	Start(name string, total int64, unit string) // begins a piece of work
	Set(done int64)                              // units done so far
	Done()                                       // ends the piece
	Note(text string)                            // a line that stays
}

// Silent shows nothing.
type Silent struct{}

// Start does nothing.
func (Silent) Start(string, int64, string) {}

// Set does nothing.
func (Silent) Set(int64) {}

// Done does nothing.
func (Silent) Done() {}

// Note does nothing.
func (Silent) Note(string) {}
