package oidc

import (
	"context"
	"encoding/json/v2"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
	"gatehouse/config"
	"gatehouse/session"
)

const backChannelPath = "/.gatehouse/backchannel-logout/main"

// tell posts a body to a back-channel path, as a provider's server does.
func (r *rig) tell(method, target, contentType, body string) *httptest.ResponseRecorder {
	r.t.Helper()
	req := httptest.NewRequestWithContext(r.t.Context(), method, target, strings.NewReader(body))
	req.Header.Set("Content-Type", contentType)
	w := httptest.NewRecorder()
	r.mux.ServeHTTP(w, req)
	if got := w.Header().Get("Cache-Control"); got != "no-store" {
		r.t.Errorf("Cache-Control: %q", got)
	}
	return w
}

func (r *rig) logoutToken(token string) *httptest.ResponseRecorder {
	r.t.Helper()
	return r.tell(http.MethodPost, backChannelPath, "application/x-www-form-urlencoded", url.Values{"logout_token": {token}}.Encode())
}

// ignored asserts that a logout was refused, in the words of the specification,
// and that no session ended.
func (r *rig) ignored(w *httptest.ResponseRecorder, status int) {
	r.t.Helper()
	var doc map[string]string
	err := json.Unmarshal(w.Body.Bytes(), &doc)
	if w.Code != status || w.Header().Get("Content-Type") != "application/json" || err != nil || doc["error"] == "" {
		r.t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	if ended := r.ends.took(); len(ended) != 0 {
		r.t.Errorf("sessions were ended: %+v", ended)
	}
}

// followed asserts that a logout was followed and returns what was ended.
func (r *rig) followed(w *httptest.ResponseRecorder) authn.Logout {
	r.t.Helper()
	ended := r.ends.took()
	if w.Code != http.StatusOK || w.Body.Len() != 0 || len(ended) != 1 {
		r.t.Fatalf("%d %s: %+v\n%s", w.Code, w.Body, ended, r.log)
	}
	return ended[0]
}

func TestBackChannelLogout(t *testing.T) {
	for name, c := range map[string]struct {
		sub, sid string
		change   func(*setup)
		want     authn.Logout
	}{
		"somebody's session":     {"1001", "s1", nil, authn.Logout{Subject: "1001", SID: "s1"}},
		"all of somebody's":      {"1001", "", nil, authn.Logout{Subject: "1001"}},
		"a session":              {"", "s1", nil, authn.Logout{SID: "s1"}},
		"with a subject prefix":  {"1001", "", prefixed, authn.Logout{Subject: "corp:1001"}},
		"known by another claim": {"1001", "s1", byUsername, authn.Logout{SID: "s1"}},
		"a public client":        {"1001", "s1", public, authn.Logout{Subject: "1001", SID: "s1"}},
		"implicit":               {"1001", "s1", implicit, authn.Logout{Subject: "1001", SID: "s1"}},
		"an old specification's": {"1001", "", without("", "exp", "").faulty, authn.Logout{Subject: "1001"}},
		"of no type":             {"1001", "", inHeader("", "", func(h map[string]any) { delete(h, "typ") }).faulty, authn.Logout{Subject: "1001"}},
		"of type JWT":            {"1001", "", inHeader("", "", func(h map[string]any) { h["typ"] = "JWT" }).faulty, authn.Logout{Subject: "1001"}},
		"of a whole media type":  {"1001", "", inHeader("", "", func(h map[string]any) { h["typ"] = "application/logout+jwt" }).faulty, authn.Logout{Subject: "1001"}},
		"LGO-08 aud list of one": {"1001", "", set("", "aud", []string{"gw"}, "").faulty, authn.Logout{Subject: "1001"}},
		"LGO-09 more events": {"1001", "", set("", "events", map[string]any{logoutEvent: map[string]any{"why": "left"}, "https://other.test/": true}, "").faulty,
			authn.Logout{Subject: "1001"}},
		"a while ago": {"1001", "", set("", "iat", ago(10*time.Minute), "").faulty, authn.Logout{Subject: "1001"}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.change == nil {
				c.change = func(*setup) {}
			}
			r := newRig(t, c.change)
			got := r.followed(r.logoutToken(r.issuer.LogoutToken("gw", c.sub, c.sid)))
			if off := time.Since(got.At); off < 0 || off > logoutAge+time.Minute {
				t.Errorf("at %s", got.At)
			}
			c.want.Issuer, c.want.At = issuerURL, got.At
			if got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
			r.logged("signed out by the provider")
		})
	}
}

