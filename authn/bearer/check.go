package bearer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"gatehouse/authn"
	"gatehouse/authn/issuer"
	"gatehouse/config"
	"gatehouse/session"
)

// checker gathers findings about one issuer.
type checker struct {
	*trusted
	findings []authn.Finding
}

func (k *checker) good(what, detail string) {
	k.findings = append(k.findings, authn.Finding{OK: true, What: what, Detail: detail})
}

func (k *checker) bad(what, detail, fix string) {
	k.findings = append(k.findings, authn.Finding{What: what, Detail: authn.Bounded(detail), Fix: fix})
}

// Check looks at whether tokens of one issuer could be verified: it reads the
// keys, wherever they are, and asks about a token that is none, if the settings
// have it asked. Nobody is let in.
func Check(ctx context.Context, c config.Issuer, teams []config.Team) []authn.Finding {
	store := session.NewMemory()
	defer store.Close() //nolint:errcheck // it holds nothing
	c = c.WithPreset(teams)
	t, err := newTrusted("check", c, config.TokenCache{}, Deps{Keys: session.RandomKeyring(c.Issuer), Store: store}.withLog(), nil)
	if err != nil {
		return []authn.Finding{{What: "settings", Detail: err.Error(), Fix: "correct the settings of this issuer: " + c.Issuer}}
	}
	k := &checker{trusted: t}
	k.checkKeys(ctx)
	k.good("audiences", k.audiences())
	if t.introspection != nil {
		k.checkIntrospection(ctx)
	}
	return k.findings
}

func (k *checker) audiences() string {
	if k.settings.SkipAudienceValidation {
		return "any: tokens made for other places are good here too"
	}
	return strings.Join(k.settings.Audiences, ", ")
}

func (k *checker) checkKeys(ctx context.Context) {
	const what = "keys"
	keys, err := k.loadKeys(ctx)
	if err != nil {
		k.bad(what, err.Error(), k.advice(err))
		return
	}
	usable := 0
	var algs []string
	for _, alg := range k.settings.SigningAlgorithms {
		if slices.ContainsFunc(keys, func(key issuer.Key) bool { return fits(key, alg) }) {
			algs = append(algs, alg)
		}
	}
	for _, key := range keys {
		if slices.ContainsFunc(k.settings.SigningAlgorithms, func(alg string) bool { return fits(key, alg) }) {
			usable++
		}
	}
	if usable == 0 {
		k.bad(what, fmt.Sprintf("none of %d is for %s", len(keys), strings.Join(k.settings.SigningAlgorithms, ", ")), "add the issuer's algorithm to signingAlgorithms")
		return
	}
	k.good(what, fmt.Sprintf("%d of %d can verify a token, by %s", usable, len(keys), strings.Join(algs, ", ")))
}

// advice says what to do when keys can't be had.
func (k *checker) advice(err error) string {
	var status issuer.StatusError
	switch {
	case k.settings.KeyFile != "":
		return "put a JWK set or public keys in PEM into " + k.settings.KeyFile
	case errors.As(err, &status) && (status == http.StatusUnauthorized || status == http.StatusForbidden):
		return "the issuer tells its keys only to whom it knows: set tokenFile (in Kubernetes, the gateway's own service account token)"
	case strings.Contains(err.Error(), "the document is of issuer"):
		return "write issuer exactly as the document does, if it is the one you mean"
	case strings.Contains(err.Error(), "can verify a signature"), strings.Contains(err.Error(), "not a JSON"):
		return "what answers there is no JWK set (RFC 7517): check jwksURL, or leave it out to have it found"
	case strings.Contains(err.Error(), "x509"):
		return "name the issuer's certificate authority in tls.caFile"
	case k.settings.JWKSURL != "":
		return "check that " + k.settings.JWKSURL + " can be opened from here, or leave jwksURL out to have it found"
	}
	return "check that " + strings.TrimSuffix(k.settings.Issuer, "/") + "/.well-known/openid-configuration can be opened from here, or set jwksURL"
}

// checkIntrospection asks about a token that nobody has made: the right answer
// is that it is not active.
func (k *checker) checkIntrospection(ctx context.Context) {
	const what = "introspection"
	in := k.introspection
	uri, err := k.endpoint(ctx, in.settings.URL, "introspection_endpoint", introspectionEndpoint)
	if err != nil {
		k.bad(what, err.Error(), "set introspection.url")
		return
	}
	answer, err := in.ask(ctx, uri, in.settings.TokenPrefix+rand.Text())
	var status issuer.StatusError
	switch {
	case errors.As(err, &status) && (status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusBadRequest):
		k.bad(what, err.Error(), "the issuer does not take the gateway's word: check clientID, the secret or key, and clientAuth ("+in.settings.ClientAuth+"), and that this client may introspect")
		return
	case err != nil:
		k.bad(what, err.Error(), "check that "+uri+" can be reached from here")
		return
	}
	if v, _ := answer.Find("active"); string(v) != "false" {
		k.bad(what, "a token that nobody has made is answered with active: "+string(v), "this is no introspection endpoint: check introspection.url")
		return
	}
	k.good(what, uri+" answers, and knows this client")
}
