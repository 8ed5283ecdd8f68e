package bearer

import (
	"net/http"
	"strings"

	"gatehouse/authn"
)

// kind is what a token is, told by its shape alone.
type kind int

const (
	foreignToken kind = iota // for who knows such
	issuedToken              // the gateway's own
	jwtToken
	opaqueToken
)

// kindOf tells a token by its shape. Whose an opaque one is, introspects tells.
func (b *route) kindOf(token string) kind {
	opaque := b.introspects(token)
	switch {
	case strings.HasPrefix(token, authn.TokenPrefix):
		return issuedToken
	case authn.Own(token): // one of our keys, and for who knows those
		return foreignToken
	case opaque != nil && opaque.introspection.settings.TokenPrefix != "":
		return opaqueToken
	case isJWT(token):
		return jwtToken
	case opaque == nil, authn.APIKey(token), authn.ApplicationToken(token): // the last two are for who knows those
		return foreignToken
	}
	return opaqueToken
}

// claims says who is asked about the request's token. What the token says of its
// issuer is not proved by that.
func (b *route) claims(r *http.Request) (asks string, err error) {
	token, err := credential(r)
	if err != nil {
		return "", err
	}
	switch b.kindOf(token) {
	case foreignToken:
	case issuedToken:
		return "an access token of the gateway, which the store knows", nil
	case opaqueToken:
		return "an opaque token, which " + b.introspects(token).settings.Issuer + " is asked about", nil
	case jwtToken:
		said, err := claimsOf(token)
		if err != nil {
			return "", b.refused(r.Context(), b.logOf(r), nil, unreadable(err))
		}
		if t := b.issuer(issuerOf(said)); t != nil {
			return "a JWT, which the keys of " + t.settings.Issuer + " verify", nil
		}
	}
	return "", authn.ErrNoCredential
}