func prefixed(s *setup) { s.oidc.SubjectPrefix = "corp:" }

func byUsername(s *setup) { s.oidc.Claims.Subject = "preferred_username" }

// faulty makes a setup of a lie.
func (l lie) faulty(s *setup) { s.faults = l.fault }

// TestBackChannelLies: logout tokens that end nothing.
func TestBackChannelLies(t *testing.T) {
	event := func(v any) map[string]any { return map[string]any{logoutEvent: v} }
	for _, l := range []lie{
		signed("LGO-06 alg none", authntest.Unsigned, "not base64url"),
		compact("LGO-06 alg none with a signature", `algorithm \"none\"`, func(s string) string {
			_, rest, _ := strings.Cut(s, ".")
			return "eyJhbGciOiJub25lIn0." + rest
		}),
		signed("LGO-07 HS256 with the secret", authntest.HMACSecret, `algorithm \"HS256\"`),
		signed("LGO-07 HS256 with the public key", authntest.HMACPublicKey, `algorithm \"HS256\"`),
		signed("LGO-07 HS256 with nothing", authntest.HMACEmpty, `algorithm \"HS256\"`),
		signed("LGO-07 another's key", authntest.ForeignKey, "signature is not the issuer's"),
		signed("LGO-07 corrupt", authntest.Corrupt, "signature is not the issuer's"),
		inHeader("LGO-07 unknown kid", "signature is not the issuer's", func(h map[string]any) { h["kid"] = "unknown" }),
		set("LGO-08 iss another", "iss", "https://other.test", "issuer is"),
		set("LGO-08 iss with a slash", "iss", issuerURL+"/", "issuer is"),
		without("LGO-08 iss absent", "iss", "issuer is"),
		set("LGO-08 aud another", "aud", "other", "audience is"),
		set("LGO-08 aud with another", "aud", []string{"gw", "other"}, "extraAudiences"),
		set("LGO-08 aud twice", "aud", []string{"other", "gw"}, "extraAudiences"),
		without("LGO-08 aud absent", "aud", "missing"),
		without("LGO-09 no events", "events", "not an object"),
		set("LGO-09 empty events", "events", map[string]any{}, "not about a logout"),
		set("LGO-09 another event", "events", map[string]any{"https://schemas.openid.net/secevent/risc/event-type/account-disabled": map[string]any{}}, "not about a logout"),
		set("LGO-09 https for http", "events", map[string]any{strings.Replace(logoutEvent, "http:", "https:", 1): map[string]any{}}, "not about a logout"),
		set("LGO-09 events is text", "events", logoutEvent, "not an object"),
		set("LGO-09 events is a list", "events", []string{logoutEvent}, "not an object"),
		set("LGO-09 the event is true", "events", event(true), "not about a logout"),
		set("LGO-09 the event is text", "events", event(""), "not about a logout"),
		set("LGO-09 the event is null", "events", event(nil), "not about a logout"),
		set("LGO-10 nonce", "nonce", "n", "nonce"),
		set("LGO-10 nonce null", "nonce", nil, "nonce"),
		claim("LGO-11 neither sub nor sid", "neither who nor which", func(c map[string]any) { delete(c, "sub"); delete(c, "sid") }),
		claim("LGO-11 both null", "can't name anything", func(c map[string]any) { c["sub"], c["sid"] = nil, nil }),
		set("LGO-11 sid number", "sid", 7, "not a string"),
		set("LGO-11 sid empty", "sid", "", "can't name anything"),
		set("LGO-11 sid long", "sid", strings.Repeat("s", 256), "can't name anything"),
		set("LGO-11 sub empty", "sub", "", "can't name anything"),
		set("LGO-11 sub list", "sub", []string{"1001"}, "not a string"),
		set("LGO-11 sub with a line break", "sub", "1001\n", "can't name anything"),
		inHeader("LGO-13 an access token's type", "another kind of token", func(h map[string]any) { h["typ"] = "at+jwt" }),
		inHeader("LGO-13 another event's type", "another kind of token", func(h map[string]any) { h["typ"] = "secevent+jwt" }),
		without("no iat", "iat", `"iat\" is missing`),
		set("iat ahead", "iat", ago(-2*time.Minute), "in the future"),
		set("iat old", "iat", ago(12*time.Minute), "long ago"),
		set("expired", "exp", ago(2*time.Minute), "expired"),
		set("exp text", "exp", "tomorrow", "not a time"),
		set("nbf ahead", "nbf", ago(-2*time.Minute), "not valid before"),
		without("no jti", "jti", `"jti\" is missing`),
		set("jti empty", "jti", "", `"jti\" is missing`),
		set("jti number", "jti", 7, "not a string"),
		payload("duplicate names", "duplicate name", func(p []byte) []byte { return append([]byte(`{"sub":"1002",`), p[1:]...) }),
		inHeader("crit", "not supported", func(h map[string]any) { h["crit"] = []string{"exp"} }),
	} {
		t.Run(l.name, func(t *testing.T) {
			r := newRig(t)
			r.issuer.Set(l.fault)
			r.ignored(r.logoutToken(r.issuer.LogoutToken("gw", "1001", "s1")), http.StatusBadRequest)
			r.logged(l.log)
		})
	}
	t.Run("LGO-07 an algorithm that the settings leave out", func(t *testing.T) {
		r := newRig(t, func(s *setup) {
			s.oidc.SigningAlgorithms = []string{"RS256"}
			s.issuer.Keys = []authntest.Key{rs256(), es256()}
		})
		r.followed(r.logoutToken(r.issuer.LogoutToken("gw", "1001", "")))
		r.issuer.SetKeys(es256(), rs256())
		r.ignored(r.logoutToken(r.issuer.LogoutToken("gw", "1001", "")), http.StatusBadRequest)
	})
	t.Run("LGO-11 sub where people are known by another claim", func(t *testing.T) {
		r := newRig(t, byUsername)
		r.ignored(r.logoutToken(r.issuer.LogoutToken("gw", "1001", "")), http.StatusBadRequest)
		r.logged("preferred_username")
	})
	t.Run("a sub that looks like another route's", func(t *testing.T) {
		r := newRig(t, func(s *setup) { s.deps.ForeignPrefixes = []string{"corp:"} })
		r.ignored(r.logoutToken(r.issuer.LogoutToken("gw", "corp:1001", "")), http.StatusBadRequest)
	})
}

