package bearer

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/issuer"
)

// isJWT says whether a token looks like a JWT.
func isJWT(token string) bool { return len(token) <= authn.MaxToken && authn.JWT(token) }

// claimsOf are the claims of a JWT before anybody has verified it. They are good
// for nothing but to choose whose keys to verify by. What stands around them may be
// wrong; an error means that there are none to be read.
func claimsOf(token string) (issuer.Claims, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errEncrypted
	}
	text, err := base64.RawURLEncoding.Strict().DecodeString(parts[1])
	if err != nil {
		return nil, errors.New("not base64url")
	}
	return issuer.ParseClaims(text)
}

var errEncrypted = errors.New("it is encrypted")

// issuerOf is the issuer that a JWT names; empty if it names none. A list or a
// number is nobody's name.
func issuerOf(said issuer.Claims) string {
	iss, err := said.Text("iss")
	if err != nil {
		return ""
	}
	return iss
}

// verified is a token that has passed every check.
type verified struct {
	issuer.Claims
	sub     string // as it stands there; empty if there is none
	subject string
	account authn.Account // of an external service account, known by its sub
	issued  time.Time     // zero if it does not say
	expires time.Time
}

// verify holds a JWT against the issuer's settings, its signature first. Said is
// what it says.
func (t *trusted) verify(ctx context.Context, token string, said issuer.Claims) (verified, error) {
	j, err := t.open(token)
	if err != nil {
		return verified{}, err
	}
	if err := t.checkSignature(ctx, j, said); err != nil {
		return verified{}, err
	}
	return t.judge(said, time.Now(), t.settings.MaxLifetime.Std())
}

// judge looks at the claims that somebody has vouched for: iss, aud, exp, sub and
// what else must be there. Longest is how long the token may be valid for; zero
// means any time.
func (t *trusted) judge(c issuer.Claims, now time.Time, longest time.Duration) (verified, error) {
	v := verified{Claims: c}
	for _, check := range []func(*verified) error{
		t.checkIssuer,
		t.checkAudience,
		func(v *verified) error { return t.checkTimes(v, now, longest) },
		t.checkSubject,
		t.checkRequired,
	} {
		if err := check(&v); err != nil {
			return verified{}, err
		}
	}
	return v, nil
}

// open takes a token apart and checks what it says of itself.
func (t *trusted) open(token string) (issuer.JWS, error) {
	j, err := issuer.Open(token)
	if err != nil {
		return j, unreadable(err)
	}
	if !slices.Contains(t.settings.SigningAlgorithms, j.Algorithm) {
		return j, refusal{check: "alg", sentence: "The token’s signature algorithm is not accepted.", seen: j.Algorithm, expected: strings.Join(t.settings.SigningAlgorithms, " ")}
	}
	// RFC 7515, section 4.1.9: "application/" may be left out; case does not matter.
	typ := strings.TrimPrefix(authn.FoldASCII(j.Type), "application/")
	if typ == "" {
		typ = "none"
	}
	if !slices.Contains(t.settings.Types, typ) {
		return j, refusal{check: "typ", sentence: "The token is of a kind that is not accepted.", seen: typ, expected: strings.Join(t.settings.Types, " ")}
	}
	return j, nil
}

func (t *trusted) checkIssuer(v *verified) error {
	if _, ok := v.Claims["events"]; ok { // RFC 8417: a logout token, for instance
		return refusal{check: "typ", sentence: "The token is of a kind that is not accepted.", seen: "a security event"}
	}
	if _, ok := v.Find("cnf"); ok { // RFC 7800: good only with a proof that nobody here asks for
		return refusal{check: "cnf", sentence: "The token is bound to a key (cnf), which can’t be proved here."}
	}
	if use, _ := v.Text("token_use"); strings.Contains(authn.FoldASCII(use), "refresh") {
		return refusal{check: "token_use", sentence: "The token is a refresh token.", seen: use}
	}
	iss, err := v.Text("iss")
	if err != nil {
		return err
	}
	if iss != t.settings.Issuer {
		return refusal{check: "iss", sentence: "The token’s issuer (iss) is not trusted here.", seen: iss, expected: t.settings.Issuer}
	}
	return nil
}

