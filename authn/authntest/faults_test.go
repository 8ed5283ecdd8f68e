package authntest_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/authn/authntest"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// honest is a party with somebody signed in and no fault yet.
func honest(t *testing.T) *party {
	t.Helper()
	p := newParty(t, authntest.IssuerOptions{Clients: []authntest.Client{
		{ID: "rp", Secret: "the-secret", RedirectURIs: []string{redirectURI}, PostLogoutURIs: []string{bye}}}})
	p.issuer.AutoLogin("1001")
	return p
}

func (p *party) breaks(e authntest.Endpoint, f authntest.Fault) {
	p.issuer.Set(func(all *authntest.Faults) { all.At[e] = f })
}

func (p *party) mend() { p.issuer.Set(func(f *authntest.Faults) { *f = authntest.Faults{} }) }

// A token that says something wrong is one that an honest relying party refuses.
func TestClaimFaults(t *testing.T) {
	p := honest(t)
	set := func(name string, value any) func(map[string]any) {
		return func(c map[string]any) { c[name] = value }
	}
	for name, change := range map[string]func(map[string]any){
		"aud":      set("aud", "other"),
		"aud null": set("aud", nil),
		"aud []":   set("aud", []string{}),
		"iss":      set("iss", p.issuer.URL()+"/"),
		"no exp":   func(c map[string]any) { delete(c, "exp") },
		"exp past": set("exp", time.Now().Add(-time.Hour).Unix()),
		"nbf":      set("nbf", time.Now().Add(time.Hour).Unix()),
	} {
		p.issuer.Set(func(f *authntest.Faults) {
			f.Claims = func(_ authntest.Answer, claims map[string]any) { change(claims) }
		})
		if _, err := p.verify(rawIDToken(p.signIn())); err == nil {
			t.Errorf("%s: believed", name)
		}
	}
	p.mend()
	if _, err := p.verify(rawIDToken(p.signIn())); err != nil {
		t.Errorf("mended: %v", err)
	}
}

// Every kind of answer can lie on its own.
func TestClaimFaultsByAnswer(t *testing.T) {
	p := newParty(t, authntest.IssuerOptions{SignedUserinfo: true})
	p.issuer.AutoLogin("1001")
	p.issuer.Set(func(f *authntest.Faults) {
		f.Claims = func(a authntest.Answer, claims map[string]any) { claims["sub"] = string(a) }
	})
	got := p.answer(param("response_type", "id_token"), param("response_mode", "form_post"), oidc.Nonce("n"))
	if sub := payload(t, got.Get("id_token"))["sub"]; sub != "authorize" {
		t.Errorf("authorization response: %v", sub)
	}
	token := p.signIn()
	if sub := payload(t, rawIDToken(token))["sub"]; sub != "code" {
		t.Errorf("code: %v", sub)
	}
	fresh, err := p.refresh(token)
	if err != nil {
		t.Fatal(err)
	}
	if sub := payload(t, rawIDToken(fresh))["sub"]; sub != "refresh" {
		t.Errorf("refresh: %v", sub)
	}
	info, err := p.provider.UserInfo(p.ctx(), oauth2.StaticTokenSource(fresh))
	if err != nil || info.Subject != "userinfo" {
		t.Errorf("userinfo: %v %v", info, err)
	}
}

// A fault for one kind of answer leaves the others honest.
func TestOnly(t *testing.T) {
	p := honest(t)
	p.issuer.Set(func(f *authntest.Faults) { f.Only, f.Signature = authntest.FromRefresh, authntest.Corrupt })
	token := p.signIn()
	if _, err := p.verify(rawIDToken(token)); err != nil {
		t.Errorf("for a code: %v", err)
	}
	fresh, err := p.refresh(token)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.verify(rawIDToken(fresh)); err == nil {
		t.Error("for a refresh token: believed")
	}
}

func TestHashFaults(t *testing.T) {
	p := honest(t)
	for name, change := range map[string]func(map[string]any){
		"wrong":   func(c map[string]any) { c["at_hash"] = "AAAAAAAAAAAAAAAAAAAAAA" },
		"missing": func(c map[string]any) { delete(c, "at_hash") },
	} {
		p.issuer.Set(func(f *authntest.Faults) {
			f.Claims = func(_ authntest.Answer, claims map[string]any) { change(claims) }
		})
		token := p.signIn()
		id, err := p.verify(rawIDToken(token))
		if err != nil {
			t.Fatal(err)
		}
		if err := id.VerifyAccessToken(token.AccessToken); err == nil {
			t.Errorf("at_hash %s: believed", name)
		}
	}
}

