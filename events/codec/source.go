package codec

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/adafire/adafire/events"
)

const (
	sourceBuffer = 128 << 10 // what a Source holds of a stream
	pageBytes    = 4 << 10
	// MaxPeek is the most bytes that can be looked at ahead at once.
	MaxPeek = 1 << 20
)

// A Source is the bytes of a recording: a stream that knows its offset, can be
// looked at ahead, and gives random access where there is some.
type Source struct {
	name     string
	r        io.Reader
	buf      []byte
	pos, end int   // unread bytes are buf[pos:end]
	offset   int64 // of buf[0]
	err      error // from r, once all of buf is read
	at       io.ReaderAt
	base     int64 // where offset 0 is in at
	size     int64 // of the whole stream; negative when not known
	spool    *os.File
}

// NewSource returns a Source that reads r from where it stands; that is offset
// 0. The name is for errors. Files and readers in memory give random access.
func NewSource(r io.Reader, name string) *Source {
	s := &Source{name: name, r: r, size: -1}
	at, ok := r.(io.ReaderAt)
	seeker, ok2 := r.(io.Seeker)
	if ok && ok2 {
		base, err := seeker.Seek(0, io.SeekCurrent)
		if err != nil {
			return s // a pipe
		}
		end, err := seeker.Seek(0, io.SeekEnd)
		if err == nil {
			_, err = seeker.Seek(base, io.SeekStart)
		}
		if err != nil {
			s.err = err
			return s
		}
		if end >= base && regular(r) {
			s.at, s.base, s.size = at, base, end-base
		}
	}
	return s
}

// regular reports whether a reader is not a device or the like, whose end tells
// nothing.
func regular(r io.Reader) bool {
	f, ok := r.(*os.File)
	if !ok {
		return true
	}
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular()
}

// Name returns the name for errors.
func (s *Source) Name() string { return s.name }

// Offset returns the offset of the next byte.
func (s *Source) Offset() int64 { return s.offset + int64(s.pos) }

// Size returns how many bytes the whole stream has, where that is known.
func (s *Source) Size() (int64, bool) { return s.size, s.size >= 0 }

// Remaining returns how many bytes are left, where that is known.
func (s *Source) Remaining() (int64, bool) {
	if s.size < 0 {
		return 0, false
	}
	return max(s.size-s.Offset(), 0), true
}

// fill reads until n bytes are unread in the buffer or the stream ends.
//
// What is read lands at the same place of a page as it has in the stream: some
// processors copy several times slower when it is off by a few bytes.
func (s *Source) fill(n int) {
	unread := s.end - s.pos
	read := s.offset + int64(s.end) // bytes that r has given
	at := unread + int((read-int64(unread))&(pageBytes-1))
	if s.buf == nil || at+n-unread > len(s.buf) {
		size := sourceBuffer
		if s.size >= 0 && s.size < sourceBuffer {
			size = max(int(s.size), 512) // small files are many
		}
		size = max(size, at+n-unread)
		if size > sourceBuffer {
			size = (size + pageBytes - 1) &^ (pageBytes - 1)
		}
		grown := make([]byte, size)
		copy(grown[at-unread:], s.buf[s.pos:s.end])
		s.buf = grown
	} else if s.pos+n > len(s.buf) || unread == 0 {
		copy(s.buf[at-unread:], s.buf[s.pos:s.end])
	} else {
		at = s.end
	}
	s.pos, s.end = at-unread, at
	s.offset = read - int64(at)
	for idle := 0; s.end-s.pos < n && s.err == nil; {
		m, err := s.r.Read(s.buf[s.end:])
		s.end += m
		s.err = err
		if m > 0 {
			idle = 0
		} else if idle++; idle == 100 {
			s.err = io.ErrNoProgress
		}
	}
}

// Peek returns the next n bytes without taking them, n at most MaxPeek. Fewer
// come with the error that ended the stream, io.EOF at its end. The bytes are
// valid until the next call.
func (s *Source) Peek(n int) ([]byte, error) {
	if n < 0 || n > MaxPeek {
		return nil, fmt.Errorf("peek of %d bytes: want 0 to %d", n, MaxPeek)
	}
	if s.end-s.pos < n {
		s.fill(n)
	}
	if s.end-s.pos < n {
		return s.buf[s.pos:s.end], s.err
	}
	return s.buf[s.pos : s.pos+n], nil
}

// Block returns all bytes that are in the buffer, after reading on when there
// are fewer than n, at most MaxPeek. Fewer than n come with the error that ended
// the stream. Take the bytes that were used with Advance.
func (s *Source) Block(n int) ([]byte, error) {
	if s.end-s.pos < n {
		if _, err := s.Peek(n); err != nil {
			return s.buf[s.pos:s.end], err
		}
	}
	return s.buf[s.pos:s.end], nil
}

