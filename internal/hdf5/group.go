package hdf5

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Group is a folder of groups and data sets.
type Group struct {
	f       *File
	path    string
	address uint64
	depth   int
	links   map[string]link
	attrs   []message
}

// A link is a name in a group: a hard link to an object, or, with a refusal,
// what the package does not follow.
type link struct {
	address uint64
	refusal string
}

// Path returns the group's absolute path.
func (g *Group) Path() string { return g.path }

// Names returns the names in the group, sorted.
func (g *Group) Names() []string { return slices.Sorted(maps.Keys(g.links)) }

// Has says whether the group holds the name, or the path below it.
func (g *Group) Has(path string) bool {
	_, _, err := g.find(path)
	return err == nil
}

// IsGroup says whether path names a group. Errors wrap ErrNotFound where there
// is nothing of that name.
func (g *Group) IsGroup(path string) (bool, error) {
	_, messages, err := g.object(path)
	return err == nil && !isDataset(messages), err
}

// Group returns the group at a path below g, such as "node/nodes".
func (g *Group) Group(path string) (*Group, error) {
	to, messages, err := g.object(path)
	if err != nil {
		return nil, err
	}
	if isDataset(messages) {
		return nil, fmt.Errorf("%s: %s is a data set, want a group", g.f.path, g.join(path))
	}
	if err := to.fill(messages); err != nil {
		return nil, err
	}
	return to, nil
}

// Dataset returns the data set at a path below g.
func (g *Group) Dataset(path string) (*Dataset, error) {
	to, messages, err := g.object(path)
	if err != nil {
		return nil, err
	}
	if !isDataset(messages) {
		return nil, fmt.Errorf("%s: %s is a group, want a data set", g.f.path, g.join(path))
	}
	return g.f.dataset(to.path, messages)
}

// Attr returns an attribute of the group, as a data set that has been read.
// Attributes stored densely (many or large ones in new files) are not found.
func (g *Group) Attr(name string) (*Dataset, error) { return g.f.attribute(g.path, g.attrs, name) }

func (g *Group) join(path string) string {
	return strings.TrimRight(g.path, "/") + "/" + strings.Trim(path, "/")
}

// object returns the place and the header messages of what is at a path.
func (g *Group) object(path string) (*Group, []message, error) {
	parent, l, err := g.find(path)
	if err != nil {
		return nil, nil, err
	}
	to := &Group{f: g.f, path: g.join(path), address: l.address, depth: parent.depth + 1}
	if to.depth > maxDepth {
		return nil, nil, g.f.bad(-1, "%s: more than %d groups within each other", to.path, maxDepth)
	}
	messages, err := g.f.header(l.address)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", to.path, err)
	}
	return to, messages, nil
}

// find returns the link at a path and the group it is in.
func (g *Group) find(path string) (*Group, link, error) {
	head, name, below := cutLast(strings.Trim(path, "/"))
	if below {
		sub, err := g.Group(head)
		if err != nil {
			return nil, link{}, err
		}
		return sub.find(name)
	}
	l, ok := g.links[name]
	if !ok {
		return nil, link{}, fmt.Errorf("%s: no %q in group %s: %w", g.f.path, name, g.path, ErrNotFound)
	}
	if l.refusal != "" {
		return nil, link{}, g.f.unsupported("%s is %s", g.join(name), l.refusal)
	}
	return g, l, nil
}

func cutLast(path string) (head, name string, ok bool) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path, false
	}
	return path[:i], path[i+1:], true
}

func isDataset(messages []message) bool {
	return slices.ContainsFunc(messages, func(m message) bool { return m.kind == msgLayout })
}

func (g *Group) load() error {
	messages, err := g.f.header(g.address)
	if err != nil {
		return err
	}
	return g.fill(messages)
}

// fill reads the links of the group from its header.
func (g *Group) fill(messages []message) error {
	g.links = make(map[string]link)
	err := g.readLinks(messages)
	if err != nil && g.path != "/" {
		return fmt.Errorf("%s: %w", g.path, err)
	}
	return err
}

func (g *Group) readLinks(messages []message) error {
	group := false
	for i := range messages {
		m := &messages[i]
		switch m.kind {
		case msgSymbolTable, msgLinkInfo, msgLink:
		case msgAttribute:
			g.attrs = append(g.attrs, *m)
			continue
		case msgGroupInfo:
			group = true
			continue
		default:
			continue
		}
		group = true
		c, err := m.open("group")
		if err != nil {
			return err
		}
		switch m.kind {
		case msgSymbolTable:
			tree, heap := c.u64(), c.u64()
			if c.err != nil {
				return c.err
			}
			err = g.symbolTable(tree, heap)
		case msgLinkInfo:
			err = g.linkInfo(c)
		case msgLink:
			err = g.link(c)
		}
		if err != nil {
			return err
		}
	}
	if !group {
		return g.f.bad(g.f.base+int64(g.address), "object is neither a group nor a data set")
	}
	return nil
}

func (g *Group) add(name string, l link, at int64) error {
	if name == "" || strings.ContainsRune(name, '/') || name == "." {
		return g.f.bad(at, "name %q of a group's member", name)
	}
	if _, twice := g.links[name]; twice {
		return g.f.bad(at, "name %q twice in a group", name)
	}
	if len(g.links) == maxNodes {
		return g.f.bad(at, "more than %d names in a group", maxNodes)
	}
	g.links[name] = l
	return nil
}

