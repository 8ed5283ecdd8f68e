package authntest

import (
	"errors"
	"io"

	ber "github.com/go-asn1-ber/asn1-ber"
)

// What a directory reads: a message of so many bytes, nested so deep. The BER
// library copies the content once per level.
const (
	maxMessage = 1 << 20
	maxNesting = 64
)

// protocolError is a request that is none: the connection ends with it (RFC
// 4511, section 4.1.1).
type protocolError string

func (e protocolError) Error() string { return string(e) }

// request is an operation and what the log doesn't keep of it.
type request struct {
	Operation
	version     int
	password    string
	filter      *filter
	typesOnly   bool
	page        *pageRequest
	wantsPolicy bool
	critical    string // a control that is unknown and critical
}

type pageRequest struct {
	size   int
	cookie string
}

// readMessage reads one LDAPMessage and checks its form: the length has to be
// definite and bounded before anything is read or decoded.
func readMessage(r io.Reader) ([]byte, error) {
	head := make([]byte, 2, 6)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	if head[0] != 0x30 {
		return nil, protocolError("not an LDAP message")
	}
	length := int(head[1])
	if length >= 0x80 {
		n := length - 0x80
		if n < 1 || n > 4 {
			return nil, protocolError("unacceptable length")
		}
		head = head[:2+n]
		if _, err := io.ReadFull(r, head[2:]); err != nil {
			return nil, err
		}
		length = 0
		for _, b := range head[2:] {
			length = length<<8 | int(b)
		}
	}
	if length > maxMessage {
		return nil, protocolError("message too long")
	}
	whole := append(head, make([]byte, length)...)
	if _, err := io.ReadFull(r, whole[len(head):]); err != nil {
		return nil, err
	}
	return whole, checkForm(whole)
}

// checkForm walks over a message without recursion: every length definite and
// within the one around it (RFC 4511, section 5.1), not too deep.
func checkForm(b []byte) error {
	ends := []int{len(b)}
	for at := 0; ; {
		for len(ends) > 0 && at == ends[len(ends)-1] {
			ends = ends[:len(ends)-1]
		}
		if len(ends) == 0 {
			return nil
		}
		end := ends[len(ends)-1]
		if at+2 > end || b[at]&0x1f == 0x1f {
			return protocolError("malformed message")
		}
		isConstructed, length := b[at]&0x20 != 0, int(b[at+1])
		at += 2
		if length >= 0x80 {
			n := length - 0x80
			if n < 1 || n > 4 || at+n > end {
				return protocolError("malformed message")
			}
			length = 0
			for range n {
				length = length<<8 | int(b[at])
				at++
			}
		}
		if length > end-at {
			return protocolError("malformed message")
		}
		if !isConstructed {
			at += length
			continue
		}
		if ends = append(ends, at+length); len(ends) > maxNesting {
			return protocolError("message nested too deep")
		}
	}
}

// parseRequest takes a message apart.
func parseRequest(whole []byte) (request, error) {
	p, err := ber.DecodePacketErr(whole)
	if err != nil {
		return request{}, protocolError("malformed message")
	}
	b := reader{}
	id := b.integer(b.child(p, 0), ber.TagInteger)
	op := b.child(p, 1)
	r := request{Operation: Operation{MessageID: id, Kind: requestKind(op.Tag)}}
	if op.ClassType != ber.ClassApplication || r.Kind == "" || id < 1 || id > 1<<31-1 {
		return request{}, protocolError("not a request")
	}
	switch r.Kind {
	case OpBind:
		b.bind(op, &r)
	case OpSearch:
		b.search(op, &r)
	case OpExtended:
		r.OID = b.tagged(b.child(op, 0), 0)
		switch r.OID {
		case oidStartTLS:
			r.Kind = OpStartTLS
		case oidWhoAmI:
			r.Kind = OpWhoAmI
		}
	default: // what is not done is not looked at
	}
	if len(p.Children) > 2 {
		b.controls(p.Children[2], &r)
	}
	return r, b.err
}

