package session_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/authn"
	"gatehouse/session"
)

func TestSession(t *testing.T) {
	srv := startRedis(t)
	overBoth(t, srv, "from sign-in to sign-out", func(t *testing.T, r *rig) {
		if _, err := r.one.Authenticate(request()); !errors.Is(err, authn.ErrNoCredential) {
			t.Errorf("without a cookie: %v", err)
		}
		p := person("alice")
		alice := r.signIn(t, p)
		id := r.accepted(t, r.two, "alice-1", alice)
		p.Identity.AuthTime, p.Identity.Access = p.Identity.AuthTime.UTC(), "s"+strings.TrimPrefix(r.store.record(t), "session:")
		if d := cmp.Diff(p.Identity, id); d != "" {
			t.Error(d)
		}
		w := httptest.NewRecorder()
		got, found, err := r.two.End(w, request(alice))
		if err != nil || !found || string(got.Grant) != "rt-0" || got.Identity.Subject != "alice-1" {
			t.Errorf("End = %v, %v, %v", got.Identity, found, err)
		}
		r.rejected(t, r.one, alice) // LGO-01, on the other replica
		r.rejected(t, r.two, alice)
		if _, found, err := r.one.End(httptest.NewRecorder(), request(alice)); found || err != nil {
			t.Errorf("second End = %v, %v", found, err)
		}
	})
	overBoth(t, srv, "SES-09 OIDC-37 fixation", func(t *testing.T, r *rig) {
		planted := r.signIn(t, person("mallory"))
		alice := r.signIn(t, person("alice"), planted)
		if alice.Value == planted.Value {
			t.Error("the planted cookie lives on")
		}
		r.rejected(t, r.one, planted)
		r.accepted(t, r.one, "alice-1", alice)
	})
	overBoth(t, srv, "OIDC-38 over somebody else's session", func(t *testing.T, r *rig) {
		alice, other := r.signIn(t, person("alice")), r.signIn(t, person("carol"))
		p := person("bob")
		p.Identity.Groups = nil
		bob := r.signIn(t, p, other, alice) // both end, also where two are sent
		r.rejected(t, r.one, alice)
		r.rejected(t, r.two, other)
		if id := r.accepted(t, r.one, "bob-1", bob); id.Groups != nil || id.Username != "bob" {
			t.Errorf("mixed: %v", id)
		}
	})
	overBoth(t, srv, "IDT-08 one subject at two issuers", func(t *testing.T, r *rig) {
		a, b := person("sam"), person("sam")
		b.Identity.Issuer, b.Identity.Groups = "https://other.example.com", []string{"guests"}
		one, two := r.signIn(t, a), r.signIn(t, b)
		if got := r.accepted(t, r.one, "sam-1", one); got.Issuer != a.Identity.Issuer || len(got.Groups) != 2 {
			t.Errorf("%v", got)
		}
		if got := r.accepted(t, r.one, "sam-1", two); got.Issuer != b.Identity.Issuer || len(got.Groups) != 1 {
			t.Errorf("%v", got)
		}
		r.one.End(httptest.NewRecorder(), request(two))
		r.accepted(t, r.one, "sam-1", one)
	})
	overBoth(t, srv, "RDS-17 SES-34 a hundred sign-ins of one browser", func(t *testing.T, r *rig) {
		var browser []*http.Cookie
		keys := map[string]bool{}
		for range 100 {
			browser = []*http.Cookie{r.signIn(t, person("alice"), browser...)}
			keys[r.store.record(t)] = true
		}
		left := 0
		for k := range keys {
			if _, found, _ := r.store.Store.Get(t.Context(), k); found {
				left++
			}
		}
		if left != 1 || len(keys) != 100 {
			t.Errorf("%d of %d records are left", left, len(keys))
		}
	})
	overBoth(t, srv, "SES-24 RDS-07 garbage in the store", func(t *testing.T, r *rig) {
		for name, value := range map[string][]byte{
			"null": []byte("null"), "object": []byte("{}"), "format": []byte("%n%s"), "empty": {}, "zeros": make([]byte, 999),
			"over a record's limit": bytes.Repeat([]byte{1}, 500_000),
		} {
			alice := r.signIn(t, person("alice"))
			at := r.store.record(t)
			if err := r.store.Store.Set(t.Context(), at, value, time.Minute); err != nil {
				t.Fatal(err)
			}
			r.rejected(t, r.one, alice)
			if _, found, _ := r.store.Store.Get(t.Context(), at); found {
				t.Errorf("%s was not deleted", name)
			}
		}
	})
	overBoth(t, srv, "OPS-20 a newer gateway's record", func(t *testing.T, r *rig) {
		alice := r.signIn(t, person("alice"))
		at := r.store.record(t)
		r.store.Store.Set(t.Context(), at, []byte("\x02 something new"), time.Minute)
		r.rejected(t, r.one, alice)
		if _, found, _ := r.store.Store.Get(t.Context(), at); !found {
			t.Error("it was deleted, and its owner logged out for good")
		}
	})
	overBoth(t, srv, "RDS-08 a record in another's place", func(t *testing.T, r *rig) {
		r.signIn(t, person("alice"))
		raw, _, _ := r.store.Store.Get(t.Context(), r.store.record(t))
		bob := r.signIn(t, person("bob"))
		r.store.Store.Set(t.Context(), r.store.record(t), raw, time.Minute)
		r.rejected(t, r.one, bob)
	})
}

