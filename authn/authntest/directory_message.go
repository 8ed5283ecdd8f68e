package authntest

import (
	"maps"
	"slices"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
)

// The names of extended operations, controls and matching rules.
const (
	oidNotice   = "1.3.6.1.4.1.1466.20036"
	oidStartTLS = "1.3.6.1.4.1.1466.20037"
	oidWhoAmI   = ldap.ControlTypeWhoAmI
	oidPaging   = ldap.ControlTypePaging
	oidPolicy   = ldap.ControlTypeBeheraPasswordPolicy
	oidInChain  = "1.2.840.113556.1.4.1941"
	oidBitAnd   = "1.2.840.113556.1.4.803"
	oidBitOr    = "1.2.840.113556.1.4.804"
	oidAllOper  = "1.3.6.1.4.1.4203.1.5.1" // "+" (RFC 3673)
)

// Result is how a directory's answer ends (LDAPResult; RFC 4511, section
// 4.1.9). The zero value is success.
type Result struct {
	Code int
	// MatchedDN and Message are what goes with the code. The message is free
	// text, where Active Directory hides why a bind failed ("data 533").
	MatchedDN, Message string
	// Referrals are the URLs that belong to code 10.
	Referrals []string
	// Policy is the password policy's word on a bind.
	Policy *PasswordPolicy
}

// PasswordPolicy is a response control (draft-behera-ldap-password-policy). A
// client gets it that sent the request control. What is nil is left out.
type PasswordPolicy struct {
	// Error is 0 for an expired password, 1 for a locked account, 2 for a
	// password that has to be changed; there are more up to 8.
	Error *int
	// SecondsLeft is the time before the password expires, GraceLogins the
	// number of binds that it is still good for. The draft has room for one.
	SecondsLeft, GraceLogins *int
	// Unasked sends it to clients that did not ask.
	Unasked bool
}

// requestKind says what a request's tag means; "" for what is no request. An
// extended operation is told by its name.
func requestKind(tag ber.Tag) OperationKind {
	switch tag {
	case ldap.ApplicationBindRequest:
		return OpBind
	case ldap.ApplicationUnbindRequest:
		return OpUnbind
	case ldap.ApplicationSearchRequest:
		return OpSearch
	case ldap.ApplicationModifyRequest:
		return OpModify
	case ldap.ApplicationAddRequest:
		return OpAdd
	case ldap.ApplicationDelRequest:
		return OpDelete
	case ldap.ApplicationModifyDNRequest:
		return OpModifyDN
	case ldap.ApplicationCompareRequest:
		return OpCompare
	case ldap.ApplicationAbandonRequest:
		return OpAbandon
	case ldap.ApplicationExtendedRequest:
		return OpExtended
	default:
		return ""
	}
}

// responseTag is the protocolOp that answers an operation at its end.
func responseTag(kind OperationKind) ber.Tag {
	switch kind {
	case OpBind:
		return ldap.ApplicationBindResponse
	case OpSearch:
		return ldap.ApplicationSearchResultDone
	case OpModify:
		return ldap.ApplicationModifyResponse
	case OpAdd:
		return ldap.ApplicationAddResponse
	case OpDelete:
		return ldap.ApplicationDelResponse
	case OpModifyDN:
		return ldap.ApplicationModifyDNResponse
	case OpCompare:
		return ldap.ApplicationCompareResponse
	default:
		return ldap.ApplicationExtendedResponse
	}
}

// Encode is the result as it is sent in answer to an operation.
func (r Result) Encode(kind OperationKind, id int64) []byte {
	var controls []*ber.Packet
	if r.Policy != nil {
		controls = append(controls, r.Policy.control())
	}
	return message(id, r.packet(responseTag(kind)), controls...)
}

// Encode is the entry as it is sent in answer to a search: its DN and
// attributes, by name.
func (e Entry) Encode(id int64) []byte {
	list := sequence()
	for _, name := range slices.Sorted(maps.Keys(e.Attributes)) {
		values := constructed(ber.ClassUniversal, ber.TagSet)
		for _, v := range e.Attributes[name] {
			values.AppendChild(octets(v))
		}
		list.AppendChild(sequence(octets(name), values))
	}
	return message(id, constructed(ber.ClassApplication, ldap.ApplicationSearchResultEntry, octets(e.DN), list))
}

// referenceMessage is a SearchResultReference.
func referenceMessage(id int64, urls ...string) []byte {
	op := constructed(ber.ClassApplication, ldap.ApplicationSearchResultReference)
	for _, u := range urls {
		op.AppendChild(octets(u))
	}
	return message(id, op)
}

// noticeOf is the unsolicited Notice of Disconnection.
func noticeOf(r Result) []byte {
	op := r.packet(ldap.ApplicationExtendedResponse)
	op.AppendChild(tagged(10, oidNotice))
	return message(0, op)
}

func (r Result) packet(tag ber.Tag) *ber.Packet {
	p := constructed(ber.ClassApplication, tag, integer(ber.TagEnumerated, r.Code), octets(r.MatchedDN), octets(r.Message))
	if len(r.Referrals) > 0 {
		urls := constructed(ber.ClassContext, 3)
		for _, u := range r.Referrals {
			urls.AppendChild(octets(u))
		}
		p.AppendChild(urls)
	}
	return p
}

func (p PasswordPolicy) control() *ber.Packet {
	value := sequence()
	switch {
	case p.SecondsLeft != nil:
		value.AppendChild(constructed(ber.ClassContext, 0, taggedInteger(0, *p.SecondsLeft)))
	case p.GraceLogins != nil:
		value.AppendChild(constructed(ber.ClassContext, 0, taggedInteger(1, *p.GraceLogins)))
	}
	if p.Error != nil {
		value.AppendChild(taggedInteger(1, *p.Error))
	}
	return sequence(octets(oidPolicy), octets(string(value.Bytes())))
}

func pagingControl(cookie string) *ber.Packet {
	value := sequence(integer(ber.TagInteger, 0), octets(cookie))
	return sequence(octets(oidPaging), octets(string(value.Bytes())))
}

func message(id int64, op *ber.Packet, controls ...*ber.Packet) []byte {
	m := sequence(integer(ber.TagInteger, id), op)
	if len(controls) > 0 {
		m.AppendChild(constructed(ber.ClassContext, 0, controls...))
	}
	return m.Bytes()
}

func sequence(children ...*ber.Packet) *ber.Packet {
	return constructed(ber.ClassUniversal, ber.TagSequence, children...)
}

func constructed(class ber.Class, tag ber.Tag, children ...*ber.Packet) *ber.Packet {
	p := ber.Encode(class, ber.TypeConstructed, tag, nil, "")
	for _, c := range children {
		p.AppendChild(c)
	}
	return p
}

func octets(s string) *ber.Packet {
	return ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, s, "")
}

func integer[N int | int64](tag ber.Tag, n N) *ber.Packet {
	return ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, tag, int64(n), "")
}

func tagged(tag ber.Tag, s string) *ber.Packet {
	return ber.NewString(ber.ClassContext, ber.TypePrimitive, tag, s, "")
}

func taggedInteger(tag ber.Tag, n int) *ber.Packet {
	return ber.NewInteger(ber.ClassContext, ber.TypePrimitive, tag, int64(n), "")
}
