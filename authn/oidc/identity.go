package oidc

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"gatehouse/authn"
	"gatehouse/authn/issuer"
	"gatehouse/config"
)

// mapping makes an identity of claims.
type mapping struct {
	route    string
	settings config.OIDC
	foreign  []string
	claims   []string // that the policy asks for
	refuted  []string // addresses that a source says are not verified
}

func newMapping(route string, c config.OIDC, foreign, claims []string) mapping {
	return mapping{route: route, settings: c, foreign: foreign, claims: claims}
}

// source is claims and where they are from.
type source struct {
	issuer.Claims
	userinfo bool
}

// profile is what may change about a person while they stay the same person.
type profile struct {
	Username string
	Name     string
	Email    string
	Groups   []string
	// listed: there was a list of groups, be it empty.
	listed bool
	Teams  []string
	Claims map[string][]string
	// FromUserinfo names the fields that are not from the ID token.
	FromUserinfo []string
}

// whole says that nothing is missing that userinfo might know.
func (p profile) whole() bool {
	return p.Username != "" && p.Name != "" && p.Email != "" && p.listed
}

// profile reads each field from the first source that has it. A claim of the
// wrong type, or one that could be taken for another person's, is an error: half
// an identity is none.
func (m mapping) profile(sources ...source) (profile, error) {
	var p profile
	for _, s := range sources { // one that says "no" goes before one that says nothing
		email, err := s.Text(m.settings.Claims.Email)
		if _, said := s.Find(m.settings.Claims.EmailVerified); err == nil && said && !s.IsTrue(m.settings.Claims.EmailVerified) {
			m.refuted = append(m.refuted, email)
		}
	}
	for _, s := range sources {
		if err := m.fill(&p, s); err != nil {
			return profile{}, err
		}
	}
	return p, nil
}

func (m mapping) fill(p *profile, s source) error {
	username, err := m.username(s)
	if err != nil {
		return err
	}
	name, err := s.Text(m.settings.Claims.Name)
	if err != nil {
		return err
	}
	email, err := m.email(s)
	if err != nil {
		return err
	}
	groups, listed, err := m.groups(s)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name      string
		to        *string
		candidate string
	}{{"username", &p.Username, username}, {"name", &p.Name, authn.DisplayName(name)}, {"email", &p.Email, email}} {
		if *f.to == "" && f.candidate != "" {
			*f.to = f.candidate
			p.note(f.name, s)
		}
	}
	if !p.listed && listed {
		p.Groups, p.listed = groups, true
		p.note("groups", s)
	}
	return m.fillPolicy(p, s)
}

// fillPolicy reads what the policy alone asks for.
func (m mapping) fillPolicy(p *profile, s source) error {
	if claim := m.settings.Claims.Teams; claim != "" && len(p.Teams) == 0 {
		teams, _, err := s.List(claim)
		if err != nil {
			return err
		}
		if p.Teams = teams; len(teams) > 0 {
			p.note("teams", s)
		}
	}
	for name, values := range s.Chosen(m.claims) {
		if _, known := p.Claims[name]; known {
			continue
		}
		if p.Claims == nil {
			p.Claims = map[string][]string{}
		}
		p.Claims[name] = values
		p.note(claimField+name, s)
	}
	return nil
}

// claimField begins the name of a field that is a claim for the policy.
const claimField = "claim "

// note remembers that a field is from userinfo.
func (p *profile) note(field string, s source) {
	if s.userinfo {
		p.FromUserinfo = append(p.FromUserinfo, field)
	}
}

// said names the fields that c has anything about, be it that there is nothing.
func (m mapping) said(c issuer.Claims) []string {
	var fields []string
	all := []struct{ name, claim string }{
		{"username", m.settings.Claims.Username}, {"name", m.settings.Claims.Name},
		{"email", m.settings.Claims.Email}, {"groups", m.settings.Claims.Groups}, {"teams", m.settings.Claims.Teams},
	}
	for _, name := range m.claims {
		all = append(all, struct{ name, claim string }{claimField + name, name})
	}
	for _, f := range all {
		if _, ok := c.Find(f.claim); ok {
			fields = append(fields, f.name)
		}
	}
	return fields
}

func (m mapping) username(s source) (string, error) {
	claim := m.settings.Claims.Username
	if claim == m.settings.Claims.Email {
		return m.email(s) // a name that anybody could give themselves is none
	}
	username, err := s.Text(claim)
	if err == nil && username != "" && (len(username) > authn.MaxID || !authn.CleanID(username)) {
		err = fmt.Errorf("claim %q can't name anybody", claim)
	}
	return username, err
}

