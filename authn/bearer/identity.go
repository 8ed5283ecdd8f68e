package bearer

import (
	"slices"
	"strings"
	"time"
	"unicode"

	"gatehouse/authn"
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
	if t.another(id.Subject) {
		return authn.Identity{}, refusal{check: "sub", sentence: "The token’s subject looks like one of another route.", seen: id.Subject}
	}
	if v.account.Name != "" {
		id.Kind, id.Username, id.Account = authn.Service, v.account.Name, v.account
		return id, nil
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
	id.Groups, err = t.groups(v)
	return id, err
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
		err = refusal{check: claim, sentence: "The token’s user name can’t name anybody.", seen: username}
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
		return "", refusal{check: claim, sentence: "The token’s e-mail address can’t be one.", seen: email}
	}
	_, said := v.Find(t.settings.Claims.EmailVerified)
	vouched := v.IsTrue(t.settings.Claims.EmailVerified) || t.settings.TrustUnverifiedEmail && !said
	if _, ok := authn.EmailDomain(email); !ok || !vouched {
		return "", nil
	}
	return email, nil
}

func (t *trusted) groups(v verified) ([]string, error) {
	claim := t.settings.Claims.Groups
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

// plain is an identity as it is kept: without the name that the registry of
// accounts gives it. Again asks for that anew, and finds none once it is gone.
func plain(id authn.Identity) authn.Identity {
	if id.Account.Name != "" {
		id.Username = ""
	}
	return id
}

// again is whom an access token or a shared answer stands for under the settings
// of now: an account may have come or gone, and prefixes may have moved.
func (t *trusted) again(id authn.Identity) (authn.Identity, error) {
	subject, ours := strings.CutPrefix(id.Subject, t.settings.SubjectPrefix)
	gone := refusal{check: "sub", sentence: "The token stands for nobody who is known here any more.", seen: id.Subject}
	if !ours || t.another(id.Subject) {
		return authn.Identity{}, gone
	}
	// An account is known by its sub, which is not everybody's subject.
	if t.settings.Claims.Subject == "sub" || id.Kind == authn.Service && id.Username == "" {
		if account, ok := t.accounts.External(t.settings.Issuer, subject); ok {
			id.Kind, id.Username, id.Account = authn.Service, account.Name, account
			id.Name, id.Email, id.Groups = "", "", nil
			return id, nil
		}
	}
	if string(id.Kind) != t.settings.Kind {
		return authn.Identity{}, gone
	}
	return id, nil
}
