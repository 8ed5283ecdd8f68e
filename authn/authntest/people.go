package authntest

import (
	"crypto"
	"maps"
	"slices"
	"strings"
)

// Person is somebody who can sign in at the provider.
type Person struct {
	// Subject is the sub claim.
	Subject string
	// Username, Name and Email are claims (preferred_username, name, email) that
	// are left out when empty.
	Username, Name, Email string
	EmailVerified         bool
	// Groups is the groups claim, left out when nil.
	Groups []string
	// Claims are added last and replace the ones above.
	Claims map[string]any
}

// Client is a relying party that the provider knows.
type Client struct {
	ID string
	// Secret makes it a confidential client that proves itself by
	// client_secret_basic or client_secret_post. A client with neither secret nor
	// key is public and has to use PKCE.
	Secret string
	// RedirectURIs and PostLogoutURIs are compared byte for byte.
	RedirectURIs, PostLogoutURIs []string
	// Key makes it a client that proves itself by private_key_jwt (RFC 7523):
	// an RSA, P-256 or Ed25519 public key.
	Key crypto.PublicKey
	// Audience lets it ask for tokens of its own, by client credentials: JWTs for
	// this audience. It must have a secret or a key.
	Audience string
}

// AutoLogin makes the person with that subject sign in at once, without a page,
// whatever prompt says. An empty subject brings the page back.
func (i *Issuer) AutoLogin(subject string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.autoLogin = subject
}

// SetPerson replaces the person with p's subject, or adds p. What they hold
// stays good: new claims show at the next renewal.
func (i *Issuer) SetPerson(p Person) {
	i.mu.Lock()
	defer i.mu.Unlock()
	people := slices.Clone(i.people)
	if at := slices.IndexFunc(people, p.is); at >= 0 {
		people[at] = p
	} else {
		people = append(people, p)
	}
	i.people = people
}

// RemovePerson deletes the person: nothing they hold is good any more.
func (i *Issuer) RemovePerson(subject string) {
	i.Revoke(subject)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.people = slices.DeleteFunc(slices.Clone(i.people), Person{Subject: subject}.is)
}

// SetClient replaces the client with c's id, or adds c.
func (i *Issuer) SetClient(c Client) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.clients[c.ID] = c
}

// Revoke ends everything that the person has: sessions at the provider, codes,
// access tokens and refresh tokens (invalid_grant). They may sign in anew.
func (i *Issuer) Revoke(subject string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	maps.DeleteFunc(i.sessions, func(_ string, s login) bool { return s.subject == subject })
	i.revokeWhere(func(g *grant) bool { return g.login.subject == subject })
}

// revokeWhere ends the grants that match. The lock is held.
func (i *Issuer) revokeWhere(match func(*grant) bool) {
	maps.DeleteFunc(i.codes, func(_ string, c *code) bool { return match(c.grant) })
	maps.DeleteFunc(i.refreshes, func(_ string, r *refresh) bool { return match(r.grant) })
	maps.DeleteFunc(i.accesses, func(_ string, a access) bool { return match(a.grant) })
}

// person finds somebody by subject.
func (i *Issuer) person(subject string) (Person, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	at := slices.IndexFunc(i.people, Person{Subject: subject}.is)
	if at < 0 {
		return Person{}, false
	}
	return i.people[at], true
}

func (i *Issuer) client(id string) (Client, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	c, ok := i.clients[id]
	return c, ok
}

func (p Person) is(other Person) bool { return p.Subject == other.Subject }

// hinted says whether a login_hint means p.
func (p Person) hinted(hint string) bool {
	return hint != "" && (hint == p.Subject || strings.EqualFold(hint, p.Username) || strings.EqualFold(hint, p.Email))
}

// claims says about p what the scopes cover (OpenID Connect Core, section 5.4).
func (p Person) claims(scopes []string) map[string]any {
	c := map[string]any{}
	if slices.Contains(scopes, "profile") {
		setIf(c, "preferred_username", p.Username)
		setIf(c, "name", p.Name)
	}
	if slices.Contains(scopes, "email") && p.Email != "" {
		c["email"] = p.Email
		c["email_verified"] = p.EmailVerified
	}
	if p.Groups != nil {
		c["groups"] = p.Groups
	}
	maps.Copy(c, p.Claims)
	return c
}

func setIf(claims map[string]any, name, value string) {
	if value != "" {
		claims[name] = value
	}
}
