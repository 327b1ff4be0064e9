package eventdata

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/adafire/adafire/events"
	"github.com/adafire/adafire/internal/atomicfile"
	"github.com/adafire/adafire/internal/parallel"
)

// cacheVersion changes when what is in a cache changes its form or meaning.
const cacheVersion = 1

// shardEvents is how many events a cache file holds at most, unless a single
// sample has more: 9 bytes each. A variable for the tests.
var shardEvents = 1 << 23

// an index lies beside the files of a cache. It is written last.
type index struct {
	Version int     `json:"version"`
	Key     string  `json:"key"` // of everything that the content depends on
	Name    string  `json:"name"`
	Samples int     `json:"samples"`
	Events  int64   `json:"events"`
	Width   int     `json:"width"`
	Height  int     `json:"height"`
	Skipped string  `json:"skipped,omitempty"` // what readers counted
	Shards  []shard `json:"shards"`
}

// a shard is one file: samples first to first+samples-1.
type shard struct {
	File    string `json:"file"`
	Bytes   int64  `json:"bytes"`
	First   int    `json:"first"`
	Samples int    `json:"samples"`
	Events  int64  `json:"events"`
	// Where the arrays begin: base, start, t, sum, x, y, p.
	Offsets []int64 `json:"offsets"`
}

// The arrays of a file. start has one value more than there are samples: sample
// i has the events start[i] to start[i+1]-1, with times base[i] + t. sum is the
// CRC-32C of its events in the order t, x, y, p.
const (
	arrayBase = iota
	arrayStart
	arrayT
	arraySum
	arrayX
	arrayY
	arrayP
	arrays
)

// a cache holds the events of all samples of a data set, in the order of
// data.stored.
type cache struct {
	dir    string
	index  index
	shards []cachedShard
}

type cachedShard struct {
	shard
	base, start []int64
	sum         []uint32
}

// cachePlace returns the folder of the cache and the key that it must have.
func cachePlace(d *data) (dir, key string, err error) {
	root := d.opts.CacheDir
	if root == "" {
		if root = DefaultCacheDir(); root == "" {
			return "", "", errors.New("no folder for caches: set ADAFIRE_CACHE, or go without (--no-cache)")
		}
	}
	name := d.kind.Name
	if d.dir != "" {
		abs, err := filepath.Abs(d.dir)
		if err != nil {
			return "", "", err
		}
		sum := sha256.Sum256([]byte(abs))
		name += "-" + hex.EncodeToString(sum[:4])
	}
	h := sha256.New()
	fmt.Fprintf(h, "%d %s %s %t %dx%d\n", cacheVersion, d.kind.Name, d.coll.convention, d.opts.Lenient,
		max(d.kind.width, d.opts.Width), max(d.kind.height, d.opts.Height))
	if d.digits != nil {
		fmt.Fprintln(h, d.digits.settings())
	}
	for _, it := range d.stored {
		fmt.Fprintln(h, it.path, it.size, it.modified, it.label, it.start, it.end)
	}
	return filepath.Join(root, "events", name), hex.EncodeToString(h.Sum(nil)), nil
}

// openCache returns the cache of a data set, nil when there is none or it does
// not belong to these files, is of another version or not complete.
func openCache(d *data) (*cache, error) {
	dir, key, err := cachePlace(d)
	if err != nil {
		return nil, err
	}
	c := &cache{dir: dir}
	text, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil || json.Unmarshal(text, &c.index) != nil || c.index.Version != cacheVersion || c.index.Key != key ||
		c.index.Samples != len(d.stored) {
		return nil, nil
	}
	next := 0
	for _, s := range c.index.Shards {
		loaded, err := c.load(s)
		if err != nil || s.First != next {
			return nil, nil // damaged: made again
		}
		next += s.Samples
		c.shards = append(c.shards, loaded)
	}
	if next != c.index.Samples || c.index.Width < 1 || c.index.Height < 1 || c.index.Width > 1<<16 || c.index.Height > 1<<16 {
		return nil, nil
	}
	d.width, d.height = c.index.Width, c.index.Height
	return c, nil
}