func TestSignatureFaults(t *testing.T) {
	for _, algorithm := range []string{"RS256", "ES256", "EdDSA"} {
		p := newParty(t, authntest.IssuerOptions{Keys: []authntest.Key{authntest.NewKey(algorithm)}})
		p.issuer.AutoLogin("1001")
		for s, alg := range map[authntest.Signature]string{
			authntest.Corrupt: algorithm, authntest.ForeignKey: algorithm, authntest.Unsigned: "none",
			authntest.HMACSecret: "HS256", authntest.HMACPublicKey: "HS256", authntest.HMACEmpty: "HS256",
		} {
			p.issuer.Set(func(f *authntest.Faults) { f.Signature = s })
			raw := rawIDToken(p.signIn())
			if h := header(t, raw); h["alg"] != alg || h["kid"] != p.issuer.Keys()[0].ID {
				t.Errorf("%s %d: header %v", algorithm, s, h)
			}
			if _, err := p.verify(raw); err == nil {
				t.Errorf("%s %d: believed", algorithm, s)
			}
			if unsigned := strings.HasSuffix(raw, "."); unsigned != (s == authntest.Unsigned) {
				t.Errorf("%s %d: %s", algorithm, s, raw)
			}
		}
	}
}

// The header may lie while the signature over it is the key's own.
func TestHeaderFaults(t *testing.T) {
	p := honest(t)
	p.issuer.Set(func(f *authntest.Faults) {
		f.Header = func(_ authntest.Answer, h map[string]any) { h["typ"], h["kid"] = "logout+jwt", "nope" }
	})
	raw := rawIDToken(p.signIn())
	if h := header(t, raw); h["typ"] != "logout+jwt" || h["kid"] != "nope" || h["alg"] != "ES256" {
		t.Errorf("header %v", h)
	}
	if _, err := p.verify(raw); err == nil {
		t.Error("an unknown kid is believed")
	}
}

func TestNoKid(t *testing.T) {
	p := honest(t)
	p.issuer.Set(func(f *authntest.Faults) { f.NoKid = true })
	p.issuer.SetKeys(p.issuer.Keys()[0], authntest.NewKey("ES256"))
	raw := rawIDToken(p.signIn())
	if _, ok := header(t, raw)["kid"]; ok {
		t.Error("the token has a kid")
	}
	if _, body := p.get(p.issuer.URL() + "/jwks"); strings.Contains(body, `"kid"`) || strings.Count(body, `"kty"`) != 2 {
		t.Errorf("keys: %s", body)
	}
	if _, err := p.verify(raw); err != nil {
		t.Errorf("a key without a name: %v", err)
	}
}

// Payload and Compact have what a map of claims can't say.
func TestRawTokenFaults(t *testing.T) {
	p := honest(t)
	p.issuer.Set(func(f *authntest.Faults) {
		f.Payload = func(_ authntest.Answer, payload []byte) []byte {
			return append(payload[:len(payload)-1], `,"sub":"1002"}`...)
		}
	})
	if got := rawIDToken(p.signIn()); strings.Count(decodePart(t, got), `"sub"`) != 2 {
		t.Errorf("no name is there twice: %s", decodePart(t, got))
	}
	p.issuer.Set(func(f *authntest.Faults) {
		f.Payload = nil
		f.Compact = func(_ authntest.Answer, token string) string { return token + "=" }
	})
	if got := rawIDToken(p.signIn()); !strings.HasSuffix(got, "=") {
		t.Errorf("compact form: %s", got)
	}
}

func TestRedirectFaults(t *testing.T) {
	p := honest(t)
	p.issuer.Set(func(f *authntest.Faults) {
		f.Redirect = func(e authntest.Endpoint, params url.Values) {
			if e == authntest.Authorize {
				params.Del("state")
				params["iss"] = []string{"https://a.test", "https://b.test"}
				return
			}
			params.Set("state", "another")
		}
	})
	if got := p.answer(pkce()); got.Has("state") || len(got["iss"]) != 2 || !got.Has("code") {
		t.Errorf("authorization response: %v", got)
	}
	response, _ := p.endSession(url.Values{"id_token_hint": {rawIDToken(p.signIn())}, "post_logout_redirect_uri": {bye}, "state": {"s"}})
	if got := response.Header.Get("Location"); got != bye+"?state=another" {
		t.Errorf("logout: %s", got)
	}
	p.issuer.Set(func(f *authntest.Faults) { *f = authntest.Faults{ResponseMode: "form_post"} })
	if response, body := p.get(p.config.AuthCodeURL("s", pkce())); response.StatusCode != http.StatusOK || p.responseOf(response, body).Get("code") == "" {
		t.Errorf("response mode: %d", response.StatusCode)
	}
}

