package bearer

import (
	"slices"
	"strings"
	"time"
	"unicode"

	"gatehouse/authn"
	"gatehouse/config"
)

// identity is who a verified token is about.
func (t *trusted) identity(v verified) (authn.Identity, error) {
	id := authn.Identity{
		Issuer: t.settings.Issuer, Subject: t.settings.SubjectPrefix + v.subject, Kind: authn.Kind(t.settings.Kind), Route: t.route,
		AuthTime: v.issued.UTC().Truncate(time.Second), Expires: v.expires.UTC(),
	}
	if v.issued.IsZero() {
		id.AuthTime = time.Now().UTC().Truncate(time.Second)
	}
	if v.account.Name != "" {
		return accountOf(id, v.account), nil
	}
	if t.another(id.Subject) {
		return authn.Identity{}, refusal{check: "sub", sentence: "The token’s subject looks like one of another route.", seen: id.Subject}
	}
	var err error
	if id.Username, err = t.username(v); err != nil {
		return authn.Identity{}, err
	}
	if id.Email, err = t.email(v); err != nil {
		return authn.Identity{}, err
	}
	name, err := v.Text(t.settings.Claims.Name)
	if err != nil {
		return authn.Identity{}, err
	}
	id.Name = authn.DisplayName(name)
	if id.Groups, err = t.list(v, t.settings.Claims.Groups); err != nil {
		return authn.Identity{}, err
	}
	if t.settings.Claims.Teams != "" {
		if id.Teams, err = t.list(v, t.settings.Claims.Teams); err != nil {
			return authn.Identity{}, err
		}
	}
	id.Claims = v.Chosen(t.claims)
	return id, nil
}

// accountOf is id as a service account, which is the same to the application by
// whatever it proves itself.
func accountOf(id authn.Identity, a authn.Account) authn.Identity {
	id.Subject, id.Kind, id.Username, id.Account = config.AccountPrefix+a.Name, authn.Service, a.Name, a
	return id
}

// another says whether a subject is one that only another route or issuer can name.
func (t *trusted) another(subject string) bool {
	return slices.ContainsFunc(t.foreign, func(f string) bool {
		return len(f) > len(t.settings.SubjectPrefix) && strings.HasPrefix(subject, f)
	})
}

// username reads the name that people type. One that is the e-mail address counts
// only as that does.
func (t *trusted) username(v verified) (string, error) {
	claim := t.settings.Claims.Username
	if claim == t.settings.Claims.Email {
		return t.email(v)
	}
	username, err := v.Text(claim)
	if err == nil && username != "" && (len(username) > authn.MaxID || !authn.CleanID(username)) {
		err = refusal{check: claim, sentence: "The token’s user name is not valid.", seen: username}
	}
	return username, err
}

// email returns the address that the issuer vouches for, if there is one.
func (t *trusted) email(v verified) (string, error) {
	claim := t.settings.Claims.Email
	email, err := v.Text(claim)
	if err != nil || email == "" {
		return "", err
	}
	if len(email) > authn.MaxID || !authn.CleanID(email) {
		return "", refusal{check: claim, sentence: "The token’s e-mail address is not valid.", seen: email}
	}
	_, said := v.Find(t.settings.Claims.EmailVerified)
	vouched := v.IsTrue(t.settings.Claims.EmailVerified) || t.settings.TrustUnverifiedEmail && !said
	if _, ok := authn.EmailDomain(email); !ok || !vouched {
		return "", nil
	}
	return email, nil
}

// list reads groups or teams.
func (t *trusted) list(v verified, claim string) ([]string, error) {
	groups, _, err := v.List(claim)
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		if strings.ContainsFunc(g, unicode.IsControl) {
			return nil, refusal{check: claim, sentence: "The token has a group with a control character.", seen: g}
		}
	}
	return groups, nil
}

// again is whom an access token or a shared answer stands for under the settings
// of now: an account may have gone, or be another subject's, and prefixes may have
// moved. Sub is that of the token by which it was proved.
func (t *trusted) again(id authn.Identity, sub string) (authn.Identity, error) {
	gone := refusal{check: "sub", sentence: "The token no longer belongs to anyone who is known here.", seen: id.Subject}
	if name, ok := strings.CutPrefix(id.Subject, config.AccountPrefix); ok {
		account, ok := t.accounts.External(t.settings.Issuer, sub)
		if !ok || account.Name != name {
			return authn.Identity{}, gone
		}
		return accountOf(id, account), nil
	}
	if !strings.HasPrefix(id.Subject, t.settings.SubjectPrefix) || t.another(id.Subject) || string(id.Kind) != t.settings.Kind {
		return authn.Identity{}, gone
	}
	return id, nil
}
