package bearer

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json/v2"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/audit"
	"gatehouse/authn/authntest"
	"gatehouse/session"
)

// answerOf reads a JSON answer and checks what holds of every one (TOK-18).
func answerOf(t *testing.T, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	h := w.Header()
	if h.Get("Cache-Control") != "no-store" || h.Get("Content-Type") != "application/json" || h.Get("Access-Control-Allow-Origin") != "" || h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("header %v", h)
	}
	doc := map[string]any{}
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
		t.Fatalf("%s: %v", w.Body, err)
	}
	return doc
}

// noToken asserts an error of RFC 6749, section 5.2, and that nothing was given.
func (r *rig) noToken(t *testing.T, w *httptest.ResponseRecorder, status int, code string) {
	t.Helper()
	doc := answerOf(t, w)
	if w.Code != status || doc["error"] != code || doc["access_token"] != nil {
		t.Errorf("%d %s, want %d %s", w.Code, w.Body, status, code)
	}
	// RFC 6749, section 5.2, on what may be in it.
	if said, ok := doc["error_description"].(string); !ok || said == "" || strings.ContainsFunc(said, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		t.Errorf("the description %q", doc["error_description"])
	}
	if status == http.StatusServiceUnavailable {
		if after, err := strconv.Atoi(w.Header().Get("Retry-After")); err != nil || after < 1 || after > 10 {
			t.Errorf("Retry-After %q", w.Header().Get("Retry-After"))
		}
	}
	if kept := r.store.keys("token:"); len(kept) > 0 {
		t.Errorf("a token is in the store: %v", kept)
	}
}

