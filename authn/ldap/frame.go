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
	// maxMessage bounds one message of the directory, in bytes: a person in 10,000
	// groups has a memberOf of about 1 MiB. maxElements bounds what is in it; the
	// library keeps about 100 bytes for each.
	maxMessage  = 4 << 20
	maxElements = 50_000
	// maxAnswer bounds all messages between two questions, in bytes.
	maxAnswer = 64 << 20
	// maxNesting bounds how deep a message nests: a value of a search entry is
	// five deep. The library copies what it holds once for each level.
	maxNesting = 10
)

var (
	errFrame        = errors.New("the directory does not speak LDAP")
	errFlood        = fmt.Errorf("the directory sends more than %d MiB", maxAnswer>>20)
	errMalformed    = fmt.Errorf("%w: a malformed message", errFrame)
	errOther        = fmt.Errorf("%w: an answer to something else", errFrame)
	errDisconnected = errors.New("the directory says that it ends the connection")
)

// The tags of what is asked and answered (RFC 4511, section 4).
const (
	tagSequence   = 0x30
	tagInteger    = 0x02
	tagEnumerated = 0x0a

	tagBind      = 0x60
	tagBindDone  = 0x61
	tagSearch    = 0x63
	tagEntry     = 0x64
	tagDone      = 0x65
	tagReference = 0x73
	tagExtended  = 0x77
	tagExtDone   = 0x78
)

// framed is a connection that hands on whole messages only, each well formed
// (RFC 4511, section 5.1: BER with definite lengths), of bounded size and depth,
// and an answer to what was asked. The library takes a result of any operation
// for that of a bind, and a result code that it can't read for success.
type framed struct {
	net.Conn
	in     *bufio.Reader
	rest   []byte       // of the message that is being handed on
	answer atomic.Int64 // bytes since the last question
	asked  atomic.Int32 // the last question's tag
}

func newFramed(c net.Conn) *framed { return &framed{Conn: c, in: bufio.NewReader(c)} }

// Write sends a question, which begins a new answer. The library writes one
// message at a time.
func (f *framed) Write(p []byte) (int, error) {
	f.answer.Store(0)
	_, op, _ := split(p)
	f.asked.Store(int32(op))
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

// next reads one message that answers the last question.
func (f *framed) next() ([]byte, error) {
	message, err := f.message()
	if err != nil {
		return nil, err
	}
	id, op, content := split(message)
	switch {
	case op == 0:
		return nil, errMalformed
	case id == 0 && op == tagExtDone: // RFC 4511, section 4.4.1
		return nil, errDisconnected
	case !answers(byte(f.asked.Load()), op): //nolint:gosec // it was a byte
		return nil, errOther
	case op != tagEntry && op != tagReference && !hasResult(content):
		return nil, errMalformed
	}
	return message, nil
}

// message reads one message, an LDAPMessage sequence, as it comes: nothing is
// allocated for what is only claimed.
func (f *framed) message() ([]byte, error) {
	head, err := f.in.Peek(2)
	if err != nil {
		return nil, err
	}
	if head[0] != tagSequence {
		return nil, errFrame
	}
	if long := int(head[1] & 0x7f); head[1] >= 0x80 {
		if head, err = f.in.Peek(2 + min(long, 4)); err != nil {
			return nil, err
		}
	}
	size, ok := element(head, maxMessage)
	if !ok {
		return nil, errMalformed
	}
	if f.answer.Add(int64(size.whole())) > maxAnswer {
		return nil, errFlood
	}
	message, err := io.ReadAll(io.LimitReader(f.in, int64(size.whole())))
	room := maxElements
	switch {
	case err != nil:
		return nil, err
	case len(message) < size.whole():
		return nil, io.ErrUnexpectedEOF
	case !wellFormed(message[size.head:], maxNesting-1, &room):
		return nil, errMalformed
	}
	return message, nil
}

// split returns a message's id and its operation, tag and content. The tag is 0
// if it is not a message.
func split(message []byte) (id int64, op byte, content []byte) {
	_, inner, ok := cut(message, tagSequence)
	if !ok {
		return 0, 0, nil
	}
	rest, number, ok := cut(inner, tagInteger)
	if !ok || len(number) == 0 || len(number) > 4 || len(rest) < 2 {
		return 0, 0, nil
	}
	for _, b := range number {
		id = id<<8 | int64(b)
	}
	_, content, ok = cut(rest, rest[0])
	if !ok {
		return 0, 0, nil
	}
	return id, rest[0], content
}

// cut takes the first element off b, which must have that tag.
func cut(b []byte, tag byte) (rest, content []byte, ok bool) {
	e, ok := element(b, len(b))
	if !ok || b[0] != tag || e.whole() > len(b) {
		return nil, nil, false
	}
	return b[e.whole():], b[e.head:e.whole()], true
}

// answers says whether a message of tag op may answer a question of tag asked.
func answers(asked, op byte) bool {
	switch asked {
	case tagBind:
		return op == tagBindDone
	case tagSearch:
		return op == tagEntry || op == tagDone || op == tagReference
	case tagExtended:
		return op == tagExtDone
	}
	return false
}

// hasResult says whether a result begins with a code that can be read in one
// way (RFC 4511, section 4.1.9): codes go up to 4096.
func hasResult(content []byte) bool {
	_, code, ok := cut(content, tagEnumerated)
	return ok && (len(code) == 1 && code[0] < 0x80 || len(code) == 2 && code[0] < 0x80)
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
	n := int64(0)
	for _, c := range b[2 : 2+more] {
		n = n<<8 | int64(c)
	}
	return extent{2 + more, int(n)}, n <= int64(most)
}

// wellFormed says whether b is elements, one after the other, each within what
// is around it, and no more than there is room for.
func wellFormed(b []byte, depth int, room *int) bool {
	const constructed = 0x20
	for len(b) > 0 {
		if *room--; *room < 0 {
			return false
		}
		e, ok := element(b, len(b))
		if !ok || e.whole() > len(b) {
			return false
		}
		if b[0]&constructed != 0 && (depth == 0 || !wellFormed(b[e.head:e.whole()], depth-1, room)) {
			return false
		}
		b = b[e.whole():]
	}
	return true
}
