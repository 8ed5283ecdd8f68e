package proxy

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// frameOf is a frame with a payload of n bytes whose length is written in the given
// way: 7, 16 or 64 bits.
func frameOf(op byte, n, bits int, masked bool) []byte {
	mask := byte(0)
	if masked {
		mask = 0x80
	}
	out := []byte{op}
	switch bits {
	case 7:
		out = append(out, mask|byte(n))
	case 16:
		out = binary.BigEndian.AppendUint16(append(out, mask|126), uint16(n))
	default:
		out = binary.BigEndian.AppendUint64(append(out, mask|127), uint64(n))
	}
	if masked {
		out = append(out, 1, 2, 3, 4)
	}
	return append(out, bytes.Repeat([]byte{0x88}, n)...)
}

// FuzzFrames cuts frames into arbitrary pieces: each end is found, and nothing else is
// taken for one.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 255, 130, 7}, uint64(1))
	f.Add([]byte{9, 200, 126, 127, 125, 0, 0, 0}, uint64(2))
	f.Fuzz(func(t *testing.T, plan []byte, seed uint64) {
		var all []byte
		ends := map[int]bool{0: true}
		for i, b := range plan[:min(len(plan), 32)] {
			bits := []int{7, 16, 64}[(int(b)+i)%3]
			n := int(b) * 5
			if bits == 7 {
				n = int(b) % 126
			}
			all = append(all, frameOf(0x80|byte(i%3), n, bits, b%5 == 0)...)
			ends[len(all)] = true
		}
		var whole frames
		whole.pass(all)
		if !whole.between() || whole.closed {
			t.Errorf("at the end: %+v", whole)
		}
		r := rand.New(rand.NewPCG(seed, 1))
		var pieces frames
		for at := 0; at < len(all); {
			n := min(1+r.IntN(1+r.IntN(300)), len(all)-at)
			rest := pieces.rest(all[at:])
			if got := ends[at]; pieces.between() != got || (rest == 0) != got || !got && !ends[at+rest] {
				t.Fatalf("at %d: between %v, rest %d, want between %v", at, pieces.between(), rest, got)
			}
			for end := at + 1; end < at+rest; end++ {
				if ends[end] {
					t.Fatalf("at %d: the rest of %d goes past the end at %d", at, rest, end)
				}
			}
			pieces.pass(all[at : at+n])
			at += n
		}
	})
}

// FuzzFramesOfAnything: what a hostile upstream sends is followed without a crash, and
// to the same place however it is cut.
func FuzzFramesOfAnything(f *testing.F) {
	f.Add([]byte{0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5}, uint8(3))
	f.Add([]byte{0x88, 0, 0x81, 1, 0, 0x81, 126, 0}, uint8(1))
	f.Fuzz(func(t *testing.T, p []byte, size uint8) {
		var whole, pieces frames
		whole.pass(p)
		for rest := p; len(rest) > 0; {
			n := min(int(size)+1, len(rest))
			pieces.pass(rest[:n])
			rest = rest[n:]
		}
		if whole.have != pieces.have || whole.left != pieces.left || whole.closed != pieces.closed {
			t.Errorf("%+v in one, %+v in pieces", whole, pieces)
		}
	})
}

func BenchmarkFrames(b *testing.B) {
	p := bytes.Repeat(frameOf(0x82, 1000, 16, false), 32)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	var f frames
	for b.Loop() {
		f.pass(p)
	}
}