// TestOtherTokensEndNothing: LGO-13. A person's own tokens are no logout tokens.
func TestOtherTokensEndNothing(t *testing.T) {
	r, p := signedIn(t)
	r.ignored(r.logoutToken(readGrant(t, p).IDToken), http.StatusBadRequest)
	r.issuer.Set(noIDToken)
	for name, claims := range map[string]map[string]any{
		"LGO-13 access token": {"scope": "openid", "client_id": "gw"},
		"LGO-13 ID token":     {"nonce": "n", "auth_time": ago(0)},
	} {
		for typ, claims := range map[any]map[string]any{"at+jwt": claims, "JWT": claims, nil: claims} {
			claims["iss"], claims["aud"], claims["sub"], claims["jti"] = issuerURL, "gw", "1001", random()
			claims["iat"], claims["exp"] = ago(0), ago(-time.Hour)
			r.ignored(r.logoutToken(authntest.JWT(es256(), map[string]any{"typ": typ}, claims)), http.StatusBadRequest)
			if t.Failed() {
				t.Fatal(name, typ)
			}
		}
	}
}

func TestBackChannelTransport(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	r := newRig(t)
	r.issuer.Set(set("", "x", strings.Repeat("x", maxLogoutToken), "").fault)
	large := r.issuer.LogoutToken("gw", "1001", "")
	r.issuer.Set(func(f *authntest.Faults) { *f = authntest.Faults{} })
	good := "logout_token=" + r.issuer.LogoutToken("gw", "1001", "")
	for name, c := range map[string]struct {
		method, target, contentType, body string
		status                            int
	}{
		"LGO-14 GET":                    {"GET", backChannelPath + "?" + good, form, "", 405},
		"LGO-14 PUT":                    {"PUT", backChannelPath, form, good, 405},
		"LGO-14 JSON":                   {"POST", backChannelPath, "application/json", `{"logout_token":"x"}`, 400},
		"LGO-14 a form of another type": {"POST", backChannelPath, "text/plain", good, 400},
		"LGO-14 no type":                {"POST", backChannelPath, "", good, 400},
		"LGO-14 twice":                  {"POST", backChannelPath, form, good + "&" + good, 400},
		"LGO-14 none":                   {"POST", backChannelPath, form, "", 400},
		"LGO-14 empty":                  {"POST", backChannelPath, form, "logout_token=", 400},
		"LGO-14 in the URL":             {"POST", backChannelPath + "?" + good, form, "", 400},
		"LGO-14 in the URL too":         {"POST", backChannelPath + "?logout_token=x", form, good, 400},
		"LGO-14 large body":             {"POST", backChannelPath, form, good + "&x=" + strings.Repeat("x", maxLogoutForm), 400},
		"LGO-14 large token":            {"POST", backChannelPath, form, "logout_token=" + large, 400},
		"LGO-14 no form":                {"POST", backChannelPath, form, good + "&%", 400},
		"not a token":                   {"POST", backChannelPath, form, "logout_token=x", 400},
	} {
		t.Run(name, func(t *testing.T) {
			w := r.tell(c.method, c.target, c.contentType, c.body)
			r.ignored(w, c.status)
			if allow := w.Header().Get("Allow"); (allow == "POST") != (c.status == 405) {
				t.Errorf("Allow: %q", allow)
			}
		})
	}
	r.followed(r.tell("POST", backChannelPath, form+"; charset=utf-8", "more=x&"+good))
}

