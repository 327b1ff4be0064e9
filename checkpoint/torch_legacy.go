package checkpoint

import (
	"encoding/binary"
	"io"

	"github.com/adafire/adafire/checkpoint/pickle"
	"github.com/adafire/adafire/internal/fileerr"
)

// legacyMagic is the integer with which files of torch before 1.6 begin,
// 0x1950a86a20f9469cfc6c.
const legacyMagic = pickle.Long("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19")

// readTorchLegacy reads the layout before torch 1.6: five pickles (magic number,
// version, machine, object, storage keys), then each storage as an element
// count and its raw numbers.
func readTorchLegacy(r io.ReaderAt, size int64, path string) (*torchFile, error) {
	p := pickle.NewReader(io.NewSectionReader(r, 0, size), path, 0, size)
	host := &torchHost{storages: make(map[string]*storageRef), legacy: true}
	magic, err := p.Next(host)
	if err != nil {
		return nil, err
	}
	if magic != pickle.Value(legacyMagic) {
		return nil, fileerr.New(path, 0, "a pickle that torch.save did not write: want its magic number first")
	}
	version, err := p.Next(host)
	if err != nil {
		return nil, err
	}
	if version != pickle.Value(int64(1001)) {
		return nil, fileerr.New(path, p.Offset(), "protocol version %v: want 1001", version)
	}
	machine, err := p.Next(host)
	if err != nil {
		return nil, err
	}
	f := &torchFile{path: path, records: make(map[string]*record)}
	d, ok := machine.(*pickle.Dict)
	if !ok {
		return nil, fileerr.New(path, p.Offset(), "the description of the machine is a %T: want a dictionary", machine)
	}
	if little, ok := d.Get("little_endian"); ok {
		f.big = little == pickle.Value(false)
	}
	if f.object, err = p.Next(host); err != nil {
		return nil, err
	}
	at := p.Offset()
	list, err := p.Next(host)
	if err != nil {
		return nil, err
	}
	keys, ok := items(list)
	if !ok {
		return nil, fileerr.New(path, at, "the list of storages is a %T", list)
	}
	at = p.Offset()
	for _, k := range keys {
		key, ok := k.(string)
		s := host.storages[key]
		if !ok || s == nil || f.records[key] != nil {
			return nil, fileerr.New(path, at, "storage key %q: want one that the object uses, once", key)
		}
		var count [8]byte
		if err := readAt(r, count[:], at, path); err != nil {
			return nil, err
		}
		n := int64(binary.LittleEndian.Uint64(count[:]))
		if n != s.count {
			return nil, fileerr.New(path, at, "storage %s has %d elements: the object says %d", key, n, s.count)
		}
		at += 8
		bytes := n * int64(bitsOf[s.dtype]/8)
		if bytes > size-at {
			return nil, fileerr.New(path, at, "storage %s of %d bytes: %d remain", key, bytes, size-at)
		}
		section := io.NewSectionReader(r, at, bytes)
		f.records[key] = &record{key: key, offset: at, size: bytes, open: func() (io.ReaderAt, error) { return section, nil }}
		at += bytes
	}
	for key := range host.storages {
		if f.records[key] == nil {
			return nil, fileerr.New(path, at, "storage %s is used and not in the file", key)
		}
	}
	if at < size {
		f.warn("%d bytes follow the last storage", size-at)
	}
	return f, nil
}