// load reads what says where the samples of a file are.
func (c *cache) load(s shard) (cachedShard, error) {
	bad := errors.New("not as the index says")
	l := cachedShard{shard: s}
	if len(s.Offsets) != arrays || s.File != filepath.Base(s.File) || s.Samples < 1 || s.Events < 0 {
		return l, bad
	}
	f, err := os.Open(filepath.Join(c.dir, s.File))
	if err != nil {
		return l, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return l, err
	}
	// The sizes follow from two numbers; a file that has them all holds every
	// array.
	n, e := int64(s.Samples), s.Events
	if n > info.Size() || e > info.Size() {
		return l, bad // and no product overflows
	}
	at := s.Offsets[arrayBase]
	for i, size := range []int64{8 * n, 8 * (n + 1), 4 * e, 4 * n, 2 * e, 2 * e, e} {
		if s.Offsets[i] != at || size < 0 || size > info.Size() {
			return l, bad
		}
		at += size
	}
	if at != info.Size() || at != s.Bytes {
		return l, bad
	}
	buf := make([]byte, 8*(2*n+1))
	if _, err := f.ReadAt(buf, s.Offsets[arrayBase]); err != nil {
		return l, err
	}
	for i := range int(2*n + 1) {
		v := int64(binary.LittleEndian.Uint64(buf[8*i:]))
		if i < s.Samples {
			l.base = append(l.base, v)
			continue
		}
		if k := len(l.start); (k == 0 && v != 0) || (k > 0 && v < l.start[k-1]) || v > e {
			return l, bad
		}
		l.start = append(l.start, v)
	}
	if l.start[n] != e {
		return l, bad
	}
	if _, err := f.ReadAt(buf[:4*n], s.Offsets[arraySum]); err != nil {
		return l, err
	}
	for i := range s.Samples {
		l.sum = append(l.sum, binary.LittleEndian.Uint32(buf[4*i:]))
	}
	return l, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// read appends the events of a sample to dst; buf is scratch memory.
func (c *cache) read(i int, dst []events.Event, buf []byte) ([]events.Event, []byte, error) {
	k, found := slices.BinarySearchFunc(c.shards, i, func(s cachedShard, i int) int { return s.First - i })
	if !found {
		k--
	}
	s := &c.shards[k]
	i -= s.First
	first, n := s.start[i], int(s.start[i+1]-s.start[i])
	path := filepath.Join(c.dir, s.File)
	f, err := os.Open(path)
	if err != nil {
		return dst, buf, err
	}
	defer f.Close()
	buf = slices.Grow(buf[:0], 9*n)[:9*n]
	parts := [4][]byte{buf[:4*n], buf[4*n : 6*n], buf[6*n : 8*n], buf[8*n:]}
	for j, at := range [4]int64{s.Offsets[arrayT] + 4*first, s.Offsets[arrayX] + 2*first, s.Offsets[arrayY] + 2*first, s.Offsets[arrayP] + first} {
		if _, err := f.ReadAt(parts[j], at); err != nil && n > 0 {
			return dst, buf, fmt.Errorf("%s: %w", path, err)
		}
	}
	if crc32.Checksum(buf, castagnoli) != s.sum[i] {
		return dst, buf, fmt.Errorf("%s: sample %d is damaged: delete %s, it is made again", path, s.First+i, c.dir)
	}
	at := len(dst)
	dst = slices.Grow(dst, n)[:at+n]
	t, x, y, p := parts[0], parts[1], parts[2], parts[3]
	for j := range dst[at:] {
		dst[at+j] = events.Event{
			T: s.base[i] + int64(binary.LittleEndian.Uint32(t[4*j:])),
			X: binary.LittleEndian.Uint16(x[2*j:]), Y: binary.LittleEndian.Uint16(y[2*j:]), P: p[j],
		}
	}
	return dst, buf, nil
}

// waveBytes is how much of files is read at once to fill a cache; in memory
// events take two to four times that.
const waveBytes = 32 << 20

// fillCache reads all recordings and writes the cache, which appears as a whole
// in place of an older one.
func fillCache(ctx context.Context, d *data) (*cache, error) {
	dir, key, err := cachePlace(d)
	if err != nil {
		return nil, err
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o777); err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	if err := atomicfile.CheckSpace(dir, expected(d)); err != nil {
		return nil, fmt.Errorf("cache: %w: choose another folder (ADAFIRE_CACHE), or go without (--no-cache)", err)
	}
	pattern := "." + filepath.Base(dir) + ".tmp-"
	sweep(parent, pattern)
	tmp, err := os.MkdirTemp(parent, pattern)
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	defer os.RemoveAll(tmp)
	b := &builder{dir: tmp, index: index{Version: cacheVersion, Key: key, Name: d.kind.Name, Samples: len(d.stored), Width: d.width, Height: d.height}}
	if err := b.run(ctx, d); err != nil {
		return nil, err
	}
	if err := os.Chmod(tmp, 0o777&^umask(parent)); err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	// Another process may have put one there meanwhile: the last one stays.
	old := tmp + "-old"
	if err := os.Rename(dir, old); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cache: %w", err)
	}
	defer os.RemoveAll(old)
	if err := os.Rename(tmp, dir); err != nil && !exists(dir, "index.json") {
		return nil, fmt.Errorf("cache: %w", err)
	}
	c, err := openCache(d)
	if err == nil && c == nil {
		err = fmt.Errorf("cache %s: changed while it was made", dir)
	}
	return c, err
}

