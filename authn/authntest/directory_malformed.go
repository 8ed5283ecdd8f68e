package authntest

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// Malformed returns answers for [DirectoryFaults].Raw that no client may take
// for success, by name. RFC 4511 allows none of them but the last, a failure of
// a megabyte. Most are a success to who doesn't look closely: the message id is
// right and the result code reads as zero.
func Malformed() map[string]RawAnswer {
	all := map[string]RawAnswer{}
	addFraming(all)
	addEnvelopes(all)
	addResults(all)
	addControls(all)
	addEntries(all)
	return all
}

// addFraming is what can't be cut into messages.
func addFraming(all map[string]RawAnswer) {
	all["truncated"] = func(o Operation) []byte { b := success(o); return b[:len(b)-3] }
	all["truncated header"] = RawBytes([]byte{0x30})
	all["zeros"] = RawBytes(make([]byte, 64))
	all["text"] = RawBytes([]byte("500 what do you want?\r\n"))
	all["HTTP"] = RawBytes([]byte("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"))
	all["TLS alert"] = RawBytes([]byte{0x15, 3, 3, 0, 2, 2, 80})
	all["indefinite length"] = func(o Operation) []byte {
		return join([]byte{0x30, 0x80}, messageID(o), resultOf(o), []byte{0, 0})
	}
	all["indefinite length without end"] = func(o Operation) []byte {
		return join([]byte{0x30, 0x80}, messageID(o), resultOf(o))
	}
	all["2 GB length"] = func(o Operation) []byte {
		return join([]byte{0x30, 0x84, 0x7f, 0xff, 0xff, 0xff}, messageID(o), resultOf(o))
	}
	all["length of 8 bytes"] = func(o Operation) []byte {
		return join([]byte{0x30, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, messageID(o), resultOf(o))
	}
	all["2 GB string"] = func(o Operation) []byte {
		return join([]byte{0x30, 0x84, 0x7f, 0xff, 0xff, 0xff}, messageID(o), []byte{byte(responseTag(o.Kind)) | 0x60, 0x84, 0x7f, 0xff, 0xff, 0xe0},
			tlv(0x0a, []byte{0}), tlv(0x04), []byte{0x04, 0x84, 0x7f, 0xff, 0xff, 0x80}, []byte("x"))
	}
	all["length beyond the message"] = func(o Operation) []byte {
		return tlv(0x30, messageID(o), []byte{byte(responseTag(o.Kind)) | 0x60, 0x20}, tlv(0x0a, []byte{0}), tlv(0x04), tlv(0x04))
	}
	all["deep nesting"] = RawBytes(nested(100_000))
	all["deep nesting of indefinite length"] = RawBytes(bytes.Repeat([]byte{0x30, 0x80}, 100_000))
}

// addEnvelopes is what is no LDAPMessage, or not one for this operation.
func addEnvelopes(all map[string]RawAnswer) {
	envelope := func(id []byte) RawAnswer {
		return func(o Operation) []byte { return tlv(0x30, id, resultOf(o)) }
	}
	all["a set"] = func(o Operation) []byte { return tlv(0x31, messageID(o), resultOf(o)) }
	all["nothing in it"] = RawBytes(tlv(0x30))
	all["only a message id"] = func(o Operation) []byte { return tlv(0x30, messageID(o)) }
	all["no message id"] = envelope(nil)
	all["empty message id"] = envelope(tlv(0x02))
	all["text as message id"] = envelope(tlv(0x04, []byte{1}))
	all["negative message id"] = envelope(tlv(0x02, []byte{0xff}))
	all["message id 0"] = envelope(tlv(0x02, []byte{0}))
	all["overlong message id"] = func(o Operation) []byte {
		return tlv(0x30, tlv(0x02, make([]byte, 8), binary.BigEndian.AppendUint64(nil, uint64(o.MessageID))), resultOf(o))
	}
	all["unexpected message id"] = func(o Operation) []byte {
		o.MessageID += 1000
		return success(o)
	}
	all["answer to another operation"] = func(o Operation) []byte {
		id := messageID(o)
		if o.Kind == OpSearch {
			o.Kind = OpBind
		} else {
			o.Kind = OpSearch
		}
		return tlv(0x30, id, resultOf(o))
	}
	all["a request"] = func(o Operation) []byte {
		return tlv(0x30, messageID(o), tlv(0x60, tlv(0x02, []byte{0}), tlv(0x04), tlv(0x80)))
	}
	all["intermediate response"] = func(o Operation) []byte { return tlv(0x30, messageID(o), tlv(0x79)) }
	all["context tag"] = func(o Operation) []byte {
		return tlv(0x30, messageID(o), tlv(byte(responseTag(o.Kind))|0xa0, okay()))
	}
	all["universal tag"] = func(o Operation) []byte {
		return tlv(0x30, messageID(o), tlv(byte(responseTag(o.Kind))|0x20, okay()))
	}
	// The first answer counts.
	all["failure and success"] = func(o Operation) []byte { return join(failure(o), success(o)) }
}

// addResults is what is wrong with a result.
func addResults(all map[string]RawAnswer) {
	result := func(content ...[]byte) RawAnswer {
		return func(o Operation) []byte {
			return tlv(0x30, messageID(o), tlv(byte(responseTag(o.Kind))|0x60, content...))
		}
	}
	all["no result"] = result()
	all["primitive result"] = func(o Operation) []byte {
		return tlv(0x30, messageID(o), tlv(byte(responseTag(o.Kind))|0x40, okay()))
	}
	all["result code alone"] = result(tlv(0x0a, []byte{0}))
	all["no message"] = result(tlv(0x0a, []byte{0}), tlv(0x04))
	all["empty result code"] = result(tlv(0x0a), tlv(0x04), tlv(0x04))
	all["negative result code"] = result(tlv(0x0a, []byte{0xff}), tlv(0x04), tlv(0x04))
	all["result code 65536"] = result(tlv(0x0a, []byte{1, 0, 0}), tlv(0x04), tlv(0x04))
	// A decoder that gives up on more than eight bytes may be left with a zero.
	all["49 in nine bytes"] = result(tlv(0x0a, make([]byte, 8), []byte{49}), tlv(0x04), tlv(0x04))
	all["256 bytes of result code"] = result(tlv(0x0a, bytes.Repeat([]byte{1}, 256)), tlv(0x04), tlv(0x04))
	all["text as result code"] = result(tlv(0x04, []byte("0")), tlv(0x04), tlv(0x04))
	all["boolean as result code"] = result(tlv(0x01, []byte{0}), tlv(0x04), tlv(0x04))
	all["null as result code"] = result(tlv(0x05), tlv(0x04), tlv(0x04))
	all["constructed result code"] = result(tlv(0x2a, tlv(0x0a, []byte{0})), tlv(0x04), tlv(0x04))
	all["numbers as texts"] = result(tlv(0x0a, []byte{49}), tlv(0x02, []byte{0}), tlv(0x02, []byte{0}))
	all["message first"] = result(tlv(0x04), tlv(0x04), tlv(0x0a, []byte{0}))
}

// addControls is a good result with controls that are not.
func addControls(all map[string]RawAnswer) {
	control := func(content ...[]byte) RawAnswer {
		return func(o Operation) []byte { return tlv(0x30, messageID(o), resultOf(o), tlv(0xa0, content...)) }
	}
	all["control without a type"] = control(tlv(0x30))
	all["control that is a number"] = control(tlv(0x02, []byte{1}))
	all["policy without a value"] = control(tlv(0x30, tlv(0x04, []byte(oidPolicy))))
	all["policy of garbage"] = control(tlv(0x30, tlv(0x04, []byte(oidPolicy)), tlv(0x04, []byte{0x30, 0x84, 0x7f, 0xff, 0xff, 0xff})))
	all["policy error 99"] = control(tlv(0x30, tlv(0x04, []byte(oidPolicy)), tlv(0x04, tlv(0x30, tlv(0x81, []byte{99})))))
	all["policy warning of nothing"] = control(tlv(0x30, tlv(0x04, []byte(oidPolicy)), tlv(0x04, tlv(0x30, tlv(0xa0)))))
	all["paging without a value"] = control(tlv(0x30, tlv(0x04, []byte(oidPaging))))
	all["paging of nothing"] = control(tlv(0x30, tlv(0x04, []byte(oidPaging)), tlv(0x04, tlv(0x30))))
	all["nested control"] = control(tlv(0x30, tlv(0x04, []byte(oidPolicy)), tlv(0x04, nested(2_000))))
}

// addEntries is search entries that are none, each with a good result after it.
func addEntries(all map[string]RawAnswer) {
	entry := func(content ...[]byte) RawAnswer {
		return func(o Operation) []byte { return join(tlv(0x30, messageID(o), tlv(0x64, content...)), success(o)) }
	}
	dn := tlv(0x04, []byte("uid=ada,ou=people,dc=example,dc=org"))
	uid := tlv(0x04, []byte("uid"))
	all["entry of nothing"] = entry()
	all["entry without attributes"] = entry(dn)
	all["entry without a name"] = entry(tlv(0x30, tlv(0x30, uid, tlv(0x31, tlv(0x04, []byte("ada"))))))
	all["entry with a number for a name"] = entry(tlv(0x02, []byte{1}), tlv(0x30))
	all["attribute of nothing"] = entry(dn, tlv(0x30, tlv(0x30)))
	all["attribute without values"] = entry(dn, tlv(0x30, tlv(0x30, uid)))
	all["attribute with one text for a set"] = entry(dn, tlv(0x30, tlv(0x30, uid, tlv(0x04, []byte("ada")))))
	all["attribute with a number for a name"] = entry(dn, tlv(0x30, tlv(0x30, tlv(0x02, []byte{1}), tlv(0x31))))
	all["number as value"] = entry(dn, tlv(0x30, tlv(0x30, uid, tlv(0x31, tlv(0x02, []byte{1})))))
	all["set as value"] = entry(dn, tlv(0x30, tlv(0x30, uid, tlv(0x31, tlv(0x31, tlv(0x04, []byte("ada")))))))
	all["UTF8String that is not"] = entry(dn, tlv(0x30, tlv(0x30, uid, tlv(0x31, tlv(0x0c, []byte{0xff, 0xfe})))))
	all["real as value"] = entry(dn, tlv(0x30, tlv(0x30, uid, tlv(0x31, tlv(0x09, []byte{0x83, 0xff})))))
	all["reference to nowhere"] = func(o Operation) []byte { return join(tlv(0x30, messageID(o), tlv(0x73)), success(o)) }
	all["reference to a number"] = func(o Operation) []byte {
		return join(tlv(0x30, messageID(o), tlv(0x73, tlv(0x02, []byte{1}))), success(o))
	}
	all["long message"] = func(o Operation) []byte {
		return Result{Code: 49, Message: strings.Repeat("success ", 1<<17)}.Encode(o.Kind, o.MessageID)
	}
}

func success(o Operation) []byte { return Result{}.Encode(o.Kind, o.MessageID) }

func failure(o Operation) []byte { return Result{Code: 49}.Encode(o.Kind, o.MessageID) }

func messageID(o Operation) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(o.MessageID))
	for len(b) > 1 && b[0] == 0 && b[1] < 0x80 {
		b = b[1:]
	}
	return tlv(0x02, b)
}

// resultOf is the successful answer without what is around it.
func resultOf(o Operation) []byte { return tlv(byte(responseTag(o.Kind))|0x60, okay()) }

// okay is a result of success: code, matched DN, message.
func okay() []byte { return join(tlv(0x0a, []byte{0}), tlv(0x04), tlv(0x04)) }

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// tlv encodes one element by hand, because the BER library won't lie.
func tlv(tag byte, content ...[]byte) []byte {
	body := join(content...)
	return join([]byte{tag}, lengthOf(len(body)), body)
}

func lengthOf(n int) []byte {
	if n < 0x80 {
		return []byte{byte(n)}
	}
	b := bytes.TrimLeft(binary.BigEndian.AppendUint64(nil, uint64(n)), "\x00")
	return append([]byte{0x80 | byte(len(b))}, b...)
}

// nested is so many sequences, each in the other.
func nested(levels int) []byte {
	headers := make([][]byte, levels)
	for i, size := levels-1, 0; i >= 0; i-- {
		headers[i] = append([]byte{0x30}, lengthOf(size)...)
		size += len(headers[i])
	}
	return join(headers...)
}