// TestBackChannelReplay: a token is good once; one that could not be followed is
// good still.
func TestBackChannelReplay(t *testing.T) {
	r := newRig(t)
	token := r.issuer.LogoutToken("gw", "1001", "s1")
	r.ends.fails(errors.New("redis: i/o timeout"))
	w := r.logoutToken(token)
	r.ignored(w, http.StatusServiceUnavailable)
	if w.Header().Get("Retry-After") == "" || strings.Contains(w.Body.String(), "redis") {
		t.Errorf("%v %s", w.Header(), w.Body)
	}
	r.ends.fails(nil)
	r.followed(r.logoutToken(token))
	r.ignored(r.logoutToken(token), http.StatusBadRequest)
	r.logged("used before")
	r.followed(r.logoutToken(r.issuer.LogoutToken("gw", "1001", "s1")))
}

// TestBackChannelOutage: what can't be found out is neither followed nor refused.
func TestBackChannelOutage(t *testing.T) {
	unavailable := func(t *testing.T, r *rig) {
		t.Helper()
		w := r.logoutToken(r.issuer.LogoutToken("gw", "1001", "s1"))
		r.ignored(w, http.StatusServiceUnavailable)
		if w.Header().Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	for name, e := range map[string]authntest.Endpoint{"no metadata": authntest.Discovery, "no keys": authntest.JWKS} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.issuer.Set(func(f *authntest.Faults) { f.At[e] = authntest.Unavailable })
			unavailable(t, r)
		})
	}
	t.Run("no marks to read", func(t *testing.T) {
		store := &markStore{Store: session.NewMemory(), get: errors.New("gone")}
		r := newRig(t, func(s *setup) { s.deps.Store = store })
		unavailable(t, r)
	})
	t.Run("no marks to set", func(t *testing.T) {
		store := &markStore{Store: session.NewMemory(), add: errors.New("gone")}
		r := newRig(t, func(s *setup) { s.deps.Store = store })
		token := r.issuer.LogoutToken("gw", "1001", "s1")
		if w := r.logoutToken(token); w.Code != http.StatusServiceUnavailable || len(r.ends.took()) != 1 {
			t.Errorf("%d", w.Code)
		}
		store.add = nil
		r.followed(r.logoutToken(token))
	})
	t.Run("the provider does not wait", func(t *testing.T) {
		r := newRig(t)
		r.followed(r.logoutToken(r.issuer.LogoutToken("gw", "1002", ""))) // metadata and keys are known now
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		body := url.Values{"logout_token": {r.issuer.LogoutToken("gw", "1001", "")}}.Encode()
		req := httptest.NewRequestWithContext(ctx, http.MethodPost, backChannelPath, strings.NewReader(body))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		r.mux.ServeHTTP(w, req)
		r.followed(w)
	})
}

// markStore fails to read or to add.
type markStore struct {
	session.Store
	get, add error
}

func (m *markStore) Get(ctx context.Context, key string) ([]byte, bool, error) {
	if m.get != nil {
		return nil, false, m.get
	}
	return m.Store.Get(ctx, key)
}

func (m *markStore) Add(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
	if m.add != nil {
		return false, m.add
	}
	return m.Store.Add(ctx, key, value, ttl)
}

