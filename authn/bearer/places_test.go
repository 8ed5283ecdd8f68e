package bearer

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"gatehouse/authn/authntest"
)

// TestPlaces: JWT-40, a token counts in the header alone, and there only once.
func TestPlaces(t *testing.T) {
	r := newRig(t)
	absent := map[string]*http.Request{
		"no header":     request(),
		"in the query":  httptest.NewRequest(http.MethodGet, gatewayURL+"/?access_token="+good(), nil),
		"a cookie":      request(),
		"nothing Basic": request("Basic Og=="),
	}
	absent["a cookie"].AddCookie(&http.Cookie{Name: "token", Value: good()})
	for name, req := range absent {
		t.Run(name, func(t *testing.T) {
			if _, err := judge(r.b, req); !isAbsent(err) {
				t.Errorf("%v", err)
			}
		})
	}
	// For other routes, and if there are none, nobody's.
	lax := r.replica(func(s *setup) { s.settings.Unknown = "ignore" })
	for name, value := range map[string]string{
		"another scheme": "Token " + good(),
		"a person's":     "Basic " + base64.StdEncoding.EncodeToString([]byte("ada:correct horse")),
		"an API key":     "Basic " + base64.StdEncoding.EncodeToString([]byte("api:"+strings.Repeat("a1", 20))),
		"a broken key":   "Bearer gatehouse-" + strings.Repeat("a1", 19),
		"broken Basic":   "Basic !!",
		"Digest":         `Digest username="ada"`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := r.b.authenticate(request(value)); !isAbsent(err) {
				t.Errorf("claimed: %v", err)
			}
			if _, err := judge(r.b, request(value)); !isRejected(err) {
				t.Errorf("not refused: %v", err)
			}
			if _, err := judge(lax, request(value)); !isAbsent(err) {
				t.Errorf("not ignored: %v", err)
			}
		})
	}
	for name, req := range map[string]*http.Request{
		"WANDB 1.1 a JWT for an API key": request("Basic " + base64.StdEncoding.EncodeToString([]byte("api:"+good()))),
		"in another case":                request("bEARER " + good()),
		"more space":                     request("  Bearer   " + good() + "  "),
	} {
		t.Run(name, func(t *testing.T) {
			if id, err := judge(r.b, req); err != nil || id.Subject != "1001" {
				t.Errorf("%+v, %v", id, err)
			}
		})
	}
	for name, req := range map[string]*http.Request{
		"two headers":                request("Bearer "+good(), "Bearer "+good()),
		"beside Basic":               request("Basic Og==", "Bearer "+good()),
		"empty":                      request("Bearer "),
		"with a comma":               request("Bearer " + good() + ", Basic Og=="),
		"a bad JWT for an API key":   request("Basic " + base64.StdEncoding.EncodeToString([]byte("api:"+authntest.JWT(foreign(), nil, claims(nil))))),
		"JWT-30 with a line break":   request("Bearer " + good()[:30] + "\n" + good()[30:]),
		"JWT-30 in percent-encoding": request("Bearer " + strings.Replace(good(), ".", "%2E", 1)),
	} {
		t.Run(name, func(t *testing.T) {
			if id, err := judge(r.b, req); !isRejected(err) || id.Subject != "" {
				t.Errorf("%+v, %v", id, err)
			}
		})
	}
}

// TestUnknown: what is nobody's is refused, or let be if the settings say so.
func TestUnknown(t *testing.T) {
	unknown := map[string]string{"another issuer's": with(m{"iss": "https://evil.test"}), "an opaque one": "abc.def", "an API key": strings.Repeat("a1", 20)}
	for name, token := range unknown {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			if _, err := r.route.Authenticator.Authenticate(request("Bearer " + token)); !isAbsent(err) {
				t.Errorf("claimed: %v", err)
			}
			r.rejected(token, "")
			let := newRig(t, func(s *setup) { s.settings.Unknown = "ignore" })
			if _, err := let.judge(token); !isAbsent(err) {
				t.Errorf("not ignored: %v", err)
			}
		})
	}
	r := newRig(t)
	if !strings.HasPrefix(r.route.Challenge, `Bearer realm="https://gw.test"`) || strings.ContainsAny(r.route.Challenge, "\r\n") {
		t.Errorf("JWT-41 challenge %q", r.route.Challenge)
	}
	if _, err := r.route.Last.Authenticate(request()); !isAbsent(err) {
		t.Errorf("a request without a token: %v", err)
	}
}

