package oidc

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json/v2"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/issuer"
)

const (
	// maxHintToken bounds the ID token that is kept to sign out with, in bytes.
	maxHintToken = 8 << 10
	// A proof's life is believed within these bounds: groups are read again once
	// a day at least, and a provider is not asked more than once a minute.
	minLife, maxLife = time.Minute, 24 * time.Hour
	// nextTry is how soon a renewal is tried again that got a new refresh token
	// and nothing more.
	nextTry = time.Minute
)

// grant is what a session keeps of a sign-in for renewal and sign-out. It is
// sealed in the session's record and never leaves the gateway but to the provider.
type grant struct {
	Refresh  string `json:"r,omitempty"`
	IDToken  string `json:"i,omitempty"`
	Nonce    string `json:"n"`
	Sub      string `json:"s"`
	AuthTime int64  `json:"a,omitempty"` // Unix seconds; zero if the provider did not say
	// SID and IssuedAt are for the proof. A renewal has no say in IssuedAt, and in
	// SID only if it has one.
	SID      string `json:"d,omitempty"`
	IssuedAt int64  `json:"m,omitempty"` // Unix seconds
	// FromUserinfo names the fields that came from userinfo.
	FromUserinfo []string `json:"u,omitempty"`
}

func newGrant(nonce string, id issuer.Claims, p profile) grant {
	g := grant{Nonce: nonce, FromUserinfo: p.FromUserinfo}
	g.Sub, _ = id.Text("sub")
	g.SID = sidOf(id)
	if t, _ := id.Instant("iat"); !t.IsZero() {
		g.IssuedAt = t.Unix()
	}
	if t, _ := id.Instant("auth_time"); !t.IsZero() {
		g.AuthTime = t.Unix()
	}
	return g
}

// sidOf is the provider's session that an ID token is of. One that could name
// nothing is none: nobody is kept out for its sake.
func sidOf(id issuer.Claims) string {
	sid, err := named(id, "sid")
	if err != nil {
		return ""
	}
	return sid
}

// proof joins an identity with the means to renew it.
func (o *relying) proof(who authn.Identity, id issuer.Claims, t tokens, g grant) (authn.Proof, error) {
	if t.refresh != "" {
		g.Refresh = t.refresh
	}
	if t.id != "" {
		g.IDToken = t.id
	}
	if len(g.IDToken) > maxHintToken {
		g.IDToken = ""
	}
	p := authn.Proof{Identity: who, SID: g.SID}
	if g.IssuedAt != 0 {
		p.IssuedAt = time.Unix(g.IssuedAt, 0)
	}
	p.Identity.Expires = time.Time{}
	if g.Refresh != "" {
		p.Identity.Expires, p.RenewAt = schedule(time.Now(), t.expiry, id)
	}
	text, err := json.Marshal(g)
	if err != nil {
		return authn.Proof{}, fmt.Errorf("keep grant: %w", err)
	}
	p.Grant = text
	return p, nil
}

// schedule says until when a proof counts and when to renew it: early, by a
// fifth of its life but at least half a minute, and by up to a tenth of the rest
// at random, so that those who came together are not renewed together.
func schedule(now, expiry time.Time, id issuer.Claims) (expires, renew time.Time) {
	if expiry.IsZero() {
		expiry, _ = id.Instant("exp")
	}
	life := max(minLife, min(expiry.Sub(now), maxLife))
	wait := life - max(30*time.Second, life/5)
	var b [2]byte
	rand.Read(b[:])
	wait -= wait / 10 * time.Duration(binary.BigEndian.Uint16(b[:])) / (1 << 16)
	return now.Add(life), now.Add(wait)
}

// renew asks the provider for a fresh proof. Its refusal, an answer about
// somebody else and a person who may not come in any more wrap
// [authn.ErrRejected]; whatever could not be found out does not.
func (o *relying) renew(ctx context.Context, p authn.Proof) (authn.Proof, error) {
	next, err := o.renewed(ctx, p)
	if err == nil {
		return next, nil
	}
	var no refusal
	if errors.As(err, &no) && no.ours() && !no.final() {
		o.Log.Error("provider refuses this gateway; see the client settings", "err", err)
	}
	if rejects(err) {
		return authn.Proof{}, fmt.Errorf("oidc: renew: %w: %w", authn.ErrRejected, err)
	}
	return authn.Proof{}, fmt.Errorf("oidc: renew: %w", err)
}

// errForeign marks an answer that is not about the person it should be about.
var errForeign = errors.New("not acceptable")

// rejects tells a clear no from not knowing.
func rejects(err error) bool {
	var no refusal
	var status issuer.StatusError
	var nonsense issuer.BadAnswer
	switch {
	case errors.Is(err, issuer.ErrUnavailable), errors.As(err, &nonsense):
		return false
	case errors.As(err, &no):
		return no.final()
	case errors.As(err, &status): // userinfo does not know the token any more
		return status == http.StatusUnauthorized
	}
	var notAllowed *authn.NotAllowed
	return errors.Is(err, errForeign) || errors.As(err, &notAllowed)
}

