package authntest

import (
	"crypto/hmac"
	"crypto/sha256"
	"slices"
)

// OperationKind names what a client asks of a directory.
type OperationKind string

// The operations. There is no answer to unbind and abandon, and a refusal to
// what comes after them.
const (
	OpBind     OperationKind = "bind"
	OpSearch   OperationKind = "search"
	OpStartTLS OperationKind = "startTLS"
	OpWhoAmI   OperationKind = "whoAmI"
	OpUnbind   OperationKind = "unbind"
	OpAbandon  OperationKind = "abandon"
	OpExtended OperationKind = "extended" // any other extended operation
	OpModify   OperationKind = "modify"
	OpAdd      OperationKind = "add"
	OpDelete   OperationKind = "delete"
	OpModifyDN OperationKind = "modifyDN"
	OpCompare  OperationKind = "compare"
	// OpAny stands, in [DirectoryFaults] alone, for each kind that is not there.
	OpAny OperationKind = "*"
)

// Operation is what a directory remembers of one request.
type Operation struct {
	// Connection counts the directory's connections from 1.
	Connection int
	// TLS says that it came encrypted.
	TLS       bool
	MessageID int64
	Kind      OperationKind
	// Controls are the OIDs of its controls.
	Controls []string

	// DN is the name of a bind as it was sent, or the base of a search.
	DN string
	// EmptyPassword says that a simple bind had none; see HasPassword too.
	EmptyPassword bool
	// Mechanism is the bind's SASL mechanism, empty for a simple bind.
	Mechanism string

	// Scope is 0 for the base alone, 1 for one level, 2 for the subtree.
	Scope int
	// Filter is the search filter as text (RFC 4515).
	Filter string
	// Assertions are what the filter asks, from left to right.
	Assertions           []Assertion
	SizeLimit, TimeLimit int
	// Attributes are the ones that were asked for.
	Attributes []string

	// OID names an extended operation.
	OID string

	// hasPassword compares with what is kept of the password, which is no more
	// than a keyed hash.
	hasPassword func(string) bool
}

// Assertion is one comparison in a search filter. The value is as it was sent:
// whatever the client escaped or didn't, these octets are what it asked for.
type Assertion struct {
	Attribute string
	// Match is "=", ">=", "<=", "~=", "=*" (is there at all) or ":=" (by Rule).
	// Each piece of a substring has its own: "initial", "any" or "final".
	Match string
	Rule  string
	Value []byte
}

// HasPassword says whether it was a simple bind with exactly this password.
func (o Operation) HasPassword(password string) bool {
	return o.hasPassword != nil && o.hasPassword(password)
}

// maxLog bounds the log of a directory that runs for long.
const maxLog = 100_000

// Log returns the operations that have been received, in order, whatever they
// were answered. The latest hundred thousand are kept.
func (d *Directory) Log() []Operation {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.log)
}

// Count returns how many operations of a kind are in the log.
func (d *Directory) Count(kind OperationKind) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, o := range d.log {
		if o.Kind == kind {
			n++
		}
	}
	return n
}

func (d *Directory) record(o Operation) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.log) == maxLog {
		d.log = slices.Clone(d.log[maxLog/10:])
	}
	d.log = append(d.log, o)
}

func (d *Directory) comparer(password string) func(string) bool {
	kept := d.keyedHash(password)
	return func(other string) bool { return hmac.Equal(kept, d.keyedHash(other)) }
}

func (d *Directory) keyedHash(s string) []byte {
	h := hmac.New(sha256.New, d.secret)
	_, _ = h.Write([]byte(s))
	return h.Sum(nil)
}