// expected is about how large the cache will be. Most formats take eight bytes
// an event, the cache nine; packed ones grow more.
func expected(d *data) int64 {
	total, last := int64(0), ""
	for _, it := range d.stored {
		if it.path != last {
			total, last = total+it.size, it.path
		}
	}
	return total + total/8
}

// umask returns the permissions that the parent folder does not give.
func umask(parent string) os.FileMode {
	info, err := os.Stat(parent)
	if err != nil {
		return 0o077
	}
	return ^info.Mode().Perm() & 0o777
}

// sweep removes what killed runs have left.
func sweep(parent, prefix string) {
	entries, _ := os.ReadDir(parent) // nothing to sweep if it cannot be read
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && strings.HasPrefix(e.Name(), prefix) && time.Since(info.ModTime()) > 24*time.Hour {
			os.RemoveAll(filepath.Join(parent, e.Name()))
		}
	}
}

// a builder gathers samples and writes a file when enough are together.
type builder struct {
	dir   string
	index index
	stats events.Stats

	first       int // number of the first sample that is not written yet
	base, start []int64
	sum, t      []uint32
	x, y        []uint16
	p           []uint8
}

// run reads the recordings in waves: those of a wave in parallel, then all in
// order, so that the files do not depend on the number of workers.
func (b *builder) run(ctx context.Context, d *data) error {
	pool := parallel.New(d.opts.Workers)
	defer pool.Close()
	b.start = []int64{0}
	const mostInWave = 256
	type work struct {
		lo, hi int
		stats  events.Stats
		err    error
	}
	var samples [mostInWave][][]events.Event
	for next := 0; next < len(d.stored); {
		var wave []work
		for bytes := int64(0); next < len(d.stored) && len(wave) < mostInWave && (len(wave) == 0 || bytes+d.stored[next].size <= waveBytes); {
			hi := group(d.stored, next)
			bytes += d.stored[next].size
			wave = append(wave, work{lo: next, hi: hi})
			next = hi
		}
		pool.For(len(wave), func(i int) {
			w := &wave[i]
			if w.err = ctx.Err(); w.err != nil {
				return
			}
			n := w.hi - w.lo
			samples[i] = slices.Grow(samples[i][:0], n)[:n] // keeps the memory of earlier waves
			for j := range samples[i] {
				samples[i][j] = samples[i][j][:0]
			}
			w.stats, w.err = d.load(d.stored[w.lo:w.hi], samples[i])
		})
		for i := range wave {
			if wave[i].err != nil {
				return wave[i].err
			}
			b.stats.Merge(&wave[i].stats)
			for j, ev := range samples[i] {
				if err := b.add(d.stored[wave[i].lo+j], ev); err != nil {
					return err
				}
			}
			for j := range samples[i] {
				if cap(samples[i][j]) > 1<<16 { // large ones must not pile up
					samples[i][j] = nil
				}
			}
		}
		if d.opts.Progress != nil {
			d.opts.Progress(next, len(d.stored))
		}
	}
	if err := b.flush(); err != nil {
		return err
	}
	if b.stats.Any() {
		b.index.Skipped = b.stats.String()
	}
	text, err := json.MarshalIndent(&b.index, "", " ")
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(b.dir, "index.json"), false, func(w io.Writer) error {
		_, err := w.Write(append(text, '\n'))
		return err
	})
}

