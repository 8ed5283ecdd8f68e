package ldap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"gatehouse/authn"
)

// maxValue bounds a value that is read of a person's entry, in bytes.
const maxValue = 4 << 10

// values returns the values of an attribute, not those with options: a name in
// another language ("cn;lang-de") is another attribute (RFC 4512, section 2.5).
func values(e *ldap.Entry, attr string) []string {
	for _, a := range e.Attributes {
		if strings.EqualFold(a.Name, attr) {
			return a.Values
		}
	}
	return nil
}

// errUnfit: the entry can't stand for anybody.
var errUnfit = errors.New("the entry is not fit to sign in with")

// single reads an attribute that names somebody. Of several values none can be
// said to be the one (LDAP-33).
func single(e *ldap.Entry, attr string) (string, error) {
	all := values(e, attr)
	switch {
	case len(all) == 0 || all[0] == "":
		return "", fmt.Errorf("%w: %s has no %s", errUnfit, authn.Bounded(e.DN), attr)
	case len(all) > 1:
		return "", fmt.Errorf("%w: %s has %d values of %s", errUnfit, authn.Bounded(e.DN), len(all), attr)
	}
	text := all[0]
	if strings.EqualFold(attr, "objectGUID") && len(text) == 16 {
		text = guid([]byte(text))
	}
	if len(text) > authn.MaxID || !authn.CleanID(text) {
		return "", fmt.Errorf("%w: %s has a value of %s that can't name anybody", errUnfit, authn.Bounded(e.DN), attr)
	}
	return text, nil
}

// guid spells an objectGUID as Windows does (MS-DTYP, section 2.3.4).
func guid(b []byte) string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint16(b[4:]), binary.LittleEndian.Uint16(b[6:]), b[8:10], b[10:16])
}

// first returns the first in alphabetical order of the values that are fit:
// directories give several in any order.
func first(e *ldap.Entry, attr string, fit func(string) string) string {
	var out []string
	for _, v := range values(e, attr) {
		if len(v) > maxValue {
			continue
		}
		if v = fit(v); v != "" {
			out = append(out, v)
		}
	}
	if len(out) == 0 {
		return ""
	}
	return slices.Min(out)
}

// address returns an e-mail address that is one, or nothing.
func address(text string) string {
	if _, ok := authn.EmailDomain(text); !ok || len(text) > authn.MaxID || !authn.CleanID(text) {
		return ""
	}
	return text
}

// person is what an entry says, without groups.
func (l *route) person(e *ldap.Entry) (authn.Identity, error) {
	a := l.directory.settings.Attributes
	subject, err := single(e, a.Subject)
	if err != nil {
		return authn.Identity{}, err
	}
	username, err := single(e, a.Username)
	if err != nil {
		return authn.Identity{}, err
	}
	subject = l.settings.SubjectPrefix + subject
	for _, foreign := range l.ForeignPrefixes {
		if len(foreign) > len(l.settings.SubjectPrefix) && strings.HasPrefix(subject, foreign) {
			return authn.Identity{}, fmt.Errorf("%w: the subject looks like one of another route", errUnfit)
		}
	}
	return authn.Identity{
		Issuer: l.directory.issuer(), Subject: subject, Kind: authn.Person, Route: l.name,
		Username: username, Name: first(e, a.Name, authn.DisplayName), Email: first(e, a.Email, address),
		AuthTime: time.Now().UTC().Truncate(time.Second),
	}, nil
}
