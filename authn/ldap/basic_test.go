package ldap

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
	"gatehouse/config"
	peer "gatehouse/e2e/directory"
)

const (
	hex40 = "0123456789abcdef0123456789abcdef01234567"
	token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
)

// authorized is a request with an Authorization header.
func authorized(t *testing.T, values ...string) func() *http.Request {
	return func() *http.Request {
		r := basic(t, "", "")
		r.Header["Authorization"] = values
		return r
	}
}

func encoded(text string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(text)) }

func TestBasicContract(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{ExtraLDIF: ldif("uid=colon,"+peopleBase, "objectClass", "inetOrgPerson", "uid", "colon", "cn", "C", "sn", "C", "userPassword", "a:b:c-pw")})
	down := settingsFor(s)
	down.Address = []string{"ldaps://127.0.0.1:1"}
	r, out := newRig(t, settingsFor(s), lax), newRig(t, down)
	with := func(text string) func() *http.Request { return authorized(t, encoded(text)) }
	absent := map[string]func() *http.Request{
		"W&B's empty pair":              authorized(t, "Basic Og=="),
		"a scheme alone":                authorized(t, "Basic"),
		"another scheme":                authorized(t, "Bearer "+token),
		"another scheme with a pair":    authorized(t, "Basically YWxpY2U6YWxpY2UtcHc="),
		"API key of 40 hex digits":      with("api:" + hex40),
		"API key local-":                with("api:local-" + hex40),
		"API key under user":            with("user:" + hex40),
		"API key under no name":         with(":" + hex40),
		"API key under a person's":      with("alice:" + hex40),
		"API key local- under person's": with("alice:local-" + hex40),
		"API key with a version":        with("alice:wandb_v1_" + strings.Repeat("aB3", 20)),
		"API key with a version, api":   with("api:wandb_v1_" + strings.Repeat("aB3", 20)),
		"an access token":               with("alice:wb_at_abc.def"),
		"a JWT":                         with("api:" + token),
		"a JWT under a person's":        with("alice:" + token),
		"a long key, api":               with("api:" + strings.Repeat("Z", 86)),
	}
	bad := map[string]func() *http.Request{
		"wrong password":             with("alice:bad-pw"),
		"nobody":                     with("nobody:bad-pw"),
		"LDAP-01 no password":        with("alice:"),
		"LDAP-04 no name":            with(":alice-pw"),
		"LDAP-04 a blank name":       with("  :alice-pw"),
		"LDAP-28 no colon":           with("alice"),
		"LDAP-28 not base64":         authorized(t, "Basic alice:alice-pw"),
		"LDAP-28 URL-safe base64":    authorized(t, "Basic "+base64.URLEncoding.EncodeToString([]byte("alice:~~~???"))),
		"LDAP-28 not padded":         authorized(t, "Basic YWxpY2U6YWxpY2UtcHc"),
		"LDAP-28 bits left over":     authorized(t, "Basic YWxpY2U6YWxpY2UtcHd="),
		"LDAP-28 more behind it":     authorized(t, encoded("alice:alice-pw")+" x"),
		"LDAP-28 two pairs in one":   authorized(t, encoded("alice:alice-pw")+","+encoded("bob:bob-pw")),
		"LDAP-28 two headers":        authorized(t, encoded("alice:alice-pw"), encoded("alice:alice-pw")),
		"LDAP-28 and another scheme": authorized(t, encoded("alice:alice-pw"), "Bearer x"),
		"LDAP-28 Latin-1":            with("jos\xe9:jos\xe9-pw"),
		"LDAP-28 a control":          with("alice\n:alice-pw"),
		"LDAP-02 NUL":                with("alice:alice-pw\x00"),
		"LDAP-28 long":               with("alice:" + strings.Repeat("x", 64<<10)),
		"LDAP-40 a long password":    with("alice:" + strings.Repeat("x", maxPassword+1)),
		"LDAP-33 two user names":     with("eve:eve-pw"),
	}
	who := r.in("alice", "alice-pw").Identity
	authntest.Contract(t, r.route.Authenticator, authntest.Cases{Good: with("alice:alice-pw"), Want: who, Absent: absent, Bad: bad})
	t.Run("in other spellings of the scheme", func(t *testing.T) {
		for _, scheme := range []string{"basic ", "BASIC ", "Basic   ", " Basic "} {
			if id, err := r.route.Authenticator.Authenticate(authorized(t, scheme+encoded("alice:alice-pw")[6:])()); err != nil || id.Subject != who.Subject {
				t.Errorf("%q: %v", scheme, err)
			}
		}
	})
	t.Run("LDAP-28 a colon in the password", func(t *testing.T) {
		if id, err := r.route.Authenticator.Authenticate(with("colon:a:b:c-pw")()); err != nil || id.Username != "colon" {
			t.Error(err)
		}
	})
	t.Run("LDAP-37 the directory is down", func(t *testing.T) {
		for name, make := range map[string]func() *http.Request{"right": with("alice:alice-pw"), "wrong": with("alice:bad-pw"), "nobody": with("nobody:bad-pw")} {
			id, err := out.route.Authenticator.Authenticate(make())
			if err == nil || errors.Is(err, authn.ErrRejected) || errors.Is(err, authn.ErrNoCredential) || id.Subject != "" {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	t.Run("what is others' asks nothing", func(t *testing.T) {
		expectAsked(t, s, 0, 0, func() {
			for name, make := range absent {
				if _, err := r.route.Authenticator.Authenticate(make()); !errors.Is(err, authn.ErrNoCredential) {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	})
}

// by asks as a program would.
func (r *rig) by(login, password string) (authn.Identity, error) {
	r.Helper()
	req := httptest.NewRequestWithContext(r.Context(), http.MethodGet, "https://gatehouse.test/graphql", nil)
	req.SetBasicAuth(login, password)
	return r.route.Authenticator.Authenticate(req)
}

// passes checks a yes by Basic.
func (r *rig) passes(login, password string) {
	r.Helper()
	if id, err := r.by(login, password); err != nil || id.Username != login {
		r.Errorf("%s: %+v, %v", login, id, err)
	}
}

// fails checks a no by Basic.
func (r *rig) fails(login, password string) {
	r.Helper()
	if id, err := r.by(login, password); !errors.Is(err, authn.ErrRejected) || id.Subject != "" {
		r.Errorf("%s: %+v, %v", login, id, err)
	}
}

func TestBasicRemembers(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{})
	remembering := func(good, bad time.Duration, set ...func(*config.LDAP)) *rig {
		c := settingsFor(s)
		c.BasicCache = config.LDAPBasicCache{Lifetime: config.Duration(good), RejectedLifetime: config.Duration(bad)}
		for _, f := range set {
			f(&c)
		}
		r := newRig(t, c, lax)
		r.in("bob", "bob-pw") // opens the connections
		return r
	}
	const long, short = time.Hour, 150 * time.Millisecond
	const many = 100
	for _, c := range []struct {
		name     string
		set      func(*config.LDAP)
		searches int
	}{{"groups by search", func(*config.LDAP) {}, 2}, {"memberOf", memberOf, 1}} {
		t.Run(c.name+", at once", func(t *testing.T) {
			r := remembering(long, long, c.set).on(t)
			expectAsked(t, s, 1, c.searches, func() {
				var all sync.WaitGroup
				for range many {
					all.Go(func() { r.passes("alice", "alice-pw") })
				}
				all.Wait()
			})
		})
		t.Run(c.name+", one after the other", func(t *testing.T) {
			r := remembering(long, long, c.set).on(t)
			expectAsked(t, s, 1, c.searches, func() {
				for range many {
					r.passes("alice", "alice-pw")
				}
			})
		})
	}
	t.Run("at once, though nothing is remembered", func(t *testing.T) {
		r := remembering(0, 0, memberOf).on(t)
		binds, _ := asked(t, s, func() {
			var all sync.WaitGroup
			for range many {
				all.Go(func() { r.passes("alice", "alice-pw") })
			}
			all.Wait()
		})
		if binds < 1 || binds > many/2 {
			t.Errorf("%d binds", binds)
		}
		expectAsked(t, s, 2, 2, func() { r.passes("alice", "alice-pw"); r.passes("alice", "alice-pw") })
	})
	t.Run("LDAP-29 a wrong password after a good one", func(t *testing.T) {
		r := remembering(long, long).on(t)
		r.passes("alice", "alice-pw")
		expectAsked(t, s, 3, 5, func() { // two of them are nobody's
			r.fails("alice", "Alice-pw")
			r.fails("alice", "alice-pw ")
			r.fails("alic", "ealice-pw")
			r.fails("alicea", "lice-pw")
			r.fails("alice", "bad-pw")
		})
		expectAsked(t, s, 0, 0, func() { r.fails("alice", "bad-pw") })
		// Another password ends what is remembered, or it could be found by trying.
		expectAsked(t, s, 1, 2, func() { r.passes("alice", "alice-pw"); r.passes("alice", "alice-pw") })
		expectAsked(t, s, 0, 0, func() { r.fails("alice", "bad-pw"); r.passes("alice", "alice-pw") })
	})
	t.Run("LDAP-25 what an address has proved tells others nothing", func(t *testing.T) {
		r := remembering(long, long).on(t)
		from := func(remote string) func() {
			return func() {
				if _, err := r.route.Authenticator.Authenticate(fromAddress(basic(t, "alice", "alice-pw"), remote)); err != nil {
					t.Error(err)
				}
			}
		}
		expectAsked(t, s, 1, 2, from("192.0.2.1:1"))
		expectAsked(t, s, 0, 0, from("192.0.2.1:2"))
		expectAsked(t, s, 1, 2, from("192.0.2.2:1"))
		expectAsked(t, s, 1, 2, from("[2001:db8::1]:1"))
		expectAsked(t, s, 0, 0, from("[2001:db8::2]:1"))
	})
	t.Run("LDAP-22 who has to wait is told nothing", func(t *testing.T) {
		r := newRig(t, settingsFor(s))
		r.passes("bob", "bob-pw")
		for i := range 4 {
			r.fails("bob", fmt.Sprintf("bad%d-pw", i))
		}
		expectAsked(t, s, 0, 0, func() {
			for _, password := range []string{"bob-pw", "bad9-pw", "bob-pw"} {
				var wait *authn.Throttled
				if _, err := r.by("bob", password); !errors.As(err, &wait) {
					t.Error(err)
				}
			}
		})
	})
	t.Run("a wrong password counts for a while", func(t *testing.T) {
		r := remembering(long, short).on(t)
		began := time.Now()
		r.fails("alice", "new-pw")
		s.SetPassword(t, s.PersonDN("alice"), "new-pw")
		t.Cleanup(func() { s.SetPassword(t, s.PersonDN("alice"), "alice-pw") })
		if _, err := r.by("alice", "new-pw"); err == nil && time.Since(began) < short {
			t.Error("it is not remembered")
		}
		eventually(t, "the new password counts", func() bool { _, err := r.by("alice", "new-pw"); return err == nil })
		if took := time.Since(began); took < short || took > short+5*time.Second {
			t.Errorf("it counted for %s", took)
		}
	})
	t.Run("LDAP-29 a changed password", func(t *testing.T) {
		r := remembering(short, long).on(t)
		r.passes("alice", "alice-pw")
		began := time.Now() // it may have been remembered a little earlier
		s.SetPassword(t, s.PersonDN("alice"), "new-pw")
		t.Cleanup(func() { s.SetPassword(t, s.PersonDN("alice"), "alice-pw") })
		eventually(t, "the old password is wrong", func() bool { _, err := r.by("alice", "alice-pw"); return errors.Is(err, authn.ErrRejected) })
		if took := time.Since(began); took > short+5*time.Second {
			t.Errorf("it counted for %s", took)
		}
		r.passes("alice", "new-pw")
	})
	t.Run("LDAP-29 the directory is down", func(t *testing.T) {
		r, lasting := remembering(short, long).on(t), remembering(long, long).on(t)
		lasting.passes("alice", "alice-pw")
		r.passes("alice", "alice-pw")
		s.Stop()
		t.Cleanup(func() { s.Restart(t) })
		eventually(t, "it can't be found out", func() bool {
			id, err := r.by("alice", "alice-pw")
			if errors.Is(err, authn.ErrRejected) || err != nil && id.Subject != "" {
				t.Fatal(err)
			}
			return err != nil
		})
		lasting.passes("alice", "alice-pw")
		if _, err := lasting.by("bob", "bob-pw"); err == nil || errors.Is(err, authn.ErrRejected) {
			t.Error(err)
		}
	})
	t.Run("outages are not remembered", func(t *testing.T) {
		r := remembering(long, long).on(t)
		s.Stop()
		if _, err := r.by("alice", "alice-pw"); err == nil || errors.Is(err, authn.ErrRejected) {
			t.Error(err)
		}
		s.Restart(t)
		r.passes("alice", "alice-pw")
	})
}

func TestWays(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{})
	for _, c := range []struct {
		accept      []string
		basic, form bool
	}{{nil, true, true}, {[]string{"basic"}, true, false}, {[]string{"form"}, false, true}, {[]string{"form", "basic"}, true, true}} {
		t.Run("accept "+strings.Join(c.accept, " "), func(t *testing.T) {
			settings := settingsFor(s)
			settings.Accept = c.accept
			r := newRig(t, settings).route
			if (r.Authenticator != nil) != c.basic || (r.Challenge != "") != c.basic || (r.SignInPath != "") != c.form || (r.Mount != nil) != c.form || r.Hub != c.form {
				t.Errorf("%+v", r)
			}
		})
	}
	t.Run("challenge", func(t *testing.T) {
		if got := newRig(t, settingsFor(s)).route.Challenge; got != `Basic realm="https://gatehouse.test", charset="UTF-8"` {
			t.Error(got)
		}
	})
	t.Run("testOnly", func(t *testing.T) {
		who := newRig(t, settingsFor(s)).in("alice", "alice-pw")
		settings := settingsFor(s)
		settings.TestOnly = true
		r := newRig(t, settings).route
		if r.Authenticator != nil || r.Mount != nil || r.SignInPath != "" || r.Challenge != "" {
			t.Errorf("%+v", r)
		}
		var not *authn.NotAllowed
		if err := r.Allow(who.Identity); !errors.As(err, &not) {
			t.Error(err)
		}
		if err := r.Ready(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
