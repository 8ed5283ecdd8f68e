package proxy

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"gatehouse/authn"
	"gatehouse/proxy/assertion"
	"gatehouse/proxy/policy"
)

// standing is what is made of somebody once, and kept while nothing about them has
// changed: their teams, the headers, and the assertions for each audience.
type standing struct {
	policy.Subject
	headers []string
	size    int // of the headers, in bytes

	mu     sync.Mutex
	signed map[string]signed // by audience
}

// signed is an assertion, and when to make another one.
type signed struct {
	token string
	until time.Time
}

// whom is what a standing is kept by. Sessions of one person that began at different
// times have one each, for the time stands in their assertions.
type whom struct {
	issuer, subject, route string
	proved                 int64
}

// stand returns what somebody is here. Whatever is different about them makes a new
// standing, so that a kept one is never another's. When their access ends is no part of
// it: that is asked of the identity of each request.
func (h *Handler) stand(id authn.Identity) *standing {
	key := whom{id.Issuer, id.Subject, id.Route, id.AuthTime.UnixNano()}
	if s, ok := h.standings.GetIfPresent(key); ok && same(s.Identity, id) {
		return s
	}
	s := &standing{Subject: h.policy.Subject(id)}
	s.headers, s.size = h.contract.values(s.Subject)
	h.standings.Set(key, s)
	return s
}

// assert returns the assertion of somebody for one audience. It is used again until
// a fifth of its life is left: then those that are on their way still count.
func (s *standing) assert(by *assertion.Signer, audience string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if kept, ok := s.signed[audience]; ok && now.Before(kept.until) {
		return kept.token, nil
	}
	token, expires, err := by.Sign(assertion.Claims{
		Subject: s.Identity.Subject, Email: s.Email, Username: s.Username, Name: s.Name, Groups: s.Groups, Teams: s.Teams(), Roles: s.Roles(),
		Kind: string(s.Kind), Route: s.Route, AuthTime: s.AuthTime,
	}, audience)
	if err != nil {
		return "", err
	}
	if s.signed == nil {
		s.signed = map[string]signed{}
	}
	s.signed[audience] = signed{token, now.Add(expires.Sub(now) * 4 / 5)}
	return token, nil
}

// describe sees that the identity headers fit, all of them, and makes the signed one.
// If it can't, it has answered.
func (h *Handler) describe(x *exchange, audience string) bool {
	s, size := x.standing, x.standing.size
	if h.o.Assertions != nil {
		token, err := s.assert(h.o.Assertions, audience)
		if err != nil {
			h.outage(x, fmt.Errorf("proxy: vouch for %s: %w", s.Identity.Subject, err))
			return false
		}
		x.assertion = [1]string{token}
		size += lineSize(h.contract.assertion, token)
	}
	if size > h.contract.max {
		h.o.Log.Warn("identity headers are too large", "request_id", x.id[0], "route", s.Route, "subject", s.Identity.Subject, "groups", len(s.Groups), "bytes", size)
		h.forbid(x, &authn.NotAllowed{Missing: "You are in more groups than fit into a request to the application. " +
			"Ask for the groups to be narrowed at your provider."})
		return false
	}
	return true
}

// vouch sets the identity headers; those of the client are gone already.
func (x *exchange) vouch(to http.Header) {
	if x.standing == nil {
		return
	}
	x.h.contract.inject(to, x.standing.headers)
	if x.assertion[0] != "" {
		to[x.h.contract.assertion] = x.assertion[:]
	}
}

// same reports whether two identities say the same in every respect.
func same(a, b authn.Identity) bool {
	return a.Issuer == b.Issuer && a.Subject == b.Subject && a.Kind == b.Kind && a.Username == b.Username && a.Name == b.Name &&
		a.Email == b.Email && a.Route == b.Route && a.AuthTime.Equal(b.AuthTime) && a.Onward == b.Onward &&
		a.Account.Name == b.Account.Name && a.Account.Team == b.Account.Team && a.Account.Role == b.Account.Role &&
		sameList(a.Account.Teams, b.Account.Teams) && sameList(a.Groups, b.Groups) && sameList(a.Teams, b.Teams) &&
		maps.EqualFunc(a.Claims, b.Claims, sameList)
}

// sameList compares without looking at each text where both are one list, as with a
// proof that was remembered: nobody changes an identity's lists.
func sameList(a, b []string) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b))
}
