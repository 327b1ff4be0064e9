package hdf5

// The types of header messages that matter here.
const (
	msgNil          = 0x00
	msgDataspace    = 0x01
	msgLinkInfo     = 0x02
	msgDatatype     = 0x03
	msgOldFill      = 0x04
	msgFill         = 0x05
	msgLink         = 0x06
	msgExternal     = 0x07
	msgLayout       = 0x08
	msgGroupInfo    = 0x0a
	msgFilters      = 0x0b
	msgAttribute    = 0x0c
	msgContinuation = 0x10
	msgSymbolTable  = 0x11
	msgAttrInfo     = 0x15
)

// A message is one header message of an object; its data has been read.
type message struct {
	kind   int
	shared bool
	data   *cursor
}

// open returns a cursor at the start of the message's data, for messages that
// are stored where they are used.
func (m *message) open(what string) (*cursor, error) {
	if m.shared {
		return nil, m.data.f.unsupported("offset %d: a shared %s message (committed type)", m.data.at, what)
	}
	return &cursor{f: m.data.f, b: m.data.b, at: m.data.at}, nil
}

// maxHeader bounds the bytes of one object header; the library's own messages
// are at most 64 KiB each.
const maxHeader = 64 << 20

// header reads all messages of the object at an address.
func (f *File) header(address uint64) ([]message, error) {
	head, err := f.block(address, min(24, f.size-f.base-int64(min(address, uint64(f.size-f.base)))), "object header")
	if err != nil {
		return nil, err
	}
	if len(head.b) >= 4 && string(head.b[:4]) == "OHDR" {
		return f.header2(address)
	}
	return f.header1(head, address)
}

// A span is a piece of a header: a block of messages.
type span struct {
	address uint64
	length  int64
}

// pieces reads the first span of a header and those that its messages continue
// in. each decodes one span and returns the continuations it found.
func (f *File) pieces(first span, each func(s span, c *cursor) ([]span, error)) error {
	queue := []span{first}
	seen := make(map[uint64]bool)
	var total int64
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		if total += s.length; seen[s.address] || total > maxHeader {
			return f.bad(-1, "object header continues at address %d: a cycle, or more than %d bytes", s.address, maxHeader)
		}
		seen[s.address] = true
		c, err := f.block(s.address, s.length, "object header")
		if err != nil {
			return err
		}
		more, err := each(s, c)
		if err != nil {
			return err
		}
		queue = append(queue, more...)
	}
	return nil
}

func (f *File) header1(head *cursor, address uint64) ([]message, error) {
	version := head.u8()
	head.skip(1)
	count := int(head.u16())
	head.skip(4)
	length := int64(head.u32())
	if head.err != nil {
		return nil, head.err
	}
	if version != 1 {
		return nil, f.unsupported("offset %d: object header version %d, want 1 or 2", head.at, version)
	}
	var out []message
	read := 0 // the count goes on in continuations
	err := f.pieces(span{address + 16, length}, func(_ span, c *cursor) ([]span, error) {
		var more []span
		for c.left() >= 8 && read < count {
			read++
			kind, size := int(c.u16()), int(c.u16())
			flags := c.u8()
			c.skip(3)
			data := c.sub(size)
			if c.err != nil {
				return nil, c.err
			}
			var err error
			if more, err = f.message(&out, more, kind, flags, data); err != nil {
				return nil, err
			}
		}
		return more, nil
	})
	return out, err
}

// message keeps a message, or the span it continues in.
func (f *File) message(out *[]message, more []span, kind int, flags uint8, data *cursor) ([]span, error) {
	switch {
	case kind == msgNil:
	case kind == msgContinuation:
		address, length := data.u64(), data.u64()
		if data.err != nil {
			return nil, data.err
		}
		if length > maxHeader {
			return nil, f.bad(data.at, "header continuation of %d bytes", length)
		}
		more = append(more, span{address, int64(length)})
	case kind > msgAttrInfo+3 && flags&0x80 != 0: // "fail if unknown"
		return nil, f.unsupported("offset %d: header message %#x", data.at, kind)
	default:
		*out = append(*out, message{kind, flags&2 != 0, data})
	}
	return more, nil
}

func (f *File) header2(address uint64) ([]message, error) {
	room := f.size - f.base - int64(address)
	c, err := f.block(address, min(64, room), "object header")
	if err != nil {
		return nil, err
	}
	c.skip(4)
	version, flags := c.u8(), c.u8()
	if c.err == nil && version != 2 {
		return nil, f.unsupported("offset %d: object header version %d, want 1 or 2", c.at, version)
	}
	if flags&0x20 != 0 {
		c.skip(16) // times
	}
	if flags&0x10 != 0 {
		c.skip(4) // when attributes become dense
	}
	length := c.number(1 << (flags & 3))
	if c.err != nil {
		return nil, c.err
	}
	prefix := int64(c.pos)
	if length > maxHeader {
		return nil, f.bad(c.at, "object header of %d bytes", length)
	}
	var out []message
	err = f.pieces(span{address, prefix + int64(length) + 4}, func(s span, c *cursor) ([]span, error) {
		end := len(c.b) - 4
		if s.address == address {
			c.skip(int(prefix))
		} else if sig := string(c.take(4)); sig != "OCHK" {
			return nil, f.bad(c.at, "object header continuation has signature %q, want OCHK", sig)
		}
		if c.err != nil || end < c.pos {
			return nil, f.bad(c.at, "object header of %d bytes is too short", len(c.b))
		}
		want := (&cursor{f: f, b: c.b[end:], at: c.at}).u32()
		if got := lookup3(c.b[:end]); got != want {
			return nil, f.bad(c.at, "object header checksum %08x, computed %08x", want, got)
		}
		c.b = c.b[:end]
		extra := 0
		if flags&4 != 0 {
			extra = 2 // creation order
		}
		var more []span
		for c.left() >= 4+extra {
			kind, size := int(c.u8()), int(c.u16())
			flags := c.u8()
			c.skip(extra)
			data := c.sub(size)
			if c.err != nil {
				return nil, c.err
			}
			var err error
			if more, err = f.message(&out, more, kind, flags, data); err != nil {
				return nil, err
			}
		}
		return more, nil
	})
	return out, err
}