func TestCookiesRefused(t *testing.T) {
	inMemory(t, "SES-01 SES-05 SES-06 not ours", func(t *testing.T, r *rig) {
		alice := r.signIn(t, person("alice"))
		r.store.since()
		foreign := newRig(t, session.NewMemory(), func(o *session.Options) { o.Keys = session.RandomKeyring(origin) })
		keys, _ := session.NewKeyring(origin, []string{key})
		attempt, _ := keys.Sealer("attempt").Seal(cookieName, make([]byte, 48))
		short, _ := keys.Sealer("session").Seal(cookieName, make([]byte, 47))
		other, _ := session.NewKeyring("https://other.example.com", []string{key})
		elsewhere, _ := other.Sealer("session").Seal(cookieName, make([]byte, 48))
		for _, value := range []string{
			"", "deleted", strings.Repeat("A", 144), alice.Value[:len(alice.Value)-4], alice.Value + "AAAA",
			foreign.signIn(t, person("mallory")).Value, attempt, short, elsewhere, strings.Repeat("x", 64<<10),
		} {
			r.rejected(t, r.one, &http.Cookie{Name: cookieName, Value: value})
		}
		if c := r.store.since(); len(c) != 0 {
			t.Errorf("forged cookies cost %v", c)
		}
		// Genuine, but never stored: the store is asked.
		unknown, _ := keys.Sealer("session").Seal(cookieName, make([]byte, 48))
		r.rejected(t, r.one, &http.Cookie{Name: cookieName, Value: unknown})
		r.accepted(t, r.one, "alice-1", alice)
		foreign.close()
	})
	inMemory(t, "SES-02 every bit of a live cookie", func(t *testing.T, r *rig) {
		alice := r.signIn(t, person("alice"))
		for i := range 8 * len(alice.Value) {
			bad := []byte(alice.Value)
			bad[i/8] ^= 1 << (i % 8)
			q := request()
			q.Header.Set("Cookie", cookieName+"="+string(bad))
			if id, err := r.one.Authenticate(q); err == nil {
				t.Fatalf("bit %d flipped, and still %s", i, id.Subject)
			}
		}
	})
	inMemory(t, "SES-15 chunks", func(t *testing.T, r *rig) {
		q := request(&http.Cookie{Name: cookieName + "_chunks", Value: "99999999"})
		for i := range 2000 {
			q.AddCookie(&http.Cookie{Name: fmt.Sprintf("%s_%d", cookieName, i), Value: "x"})
		}
		if _, err := r.one.Authenticate(q); !errors.Is(err, authn.ErrNoCredential) {
			t.Error(err)
		}
		if c := r.store.since(); len(c) != 0 {
			t.Errorf("cost %v", c)
		}
	})
	inMemory(t, "SES-17 a cookie parser's diet", func(t *testing.T, r *rig) {
		alice := r.signIn(t, person("alice"))
		for _, header := range []string{
			";;=;", "=", "", "\x00\xff", strings.Repeat("a=b;", 3001), cookieName, cookieName + "; x=y",
			strings.ToLower(cookieName) + "=" + alice.Value, strings.Repeat(cookieName+"=x;", 5000),
		} {
			q := request()
			q.Header.Set("Cookie", header)
			if id, err := r.one.Authenticate(q); err == nil || outage(err) {
				t.Errorf("%.30q = %s, %v", header, id.Subject, err)
			}
		}
		q := request()
		q.Header["Cookie"] = []string{"a=b; ;", "  " + alice.String() + " ;=", "c"}
		if id, err := r.one.Authenticate(q); err != nil || id.Subject != "alice-1" {
			t.Errorf("among crumbs: %v", err)
		}
	})
	inMemory(t, "SES-22 a rotated key logs nobody out", func(t *testing.T, r *rig) {
		alice := r.signIn(t, person("alice"))
		newer := "bmV3ZXIgLSBUaGlzIGtleSBpcyBmb3IgdGVzdHMgb25seSE="
		with := func(keys ...string) *session.Sessions {
			k, err := session.NewKeyring(origin, keys)
			if err != nil {
				t.Fatal(err)
			}
			return session.New(session.Options{Store: r.store, Keys: k, Cookie: session.NewCookie("gatehouse", "", true)})
		}
		r.accepted(t, with(newer, key), "alice-1", alice)
		r.rejected(t, with(newer), alice)
		w := httptest.NewRecorder()
		if err := with(newer, key).Start(w, request(), person("bob")); err != nil {
			t.Fatal(err)
		}
		r.accepted(t, with(newer), "bob-1", w.Result().Cookies()...)
	})
}