// TestSDK: WANDB 1.2, the bytes that its clients send.
func TestSDK(t *testing.T) {
	escaped := "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion="
	plain := "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion="
	token := good()
	for name, c := range map[string]struct {
		body    string
		headers []string
	}{
		"Go":                           {plain + token, []string{"User-Agent", "wandb-core"}},
		"Python":                       {escaped + token, []string{"User-Agent", "python-requests/2.32"}},
		"old Go, with the line break":  {plain + token + "\n", nil},
		"Python, with the line break":  {escaped + token + "%0A", nil},
		"a line break of Windows":      {escaped + token + "%0D%0A", nil},
		"everything percent-encoded":   {escaped + strings.ReplaceAll(token, ".", "%2E"), nil},
		"other order, more parameters": {"foo=bar&assertion=" + token + "&" + escaped[:len(escaped)-len("&assertion=")], nil},
		"an empty scope":               {plain + token + "&scope=", nil},
		"with a charset":               {plain + token, []string{"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"}},
		"beside Basic from ~/.netrc":   {plain + token, []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("user:"+strings.Repeat("a1", 20)))}},
		"beside a bad Bearer":          {plain + token, []string{"Authorization", "Bearer nonsense"}},
		"TOK-16 beside a client":       {plain + token + "&client_id=x&client_secret=y", nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			w := r.post(tokenPath, c.body, c.headers...)
			doc := answerOf(t, w)
			if w.Code != 200 || len(doc) != 3 || doc["token_type"] != "Bearer" {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			var typed struct {
				Token   string `json:"access_token"`
				Expires int    `json:"expires_in"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &typed); err != nil || typed.Expires != 3600 || !strings.Contains(w.Body.String(), `"expires_in":3600`) {
				t.Errorf("%+v, %v", typed, err)
			}
			if id := r.accepted(typed.Token); id.Access == "" || !sameIdentity(id, ada()) || time.Until(id.Expires) > time.Hour+slack {
				t.Errorf("%+v", id)
			}
			basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("api:"+typed.Token))
			if id, err := judge(r.b, request(basic)); err != nil || id.Subject != "1001" {
				t.Errorf("for an API key: %v", err)
			}
			if strings.Contains(r.log.String(), typed.Token) || strings.Contains(r.log.String(), token) || strings.Contains(r.store.dump(), typed.Token) {
				t.Error("TOK-30 the log or the store has the token")
			}
			r.logged("access token given", `"subject":"1001"`)
		})
	}
}

// TestIssued: TOK-14, what an access token is.
func TestIssued(t *testing.T) {
	r := newRig(t)
	first, second := r.issue(good()), r.issue(good())
	if first == second || !strings.HasPrefix(first, authn.TokenPrefix) || len(first) < 80 || strings.ContainsFunc(first, func(c rune) bool { return c <= ' ' || c > '~' }) {
		t.Errorf("%s, %s", first, second)
	}
	for _, known := range []string{first, first[len(authn.TokenPrefix):], "1001", "ada", "example.com"} {
		if strings.Contains(r.store.dump(), known) {
			t.Errorf("the store shows %q", known)
		}
	}
	// TOK-28: whatever was cut off, added or changed makes it nobody's.
	for n := range first {
		r.rejected(first[:n]+flip(first[n])+first[n+1:], "")
	}
	for _, changed := range []string{first[:len(first)-1], first + "A", first + "=", strings.ToLower(first), strings.ToUpper(first), "gh_at_", first[:len(first)/2] + second[len(second)/2:]} {
		r.rejected(changed, "")
	}
	before, _ := r.store.counts()
	r.rejected("gh_at_"+strings.Repeat("A", len(first)-6), "")
	if after, _ := r.store.counts(); after != before {
		t.Error("a token that was not signed here cost a trip to the store")
	}
	bubble(t, "little longer than it says", func(t *testing.T, r *rig) {
		token := r.issue(good())
		time.Sleep(time.Hour + slack - time.Second) // who counts from when the answer came may be late
		r.accepted(token)
		time.Sleep(time.Second)
		r.rejected(token, "")
	})
	bubble(t, "JWT-47 longer than its JWT, as the settings say", func(t *testing.T, r *rig) {
		token := r.issue(with(m{"exp": time.Now().Add(time.Minute).Unix()}))
		time.Sleep(50 * time.Minute)
		r.accepted(token)
	})
	t.Run("the store is down", func(t *testing.T) {
		b := r.replica()
		r.store.breaks("get")
		if _, err := judge(b, request("Bearer "+first)); !outage(err) {
			t.Errorf("%v", err)
		}
		r.store.breaks("")
		if _, err := judge(b, request("Bearer "+first)); err != nil {
			t.Errorf("an outage was remembered: %v", err)
		}
	})
	t.Run("a record on another's place", func(t *testing.T) {
		b, keys := r.replica(), r.store.keys("token:")
		one, two := r.store.data[keys[0]], r.store.data[keys[1]]
		_ = r.store.Set(t.Context(), keys[0], two, time.Hour)
		_ = r.store.Set(t.Context(), keys[1], one, time.Hour)
		for _, token := range []string{first, second} {
			if id, err := judge(b, request("Bearer "+token)); !isRejected(err) {
				t.Errorf("%+v, %v", id, err)
			}
		}
	})
}

// flip is another character of a token.
func flip(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

// TestRequests: TOK-01 to TOK-03, TOK-12 and TOK-19.
func TestRequests(t *testing.T) {
	grant, token := "grant_type="+grantJWT, good()
	ok := grant + "&assertion=" + token
	for name, c := range map[string]struct {
		body, code string
		status     int
		headers    []string
	}{
		"TOK-01 JSON":             {object(m{"grant_type": grantJWT, "assertion": token}), "invalid_request", 400, []string{"Content-Type", "application/json"}},
		"TOK-01 multipart":        {ok, "invalid_request", 400, []string{"Content-Type", "multipart/form-data; boundary=x"}},
		"TOK-01 no type":          {ok, "invalid_request", 400, []string{"Content-Type", ""}},
		"TOK-01 a broken type":    {ok, "invalid_request", 400, []string{"Content-Type", ";;"}},
		"TOK-02 nothing":          {"", "invalid_request", 400, nil},
		"TOK-02 no grant_type":    {"assertion=" + token, "invalid_request", 400, nil},
		"TOK-02 two grant_types":  {grant + "&" + ok, "invalid_request", 400, nil},
		"TOK-02 two assertions":   {ok + "&assertion=" + token, "invalid_request", 400, nil},
		"TOK-02 another twice":    {ok + "&x=1&x=2", "invalid_request", 400, nil},
		"TOK-02 no assertion":     {grant, "invalid_request", 400, nil},
		"TOK-02 empty assertion":  {grant + "&assertion=%20%0A", "invalid_request", 400, nil},
		"TOK-02 NUL":              {ok + "%00", "invalid_request", 400, nil},
		"TOK-02 NUL elsewhere":    {ok + "&x=%00", "invalid_request", 400, nil},
		"TOK-02 NUL in a second":  {ok + "&audience=a&audience=%00", "invalid_request", 400, nil},
		"TOK-02 broken escapes":   {ok + "&x=%zz", "invalid_request", 400, nil},
		"TOK-02 semicolons":       {ok + ";x=1", "invalid_request", 400, nil},
		"TOK-03 password":         {"grant_type=password&username=a&password=b", "unsupported_grant_type", 400, nil},
		"TOK-03 client":           {"grant_type=client_credentials", "unsupported_grant_type", 400, nil},
		"TOK-03 refresh":          {"grant_type=refresh_token&refresh_token=x", "unsupported_grant_type", 400, nil},
		"TOK-03 code":             {"grant_type=authorization_code&code=x", "unsupported_grant_type", 400, nil},
		"TOK-03 in another case":  {strings.Replace(ok, "jwt-bearer", "JWT-Bearer", 1), "unsupported_grant_type", 400, nil},
		"TOK-12 scope":            {ok + "&scope=admin+*", "invalid_scope", 400, nil},
		"TOK-12 a long scope":     {ok + "&scope=" + strings.Repeat("a", 10<<10), "invalid_scope", 400, nil},
		"TOK-19 64 KB":            {grant + "&assertion=" + strings.Repeat("a", 64<<10), "invalid_request", 413, nil},
		"TOK-19 more than a JWT":  {grant + "&assertion=eyJ" + strings.Repeat("a", 17<<10) + ".a.a", "invalid_grant", 400, nil},
		"TOK-04 aud of another":   {grant + "&assertion=" + with(m{"aud": gatewayURL + tokenPath + "/"}), "invalid_grant", 400, nil},
		"TOK-04 aud by Host":      {grant + "&assertion=" + with(m{"aud": "https://evil.test"}), "invalid_grant", 400, []string{"Host", "evil.test", "X-Forwarded-Host", "evil.test"}},
		"TOK-08 iss is ourselves": {grant + "&assertion=" + with(m{"iss": gatewayURL}), "invalid_grant", 400, nil},
		"TOK-15 our own token":    {grant + "&assertion=gh_at_abc", "invalid_grant", 400, nil},
		"an opaque token":         {grant + "&assertion=opaque", "invalid_grant", 400, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.noToken(t, r.post(tokenPath, c.body, c.headers...), c.status, c.code)
			if strings.Contains(r.log.String(), token) {
				t.Error("the log has the token")
			}
		})
	}
	r := newRig(t)
	r.noToken(t, r.post(tokenPath+"?x=1", ok), 400, "invalid_request")
	r.noToken(t, r.post(tokenPath+"?"+ok, ""), 400, "invalid_request")
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		w := httptest.NewRecorder()
		r.mux.ServeHTTP(w, httptest.NewRequest(method, tokenPath+"?"+ok, nil))
		if w.Code != http.StatusMethodNotAllowed {
			t.Errorf("TOK-01 %s: %d", method, w.Code)
		}
	}
	broken := httptest.NewRequest(http.MethodPost, tokenPath, iotest.ErrReader(errors.New("reset by peer")))
	broken.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	r.mux.ServeHTTP(w, broken)
	r.noToken(t, w, 400, "invalid_request")
	for range cap(r.b.exchange.places) {
		r.b.exchange.places <- struct{}{}
	}
	w = r.post(tokenPath, ok)
	r.noToken(t, w, 429, "slow_down")
	if w.Header().Get("Retry-After") != "1" {
		t.Errorf("%v", w.Header())
	}
	<-r.b.exchange.places
	if w = r.post(tokenPath, ok); w.Code != 200 || len(r.b.exchange.places) != cap(r.b.exchange.places)-1 {
		t.Errorf("TOK-19 %d, %d places taken", w.Code, len(r.b.exchange.places))
	}
}

// TestFinalOrNot: a client gives up at 4xx and comes again at 503.
func TestFinalOrNot(t *testing.T) {
	bubble(t, "the issuer's keys can't be had", func(t *testing.T, r *rig) {
		r.idp.Set(func(f *authntest.Faults) { f.At[authntest.Everything] = authntest.Unavailable })
		r.noToken(t, r.exchange(good()), 503, "temporarily_unavailable")
		r.logged(`"level":"ERROR"`, "answered 503")
	})
	bubble(t, "the issuer hangs", func(t *testing.T, r *rig) {
		r.idp.Set(func(f *authntest.Faults) { f.At[authntest.Everything] = authntest.Delay(time.Hour) })
		start := time.Now()
		r.noToken(t, r.exchange(good()), 503, "temporarily_unavailable")
		if waited := time.Since(start); waited > 9*time.Second { // the SDK waits ten
			t.Errorf("waited %v", waited)
		}
	})
	bubble(t, "the store can't be reached", func(t *testing.T, r *rig) {
		r.store.breaks("*")
		r.noToken(t, r.exchange(good()), 503, "temporarily_unavailable")
		r.logged("connection refused")
		if w := r.exchange(good()); strings.Contains(w.Body.String(), "refused") {
			t.Errorf("the cause is told: %s", w.Body)
		}
		r.store.breaks("")
		r.issue(good())
	})
	for _, verb := range []string{"*", "set", "add"} {
		bubble(t, "TOK-06 the store fails at "+verb+", and the client comes again", func(t *testing.T, r *rig) {
			token := with(m{"jti": "1"})
			r.store.breaks(verb)
			if w := r.exchange(token); w.Code != 503 {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			r.store.breaks("")
			r.issue(token)
		}, once)
	}
	t.Run("TOK-11 a refusal that is nobody's fault", func(t *testing.T) {
		r := newRig(t)
		w := httptest.NewRecorder()
		r.b.exchange.refuse(w, request(), tokenRequest{grant: grantJWT}.refusal(authn.ErrRejected))
		r.noToken(t, w, 400, "invalid_grant")
	})
}

// TestTokenExchange: RFC 8693.
func TestTokenExchange(t *testing.T) {
	base := func() url.Values {
		return url.Values{"grant_type": {grantExchange}, "subject_token": {good()}, "subject_token_type": {typePrefix + "jwt"}}
	}
	for name, c := range map[string]struct {
		set  url.Values
		code string
	}{
		"a JWT":                       {nil, ""},
		"an access token":             {url.Values{"subject_token_type": {typeAccessToken}}, ""},
		"an ID token":                 {url.Values{"subject_token_type": {typePrefix + "id_token"}}, ""},
		"for an access token":         {url.Values{"requested_token_type": {typeAccessToken}}, ""},
		"for us":                      {url.Values{"audience": {gatewayURL}, "resource": {gatewayURL + "/"}}, ""},
		"for us twice":                {url.Values{"audience": {gatewayURL, gatewayURL}}, ""},
		"no type":                     {url.Values{"subject_token_type": nil}, "invalid_request"},
		"a refresh token":             {url.Values{"subject_token_type": {typePrefix + "refresh_token"}}, "invalid_request"},
		"SAML":                        {url.Values{"subject_token_type": {typePrefix + "saml2"}}, "invalid_request"},
		"an actor":                    {url.Values{"actor_token": {"x"}}, "invalid_request"},
		"an actor's type":             {url.Values{"actor_token_type": {typePrefix + "jwt"}}, "invalid_request"},
		"for a JWT":                   {url.Values{"requested_token_type": {typePrefix + "jwt"}}, "invalid_request"},
		"for another audience":        {url.Values{"audience": {"https://evil.test"}}, "invalid_target"},
		"for another resource":        {url.Values{"resource": {"https://evil.test/"}}, "invalid_target"},
		"for us and another audience": {url.Values{"audience": {gatewayURL, "https://evil.test"}}, "invalid_target"},
		"no token":                    {url.Values{"subject_token": nil}, "invalid_request"},
		"a bad token":                 {url.Values{"subject_token": {authntest.JWT(foreign(), nil, claims(nil))}}, "invalid_request"},
		"TOK-12 a scope":              {url.Values{"scope": {"admin"}}, "invalid_scope"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			form := base()
			for k, v := range c.set {
				if form[k] = v; v == nil {
					form.Del(k)
				}
			}
			w := r.post(tokenPath, form.Encode())
			if c.code != "" {
				r.noToken(t, w, 400, c.code)
				return
			}
			doc := answerOf(t, w)
			if w.Code != 200 || doc["issued_token_type"] != typeAccessToken || len(doc) != 4 {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			r.accepted(doc["access_token"].(string))
		})
	}
}

// TestMetadata: RFC 8414 and RFC 9728.
func TestMetadata(t *testing.T) {
	r := newRig(t)
	get := func(path string) map[string]any {
		w := httptest.NewRecorder()
		req := httptest.NewRequest(http.MethodGet, path, nil)
		req.Host = "evil.test"
		r.mux.ServeHTTP(w, req)
		if w.Code != 200 || strings.Contains(w.Body.String(), "evil.test") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
		return answerOf(t, w)
	}
	server := get("/.well-known/oauth-authorization-server")
	if server["issuer"] != gatewayURL || server["token_endpoint"] != gatewayURL+tokenPath || server["revocation_endpoint"] != gatewayURL+"/.gatehouse/revoke" ||
		!slices.Contains(server["grant_types_supported"].([]any), any(grantJWT)) {
		t.Errorf("%v", server)
	}
	resource := get("/.well-known/oauth-protected-resource")
	if resource["resource"] != gatewayURL || !slices.Equal(resource["authorization_servers"].([]any), []any{gatewayURL}) {
		t.Errorf("%v", resource)
	}
	if !strings.Contains(r.route.Challenge, `resource_metadata="`+gatewayURL+`/.well-known/oauth-protected-resource"`) {
		t.Errorf("JWT-41 %s", r.route.Challenge)
	}
	for _, endpoint := range []string{"token_endpoint", "revocation_endpoint"} { // they are there
		if w := r.post(strings.TrimPrefix(server[endpoint].(string), gatewayURL), ""); w.Code != 400 {
			t.Errorf("%s: %d", endpoint, w.Code)
		}
	}
}

// trail is an audit trail that a test reads.
type trail struct{ told []audit.Event }

func (tr *trail) Record(e audit.Event) error {
	tr.told = append(tr.told, e)
	return nil
}

// TestExchangeTrail: every refusal of the token endpoint is told to the audit trail, also
// after a flood of refusals elsewhere.
func TestExchangeTrail(t *testing.T) {
	tr := &trail{}
	r := newRig(t, once, func(s *setup) { s.deps.Audit = tr })
	used := with(m{"jti": "used"})
	r.issue(used)
	if len(tr.told) != 0 {
		t.Errorf("%+v", tr.told) // the register tells of what is given
	}
	for range 300 {
		_, _ = r.judge(with(m{"aud": "elsewhere", "jti": rand.Text()}))
	}
	for name, form := range map[string]url.Values{
		"signature": {"assertion": {authntest.JWT(foreign(), nil, claims(nil))}},
		"audience":  {"assertion": {with(m{"aud": "elsewhere"})}},
		"issuer":    {"assertion": {with(m{"iss": "https://evil.test"})}},
		"expired":   {"assertion": {with(m{"exp": time.Now().Add(-time.Hour).Unix()})}},
		"no JWT":    {"assertion": {"abc"}},
		"again":     {"assertion": {used}},
		"grant":     {"grant_type": {"password"}},
	} {
		if !form.Has("grant_type") {
			form.Set("grant_type", grantJWT)
		}
		tr.told = nil
		if w := r.post(tokenPath, form.Encode()); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		if len(tr.told) != 1 || tr.told[0].Name != audit.TokenIssue || tr.told[0].Outcome != audit.Refused || tr.told[0].Reason == "" {
			t.Errorf("%s: the trail has %+v", name, tr.told)
		}
	}
}

// impatient is a store whose client goes away before it deletes.
type impatient struct {
	session.Store
	leave context.CancelFunc
}

func (s impatient) Delete(ctx context.Context, keys ...string) error {
	s.leave()
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.Store.Delete(ctx, keys...)
}

// TestRevokedHalfway: a revocation that nobody waits for is one.
func TestRevokedHalfway(t *testing.T) {
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	r := newRig(t, func(s *setup) { s.deps.Store = impatient{s.deps.Store, leave} })
	token := r.issue(good())
	q := httptest.NewRequest(http.MethodPost, "/.gatehouse/revoke", strings.NewReader(url.Values{"token": {token}}.Encode())).WithContext(ctx)
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	r.mux.ServeHTTP(w, q)
	if _, err := r.judge(token); w.Code != http.StatusOK || !errors.Is(err, authn.ErrRejected) {
		t.Errorf("%d %s; the token: %v", w.Code, w.Body, err)
	}
}
