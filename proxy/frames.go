package proxy

import "encoding/binary"

// frames follows the frames of one direction of a WebSocket (RFC 6455, section 5.2),
// in whatever pieces they come. It reads headers and counts payloads.
type frames struct {
	head   [14]byte
	have   int    // bytes of head; zero between two frames
	left   uint64 // bytes of payload still to come, once head is whole
	closed bool   // a Close frame has gone by
}

// between reports whether one frame has ended and no other has begun.
func (f *frames) between() bool { return f.have == 0 }

// pass follows all of p.
func (f *frames) pass(p []byte) {
	for len(p) > 0 {
		p = p[f.next(p):]
	}
}

// rest is how much of p belongs to a frame that has begun before it.
func (f frames) rest(p []byte) int {
	if f.between() {
		return 0
	}
	return f.next(p)
}

// next follows p to the end of one frame, and returns how much of p that is.
func (f *frames) next(p []byte) (n int) {
	for n < len(p) {
		if f.have < f.size() {
			f.head[f.have] = p[n]
			f.have++
			n++
			f.left = f.length()
		} else {
			some := int(min(f.left, uint64(len(p)-n))) //nolint:gosec // no more than len(p)
			f.left -= uint64(some)
			n += some
		}
		if f.have == f.size() && f.left == 0 {
			f.closed = f.closed || f.head[0]&0x0f == opClose
			f.have = 0
			break
		}
	}
	return n
}

// size is that of the header, as far as it can be known.
func (f *frames) size() int {
	n := 2
	if f.have < n {
		return n
	}
	switch f.head[1] & 0x7f {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if f.head[1]&0x80 != 0 {
		n += 4 // the mask
	}
	return n
}

// length is that of the payload, by a header that is whole.
func (f *frames) length() uint64 {
	switch n := f.head[1] & 0x7f; n {
	case 126:
		return uint64(binary.BigEndian.Uint16(f.head[2:]))
	case 127:
		return binary.BigEndian.Uint64(f.head[2:])
	default:
		return uint64(n)
	}
}

const opClose = 0x8

// Why a gateway ends a WebSocket (RFC 6455, section 7.4.1).
const (
	closeGoingAway = 1001
	closePolicy    = 1008
)

// farewell is what the client of a WebSocket is told at its end.
type farewell struct {
	code   uint16
	reason string // short
}

// frame is the Close frame of a server.
func (f farewell) frame() []byte {
	out := []byte{0x80 | opClose, byte(2 + len(f.reason))} //nolint:gosec // reasons are short
	out = binary.BigEndian.AppendUint16(out, f.code)
	return append(out, f.reason...)
}