func TestOutages(t *testing.T) {
	p := honest(t)
	token := p.signIn()
	p.breaks(authntest.Token, authntest.Unavailable)
	var refused *oauth2.RetrieveError
	if _, err := p.refresh(token); !errors.As(err, &refused) || refused.Response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("unavailable: %v", err)
	}
	p.breaks(authntest.Token, authntest.Hangup)
	var answered *oauth2.RetrieveError
	if _, err := p.refresh(token); err == nil || errors.As(err, &answered) {
		t.Errorf("hangup: %v", err)
	}
	p.mend()
	if _, err := p.refresh(token); err != nil {
		t.Errorf("mended, and the token not used up: %v", err)
	}
	if got := p.issuer.Calls(authntest.Token); got < 4 {
		t.Errorf("%d calls: requests in an outage are not counted", got)
	}
	p.breaks(authntest.Everything, authntest.Unavailable)
	p.breaks(authntest.JWKS, nil)
	for path, want := range map[string]int{"/authorize": 503, "/userinfo": 503, "/jwks": 200} {
		if response, _ := p.get(p.issuer.URL() + path); response.StatusCode != want {
			t.Errorf("%s: %d", path, response.StatusCode)
		}
	}
}

// What the token endpoint can answer instead.
func TestAnswerFaults(t *testing.T) {
	p := honest(t)
	form := url.Values{"grant_type": {"refresh_token"}, "client_id": {"rp"}, "client_secret": {"the-secret"}}
	for name, c := range map[string]struct {
		fault  authntest.Fault
		status int
		check  func(body string) bool
	}{
		"refuse": {authntest.Refuse("temporarily_unavailable"), 400, func(b string) bool { return b == `{"error":"temporarily_unavailable"}` }},
		"html":   {authntest.Reply(200, "text/html", "<p>hello"), 200, func(b string) bool { return b == "<p>hello" }},
		"send":   {authntest.SendTo(307, "https://evil.test/"), 307, func(b string) bool { return b == "" }},
		"no id_token": {authntest.EditJSON(func(d map[string]any) { delete(d, "id_token"); d["token_type"] = "mac" }), 200,
			func(b string) bool {
				return !strings.Contains(b, "id_token") && strings.Contains(b, `"token_type":"mac"`)
			}},
		"truncate": {authntest.Truncate, 200, func(b string) bool { return strings.HasPrefix(b, `{"access_token"`) && !strings.HasSuffix(b, "}") }},
		"twice":    {authntest.Duplicate, 200, func(b string) bool { return strings.Count(b, `"id_token":`) == 2 && strings.HasSuffix(b, "}") }},
		"pad":      {authntest.Pad(1 << 20), 200, func(b string) bool { return len(b) > 1<<20 && strings.HasSuffix(b, "}") }},
		"drip":     {authntest.Drip(0), 200, func(b string) bool { return strings.HasSuffix(b, "}") }},
		"delay":    {authntest.Delay(time.Nanosecond), 200, func(b string) bool { return strings.HasSuffix(b, "}") }},
	} {
		p.mend()
		form.Set("refresh_token", p.signIn().RefreshToken)
		p.breaks(authntest.Token, c.fault)
		response, body := p.post(p.issuer.URL()+"/token", form)
		if response.StatusCode != c.status || !c.check(body) {
			t.Errorf("%s: %d, %d bytes: %.200s", name, response.StatusCode, len(body), body)
		}
	}
	if got := p.issuer.Last(authntest.Token).PostForm.Get("grant_type"); got != "refresh_token" {
		t.Errorf("the last request: %s", got)
	}
}

// A faulty answer keeps the honest one's status and header.
func TestEditKeepsStatus(t *testing.T) {
	p := honest(t)
	for _, fault := range []authntest.Fault{authntest.Pad(1), authntest.Drip(0), authntest.Duplicate, authntest.EditJSON(func(map[string]any) {})} {
		p.breaks(authntest.Userinfo, fault)
		if response, _ := p.get(p.issuer.URL() + "/userinfo"); response.StatusCode != http.StatusUnauthorized ||
			response.Header.Get("WWW-Authenticate") == "" || response.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%d %v", response.StatusCode, response.Header)
		}
	}
	for _, fault := range []authntest.Fault{authntest.Duplicate, authntest.EditJSON(func(map[string]any) {})} {
		p.breaks(authntest.Home, fault)
		if response, body := p.get(p.issuer.URL() + "/"); response.StatusCode != http.StatusOK || !strings.Contains(body, "<h1>") {
			t.Errorf("what is no JSON is changed: %d %s", response.StatusCode, body)
		}
	}
}

