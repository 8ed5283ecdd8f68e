package authntest

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"sync"

	"gatehouse/authn"
)

// T is what [Contract] needs of a *testing.T.
type T interface {
	Helper()
	Errorf(format string, args ...any)
}

// Cases are requests that an authenticator has an answer to. A function is
// called as often as needed and returns a new request each time.
type Cases struct {
	// Good carries a credential of the one who is wanted.
	Good func() *http.Request
	// Want is who that is. Issuer, Subject, Route and Kind are compared.
	Want authn.Identity
	// Absent carry no credential of the authenticator's kind. One without any
	// header is always tried too.
	Absent map[string]func() *http.Request
	// Bad carry one that is wrong, expired or revoked.
	Bad map[string]func() *http.Request
	// Unsure carry one that can't be judged right now, because something that
	// is needed for it can't be reached.
	Unsure map[string]func() *http.Request
}

// Contract tests that a keeps the contract of [authn.Authenticator]: its three
// answers, no identity but with the first, the request left as it was and its
// body unread, all of that for many requests at once.
func Contract(t T, a authn.Authenticator, c Cases) {
	t.Helper()
	if c.Good == nil || c.Want.Subject == "" {
		t.Errorf("contract: the cases lack Good or Want")
		return
	}
	one := func(name string, make func() *http.Request, check func(authn.Identity, error) string) {
		t.Helper()
		if problem := ask(a, make(), check); problem != "" {
			t.Errorf("contract: %s: %s", name, problem)
		}
	}
	one("nothing", bare, isAbsent)
	one("good", c.Good, c.isGood)
	each := func(kind string, cases map[string]func() *http.Request, check func(authn.Identity, error) string) {
		t.Helper()
		for _, name := range slices.Sorted(maps.Keys(cases)) {
			one(kind+" "+name, cases[name], check)
		}
	}
	each("absent", c.Absent, isAbsent)
	each("bad", c.Bad, isBad)
	each("unsure", c.Unsure, isUnsure)
	one("good once more", c.Good, c.isGood)
	if problem := c.atOnce(a); problem != "" {
		t.Errorf("contract: at once: %s", problem)
	}
}

// bare is a request without any credential.
func bare() *http.Request {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://gatehouse.test/", nil)
	if err != nil {
		panic(err) // the URL is a constant
	}
	return r
}

// ask puts the question and also looks at what became of the request.
func ask(a authn.Authenticator, r *http.Request, check func(authn.Identity, error) string) string {
	body := &tripwire{}
	r.Body = body
	before := r.Clone(r.Context())
	id, err := a.Authenticate(r)
	switch {
	case body.touched:
		return "the body was read or closed; it is the upstream's"
	case !reflect.DeepEqual(before.Header, r.Header), !reflect.DeepEqual(before.URL, r.URL),
		before.Method != r.Method, before.Host != r.Host, before.RequestURI != r.RequestURI, before.RemoteAddr != r.RemoteAddr:
		return "the request was changed"
	}
	return check(id, err)
}

func (c Cases) isGood(id authn.Identity, err error) string {
	switch {
	case err != nil:
		return "refused: " + err.Error()
	case id.Issuer != c.Want.Issuer:
		return "issuer is " + id.Issuer + ", not " + c.Want.Issuer
	case id.Subject != c.Want.Subject:
		return "subject is " + id.Subject + ", not " + c.Want.Subject
	case id.Route != c.Want.Route:
		return "route is " + id.Route + ", not " + c.Want.Route
	case id.Kind != c.Want.Kind:
		return "kind is " + string(id.Kind) + ", not " + string(c.Want.Kind)
	}
	return ""
}

func isAbsent(id authn.Identity, err error) string {
	if !errors.Is(err, authn.ErrNoCredential) || errors.Is(err, authn.ErrRejected) {
		return "the answer is not ErrNoCredential but " + text(err)
	}
	return isNobody(id)
}

func isBad(id authn.Identity, err error) string {
	if !errors.Is(err, authn.ErrRejected) || errors.Is(err, authn.ErrNoCredential) {
		return "the answer does not wrap ErrRejected but is " + text(err)
	}
	return isNobody(id)
}

func isUnsure(id authn.Identity, err error) string {
	if err == nil || errors.Is(err, authn.ErrRejected) || errors.Is(err, authn.ErrNoCredential) {
		return "the answer is not a failure to find out but " + text(err)
	}
	return isNobody(id)
}

func isNobody(id authn.Identity) string {
	if !reflect.ValueOf(id).IsZero() {
		return "an identity came with the error"
	}
	return ""
}

func text(err error) string {
	if err == nil {
		return "no error"
	}
	return "the error " + err.Error()
}

// atOnce asks good and bad questions from many sides; run it with -race.
func (c Cases) atOnce(a authn.Authenticator) string {
	const each = 16
	problems := make(chan string, each*(len(c.Bad)+1))
	var all sync.WaitGroup
	for range each {
		all.Go(func() { problems <- ask(a, c.Good(), c.isGood) })
		for _, bad := range c.Bad {
			all.Go(func() { problems <- ask(a, bad(), isBad) })
		}
	}
	all.Wait()
	close(problems)
	for p := range problems {
		if p != "" {
			return p
		}
	}
	return ""
}

// tripwire is a body that tells if anybody touches it.
type tripwire struct{ touched bool }

func (b *tripwire) Read([]byte) (int, error) {
	b.touched = true
	return 0, io.EOF
}

func (b *tripwire) Close() error {
	b.touched = true
	return nil
}