// TestNew: settings that no route can be made of (JWT-35, SSRF-12).
func TestNew(t *testing.T) {
	for name, change := range map[string]func(*setup){
		"JWT-35 no audiences":          func(s *setup) { s.first().Audiences = nil },
		"SSRF-12 dots":                 func(s *setup) { s.first().Issuer = "https://idp.test/../evil" },
		"SSRF-12 query":                func(s *setup) { s.first().Issuer = "https://idp.test/?x=" },
		"SSRF-12 fragment":             func(s *setup) { s.first().Issuer = "https://idp.test/#" },
		"SSRF-12 user":                 func(s *setup) { s.first().Issuer = "https://user:pw@idp.test" },
		"SSRF-12 trailing dot":         func(s *setup) { s.first().Issuer = "https://idp.test." },
		"http":                         func(s *setup) { s.first().Issuer = "http://idp.test" },
		"a CA that is not there":       func(s *setup) { s.first().TLS.CAFile = "/nowhere/ca.pem" },
		"a client key that is missing": func(s *setup) { asks(s); s.first().Introspection.ClientKeyFile = "/nowhere/key.pem" },
	} {
		t.Run(name, func(t *testing.T) {
			s := newRig(t).setup
			change(&s)
			if _, err := New("robots", s.settings, s.deps); err == nil || !strings.Contains(err.Error(), "robots") {
				t.Errorf("%v", err)
			}
		})
	}
	s := newRig(t).setup
	s.deps.Log = nil
	if way, err := New("robots", s.settings, s.deps); err != nil || way.Name != "robots" || way.Mount == nil || way.Ready == nil {
		t.Errorf("%+v, %v", way, err)
	}
	s.settings.Exchange.Disabled = true
	if way, err := New("robots", s.settings, s.deps); err != nil || way.Mount != nil || strings.Contains(way.Challenge, "resource_metadata") {
		t.Errorf("the endpoint is the application's: %+v, %v", way, err)
	}
}

// typed is a good token of a type.
func typed(typ any) string { return authntest.JWT(es256(), m{"typ": typ}, claims(nil)) }

// TestSettingsAreLeft: making a route changes nothing that it was given.
func TestSettingsAreLeft(t *testing.T) {
	types := []string{"application/AT+JWT", "None"}
	r := newRig(t, func(s *setup) { s.first().Types = types })
	r.accepted(typed("at+jwt"))
	r.accepted(typed("APPLICATION/at+JWT"))
	r.accepted(typed(nil))
	r.rejected(typed("JWT"), "kind that is not accepted")
	if types[0] != "application/AT+JWT" || types[1] != "None" {
		t.Errorf("%v", types)
	}
}

// TestKeyHeaders: a key that no route takes is not nothing, and a header that says
// nothing is.
func TestKeyHeaders(t *testing.T) {
	r := newRig(t)
	for name, header := range map[string]http.Header{
		"wandb-api-key":   {"Wandb-Api-Key": {strings.Repeat("a1", 20)}},
		"x-wandb-api-key": {"Authorization": {""}, "X-Wandb-Api-Key": {"x"}},
	} {
		req := request()
		req.Header = header
		if _, err := judge(r.b, req); !isRejected(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	req := request("", " ")
	req.Header["Wandb-Api-Key"] = []string{" "}
	if _, err := judge(r.b, req); !isAbsent(err) {
		t.Errorf("blank: %v", err)
	}
}

// TestWhoseRefusal: each line about a refusal names its request, and there is one.
func TestWhoseRefusal(t *testing.T) {
	r := newRig(t)
	req := request("Bearer " + with(m{"aud": "another"}))
	req.Header.Set("X-Request-Id", "req-1")
	req.RemoteAddr = "192.0.2.7:4711"
	if _, err := judge(r.b, req); !isRejected(err) {
		t.Fatal(err)
	}
	r.logged(`"check":"aud"`, `"request_id":"req-1"`, `"remote":"192.0.2.7"`)
	if w := r.post(tokenPath, url.Values{"grant_type": {grantJWT}, "assertion": {with(m{"aud": "a third"})}}.Encode(), "X-Request-Id", "req-2"); w.Code != http.StatusBadRequest {
		t.Fatal(w.Code)
	}
	r.logged(`"request_id":"req-2"`)
	if n := strings.Count(r.log.String(), "req-2"); n != 1 {
		t.Errorf("%d lines about one refusal:\n%s", n, r.log)
	}
	if w := r.post(tokenPath, "grant_type=password", "X-Request-Id", "req-3"); w.Code != http.StatusBadRequest {
		t.Fatal(w.Code)
	}
	r.logged(`"request_id":"req-3"`, "unsupported_grant_type")
}