// add appends a sample.
func (b *builder) add(it *item, ev []events.Event) error {
	if len(b.t) > 0 && len(b.t)+len(ev) > shardEvents {
		if err := b.flush(); err != nil {
			return err
		}
	}
	var base, last int64
	if len(ev) > 0 {
		base, last = ev[0].T, ev[0].T
		for _, e := range ev {
			base, last = min(base, e.T), max(last, e.T)
		}
	}
	if uint64(last)-uint64(base) > math.MaxUint32 {
		return fmt.Errorf("%s: spans %.0f s, a cache holds samples of at most 4294 s: cut the recording into clips, or go without cache (--no-cache)",
			it.path, float64(uint64(last)-uint64(base))/1e6)
	}
	n := len(b.t)
	b.t, b.x, b.y, b.p = extend(b.t, len(ev)), extend(b.x, len(ev)), extend(b.y, len(ev)), extend(b.p, len(ev))
	t, x, y, p := b.t[n:], b.x[n:], b.y[n:], b.p[n:]
	for i, e := range ev {
		t[i], x[i], y[i], p[i] = uint32(e.T-base), e.X, e.Y, e.P
	}
	b.base, b.start = append(b.base, base), append(b.start, int64(len(b.t)))
	b.sum = append(b.sum, b.checksum(n))
	b.index.Events += int64(len(ev))
	return nil
}

// extend makes a slice n values longer.
func extend[T any](s []T, n int) []T { return slices.Grow(s, n)[:len(s)+n] }

// checksum returns that of the events from n on, as they stand in the file.
func (b *builder) checksum(n int) uint32 {
	var sum uint32
	var buf [4096]byte
	at := 0
	put := func(v uint32, size int) {
		if at+4 > len(buf) {
			sum, at = crc32.Update(sum, castagnoli, buf[:at]), 0
		}
		binary.LittleEndian.PutUint32(buf[at:], v)
		at += size
	}
	for _, v := range b.t[n:] {
		put(v, 4)
	}
	for _, v := range b.x[n:] {
		put(uint32(v), 2)
	}
	for _, v := range b.y[n:] {
		put(uint32(v), 2)
	}
	for _, v := range b.p[n:] {
		put(uint32(v), 1)
	}
	return crc32.Update(sum, castagnoli, buf[:at])
}

// flush writes what is together to a file.
func (b *builder) flush() error {
	if len(b.base) == 0 {
		return nil
	}
	s := shard{
		File:  fmt.Sprintf("events-%05d.safetensors", len(b.index.Shards)),
		First: b.first, Samples: len(b.base), Events: int64(len(b.t)),
	}
	err := atomicfile.Write(filepath.Join(b.dir, s.File), false, func(w io.Writer) error {
		var err error
		s.Offsets, err = writeArrays(w, map[string]string{"format": "adafire events", "version": fmt.Sprint(cacheVersion), "name": b.index.Name}, []array{
			numbers("base", "I64", b.base), numbers("start", "I64", b.start),
			numbers("t", "U32", b.t), numbers("sum", "U32", b.sum),
			numbers("x", "U16", b.x), numbers("y", "U16", b.y), numbers("p", "U8", b.p),
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	s.Bytes = s.Offsets[arrayP] + s.Events
	b.index.Shards = append(b.index.Shards, s)
	b.first += len(b.base)
	b.base, b.start, b.sum = b.base[:0], append(b.start[:0], 0), b.sum[:0]
	b.t, b.x, b.y, b.p = b.t[:0], b.x[:0], b.y[:0], b.p[:0]
	return nil
}