func TestCookieAttributes(t *testing.T) {
	inMemory(t, "SES-10 SES-31 what sign-in and sign-out set", func(t *testing.T, r *rig) {
		w := httptest.NewRecorder()
		if err := r.one.Start(w, request(), person("alice")); err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
		if want := " Path=/; Max-Age=86400; HttpOnly; Secure; SameSite=Lax"; after != want {
			t.Errorf("%q", after)
		}
	})
	for _, c := range []session.Cookie{session.NewCookie("gatehouse", "", true), session.NewCookie("gatehouse", "example.com", true)} {
		inMemory(t, "LGO-04 the jar is empty afterwards "+c.Name, func(t *testing.T, r *rig) {
			jar, _ := cookiejar.New(nil)
			at, _ := url.Parse(origin + "/some/where")
			w := httptest.NewRecorder()
			if err := r.one.Start(w, request(), person("alice")); err != nil {
				t.Fatal(err)
			}
			jar.SetCookies(at, w.Result().Cookies())
			if len(jar.Cookies(at)) != 1 {
				t.Fatalf("the browser holds %v", jar.Cookies(at))
			}
			w = httptest.NewRecorder()
			if _, found, err := r.one.End(w, request(jar.Cookies(at)...)); !found || err != nil {
				t.Fatal(found, err)
			}
			jar.SetCookies(at, w.Result().Cookies())
			if len(jar.Cookies(at)) != 0 {
				t.Errorf("the browser still holds %v", jar.Cookies(at))
			}
		}, func(o *session.Options) { o.Cookie = c })
	}
}