func (m mapping) groups(s source) (groups []string, listed bool, err error) {
	claim := m.settings.Claims.Groups
	groups, listed, err = s.List(claim)
	if slices.ContainsFunc(groups, func(g string) bool { return strings.ContainsFunc(g, unicode.IsControl) }) {
		err = fmt.Errorf("claim %q has a group with a control character", claim)
	}
	return groups, listed, err
}

// email returns the address that the source vouches for, if there is one. An
// address that nobody vouches for, or that is not in plain form, is as good as none.
func (m mapping) email(s source) (string, error) {
	email, err := s.Text(m.settings.Claims.Email)
	if err != nil || email == "" {
		return "", err
	}
	if len(email) > authn.MaxID || !authn.CleanID(email) {
		return "", fmt.Errorf("claim %q can't be an address", m.settings.Claims.Email)
	}
	_, said := s.Find(m.settings.Claims.EmailVerified)
	vouched := s.IsTrue(m.settings.Claims.EmailVerified) || m.settings.TrustUnverifiedEmail && !said
	refuted := slices.ContainsFunc(m.refuted, func(r string) bool { return strings.EqualFold(r, email) })
	if _, ok := authn.EmailDomain(email); !ok || !vouched || refuted {
		return "", nil
	}
	return email, nil
}

// errOverage is for people who are in more groups than the provider lists.
var errOverage = &authn.NotAllowed{
	Missing: "You are in more groups than the sign-in service can tell us, so we can’t know what you may do.",
}

// errNoAddress is for people who would be known by an address that nobody
// vouches for.
var errNoAddress = &authn.NotAllowed{
	Missing: "You need a verified e-mail address at the sign-in service.",
}

// identity joins who somebody is, by the ID token alone, with their profile.
func (m mapping) identity(id issuer.Claims, p profile) (authn.Identity, error) {
	who, err := m.subject(id)
	if err == nil && m.byEmail() && who != p.Email {
		err = errNoAddress // userinfo says that it is not verified
	}
	if err != nil {
		return authn.Identity{}, err
	}
	if who, err = m.spelled(who); err != nil {
		return authn.Identity{}, err
	}
	proved, err := id.Instant("auth_time")
	if err == nil && proved.IsZero() {
		proved, err = id.Instant("iat")
	}
	if err != nil {
		return authn.Identity{}, err
	}
	return p.put(authn.Identity{
		Issuer: m.settings.Issuer, Subject: who, Kind: authn.Person, Route: m.route, AuthTime: proved.UTC().Truncate(time.Second),
	}), nil
}

// spelled is the subject as the gateway spells what names a person at the provider.
func (m mapping) spelled(who string) (string, error) {
	if len(who) > authn.MaxID || !authn.CleanID(who) {
		return "", fmt.Errorf("claim %q can't name anybody", m.settings.Claims.Subject)
	}
	who = m.settings.SubjectPrefix + who
	for _, f := range m.foreign {
		if len(f) > len(m.settings.SubjectPrefix) && strings.HasPrefix(who, f) {
			return "", errors.New("the subject looks like one of another route")
		}
	}
	return who, nil
}

// subject reads what names a person for ever. An address does so only if it is
// known to be theirs.
func (m mapping) subject(id issuer.Claims) (string, error) {
	if !m.byEmail() {
		return id.Text(m.settings.Claims.Subject)
	}
	email, err := m.email(source{Claims: id})
	if err == nil && email == "" {
		err = errNoAddress
	}
	return email, err
}

// byEmail says that people are known for ever by their address.
func (m mapping) byEmail() bool { return m.settings.Claims.Subject == m.settings.Claims.Email }

// still is an error if claims that come later speak of what names a person for ever, and
// say that it is something else.
func (m mapping) still(who string, c issuer.Claims) error {
	if _, said := c.Find(m.settings.Claims.Subject); !said {
		return nil
	}
	now, err := m.subject(c)
	if err == nil {
		now, err = m.spelled(now)
	}
	if err == nil && now != who {
		err = errors.New("it is about somebody else")
	}
	return err
}

// put returns id with this profile.
func (p profile) put(id authn.Identity) authn.Identity {
	id.Username, id.Name, id.Email, id.Groups = p.Username, p.Name, p.Email, p.Groups
	id.Teams, id.Claims = p.Teams, p.Claims
	return id
}

// missingGroups refuses people whose groups the provider kept to itself, unless
// the settings say to go on without.
func (m mapping) missingGroups(p profile, sources ...source) error {
	if p.listed || m.settings.GroupsOverage == "none" {
		return nil
	}
	for _, s := range sources {
		if s.Beyond(m.settings.Claims.Groups) {
			return errOverage
		}
	}
	return nil
}
