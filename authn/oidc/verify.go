package oidc

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/issuer"
)

const (
	// maxToken bounds an ID token in bytes; thousands of groups fit.
	maxToken = 256 << 10
	// tokenAge is how old an ID token may be. An attempt takes ten minutes at
	// most and a renewal no time at all, so an older one was made for something
	// else; the rest is kindness to slow clocks.
	tokenAge = time.Hour
)

// expected is what an ID token is held against.
type expected struct {
	nonce string
	// renewal: the nonce may be missing (OpenID Connect Core, section 12.2), and
	// how long ago the person proved themselves was settled at sign-in.
	renewal bool
	// access is the access token that came with it, and front says that both
	// came through the browser.
	access string
	front  bool
}

// verify returns the claims of an ID token that the provider made for this
// client and this attempt. It is one list, in order; each line has its own text
// for the log.
func (o *relying) verify(ctx context.Context, m *metadata, token string, want expected) (issuer.Claims, error) {
	c, alg, err := o.signed(ctx, m, token, idTokenTypes()...)
	if err != nil {
		return nil, fmt.Errorf("ID token: %w", err)
	}
	for _, check := range []func() error{
		func() error { return o.checkParties(c) },
		func() error { return inTime(checkTimes(c, time.Now(), o.settings.ClockSkew.Std()), want) },
		func() error { return checkNonce(c, want) },
		func() error { return checkAccessHash(c, alg, want) },
		func() error { return o.checkStrength(c, time.Now(), want) },
		func() error { return checkSubject(c) },
	} {
		if err := check(); err != nil {
			return nil, fmt.Errorf("ID token: %w", err)
		}
	}
	return c, nil
}

// signed returns the claims of a token of one of these types that the provider
// signed by one of the route's algorithms, and by which.
func (o *relying) signed(ctx context.Context, m *metadata, token string, types ...string) (c issuer.Claims, alg string, err error) {
	if alg, err = readHeader(token, types...); err != nil {
		return nil, "", err
	}
	algs := m.algorithms(o.settings)
	if !slices.Contains(algs, alg) {
		return nil, "", fmt.Errorf("algorithm %q is not one of %s", authn.Bounded(alg), strings.Join(algs, ", "))
	}
	payload, err := m.keys.Verify(ctx, token, algs)
	if err != nil {
		return nil, "", err
	}
	c, err = issuer.ParseClaims(payload)
	return c, alg, err
}

// idTokenTypes are what an ID token may say that it is.
func idTokenTypes() []string { return []string{"jwt", "application/jwt"} }

// readHeader returns a token's algorithm. Its type, if it has one, must say that
// it is no other kind of JWT (RFC 8725, section 3.11).
func readHeader(token string, types ...string) (alg string, err error) {
	if len(token) > maxToken {
		return "", fmt.Errorf("larger than %d bytes", maxToken)
	}
	head, err := issuer.Open(token)
	if err != nil {
		return "", err
	}
	if typ := authn.FoldASCII(head.Type); typ != "" && !slices.Contains(types, typ) {
		return "", fmt.Errorf("header: type %q is that of another kind of token", authn.Bounded(typ))
	}
	return head.Algorithm, nil
}

// checkParties: from whom and for whom (OpenID Connect Core, section 3.1.3.7,
// points 2 to 5).
func (o *relying) checkParties(c issuer.Claims) error {
	if _, ok := c["events"]; ok {
		return errors.New("it is a security event")
	}
	aud, err := o.checkAddress(c)
	if err != nil {
		return err
	}
	azp, err := c.Text("azp")
	if err != nil {
		return err
	}
	_, present := c["azp"]
	if (present || len(aud) > 1) && azp != o.settings.ClientID {
		return fmt.Errorf("authorized party is %q", authn.Bounded(azp))
	}
	return nil
}

// checkAddress: from this issuer, byte for byte, and for this client and nobody
// but those whom the settings name beside it.
func (o *relying) checkAddress(c issuer.Claims) (aud []string, err error) {
	iss, err := c.Text("iss")
	if err != nil {
		return nil, err
	}
	if iss != o.settings.Issuer {
		return nil, fmt.Errorf("issuer is %q", authn.Bounded(iss))
	}
	if aud, err = c.Audience(); err != nil {
		return nil, err
	}
	if !slices.Contains(aud, o.settings.ClientID) {
		return nil, fmt.Errorf("audience is %q", authn.Bounded(strings.Join(aud, " ")))
	}
	for _, a := range aud {
		if a != o.settings.ClientID && !slices.Contains(o.settings.ExtraAudiences, a) {
			return nil, fmt.Errorf("audience %q is neither the client nor one of extraAudiences", authn.Bounded(a))
		}
	}
	return aud, nil
}