// TestBackChannelScope: LGO-15. A provider ends what is its own, at its own path.
func TestBackChannelScope(t *testing.T) {
	r := newRig(t)
	other := authntest.NewIssuer(authntest.IssuerOptions{
		URL: "https://other.test", People: []authntest.Person{ada()}, Keys: []authntest.Key{authntest.NewKey("ES256")},
		Clients: []authntest.Client{{ID: "gw", Secret: "s3cret"}},
	})
	r.hosts["other.test"] = other
	mount := func(name string, change func(*config.OIDC)) {
		c, d := r.o.settings, r.deps
		change(&c)
		d.CallbackPath += "/" + name
		r.add(name, c, d).route("").Mount(r.mux)
	}
	at := func(name, token string) *httptest.ResponseRecorder {
		return r.tell(http.MethodPost, "/.gatehouse/backchannel-logout/"+name, "application/x-www-form-urlencoded", "logout_token="+token)
	}
	mount("second", func(c *config.OIDC) { c.Issuer = "https://other.test" })
	mount("third", func(c *config.OIDC) { c.ClientID = "another" })
	for _, i := range []*authntest.Issuer{other, r.issuer} { // one jti says nothing about another's
		i.Set(set("", "jti", "one", "").fault)
	}
	for token, name := range map[string]string{
		other.LogoutToken("gw", "1001", "s1"): "second", r.issuer.LogoutToken("gw", "1001", "s1"): "main", r.issuer.LogoutToken("another", "1001", "s1"): "third",
	} {
		for _, path := range []string{"main", "second", "third"} {
			if path != name {
				r.ignored(at(path, token), http.StatusBadRequest)
			}
		}
		if got := r.followed(at(name, token)); (got.Issuer == "https://other.test") != (name == "second") {
			t.Errorf("%s: %+v", name, got)
		}
		r.ignored(at(name, token), http.StatusBadRequest)
	}
}

// TestProofSaysWhichSession: what a logout token will name, at sign-in and after a
// renewal.
func TestProofSaysWhichSession(t *testing.T) {
	r, p := signedIn(t)
	if sids := r.issuer.SIDs("1001"); !slices.Equal(sids, []string{p.SID}) || time.Since(p.IssuedAt) > time.Minute || time.Since(p.IssuedAt) < -time.Second {
		t.Fatalf("sid %q of %q, issued at %s", p.SID, sids, p.IssuedAt)
	}
	renewed := func(fault func(*authntest.Faults)) authn.Proof {
		t.Helper()
		r.issuer.Set(func(f *authntest.Faults) {
			*f = authntest.Faults{At: map[authntest.Endpoint]authntest.Fault{}}
			fault(f)
		})
		next, err := r.route.Renew(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		if !next.IssuedAt.Equal(p.IssuedAt) {
			t.Errorf("issued at %s, was %s", next.IssuedAt, p.IssuedAt)
		}
		p.Grant = next.Grant
		return next
	}
	for name, fault := range map[string]func(*authntest.Faults){
		"no sid": without("", "sid", "").fault, "sid number": set("", "sid", 7, "").fault, "sid empty": set("", "sid", "", "").fault,
		"sid long": set("", "sid", strings.Repeat("s", 256), "").fault, "no ID token": noIDToken,
		"later": set("", "iat", ago(-30*time.Second), "").fault,
	} {
		if next := renewed(fault); next.SID != p.SID {
			t.Errorf("%s: sid %q, was %q", name, next.SID, p.SID)
		}
	}
	if next := renewed(set("", "sid", "another", "").fault); next.SID != "another" {
		t.Errorf("sid %q", next.SID)
	}
	for name, l := range map[string]lie{"none": without("", "sid", ""), "not usable": set("", "sid", []string{"s"}, "")} {
		r := newRig(t)
		r.issuer.Set(l.fault)
		r.landed(r.browser().signIn(""), "/")
		if p := r.starts.last(t); p.SID != "" || p.IssuedAt.IsZero() {
			t.Errorf("%s: sid %q, issued at %s", name, p.SID, p.IssuedAt)
		}
	}
}

// TestBackChannelAtOnce: of many of one token none does harm.
func TestBackChannelAtOnce(t *testing.T) {
	r := newRig(t)
	token := r.issuer.LogoutToken("gw", "1001", "s1")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if w := r.logoutToken(token); w.Code != http.StatusOK && w.Code != http.StatusBadRequest {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
	all.Wait()
	if len(r.ends.took()) == 0 {
		t.Error("nothing ended")
	}
}
