package oidc

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"testing"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
)

// provings are the ways in which a client proves itself.
func provings(t *testing.T) map[string]func(*setup) {
	return map[string]func(*setup){
		"none": public, "basic": func(*setup) {}, "post": func(s *setup) { s.oidc.ClientAuth = "post" },
		"basic, and a secret to be encoded": func(s *setup) {
			s.oidc.ClientSecret = "a+b/c %:é"
			s.issuer.Clients = []authntest.Client{{ID: "gw", Secret: "a+b/c %:é", RedirectURIs: []string{callback}}}
		},
		"privateKeyJWT": func(s *setup) {
			key := es256().Private
			der, err := x509.MarshalPKCS8PrivateKey(key)
			s.oidc.ClientSecret, s.oidc.ClientAuth, s.oidc.ClientKeyFile = "", "privateKeyJWT", writePEM(t, "PRIVATE KEY", der, err)
			s.issuer.Clients = []authntest.Client{{ID: "gw", Key: key.Public(), RedirectURIs: []string{callback}}}
		},
	}
}

// TestRevoke: the provider takes the refresh token back, however the client proves
// itself.
func TestRevoke(t *testing.T) {
	for name, change := range provings(t) {
		t.Run(name, func(t *testing.T) {
			r, p := signedIn(t, change)
			if err := r.route.Revoke(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			form := r.issuer.Last(authntest.Revocation).PostForm
			if form.Get("token") != readGrant(t, p).Refresh || form.Get("token_type_hint") != "refresh_token" {
				t.Errorf("%v", form)
			}
			if _, err := r.route.Renew(t.Context(), p); !errors.Is(err, authn.ErrRejected) {
				t.Errorf("the refresh token still works: %v", err)
			}
		})
	}
	t.Run("nothing to take back", func(t *testing.T) {
		r, p := signedIn(t, func(s *setup) { s.issuer.OfflineOnly = true; s.oidc.Scopes = []string{"openid"} })
		for _, p := range []authn.Proof{p, {}, {Grant: []byte("x")}} {
			if err := r.route.Revoke(t.Context(), p); err != nil || r.issuer.Calls(authntest.Revocation) != 0 {
				t.Errorf("%v, asked %d times", err, r.issuer.Calls(authntest.Revocation))
			}
		}
	})
	t.Run("no place to", func(t *testing.T) {
		r, p := signedIn(t, func(s *setup) {
			s.faults = editDiscovery(func(d map[string]any) { delete(d, "revocation_endpoint") })
		})
		if err := r.route.Revoke(t.Context(), p); err != nil || r.issuer.Calls(authntest.Revocation) != 0 {
			t.Errorf("%v, asked %d times", err, r.issuer.Calls(authntest.Revocation))
		}
	})
	for name, c := range map[string]struct {
		fault authntest.Fault
		good  bool
	}{
		"a page for people":          {authntest.Reply(200, "text/html", "<p>Done</p>"), true},
		"a document":                 {authntest.Reply(200, "application/json", "{}"), true},
		"LGO-22 unavailable":         {authntest.Unavailable, false},
		"LGO-22 500":                 {authntest.Reply(500, "text/html", "<p>Sorry</p>"), false},
		"LGO-22 unsupported":         {authntest.Refuse("unsupported_token_type"), false},
		"LGO-22 hangs up":            {authntest.Hangup, false},
		"LGO-22 leads elsewhere":     {authntest.SendTo(http.StatusTemporaryRedirect, "https://evil.test/"), false},
		"LGO-22 answers in an hour":  {authntest.Delay(time.Hour), false},
		"LGO-22 refuses this client": {authntest.Reply(401, "application/json", `{"error":"invalid_client"}`), false},
	} {
		t.Run(name, func(t *testing.T) {
			r, p := signedIn(t)
			r.issuer.Set(func(f *authntest.Faults) { f.At[authntest.Revocation] = c.fault })
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if err := r.route.Revoke(ctx, p); (err == nil) != c.good {
				t.Error(err)
			}
			if r.seen("evil.test") != 0 {
				t.Error("the token went elsewhere")
			}
		})
	}
}