func TestStartRefuses(t *testing.T) {
	inMemory(t, "SES-34 an identity or a grant that does not fit", func(t *testing.T, r *rig) {
		groups, tokens := person("alice"), person("alice")
		groups.Identity.Groups = []string{strings.Repeat("x", 300<<10)}
		tokens.Grant = make([]byte, 300<<10)
		for _, p := range []authn.Proof{groups, tokens} {
			if err := r.one.Start(httptest.NewRecorder(), request(), p); !errors.Is(err, session.ErrTooBig) {
				t.Errorf("%.100v", err)
			}
		}
		r.store.fail("set", errDown)
		if err := r.one.Start(httptest.NewRecorder(), request(), person("alice")); err == nil || errors.Is(err, session.ErrTooBig) {
			t.Errorf("an outage is %v", err)
		}
	})
	inMemory(t, "nobody", func(t *testing.T, r *rig) {
		for _, spoil := range []func(*authn.Proof){
			func(p *authn.Proof) { p.Identity.Subject = "" },
			func(p *authn.Proof) { p.Identity.Issuer = "" },
			func(p *authn.Proof) { p.Identity.Groups = []string{strings.Repeat("SES-34", 50_000)} },
		} {
			p := person("alice")
			spoil(&p)
			w := httptest.NewRecorder()
			if err := r.one.Start(w, request(), p); !outage(err) || len(w.Header()) != 0 {
				t.Errorf("%.100v, %v", err, w.Header())
			}
		}
	})
	t.Run("without keys", func(t *testing.T) {
		s := session.New(session.Options{Store: session.NewMemory(), Cookie: session.NewCookie("gatehouse", "", true)})
		w := httptest.NewRecorder()
		if err := s.Start(w, request(), person("alice")); err == nil || len(w.Header()) != 0 {
			t.Errorf("%v, %v", err, w.Header())
		}
	})
}

func TestSecretsStayIn(t *testing.T) {
	srv := startRedis(t)
	t.Run("SES-32 what the store and the log show", func(t *testing.T) {
		r := newRig(t, srv.open(t))
		p := dueIn(time.Hour)
		alice := r.signIn(t, p)
		r.accepted(t, r.one, "alice-1", alice)
		r.one.Close()
		r.store.fail("delete", errDown)
		r.one.End(httptest.NewRecorder(), request(alice))
		r.provider.set(down)
		bob := r.signIn(t, p)
		r.accepted(t, r.two, "alice-1", bob)
		r.two.Close()

		var shown strings.Builder
		shown.WriteString(r.log.String())
		for _, k := range srv.keys(t) {
			shown.WriteString(k + srv.raw.Get(t.Context(), k).Val())
		}
		keys, _ := session.NewKeyring(origin, []string{key})
		plain, err := keys.Sealer("session").Open(cookieName, alice.Value)
		if err != nil {
			t.Fatal(err)
		}
		for name, secret := range map[string]string{
			"the cookie": alice.Value, "the id": string(plain[:16]), "the key": string(plain[16:]), "a token": "rt-",
		} {
			if strings.Contains(shown.String(), secret) {
				t.Errorf("%s is shown", name)
			}
		}
		if n := len(srv.keys(t)); n < 3 || !strings.Contains(r.log.String(), "session started") {
			t.Errorf("nothing to look at: %d keys, log %q", n, r.log)
		}
		for _, k := range srv.keys(t) {
			if v := srv.raw.Get(t.Context(), k).Val(); strings.Contains(v, "alice") || srv.raw.PTTL(t.Context(), k).Val() <= 0 {
				t.Errorf("%s = %q", k, v)
			}
		}
	})
}

func BenchmarkAuthenticate(b *testing.B) {
	bench := func(b *testing.B, store session.Store) {
		r := newRig(b, store)
		r.store.fault = nil
		p := person("alice")
		p.Grant = bytes.Repeat([]byte("token"), 400)
		keys, _ := session.NewKeyring(origin, []string{key})
		s := session.New(session.Options{Store: store, Keys: keys, Cookie: session.NewCookie("gatehouse", "", true), IdleTimeout: idle})
		q := request(r.signIn(b, p))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.Authenticate(q); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("memory", func(b *testing.B) { bench(b, session.NewMemory()) })
	b.Run("redis", func(b *testing.B) { bench(b, startRedis(b).open(b)) })
}