func TestDiscoveryFaults(t *testing.T) {
	p := honest(t)
	p.breaks(authntest.Discovery, authntest.EditJSON(func(doc map[string]any) { doc["issuer"] = p.issuer.URL() + "/" }))
	if _, err := oidc.NewProvider(p.ctx(), p.issuer.URL()); err == nil {
		t.Error("another issuer's document is believed")
	}
	p.breaks(authntest.JWKS, authntest.EditJSON(func(doc map[string]any) {
		doc["keys"].([]any)[0].(map[string]any)["use"] = "enc"
	}))
	if _, body := p.get(p.issuer.URL() + "/jwks"); !strings.Contains(body, `"use":"enc"`) {
		t.Errorf("keys: %s", body)
	}
}

func TestUserinfoFaults(t *testing.T) {
	p := honest(t)
	token := p.signIn()
	for name, fault := range map[string]authntest.Fault{
		"array": authntest.Reply(200, "application/json", `[{"sub":"1001"}]`),
		"html":  authntest.Reply(200, "text/html", "<p>"),
	} {
		p.breaks(authntest.Userinfo, fault)
		if _, err := p.provider.UserInfo(p.ctx(), oauth2.StaticTokenSource(token)); err == nil {
			t.Errorf("%s: believed", name)
		}
	}
	p.breaks(authntest.Userinfo, authntest.EditJSON(func(doc map[string]any) { doc["sub"] = "1002" }))
	if info, err := p.provider.UserInfo(p.ctx(), oauth2.StaticTokenSource(token)); err != nil || info.Subject != "1002" {
		t.Errorf("other sub: %v %v", info, err)
	}
}

func TestFaultsForSomeRequests(t *testing.T) {
	p := honest(t)
	p.breaks(authntest.Token, authntest.OnRefresh(authntest.Refuse("invalid_grant")))
	token := p.signIn()
	wantError(t, "invalid_grant")(p.refresh(token))
	p.breaks(authntest.Token, authntest.Times(2, authntest.Unavailable))
	for n, want := range []bool{false, false, true} {
		if _, err := p.refresh(token); (err == nil) != want {
			t.Errorf("request %d: %v", n, err)
		}
	}
}

// Hold keeps requests until the test lets them go, or the client leaves.
func TestHold(t *testing.T) {
	p := honest(t)
	release, arrived := make(chan struct{}), make(chan struct{})
	p.breaks(authntest.JWKS, authntest.When(func(*http.Request) bool {
		close(arrived)
		return true
	}, authntest.Hold(release)))
	answered := make(chan int)
	go func() {
		response, err := p.client.Get(p.issuer.URL() + "/jwks")
		if err != nil {
			answered <- 0
			return
		}
		_ = response.Body.Close()
		answered <- response.StatusCode
	}()
	<-arrived
	if p.issuer.Calls(authntest.JWKS) != 1 {
		t.Error("a request that is held is not counted")
	}
	select {
	case <-answered:
		t.Fatal("not held")
	default:
	}
	close(release)
	if got := <-answered; got != http.StatusOK {
		t.Errorf("after the release: %d", got)
	}
}

// A client that gives up gives up at once, and so does the provider.
func TestSlowFaultsEndWithTheClient(t *testing.T) {
	for name, fault := range map[string]authntest.Fault{
		"delay": authntest.Delay(time.Hour), "hold": authntest.Hold(nil), "drip": authntest.Drip(time.Hour),
	} {
		issuer := authntest.NewIssuer(authntest.IssuerOptions{URL: "http://id.test", Keys: []authntest.Key{authntest.NewKey("EdDSA")}})
		issuer.Set(func(f *authntest.Faults) { f.At[authntest.JWKS] = fault })
		request, err := http.NewRequestWithContext(canceled(t), "GET", "http://id.test/jwks", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		w := &answer{header: http.Header{}}
		issuer.ServeHTTP(w, request)
		if w.Len() > 1 {
			t.Errorf("%s: %d bytes", name, w.Len())
		}
	}
}

type answer struct {
	header http.Header
	bytes.Buffer
}

func (a *answer) Header() http.Header { return a.header }
func (a *answer) WriteHeader(int)     {}

// Faults may be set while requests are served (run with -race), and a fault may
// ask the provider.
func TestSetWhileServing(t *testing.T) {
	p := honest(t)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 20 {
				p.issuer.Set(func(f *authntest.Faults) {
					f.At[authntest.JWKS] = authntest.Pad(1)
					f.Claims = func(_ authntest.Answer, c map[string]any) { c["n"] = p.issuer.Calls(authntest.Token) }
				})
				response, err := p.client.Get(p.issuer.URL() + "/jwks")
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
			}
		})
	}
	all.Wait()
	if n := payload(t, rawIDToken(p.signIn()))["n"]; n != 1.0 {
		t.Errorf("n = %v", n)
	}
}
