package authntest

import (
	"maps"
	"slices"
	"time"
)

// DirectoryFaults is everything that a directory does wrong. The zero value is
// nothing. The functions are called on the goroutine of a connection, so by
// several at once; Close waits for them.
type DirectoryFaults struct {
	// Silent accepts connections and never says a word, not even in a TLS
	// handshake. What comes is read and not looked at.
	Silent bool
	// SilentFrom answers nothing from a connection's nth operation on. They are
	// logged all the same.
	SilentFrom int
	// Before is called with each operation before it is answered and may hold it
	// up. What it changes in the directory is in the answer.
	Before func(o Operation)
	// Delay goes before each answer, Drip between any two bytes of one.
	Delay, Drip time.Duration

	// Cut ends answers before they are whole, by kind of operation.
	Cut map[OperationKind]Cut
	// Raw is sent instead of the answer, by kind of operation. The operation
	// itself is not done. See [Malformed].
	Raw map[OperationKind]RawAnswer
	// Notice sends a Notice of Disconnection before each answer, and then goes on
	// as if it had not.
	Notice bool
	// Backwards sends the messages of an answer in the reverse order, so the
	// result of a search before its entries.
	Backwards bool

	// Bind is the answer to every bind, with any name and any password, even
	// none. Code 0 binds: &Result{} lets everybody in.
	Bind *Result
	// Search is the result of every search, after whatever it has found.
	Search *Result
	// StartTLS is the answer to StartTLS. After code 0 it goes on with TLS.
	StartTLS *Result

	// Inject is sent in plaintext right behind a successful answer to StartTLS,
	// in the same segment: LDAP messages that a client must not take for
	// something that came encrypted.
	Inject []byte
	// NoHandshake is sent instead of the server's part of a TLS handshake after a
	// successful answer to StartTLS. The connection stays open and silent; if
	// NoHandshake is empty but not nil, that is all.
	NoHandshake []byte

	// IgnoreSizeLimit finds more than was asked for.
	IgnoreSizeLimit bool
	// Entries changes what a search has found: see [Twice] and the others.
	Entries EntriesFault
	// References are continuation references (SearchResultReference), one URL
	// each, between the entries and the result.
	References []string
}

// RawAnswer makes the bytes that are sent in answer to an operation.
type RawAnswer func(o Operation) []byte

// RawBytes always answers with the same bytes.
func RawBytes(b []byte) RawAnswer { return func(Operation) []byte { return b } }

// Cut is how an answer ends before it is whole.
type Cut struct {
	// After is how many messages of it are sent; each entry of a search is one.
	After int
	// Bytes is how much is sent of the message after those.
	Bytes int
	// Then is what comes instead of the rest.
	Then Ending
}

// Ending is what becomes of a connection when its answer is cut.
type Ending int

// The ways to leave an answer unfinished.
const (
	// EndSilent says no more on this connection, whatever comes.
	EndSilent Ending = iota
	// EndClose closes it.
	EndClose
	// EndReset resets it, as the network does when a machine has gone (RST).
	EndReset
)

// EntriesFault changes what a search has found. It may keep what it is given.
type EntriesFault func(o Operation, found []Entry) []Entry

// Twice sends every entry a second time.
func Twice(_ Operation, found []Entry) []Entry { return append(found, found...) }

// Stray sends entries that nobody asked for, for instance from outside the base.
func Stray(entries ...Entry) EntriesFault {
	return func(_ Operation, found []Entry) []Entry { return append(found, entries...) }
}

// Misname sends every entry under this DN, which need not be one.
func Misname(dn string) EntriesFault {
	return func(_ Operation, found []Entry) []Entry {
		for i := range found {
			found[i].DN = dn
		}
		return found
	}
}

// Smuggle puts an attribute into every entry, whether it was asked for or not.
func Smuggle(name string, values ...string) EntriesFault {
	return func(_ Operation, found []Entry) []Entry {
		for i := range found {
			found[i].Attributes = maps.Clone(found[i].Attributes)
			found[i].Attributes[name] = values
		}
		return found
	}
}

// SetFaults changes what the directory does wrong, from the next operation and
// the next connection on.
func (d *Directory) SetFaults(f DirectoryFaults) {
	f.Cut, f.Raw = maps.Clone(f.Cut), maps.Clone(f.Raw)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = f
}

func (d *Directory) wrong() DirectoryFaults {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.faults
}

// by is what there is for a kind of operation, or for any.
func by[V any](m map[OperationKind]V, kind OperationKind) (V, bool) {
	if v, ok := m[kind]; ok {
		return v, true
	}
	v, ok := m[OpAny]
	return v, ok
}

// disturb applies to an answer what the faults say about answers in general.
func (f DirectoryFaults) disturb(answer [][]byte) [][]byte {
	if f.Backwards {
		slices.Reverse(answer)
	}
	if f.Notice {
		answer = append([][]byte{noticeOf(Result{Code: 52, Message: "bye"})}, answer...)
	}
	return answer
}

// cut is what is left of an answer.
func (c Cut) cut(answer [][]byte) [][]byte {
	if c.After >= len(answer) {
		return answer
	}
	rest := answer[c.After]
	return append(slices.Clone(answer[:c.After]), rest[:min(c.Bytes, len(rest))])
}