// inTime makes times that don't fit something that could not be found out at a
// renewal: there a clock that is off is the likelier reason, and it must not end
// everybody's session.
func inTime(err error, want expected) error {
	if err != nil && want.renewal {
		return fmt.Errorf("%w: %w", issuer.ErrUnavailable, err)
	}
	return err
}

// checkTimes: exp and iat are required, whatever the flow.
func checkTimes(c issuer.Claims, now time.Time, skew time.Duration) error {
	exp, expErr := c.Instant("exp")
	iat, iatErr := c.Instant("iat")
	nbf, nbfErr := c.Instant("nbf")
	switch {
	case expErr != nil || iatErr != nil || nbfErr != nil:
		return errors.Join(expErr, iatErr, nbfErr)
	case exp.IsZero():
		return errors.New(`claim "exp" is missing`)
	case !now.Before(exp.Add(skew)):
		return fmt.Errorf("expired at %s", exp.UTC().Format(time.RFC3339))
	case iat.IsZero():
		return errors.New(`claim "iat" is missing`)
	case iat.After(now.Add(skew)):
		return fmt.Errorf("made in the future, at %s", iat.UTC().Format(time.RFC3339))
	case iat.Before(now.Add(-tokenAge - skew)):
		return fmt.Errorf("made long ago, at %s", iat.UTC().Format(time.RFC3339))
	case nbf.After(now.Add(skew)):
		return fmt.Errorf("not valid before %s", nbf.UTC().Format(time.RFC3339))
	}
	return nil
}

// checkNonce binds the token to the attempt. Every request sends a nonce, so
// every answer must bring it back, in the code flow too.
func checkNonce(c issuer.Claims, want expected) error {
	nonce, err := c.Text("nonce")
	if err != nil {
		return err
	}
	if _, ok := c["nonce"]; !ok && want.renewal {
		return nil
	}
	if want.nonce == "" || subtle.ConstantTimeCompare([]byte(nonce), []byte(want.nonce)) != 1 {
		return errors.New("nonce is not the attempt's")
	}
	return nil
}

// checkAccessHash binds the access token to the ID token. What came through the
// browser must be bound (OpenID Connect Core, section 3.2.2.9).
func checkAccessHash(c issuer.Claims, alg string, want expected) error {
	hash, err := c.Text("at_hash")
	if err != nil {
		return err
	}
	_, present := c["at_hash"]
	switch {
	case want.access == "" || !present && !want.front:
		return nil
	case !present:
		return errors.New("access token is not bound to it")
	case subtle.ConstantTimeCompare([]byte(hash), []byte(accessHash(alg, want.access))) != 1:
		return errors.New("access token is not the one it is bound to")
	}
	return nil
}

// accessHash is the left half of the token's hash, with the hash that alg uses.
func accessHash(alg, token string) string {
	var sum []byte
	switch {
	case strings.HasSuffix(alg, "256"):
		s := sha256.Sum256([]byte(token))
		sum = s[:]
	case strings.HasSuffix(alg, "384"):
		s := sha512.Sum384([]byte(token))
		sum = s[:]
	default: // the 512s, and EdDSA with Ed25519
		s := sha512.Sum512([]byte(token))
		sum = s[:]
	}
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}

// checkStrength: when and how the person proved themselves (OpenID Connect
// Core, section 3.1.3.7, points 12 and 13).
func (o *relying) checkStrength(c issuer.Claims, now time.Time, want expected) error {
	proved, err := c.Instant("auth_time")
	if err != nil {
		return err
	}
	skew := o.settings.ClockSkew.Std()
	if max := o.settings.MaxAge.Std(); max > 0 && !want.renewal {
		if proved.IsZero() {
			return errors.New(`claim "auth_time" is missing`)
		}
		if now.Sub(proved) > max+skew {
			return fmt.Errorf("the person proved themselves long ago, at %s", proved.UTC().Format(time.RFC3339))
		}
	}
	if proved.After(now.Add(skew)) && !want.renewal {
		return fmt.Errorf("the person proved themselves in the future, at %s", proved.UTC().Format(time.RFC3339))
	}
	acr, err := c.Text("acr")
	if err != nil {
		return err
	}
	_, present := c["acr"]
	if len(o.settings.ACRValues) > 0 && (present || !want.renewal) && !slices.Contains(o.settings.ACRValues, acr) {
		return fmt.Errorf("the person proved themselves by %q", authn.Bounded(acr))
	}
	return nil
}

// checkSubject: OpenID Connect Core, section 2, asks for at most 255 ASCII characters.
func checkSubject(c issuer.Claims) error {
	sub, err := c.Text("sub")
	switch {
	case err != nil:
		return err
	case sub == "":
		return errors.New(`claim "sub" is missing`)
	case len(sub) > authn.MaxID || !authn.CleanID(sub):
		return errors.New(`claim "sub" can't name anybody`)
	}
	return nil
}
