package ldap

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
)

const (
	// maxMessage bounds one message of the directory, in bytes: a person in 5,000
	// groups has a memberOf of some 500 KiB.
	maxMessage = 8 << 20
	// maxAnswer bounds all messages between two questions, in bytes.
	maxAnswer = 64 << 20
	// maxNesting bounds how deep a message nests. Controls in a search entry reach 8.
	maxNesting = 32
)

var (
	errFrame     = errors.New("the directory does not speak LDAP")
	errFlood     = fmt.Errorf("the directory sends more than %d MiB", maxAnswer>>20)
	errMalformed = fmt.Errorf("%w: a malformed message", errFrame)
)

// framed is a connection that hands on whole messages only, each of bounded
// size and depth and well formed (RFC 4511, section 5.1: BER with definite
// lengths). The library reads whatever lengths a server claims.
type framed struct {
	net.Conn
	in     *bufio.Reader
	rest   []byte       // of the message that is being handed on
	answer atomic.Int64 // bytes since the last question
}

func newFramed(c net.Conn) *framed { return &framed{Conn: c, in: bufio.NewReader(c)} }

// Write sends a question, which begins a new answer.
func (f *framed) Write(p []byte) (int, error) {
	f.answer.Store(0)
	return f.Conn.Write(p)
}

// Read hands on what is left of a message, or reads the next.
func (f *framed) Read(p []byte) (int, error) {
	if len(f.rest) == 0 {
		message, err := f.next()
		if err != nil {
			return 0, err
		}
		f.rest = message
	}
	n := copy(p, f.rest)
	f.rest = f.rest[n:]
	return n, nil
}

// next reads one message, an LDAPMessage sequence.
func (f *framed) next() ([]byte, error) {
	head, err := f.in.Peek(2)
	if err != nil {
		return nil, err
	}
	const sequence = 0x30
	if head[0] != sequence {
		return nil, errFrame
	}
	more := 0 // bytes of a long length
	if head[1]&0x80 != 0 {
		more = int(head[1] & 0x7f)
	}
	if more > 4 || head[1] == 0x80 {
		return nil, errMalformed
	}
	if head, err = f.in.Peek(2 + more); err != nil {
		return nil, err
	}
	size, ok := element(head, maxMessage)
	if !ok {
		return nil, errMalformed
	}
	if f.answer.Add(int64(size.whole())) > maxAnswer {
		return nil, errFlood
	}
	// Read as it comes: nothing is allocated for what is only claimed.
	message, err := io.ReadAll(io.LimitReader(f.in, int64(size.whole())))
	switch {
	case err != nil:
		return nil, err
	case len(message) < size.whole():
		return nil, io.ErrUnexpectedEOF
	case !wellFormed(message[size.head:], maxNesting-1):
		return nil, errMalformed
	}
	return message, nil
}

// extent is how many bytes an element's tag and length take, and its content.
type extent struct{ head, content int }

func (e extent) whole() int { return e.head + e.content }

// element reads the tag and the length of an element, whose content may be
// beyond b. LDAP has only tags of one byte.
func element(b []byte, most int) (extent, bool) {
	if len(b) < 2 || b[0]&0x1f == 0x1f {
		return extent{}, false
	}
	if b[1] < 0x80 {
		return extent{2, int(b[1])}, int(b[1]) <= most
	}
	more := int(b[1] & 0x7f)
	if more == 0 || more > 4 || len(b) < 2+more {
		return extent{}, false
	}
	n := 0
	for _, c := range b[2 : 2+more] {
		n = n<<8 | int(c)
	}
	return extent{2 + more, n}, n <= most
}

// wellFormed says whether b is elements, one after the other, each within what
// is around it.
func wellFormed(b []byte, depth int) bool {
	const constructed = 0x20
	for len(b) > 0 {
		e, ok := element(b, len(b))
		if !ok || e.whole() > len(b) {
			return false
		}
		if b[0]&constructed != 0 && (depth == 0 || !wellFormed(b[e.head:e.whole()], depth-1)) {
			return false
		}
		b = b[e.whole():]
	}
	return true
}
