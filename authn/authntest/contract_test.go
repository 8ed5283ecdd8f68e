package authntest_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
)

// badge is an authenticator that keeps the contract.
func badge(r *http.Request) (authn.Identity, error) {
	switch r.Header.Get("Badge") {
	case "":
		return authn.Identity{}, authn.ErrNoCredential
	case "ada":
		return authn.Identity{Issuer: "badges", Subject: "1001", Route: "badge", Kind: authn.Person}, nil
	case "unreadable":
		return authn.Identity{}, errors.New("the reader is broken")
	}
	return authn.Identity{}, fmt.Errorf("badge: %w", authn.ErrRejected)
}

func withBadge(b string) func() *http.Request {
	return func() *http.Request {
		return &http.Request{Method: "GET", Header: http.Header{"Badge": {b}}}
	}
}

func cases() authntest.Cases {
	return authntest.Cases{
		Good:   withBadge("ada"),
		Want:   authn.Identity{Issuer: "badges", Subject: "1001", Route: "badge", Kind: authn.Person},
		Absent: map[string]func() *http.Request{"empty": withBadge("")},
		Bad:    map[string]func() *http.Request{"forged": withBadge("eve"), "expired": withBadge("old")},
		Unsure: map[string]func() *http.Request{"broken": withBadge("unreadable")},
	}
}

// notebook takes down what a contract test finds.
type notebook struct{ lines []string }

func (*notebook) Helper() {}

func (n *notebook) Errorf(format string, args ...any) {
	n.lines = append(n.lines, fmt.Sprintf(format, args...))
}

func TestContract(t *testing.T) {
	authntest.Contract(t, authn.AuthenticatorFunc(badge), cases())
}

// Each way to break the contract is found, and named.
func TestContractFinds(t *testing.T) {
	type answer = func(*http.Request) (authn.Identity, error)
	// after makes an authenticator that changes what badge says about one badge.
	after := func(b string, change func(*http.Request, *authn.Identity, *error)) answer {
		return func(r *http.Request) (authn.Identity, error) {
			id, err := badge(r)
			if r.Header.Get("Badge") == b {
				change(r, &id, &err)
			}
			return id, err
		}
	}
	for name, c := range map[string]struct {
		breach answer
		want   string
	}{
		"good refused": {after("ada", func(_ *http.Request, _ *authn.Identity, err *error) { *err = authn.ErrRejected }), "good: refused"},
		"issuer":       {after("ada", func(_ *http.Request, id *authn.Identity, _ *error) { id.Issuer = "x" }), "good: issuer is x"},
		"subject":      {after("ada", func(_ *http.Request, id *authn.Identity, _ *error) { id.Subject = "x" }), "good: subject is x"},
		"route":        {after("ada", func(_ *http.Request, id *authn.Identity, _ *error) { id.Route = "x" }), "good: route is x"},
		"kind":         {after("ada", func(_ *http.Request, id *authn.Identity, _ *error) { id.Kind = "x" }), "good: kind is x"},
		"nothing is rejected": {after("", func(_ *http.Request, _ *authn.Identity, err *error) { *err = authn.ErrRejected }),
			"absent empty: the answer is not ErrNoCredential"},
		"nothing is let in": {after("", func(_ *http.Request, _ *authn.Identity, err *error) { *err = nil }),
			"nothing: the answer is not ErrNoCredential but no error"},
		"bad passes on": {after("eve", func(_ *http.Request, _ *authn.Identity, err *error) { *err = authn.ErrNoCredential }),
			"bad forged: the answer does not wrap ErrRejected"},
		"bad in doubt": {after("old", func(_ *http.Request, _ *authn.Identity, err *error) { *err = io.EOF }),
			"bad expired: the answer does not wrap ErrRejected but is the error EOF"},
		"identity beside an error": {after("eve", func(_ *http.Request, id *authn.Identity, _ *error) { id.Name = "Eve" }),
			"bad forged: an identity came with the error"},
		"unsure is rejected": {after("unreadable", func(_ *http.Request, _ *authn.Identity, err *error) { *err = authn.ErrRejected }),
			"unsure broken: the answer is not a failure to find out"},
		"unsure is let in": {after("unreadable", func(_ *http.Request, _ *authn.Identity, err *error) { *err = nil }),
			"unsure broken: the answer is not a failure to find out but no error"},
		"header changed": {after("ada", func(r *http.Request, _ *authn.Identity, _ *error) { r.Header.Del("Badge") }), "good: the request was changed"},
		"method changed": {after("ada", func(r *http.Request, _ *authn.Identity, _ *error) { r.Method = "PUT" }), "good: the request was changed"},
		"body read": {after("ada", func(r *http.Request, _ *authn.Identity, _ *error) { _, _ = io.ReadAll(r.Body) }),
			"good: the body was read"},
		"body closed": {after("ada", func(r *http.Request, _ *authn.Identity, _ *error) { _ = r.Body.Close() }), "good: the body was read or closed"},
	} {
		found := &notebook{}
		authntest.Contract(found, authn.AuthenticatorFunc(c.breach), cases())
		if !strings.Contains(strings.Join(found.lines, "\n"), "contract: "+c.want) {
			t.Errorf("%s: found %q", name, found.lines)
		}
	}
	// One that answers well until it is asked by many.
	asked := make(chan struct{}, 8)
	forgetful := func(r *http.Request) (authn.Identity, error) {
		select {
		case asked <- struct{}{}:
			return badge(r)
		default:
			return authn.Identity{}, io.EOF
		}
	}
	found := &notebook{}
	authntest.Contract(found, authn.AuthenticatorFunc(forgetful), cases())
	if len(found.lines) != 1 || !strings.Contains(found.lines[0], "at once") {
		t.Errorf("forgetful: found %q", found.lines)
	}
}

func TestContractNeedsCases(t *testing.T) {
	found := &notebook{}
	authntest.Contract(found, authn.AuthenticatorFunc(badge), authntest.Cases{})
	if len(found.lines) != 1 {
		t.Errorf("found %q", found.lines)
	}
}
