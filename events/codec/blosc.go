package codec

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// bloscFilter is the number under which HDF5 knows the Blosc filter.
const bloscFilter = 32001

// The flags of a Blosc chunk.
const (
	bloscShuffle    = 1 << 0
	bloscStored     = 1 << 1
	bloscBitShuffle = 1 << 2
	bloscUnsplit    = 1 << 4
)

// unblosc unpacks one Blosc 1 chunk: 16 bytes of header, the offsets of its
// blocks, and the blocks, each of one stream or of one stream a byte of the
// elements. limit is the most bytes it may unpack to.
//
// All codecs of Blosc 1 but Snappy are read: BloscLZ, LZ4, zlib and Zstandard,
// with byte or bit shuffle. The layout is that of the format's specification
// (c-blosc, README_CHUNK_FORMAT).
func unblosc(src []byte, limit int) ([]byte, error) {
	if len(src) < 16 {
		return nil, fmt.Errorf("blosc: chunk of %d bytes: want at least 16", len(src))
	}
	if src[0] != 2 {
		return nil, fmt.Errorf("blosc: format version %d: want 2", src[0])
	}
	flags, typeSize := src[2], int(src[3])
	unpacked := int64(binary.LittleEndian.Uint32(src[4:]))
	blockSize := int64(binary.LittleEndian.Uint32(src[8:]))
	packed := int64(binary.LittleEndian.Uint32(src[12:]))
	switch {
	case unpacked > int64(limit):
		return nil, fmt.Errorf("blosc: chunk unpacks to %d bytes: want at most %d", unpacked, limit)
	case packed > int64(len(src)) || packed < 16:
		return nil, fmt.Errorf("blosc: chunk claims %d packed bytes: it has %d", packed, len(src))
	}
	src = src[:packed]
	if flags&bloscStored != 0 {
		if packed-16 < unpacked {
			return nil, fmt.Errorf("blosc: chunk stores %d bytes: want %d", packed-16, unpacked)
		}
		return bytes.Clone(src[16 : 16+unpacked]), nil
	}
	if unpacked == 0 {
		return nil, nil
	}
	if blockSize < 1 || blockSize > unpacked || typeSize == 0 {
		return nil, fmt.Errorf("blosc: blocks of %d bytes, elements of %d, in a chunk of %d", blockSize, typeSize, unpacked)
	}
	blocks := (unpacked + blockSize - 1) / blockSize
	if 4*blocks > packed-16 {
		return nil, fmt.Errorf("blosc: %d blocks in a chunk of %d packed bytes", blocks, packed)
	}
	out := make([]byte, unpacked)
	scratch := make([]byte, blockSize)
	for k := range blocks {
		dst := out[k*blockSize : min((k+1)*blockSize, unpacked)]
		at := int64(binary.LittleEndian.Uint32(src[16+4*k:]))
		if at < 16+4*blocks || at > packed {
			return nil, fmt.Errorf("blosc: block %d starts at %d of %d bytes", k, at, packed)
		}
		streams := 1
		if flags&bloscUnsplit == 0 && typeSize >= 2 && typeSize <= 16 &&
			blockSize/int64(typeSize) >= 128 && int64(len(dst)) == blockSize && len(dst)%typeSize == 0 {
			streams = typeSize
		}
		into := dst
		shuffled := flags&(bloscShuffle|bloscBitShuffle) != 0
		if shuffled {
			into = scratch[:len(dst)]
		}
		if err := bloscBlock(into, src[at:], streams, flags>>5); err != nil {
			return nil, fmt.Errorf("blosc: block %d: %w", k, err)
		}
		switch {
		case flags&bloscBitShuffle != 0:
			bitUnshuffle(dst, into, typeSize)
		case flags&bloscShuffle != 0:
			byteUnshuffle(dst, into, typeSize)
		}
	}
	return out, nil
}

// bloscBlock fills dst from streams of equal unpacked length.
func bloscBlock(dst, src []byte, streams int, codec uint8) error {
	size := len(dst) / streams
	for s := range streams {
		if len(src) < 4 {
			return fmt.Errorf("stream %d: no length", s)
		}
		n := int64(int32(binary.LittleEndian.Uint32(src)))
		src = src[4:]
		if n < 0 || n > int64(len(src)) {
			return fmt.Errorf("stream %d of %d bytes: %d remain", s, n, len(src))
		}
		part := dst[s*size : (s+1)*size]
		if n == int64(size) {
			copy(part, src[:n])
		} else if err := bloscStream(part, src[:n], codec); err != nil {
			return fmt.Errorf("stream %d: %w", s, err)
		}
		src = src[n:]
	}
	return nil
}

