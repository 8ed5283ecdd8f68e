package oidc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gatehouse/authn"
	"gatehouse/authn/issuer"
	"gatehouse/authn/meter"
)

// person finds out who an ID token is about, asking userinfo if the settings or
// a missing claim ask for it.
func (o *relying) person(ctx context.Context, m *metadata, id issuer.Claims, access string) (authn.Identity, profile, error) {
	sources := []source{{Claims: id}}
	p, err := o.mapping.profile(sources...)
	if err != nil {
		return authn.Identity{}, p, err
	}
	always := o.settings.Userinfo == "always"
	can := m.UserinfoEndpoint != "" && access != ""
	switch {
	case always && !can:
		return authn.Identity{}, p, errors.New("userinfo: no access token to ask with")
	case always, o.settings.Userinfo == "auto" && can && !p.whole():
		info, err := o.userinfo(ctx, m, access, id)
		if err != nil {
			return authn.Identity{}, p, err
		}
		sources = append(sources, source{info, true})
		if always {
			slices.Reverse(sources) // who always asks wants the answer to count
		}
		if p, err = o.mapping.profile(sources...); err != nil {
			return authn.Identity{}, p, err
		}
	}
	who, err := o.mapping.identity(id, p)
	if err != nil {
		return authn.Identity{}, p, err
	}
	return who, p, o.mapping.missingGroups(p, sources...)
}

// userinfo asks the userinfo endpoint about the person of id. Its sub must be
// theirs, or it is somebody else's answer (OpenID Connect Core, section 5.3.2).
func (o *relying) userinfo(ctx context.Context, m *metadata, access string, id issuer.Claims) (issuer.Claims, error) {
	ctx, cancel := context.WithTimeout(ctx, issuer.CallTime)
	defer cancel()
	text, err := issuer.Get(meter.Asking(ctx, "userinfo"), m.UserinfoEndpoint, access, o.client)
	if err != nil {
		return nil, fmt.Errorf("userinfo: %w", err)
	}
	c, err := o.readUserinfo(ctx, m, text)
	if err != nil {
		return nil, fmt.Errorf("userinfo: %w", err)
	}
	want, _ := id.Text("sub")
	got, err := c.Text("sub")
	if err != nil || got == "" || got != want {
		return nil, errors.New("userinfo: it is about somebody else")
	}
	return c, nil
}

// readUserinfo takes a JSON object, or a JWT that the issuer signed for us.
func (o *relying) readUserinfo(ctx context.Context, m *metadata, text []byte) (issuer.Claims, error) {
	token := strings.TrimSpace(string(text))
	if strings.HasPrefix(token, "{") || strings.Count(token, ".") != 2 {
		return issuer.ParseClaims(text)
	}
	if _, err := readHeader(token, idTokenTypes()...); err != nil {
		return nil, err
	}
	payload, err := m.keys.Verify(ctx, token, m.algorithms(o.settings))
	if err != nil {
		return nil, err
	}
	c, err := issuer.ParseClaims(payload)
	if err != nil {
		return nil, err
	}
	return c, o.checkParties(c)
}
