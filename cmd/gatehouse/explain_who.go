package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"gatehouse/authn"
	"gatehouse/config"
)

// unverified is the decision about a credential that nobody was asked about.
const unverified = "unverified"

var errUnverified = errors.New("the credential was not verified")

// claim is who would take a credential.
type claim struct {
	route string // empty for the session
	asks  string // who is asked about it, in words; empty if it is refused at once
}

// standIn stands for the chain: it finds out who would take a request's credential,
// and says who it stands for, or has the chain find out.
type standIn struct {
	g      *gateway
	c      config.Config
	who    config.Somebody
	verify bool

	claim *claim
	fault error
}

// Authenticate is that of the chain, without asking anybody unless it must verify.
func (s *standIn) Authenticate(r *http.Request) (authn.Identity, error) {
	err := s.look(r)
	switch {
	case s.verify:
		return s.g.chain.Authenticate(r)
	case err != nil:
		return authn.Identity{}, err
	case s.who.Nobody() && s.claim != nil:
		return authn.Identity{}, errUnverified
	case s.who.Nobody():
		return authn.Identity{}, authn.ErrNoCredential
	}
	by := ""
	if s.claim != nil {
		by = s.claim.route
	}
	id, err := s.g.identity(s.c, s.who, by)
	s.fault = err
	return id, err
}

// look finds out who would take the credential. Its error is a refusal that needs
// nobody to be asked.
func (s *standIn) look(r *http.Request) error {
	for _, route := range s.g.routes {
		if route.Claims == nil {
			continue
		}
		asks, err := route.Claims(r)
		if !errors.Is(err, authn.ErrNoCredential) {
			s.claim = &claim{route.Name, asks}
			return err
		}
	}
	for _, route := range s.g.routes {
		if route.Last == nil {
			continue
		}
		if _, err := route.Last.Authenticate(r); !errors.Is(err, authn.ErrNoCredential) {
			s.claim = &claim{route.Name, ""}
			return err
		}
	}
	if len(r.CookiesNamed(s.g.cookie)) > 0 {
		s.claim = &claim{"", "a session's cookie, which the store knows"}
	}
	return nil
}

// identity is somebody as their route would tell it. By is the route that takes
// their credential, if there is one.
func (g *gateway) identity(c config.Config, who config.Somebody, by string) (authn.Identity, error) {
	if by != "" && who.Route != "" && by != who.Route {
		return authn.Identity{}, fmt.Errorf("the credential is one for the route %s, and not for %s: correct the route, or leave it out", by, who.Route)
	}
	id := authn.Identity{
		Issuer: who.Issuer, Subject: cmp.Or(who.Subject, who.Username, who.Email, "somebody"), Username: who.Username, Name: who.Name, Email: who.Email,
		Kind: authn.Kind(cmp.Or(who.Kind, string(authn.Person))), Groups: who.Groups, Teams: who.Teams, Claims: who.Claims,
		AuthTime: time.Now().UTC().Truncate(time.Second),
	}
	if who.Account != "" {
		if err := knownAccount(c, who.Account); err != nil {
			return id, err
		}
		if who.Kind == string(authn.Person) || who.Subject+who.Username+who.Name+who.Email != "" || len(who.Groups)+len(who.Teams) > 0 {
			return id, errors.New("a service account is no person, and has its name, its teams and no groups by itself: say the account alone")
		}
		id.Account, _ = g.accounts.Named(who.Account)
		id.Kind, id.Subject, id.Username = authn.Service, config.AccountPrefix+who.Account, who.Account
	}
	i, err := g.routeFor(c, cmp.Or(who.Route, by), id)
	if err != nil {
		return id, err
	}
	id.Route = c.Authn[i].Name
	route := g.routes[i]
	id.Onward = by != "" && c.Authn[i].APIKey != nil && id.Account.Name == "" // a key of the application
	if id.Issuer == "" {
		id.Issuer = issuerFor(c, c.Authn[i], route, id.Account.Name, who.Kind)
	}
	if who.Kind == "" && id.Account.Name == "" {
		id.Kind = kindOf(c.Authn[i], id.Issuer)
	}
	if !route.Vouches(id) {
		return id, fmt.Errorf("the route %s does not vouch for identities of the issuer %q: it is one of %s", route.Name, id.Issuer,
			strings.Join(issuers(route), " "))
	}
	return id, nil
}

// routeFor is the index of the route of that name, or of the first by which such an
// identity comes: of those that vouch for its issuer, if there is one.
func (g *gateway) routeFor(c config.Config, name string, id authn.Identity) (int, error) {
	if name != "" {
		i := slices.IndexFunc(c.Authn, func(r config.Route) bool { return r.Name == name })
		if i < 0 {
			return 0, fmt.Errorf("there is no route %q: there are %s", name, strings.Join(routeNames(c), ", "))
		}
		return i, nil
	}
	found := -1
	for i, r := range c.Authn {
		switch {
		case id.Issuer != "" && !slices.Contains(issuers(g.routes[i]), id.Issuer):
		case comesBy(c, r, id):
			return i, nil
		case found < 0:
			found = i
		}
	}
	if found < 0 {
		return 0, fmt.Errorf("no route vouches for identities of the issuer %q: write it as authn has it, letter by letter", id.Issuer)
	}
	return found, nil
}

// comesBy says whether such an identity comes by a route of that kind.
func comesBy(c config.Config, r config.Route, id authn.Identity) bool {
	switch {
	case id.Account.Name != "" && external(c, id.Account.Name):
		return r.Bearer != nil
	case id.Account.Name != "":
		return r.APIKey != nil
	case id.Kind == authn.Service:
		return r.Bearer != nil
	}
	return r.OIDC != nil || r.LDAP != nil
}

func routeNames(c config.Config) []string {
	names := make([]string, len(c.Authn))
	for i, r := range c.Authn {
		names[i] = r.Name
	}
	return names
}

// issuers are those that a route vouches for.
func issuers(r authn.Route) []string { return append(slices.Clone(r.Issuers), r.Issuer) }

// external says whether a service account proves itself by a JWT.
func external(c config.Config, account string) bool {
	return slices.ContainsFunc(c.ServiceAccounts, func(a config.ServiceAccount) bool { return a.Name == account && a.Subject != "" })
}

// issuerFor is who vouches for identities of a route: for an account's its own issuer,
// otherwise the first that makes that kind of them.
func issuerFor(c config.Config, section config.Route, route authn.Route, account, kind string) string {
	switch {
	case section.APIKey != nil && account != "":
		return c.Origin().String()
	case section.APIKey != nil:
		return c.Origin().JoinPath("graphql").String()
	case section.Bearer == nil:
		return route.Issuer
	}
	for _, a := range c.ServiceAccounts {
		if issuer := accountIssuer(c, a); a.Name == account && issuer != "" {
			return issuer
		}
	}
	for _, i := range section.Bearer.Issuers {
		if i.Kind == kind {
			return i.Issuer
		}
	}
	return route.Issuers[0]
}

// kindOf is what an issuer's subjects are, if nothing is said of one.
func kindOf(section config.Route, issuer string) authn.Kind {
	if section.Bearer != nil {
		for _, i := range section.Bearer.Issuers {
			if i.Issuer == issuer {
				return authn.Kind(i.Kind)
			}
		}
	}
	return authn.Person
}