// Advance takes n bytes that Peek or Block has shown.
func (s *Source) Advance(n int) { s.pos += n }

// Read implements io.Reader.
func (s *Source) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if s.pos == s.end {
		if s.err != nil {
			return 0, s.err
		}
		if len(p) >= sourceBuffer {
			n, err := s.r.Read(p)
			s.offset += int64(s.pos + n)
			s.pos, s.end, s.err = 0, 0, err
			if n > 0 {
				return n, nil
			}
			return 0, err
		}
		if s.fill(1); s.pos == s.end {
			return 0, s.err
		}
	}
	n := copy(p, s.buf[s.pos:s.end])
	s.pos += n
	return n, nil
}

// ReadByte implements io.ByteReader.
func (s *Source) ReadByte() (byte, error) {
	if s.pos == s.end {
		if s.fill(1); s.pos == s.end {
			return 0, s.err
		}
	}
	s.pos++
	return s.buf[s.pos-1], nil
}

// Skip takes n bytes and returns how many there were; fewer come with the error
// that ended the stream. It seeks where that is possible.
func (s *Source) Skip(n int64) (int64, error) {
	buffered := int64(s.end - s.pos)
	if n <= buffered {
		s.pos += int(n)
		return n, nil
	}
	s.pos = s.end
	skipped := buffered
	if s.err == nil && s.at != nil && n-skipped > sourceBuffer {
		step := max(min(n-skipped, s.size-s.Offset()), 0)
		if seeker, ok := s.r.(io.Seeker); ok {
			if _, err := seeker.Seek(step, io.SeekCurrent); err != nil {
				return skipped, err
			}
			s.offset += int64(s.pos) + step
			s.pos, s.end = 0, 0
			skipped += step
		}
	}
	for skipped < n {
		if s.fill(1); s.pos == s.end {
			return skipped, s.err
		}
		step := min(n-skipped, int64(s.end-s.pos))
		s.pos += int(step)
		skipped += step
	}
	return n, nil
}

// Random returns random access to the whole stream from offset 0 and its size.
// What has none, such as a pipe, is first copied to a temporary file; this must
// then be called before anything is taken from the Source.
func (s *Source) Random() (io.ReaderAt, int64, error) {
	if s.at != nil {
		return io.NewSectionReader(s.at, s.base, s.size), s.size, nil
	}
	if s.Offset() != 0 {
		return nil, 0, fmt.Errorf("%s: no random access after %d bytes were read", s.name, s.Offset())
	}
	f, err := os.CreateTemp("", "adafire-events-*")
	if err != nil {
		return nil, 0, err
	}
	s.spool = f
	os.Remove(f.Name()) // where open files can be removed; elsewhere Close does it
	n, err := io.Copy(f, struct{ io.Reader }{s})
	if err != nil {
		return nil, 0, err
	}
	return io.NewSectionReader(f, 0, n), n, nil // which takes any offset, as that of a file in memory
}

// Close removes the temporary file of Random. It does not close the stream.
func (s *Source) Close() error {
	if s.spool == nil {
		return nil
	}
	f := s.spool
	s.spool = nil
	err := f.Close()
	os.Remove(f.Name()) // gone already on most systems
	return err
}

// gzipMagic starts a gzip stream (RFC 1952).
var gzipMagic = []byte{0x1f, 0x8b}

// gunzip returns the unpacked stream when the source is a gzip stream, else the
// source itself. Offsets are then those of the unpacked bytes.
func gunzip(s *Source) *Source {
	head, _ := s.Peek(len(gzipMagic)) // an error comes again with the first read
	if !bytes.Equal(head, gzipMagic) {
		return s
	}
	return NewSource(&unpacker{packed: s}, s.name)
}

// unpacker reads a gzip stream and tells damage by its kind.
type unpacker struct {
	packed *Source
	z      *gzip.Reader
	read   int64
	err    error
}

func (u *unpacker) Read(p []byte) (int, error) {
	if u.z == nil && u.err == nil {
		z, err := gzip.NewReader(bufio.NewReader(u.packed))
		u.z, u.err = z, u.kind(err)
	}
	if u.err != nil {
		return 0, u.err
	}
	n, err := u.z.Read(p)
	u.read += int64(n)
	u.err = u.kind(err)
	return n, u.err
}

func (u *unpacker) kind(err error) error {
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return events.Errorf(events.Truncated, u.packed.name, u.read, "the gzip stream ends early, after %d bytes", u.packed.Offset())
	case u.packed.err != nil && !errors.Is(u.packed.err, io.EOF):
		return err // reading failed, not unpacking
	}
	return events.Errorf(events.CorruptCompression, u.packed.name, u.read, "gzip: %v", err)
}