// bloscStream unpacks one stream, which must fill dst.
func bloscStream(dst, src []byte, codec uint8) error {
	got := 0
	var err error
	switch codec {
	case 0:
		got, err = unblosclz(dst, src)
	case 1:
		got, err = lz4.UncompressBlock(src, dst)
	case 3:
		var z io.ReadCloser
		if z, err = zlib.NewReader(bytes.NewReader(src)); err == nil {
			got, err = io.ReadFull(z, dst)
			z.Close()
		}
	case 4:
		got, err = unzstd(dst, src)
	default:
		return fmt.Errorf("codec %d: want BloscLZ (0), LZ4 (1), zlib (3) or Zstandard (4)", codec)
	}
	if err != nil {
		return err
	}
	if got != len(dst) {
		return fmt.Errorf("%d bytes unpack to %d: want %d", len(src), got, len(dst))
	}
	return nil
}

// zstdFrame unpacks whole frames held in memory. It may be shared.
var zstdFrame = newZstdFrame()

func newZstdFrame() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(1<<30))
	if err != nil {
		panic(err) // the options are constants
	}
	return d
}

// unzstd unpacks a frame into dst. The frame's own claim of its size is checked
// first: the decoder would allocate it.
func unzstd(dst, src []byte) (int, error) {
	var head zstd.Header
	if err := head.Decode(src); err != nil {
		return 0, err
	}
	if head.HasFCS && head.FrameContentSize != uint64(len(dst)) {
		return 0, fmt.Errorf("frame of %d bytes: want %d", head.FrameContentSize, len(dst))
	}
	out, err := zstdFrame.DecodeAll(src, dst[:0:len(dst)])
	if err != nil {
		return 0, err
	}
	if len(out) == len(dst) && len(dst) > 0 && &out[0] != &dst[0] {
		copy(dst, out)
	}
	return len(out), nil
}

// errBloscLZ is any defect of a BloscLZ stream: it has no checksum and no
// structure worth a finer message.
var errBloscLZ = fmt.Errorf("damaged BloscLZ stream")

// unblosclz unpacks a BloscLZ stream (a relative of FastLZ): runs of at most 32
// literals, and matches at a distance of at most 8191, or of 16 bits beyond.
func unblosclz(dst, src []byte) (int, error) {
	const maxDistance = 8191
	if len(src) == 0 {
		return 0, nil
	}
	in, out := 1, 0
	control := int(src[0] & 31) // a stream starts with literals
	for {
		if control < 32 {
			n := control + 1
			if n > len(src)-in || n > len(dst)-out {
				return out, errBloscLZ
			}
			copy(dst[out:], src[in:in+n])
			in, out = in+n, out+n
		} else {
			n := control>>5 - 1
			distance := control & 31 << 8
			if n == 6 {
				for {
					if in >= len(src) || n > len(dst) {
						return out, errBloscLZ
					}
					n += int(src[in])
					in++
					if src[in-1] != 255 {
						break
					}
				}
			}
			if in >= len(src) {
				return out, errBloscLZ
			}
			low := int(src[in])
			in++
			if low == 255 && distance == 31<<8 {
				if len(src)-in < 2 {
					return out, errBloscLZ
				}
				distance = int(binary.BigEndian.Uint16(src[in:])) + maxDistance
				in += 2
			} else {
				distance += low
			}
			n += 3
			from := out - distance - 1
			if from < 0 || n > len(dst)-out {
				return out, errBloscLZ
			}
			for i := range n { // source and target may overlap
				dst[out+i] = dst[from+i]
			}
			out += n
		}
		if in >= len(src) {
			return out, nil
		}
		control = int(src[in])
		in++
	}
}

// byteUnshuffle undoes the byte shuffle: byte j of element i stands at
// j*elements + i. Bytes beyond a whole number of elements are where they were.
func byteUnshuffle(dst, src []byte, size int) {
	elements := len(src) / size
	for j := range size {
		for i, b := range src[j*elements : (j+1)*elements] {
			dst[i*size+j] = b
		}
	}
	copy(dst[elements*size:], src[elements*size:])
}

// bitUnshuffle undoes the bit shuffle: bit k of byte j of element i is bit i%8
// of the byte at (8j+k)*(elements/8) + i/8. Blocks whose number of elements is
// no multiple of eight are not shuffled, nor are bytes beyond the last element.
func bitUnshuffle(dst, src []byte, size int) {
	elements := len(src) / size
	whole := elements * size
	if elements%8 != 0 {
		whole = 0
	}
	copy(dst[whole:], src[whole:])
	dst = dst[:whole]
	clear(dst)
	row := elements / 8
	for at := 0; at < len(dst); at += row {
		j, k := at/row/8, at/row%8
		for g, b := range src[at : at+row] {
			for i := range 8 {
				dst[(8*g+i)*size+j] |= b >> i & 1 << k
			}
		}
	}
}