func (g *Group) linkInfo(c *cursor) error {
	version, flags := c.u8(), c.u8()
	if flags&1 != 0 {
		c.skip(8)
	}
	heap := c.u64()
	if c.err != nil {
		return c.err
	}
	if version != 0 {
		return g.f.unsupported("offset %d: link info message version %d", c.at, version)
	}
	if heap != undefined {
		return g.f.unsupported("offset %d: group with links in a fractal heap (dense storage); write the file with libver \"earliest\"", c.at)
	}
	return nil
}

func (g *Group) link(c *cursor) error {
	version, flags := c.u8(), c.u8()
	if c.err == nil && version != 1 {
		return g.f.unsupported("offset %d: link message version %d", c.at, version)
	}
	kind := uint8(0)
	if flags&8 != 0 {
		kind = c.u8()
	}
	if flags&4 != 0 {
		c.skip(8)
	}
	if flags&16 != 0 {
		c.skip(1)
	}
	n := c.number(1 << (flags & 3))
	name := string(c.take(int(min(n, 1<<20))))
	l := link{}
	switch kind {
	case 0:
		l.address = c.u64()
	case 1:
		l.refusal = "a soft link"
	case 64:
		l.refusal = "an external link"
	default:
		l.refusal = fmt.Sprintf("a link of type %d", kind)
	}
	if c.err != nil {
		return c.err
	}
	return g.add(name, l, c.at)
}

// symbolTable reads the B-tree of a group, its symbol nodes, and the names in
// the local heap.
func (g *Group) symbolTable(tree, heap uint64) error {
	h, err := g.f.block(heap, 32, "local heap")
	if err != nil {
		return err
	}
	sig, version := string(h.take(4)), h.u8()
	h.skip(3)
	length := h.u64()
	h.skip(8)
	segment := h.u64()
	if sig != "HEAP" || version != 0 {
		return g.f.bad(h.at, "local heap has signature %q, version %d; want HEAP, 0", sig, version)
	}
	if length > uint64(g.f.size) {
		return g.f.bad(h.at, "local heap of %d bytes in a file of %d", length, g.f.size)
	}
	names, err := g.f.block(segment, int64(length), "names of a group")
	if err != nil {
		return err
	}
	return g.f.btree(tree, 0, 8, func(c *cursor, level int) error { // keys are not needed
		child := c.u64()
		if c.err != nil || level > 0 {
			return c.err
		}
		return g.symbols(child, names)
	})
}

// symbols reads one symbol node.
func (g *Group) symbols(address uint64, names *cursor) error {
	c, err := g.f.block(address, 8, "symbol node")
	if err != nil {
		return err
	}
	sig, version := string(c.take(4)), c.u8()
	c.skip(1)
	n := int(c.u16())
	if sig != "SNOD" || version != 1 {
		return g.f.bad(c.at, "symbol node has signature %q, version %d; want SNOD, 1", sig, version)
	}
	if n > g.f.symbolEntries {
		return g.f.bad(c.at, "symbol node with %d entries, at most %d", n, g.f.symbolEntries)
	}
	c, err = g.f.block(address+8, int64(n)*40, "symbol node")
	if err != nil {
		return err
	}
	for range n {
		at := c.at + int64(c.pos)
		offset, header := c.u64(), c.u64()
		cache := c.u32()
		c.skip(20)
		if offset >= uint64(len(names.b)) {
			return g.f.bad(at, "name at offset %d of a local heap of %d bytes", offset, len(names.b))
		}
		end := bytes.IndexByte(names.b[offset:], 0)
		if end < 0 {
			return g.f.bad(names.at+int64(offset), "name without an end")
		}
		l := link{address: header}
		if cache == 2 {
			l.refusal = "a soft link"
		}
		if err := g.add(string(names.b[offset:offset+uint64(end)]), l, at); err != nil {
			return err
		}
	}
	return nil
}

// btree walks a version-1 B-tree of the given type in order and calls entry
// with a cursor at each entry's child address; the key before it, of keySize
// bytes, has been passed over and stays readable in front of the cursor. Level
// 0 holds the data.
func (f *File) btree(address uint64, kind uint8, keySize int, entry func(c *cursor, level int) error) error {
	seen := make(map[uint64]bool)
	entries := int64(0)
	var walk func(address uint64, above int) error
	walk = func(address uint64, above int) error {
		if seen[address] {
			return f.bad(-1, "B-tree node at address %d is reached twice", address)
		}
		seen[address] = true
		c, err := f.block(address, 24, "B-tree node")
		if err != nil {
			return err
		}
		sig, got, level := string(c.take(4)), c.u8(), int(c.u8())
		n := int(c.u16())
		if sig != "TREE" || got != kind {
			return f.bad(c.at, "B-tree node has signature %q, type %d; want TREE, %d", sig, got, kind)
		}
		if above >= 0 && level != above-1 {
			return f.bad(c.at, "B-tree node of level %d below one of level %d", level, above)
		}
		if kind == 0 && n > f.treeEntries {
			return f.bad(c.at, "B-tree node with %d entries, at most %d", n, f.treeEntries)
		}
		// Every node is stored in full, so all entries together cannot take more
		// than the file.
		if entries += int64(n); entries*int64(keySize+8) > f.size {
			return f.bad(c.at, "B-tree with at least %d entries in a file of %d bytes", entries, f.size)
		}
		c, err = f.block(address+24, int64(n)*int64(keySize+8), "B-tree node")
		if err != nil {
			return err
		}
		for range n {
			c.skip(keySize)
			child := c.pos
			if err := entry(c, level); err != nil {
				return err
			}
			if level > 0 {
				c.pos = child
				to := c.u64()
				if err := walk(to, level); err != nil {
					return err
				}
			}
			c.pos = child + 8
		}
		return nil
	}
	return walk(address, -1)
}