func (o *relying) renewed(ctx context.Context, p authn.Proof) (authn.Proof, error) {
	var g grant
	if err := json.Unmarshal(p.Grant, &g); err != nil || g.Refresh == "" || g.Sub == "" {
		return authn.Proof{}, fmt.Errorf("%w: nothing to renew with", errForeign)
	}
	m, err := o.provider.metadata(ctx)
	if err != nil {
		return authn.Proof{}, err
	}
	t, err := o.refresh(ctx, m, g.Refresh)
	if err != nil {
		return authn.Proof{}, err
	}
	spent := g.Refresh
	who, id, err := o.again(ctx, m, p.Identity, t, &g)
	if err != nil && t.refresh != spent && !rejects(err) {
		return o.withoutNews(p, t, g, err)
	}
	if err != nil {
		return authn.Proof{}, err
	}
	if err := o.admission.Allow(who); err != nil {
		return authn.Proof{}, err
	}
	return o.proof(who, id, t, g)
}

// withoutNews keeps a new refresh token when the rest of a renewal could not be
// found out: the old one may be spent, and an outage must not sign anybody out.
// The identity and its end stay as they were; how long somebody is believed
// beyond that is the session's to say.
func (o *relying) withoutNews(p authn.Proof, t tokens, g grant, cause error) (authn.Proof, error) {
	o.Log.Warn("renewed without news of the person", "subject", p.Identity.Subject, "err", cause)
	next, err := o.proof(p.Identity, nil, tokens{refresh: t.refresh}, g)
	next.Identity.Expires, next.RenewAt = p.Identity.Expires, time.Now().Add(nextTry)
	return next, err
}

// again finds out who a renewed token is about, which must be the same person
// as before, with whatever has changed about them.
func (o *relying) again(ctx context.Context, m *metadata, old authn.Identity, t tokens, g *grant) (authn.Identity, issuer.Claims, error) {
	if t.id == "" {
		who, err := o.refreshed(ctx, m, old, t, g)
		return who, nil, err
	}
	id, err := o.verify(ctx, m, t.id, expected{nonce: g.Nonce, renewal: true, access: t.access})
	if err != nil {
		return authn.Identity{}, nil, fmt.Errorf("%w: %w", errForeign, err)
	}
	if err := g.same(id); err != nil {
		return authn.Identity{}, nil, err
	}
	who, profile, err := o.person(ctx, m, id, t.access)
	if err != nil {
		return authn.Identity{}, nil, fmt.Errorf("%w: %w", errForeign, err)
	}
	if who.Subject != old.Subject {
		return authn.Identity{}, nil, fmt.Errorf("%w: it is about somebody else", errForeign)
	}
	who.AuthTime = old.AuthTime
	g.SID = cmp.Or(sidOf(id), g.SID)
	g.FromUserinfo = profile.FromUserinfo
	return who, id, nil
}

// same holds a renewed ID token against the first one (OpenID Connect Core,
// section 12.2).
func (g grant) same(id issuer.Claims) error {
	if sub, _ := id.Text("sub"); sub != g.Sub {
		return fmt.Errorf("%w: it is about somebody else", errForeign)
	}
	if t, _ := id.Instant("auth_time"); !t.IsZero() && g.AuthTime != 0 && t.Unix() != g.AuthTime {
		return fmt.Errorf("%w: it is about another sign-in", errForeign)
	}
	return nil
}

// refreshed is for a provider that sends no ID token on renewal. Userinfo is
// asked instead: what it says replaces what was, and what it said once and says
// no more is gone. The rest stays, as there is nobody to ask.
func (o *relying) refreshed(ctx context.Context, m *metadata, old authn.Identity, t tokens, g *grant) (authn.Identity, error) {
	if m.UserinfoEndpoint == "" || o.settings.Userinfo == "never" {
		return old, nil
	}
	sub, err := json.Marshal(g.Sub)
	if err != nil {
		return authn.Identity{}, err
	}
	info, err := o.userinfo(ctx, m, t.access, issuer.Claims{"sub": sub})
	if err != nil {
		return authn.Identity{}, fmt.Errorf("%w: %w", errForeign, err)
	}
	s := source{info, true}
	p, err := o.mapping.profile(s)
	if err == nil {
		err = o.mapping.missingGroups(p, s)
	}
	if err == nil {
		err = o.mapping.still(old.Subject, info)
	}
	if err != nil {
		return authn.Identity{}, fmt.Errorf("%w: %w", errForeign, err)
	}
	for _, field := range o.mapping.said(info) {
		if !slices.Contains(g.FromUserinfo, field) {
			g.FromUserinfo = append(g.FromUserinfo, field)
		}
	}
	return p.over(old, g.FromUserinfo), nil
}

// over replaces the named fields of id.
func (p profile) over(id authn.Identity, fields []string) authn.Identity {
	for _, f := range []struct {
		name string
		copy func()
	}{
		{"username", func() { id.Username = p.Username }},
		{"name", func() { id.Name = p.Name }},
		{"email", func() { id.Email = p.Email }},
		{"groups", func() { id.Groups = p.Groups }},
		{"teams", func() { id.Teams = p.Teams }},
	} {
		if slices.Contains(fields, f.name) {
			f.copy()
		}
	}
	claims := maps.Clone(id.Claims)
	for _, field := range fields {
		name, ok := strings.CutPrefix(field, claimField)
		switch values := p.Claims[name]; {
		case !ok:
		case len(values) == 0:
			delete(claims, name)
		default:
			if claims == nil {
				claims = map[string][]string{}
			}
			claims[name] = values
		}
	}
	id.Claims = claims
	return id
}
