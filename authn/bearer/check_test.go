package bearer

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/authn/authntest"
	"gatehouse/config"
)

// said is the findings as lines.
func said(t *testing.T, c config.Issuer, teams ...config.Team) string {
	t.Helper()
	var all strings.Builder
	for _, f := range Check(t.Context(), c, teams) {
		if f.What == "" || f.OK == (f.Fix != "") {
			t.Errorf("what, or how to mend it, is missing: %+v", f)
		}
		fmt.Fprintf(&all, "%v %s: %s (%s)\n", f.OK, f.What, f.Detail, f.Fix)
	}
	return all.String()
}

// checked is an issuer on this machine whose answers a test can change.
type checked struct {
	settings config.Issuer
	idp      *authntest.Issuer
	asked    *introspector
}

func newChecked(t *testing.T, keys ...authntest.Key) *checked {
	t.Helper()
	c := &checked{asked: &introspector{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/introspect" {
			c.asked.ServeHTTP(w, req)
			return
		}
		c.idp.ServeHTTP(w, req)
	}))
	t.Cleanup(server.Close)
	c.idp = authntest.NewIssuer(authntest.IssuerOptions{URL: server.URL, Keys: keys})
	c.settings = trust(server.URL)
	return c
}

func TestCheck(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.pem")
	for name, c := range map[string]struct {
		set  func(*checked)
		want []string
	}{
		"good": {func(*checked) {}, []string{"true keys: 2 of 2 can verify a token, by RS256, ES256", "true audiences: wandb"}},
		"for anybody": {func(c *checked) { c.settings.Audiences, c.settings.SkipAudienceValidation = nil, true },
			[]string{"true audiences: any: tokens made for other places are good here too"}},
		"some keys of another kind": {func(c *checked) { c.settings.SigningAlgorithms = []string{"ES256"} }, []string{"true keys: 1 of 2 can verify a token, by ES256"}},
		"all keys of another kind": {func(c *checked) { c.settings.SigningAlgorithms = []string{"PS512"} },
			[]string{"false keys: none of 2 is for PS512 (add the issuer's algorithm to signingAlgorithms)"}},
		"down": {func(c *checked) {
			c.idp.Set(func(f *authntest.Faults) { f.At[authntest.Everything] = authntest.Unavailable })
		}, []string{"false keys: ", "answered 503", "/.well-known/openid-configuration can be opened from here, or set jwksURL"}},
		"no keys at jwksURL": {func(c *checked) { c.settings.JWKSURL = c.settings.Issuer + "/nothing" }, []string{"false keys: ", "404", "check that ", "/nothing can be opened"}},
		"keys for known programs only": {func(c *checked) {
			c.idp.Set(func(f *authntest.Faults) { f.At[authntest.JWKS] = authntest.Reply(403, "text/plain", "no") })
		}, []string{"false keys: ", "set tokenFile"}},
		"a key file that is missing": {func(c *checked) { c.settings.KeyFile = "/nowhere/keys" }, []string{"false keys: ", "put a JWK set or public keys in PEM into /nowhere/keys"}},
		"a key file": {func(c *checked) {
			write(t, file, string(publicForms(es256())["PEM"]))
			c.settings.KeyFile = file
		}, []string{"true keys: 1 of 1 can verify a token, by ES256"}},
		"an issuer that can't be one": {func(c *checked) { c.settings.Issuer = "http://idp.test" }, []string{"false settings: issuer: must be https (correct the settings of this issuer"}},
	} {
		t.Run(name, func(t *testing.T) {
			issuer := newChecked(t, rs256(), es256())
			c.set(issuer)
			text := said(t, issuer.settings)
			for _, want := range c.want {
				if !strings.Contains(text, want) {
					t.Errorf("%q is not in\n%s", want, text)
				}
			}
		})
	}
	t.Run("the preset's audiences", func(t *testing.T) {
		issuer := newChecked(t, es256())
		issuer.settings.Preset, issuer.settings.Audiences = "wandb", nil
		if text := said(t, issuer.settings, config.Team{Name: "research"}); !strings.Contains(text, "true audiences: wandb, research") {
			t.Error(text)
		}
	})
	t.Run("SSRF-10 a certificate of nobody", func(t *testing.T) {
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		server.Config.ErrorLog = silent()
		server.StartTLS()
		defer server.Close()
		if text := said(t, trust(server.URL)); !strings.Contains(text, "tls.caFile") {
			t.Error(text)
		}
	})
}

func TestCheckIntrospection(t *testing.T) {
	for name, c := range map[string]struct {
		reply http.HandlerFunc
		want  string
	}{
		"good":            {says(200, `{"active":false}`), "true introspection: "},
		"unknown client":  {says(401, `{"error":"invalid_client"}`), "check clientID, the secret or key, and clientAuth (basic)"},
		"may not ask":     {says(403, `{}`), "that this client may introspect"},
		"down":            {says(503, `{}`), "can be reached from here"},
		"HTML":            {says(200, `<html>`), "can be reached from here"},
		"all tokens good": {says(200, `{"active":true}`), "this is no introspection endpoint"},
		"nothing said":    {says(200, `{}`), "this is no introspection endpoint"},
	} {
		t.Run(name, func(t *testing.T) {
			issuer := newChecked(t, es256())
			issuer.asked.does(c.reply)
			issuer.settings.Introspection = &config.Introspection{URL: issuer.settings.Issuer + "/introspect", ClientID: "gw", ClientSecret: "s3cret", TokenPrefix: "at."}
			text := said(t, issuer.settings)
			if !strings.Contains(text, c.want) || strings.Contains(text, "s3cret") {
				t.Errorf("%q is not in\n%s", c.want, text)
			}
			if _, form := issuer.asked.last(); !strings.HasPrefix(form.Get("token"), "at.") || len(form.Get("token")) < 20 {
				t.Errorf("asked about %q", form.Get("token"))
			}
		})
	}
	t.Run("nowhere", func(t *testing.T) {
		issuer := newChecked(t, es256())
		issuer.settings.Introspection = &config.Introspection{ClientID: "gw", ClientSecret: "s3cret"}
		if text := said(t, issuer.settings); !strings.Contains(text, "false introspection: discovery: no introspection_endpoint (set introspection.url)") {
			t.Error(text)
		}
	})
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}