// reader reads the parts of a message. The first thing wrong stays in err.
type reader struct{ err error }

func (b *reader) fail() { b.err = errors.Join(b.err, protocolError("malformed request")) }

// child is never nil, so that reading may go on.
func (b *reader) child(p *ber.Packet, i int) *ber.Packet {
	if i >= len(p.Children) {
		b.fail()
		return ber.NewSequence("")
	}
	return p.Children[i]
}

func (b *reader) octets(p *ber.Packet) string {
	if p.ClassType != ber.ClassUniversal || p.TagType != ber.TypePrimitive || p.Tag != ber.TagOctetString {
		b.fail()
	}
	return p.Data.String()
}

func (b *reader) tagged(p *ber.Packet, tag ber.Tag) string {
	if p.ClassType != ber.ClassContext || p.TagType != ber.TypePrimitive || p.Tag != tag {
		b.fail()
	}
	return p.Data.String()
}

func (b *reader) integer(p *ber.Packet, tag ber.Tag) int64 {
	n, ok := p.Value.(int64)
	if !ok || p.Tag != tag || p.Data.Len() < 1 || p.Data.Len() > 8 {
		b.fail()
	}
	return n
}

func (b *reader) boolean(p *ber.Packet) bool {
	v, ok := p.Value.(bool)
	if !ok || p.Data.Len() != 1 {
		b.fail()
	}
	return v
}

func (b *reader) bind(op *ber.Packet, r *request) {
	r.version = int(b.integer(b.child(op, 0), ber.TagInteger))
	r.DN = b.octets(b.child(op, 1))
	switch auth := b.child(op, 2); {
	case auth.ClassType == ber.ClassContext && auth.Tag == 3 && auth.TagType == ber.TypeConstructed:
		r.Mechanism = b.octets(b.child(auth, 0))
	default:
		r.password = b.tagged(auth, 0)
		r.EmptyPassword = r.password == ""
	}
}

func (b *reader) search(op *ber.Packet, r *request) {
	r.DN = b.octets(b.child(op, 0))
	r.Scope = int(b.integer(b.child(op, 1), ber.TagEnumerated))
	r.SizeLimit = int(b.integer(b.child(op, 3), ber.TagInteger))
	r.TimeLimit = int(b.integer(b.child(op, 4), ber.TagInteger))
	r.typesOnly = b.boolean(b.child(op, 5))
	r.filter = b.filter(b.child(op, 6))
	for _, a := range b.child(op, 7).Children {
		r.Attributes = append(r.Attributes, b.octets(a))
	}
	if r.SizeLimit < 0 || r.TimeLimit < 0 {
		b.fail()
	}
	if b.err == nil {
		r.Filter, r.Assertions = r.filter.String(), r.filter.assertions()
	}
}

func (b *reader) controls(list *ber.Packet, r *request) {
	if list.ClassType != ber.ClassContext || list.Tag != 0 {
		b.fail()
	}
	for _, c := range list.Children {
		oid, critical, value := b.octets(b.child(c, 0)), false, ""
		for _, p := range c.Children[min(1, len(c.Children)):] {
			if p.Tag == ber.TagBoolean && p.ClassType == ber.ClassUniversal {
				critical = b.boolean(p)
				continue
			}
			value = b.octets(p)
		}
		r.Controls = append(r.Controls, oid)
		switch {
		case oid == oidPaging:
			r.page = b.paging(value)
		case oid == oidPolicy:
			r.wantsPolicy = true
		case critical:
			r.critical = oid
		}
	}
}

// paging reads the control's value, which is BER in an octet string and so has
// not been looked at.
func (b *reader) paging(value string) *pageRequest {
	p := ber.NewSequence("")
	if checkForm([]byte(value)) == nil {
		if decoded, err := ber.DecodePacketErr([]byte(value)); err == nil {
			p = decoded
		}
	}
	size, cookie := b.integer(b.child(p, 0), ber.TagInteger), b.octets(b.child(p, 1))
	if size < 0 {
		b.fail()
	}
	return &pageRequest{int(size), cookie}
}