func (t *trusted) checkAudience(v *verified) error {
	if t.settings.SkipAudienceValidation {
		return nil
	}
	aud, err := v.Audience()
	if err == nil && slices.ContainsFunc(aud, func(a string) bool { return slices.Contains(t.settings.Audiences, a) }) {
		return nil
	}
	seen := strings.Join(aud, " ")
	if err != nil {
		seen = err.Error()
	}
	return refusal{check: "aud", sentence: "The token’s audience (aud) is not one that is accepted here.", seen: seen, expected: strings.Join(t.settings.Audiences, " ")}
}

// checkTimes: exp is required (RFC 7523, section 3, point 4); iat and nbf count if
// they are there.
func (t *trusted) checkTimes(v *verified, now time.Time, longest time.Duration) error {
	exp, expErr := v.Instant("exp")
	iat, iatErr := v.Instant("iat")
	nbf, nbfErr := v.Instant("nbf")
	if err := errors.Join(expErr, iatErr, nbfErr); err != nil {
		return refusal{check: "exp", sentence: "The token contains an invalid time.", seen: err.Error()}
	}
	skew := t.settings.ClockSkew.Std()
	from := iat
	if from.IsZero() || from.After(now) {
		from = now
	}
	text := func(at time.Time) string { return at.UTC().Format(time.RFC3339) }
	switch clock := "now " + text(now); {
	case exp.IsZero():
		return refusal{check: "exp", sentence: "The token does not say when it expires (exp)."}
	case !now.Before(exp.Add(skew)):
		return refusal{check: "exp", sentence: "The token has expired (exp).", seen: text(exp), expected: clock}
	case iat.After(now.Add(skew)):
		return refusal{check: "iat", sentence: "The token was made in the future (iat).", seen: text(iat), expected: clock}
	case nbf.After(now.Add(skew)):
		return refusal{check: "nbf", sentence: "The token is not valid yet (nbf).", seen: text(nbf), expected: clock}
	case longest > 0 && exp.Sub(from) > longest+skew:
		return refusal{check: "exp", sentence: "The token is valid for longer than is accepted (exp).", seen: text(exp), expected: "at most " + longest.String()}
	}
	v.issued, v.expires = iat, exp.Add(skew)
	return nil
}

// checkSubject: whom the token is about. With the preset wandb that is a person's
// e-mail address, or a registered service account.
func (t *trusted) checkSubject(v *verified) error {
	sub, err := v.Text(t.settings.Claims.Subject)
	name := t.settings.Claims.Subject
	switch {
	case err != nil:
		return refusal{check: name, sentence: "The token’s subject (" + name + ") is not text."}
	case sub == "":
		return refusal{check: name, sentence: "The token does not say whom it is about (" + name + ")."}
	case len(sub) > authn.MaxID || !authn.CleanID(sub):
		return refusal{check: name, sentence: "The token’s subject (" + name + ") can’t name anybody.", seen: sub}
	}
	v.subject = sub
	if v.sub, err = v.Text("sub"); err != nil {
		v.sub = ""
	}
	if account, registered := t.accounts.External(t.settings.Issuer, v.sub); registered {
		v.account = account
		return nil
	}
	if t.settings.Preset != "wandb" {
		return nil
	}
	if _, address := authn.EmailDomain(sub); !address {
		return refusal{check: name, sentence: "The token’s subject (" + name + ") is neither an e-mail address nor a registered service account.", seen: sub}
	}
	return nil
}

func (t *trusted) checkRequired(v *verified) error {
	for _, r := range t.settings.RequiredClaims {
		if !holds(v.Claims, r.Claim, r.Values) {
			seen, _ := v.Find(r.Claim)
			return refusal{
				check: r.Claim, sentence: fmt.Sprintf("The token’s claim %q does not have an accepted value.", r.Claim),
				seen: string(seen), expected: strings.Join(r.Values, " "),
			}
		}
	}
	return nil
}

// holds says whether a claim is one of the values, or a list with one of them;
// without values, whether it is anything at all.
func holds(c issuer.Claims, name string, values []string) bool {
	v, ok := c.Find(name)
	if !ok {
		return false
	}
	if len(values) == 0 {
		return string(v) != `""` && string(v) != "[]" && string(v) != "false"
	}
	return slices.ContainsFunc(c.Values(name), func(s string) bool { return slices.Contains(values, s) })
}
