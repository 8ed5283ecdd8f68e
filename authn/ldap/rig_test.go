package ldap

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
	"gatehouse/authn/page"
	"gatehouse/config"
	peer "gatehouse/e2e/directory"
	"gatehouse/session"
)

// setup is what a test may change before its route is made.
type setup struct {
	ldap       config.LDAP
	regulation config.Regulation
	store      session.Store
	deps       Deps
	step       time.Duration
}

// rig is a route in front of a directory, without the rest of the gateway.
type rig struct {
	testing.TB
	l        *route
	route    authn.Route
	sessions *session.Sessions
	store    session.Store
	mux      *http.ServeMux
	log      *authntest.Log
}

// settingsFor is settings that work with slapd, searching as its service account.
func settingsFor(s *peer.Slapd) config.LDAP {
	d := func(d time.Duration) config.Duration { return config.Duration(d) }
	return config.LDAP{
		Address: []string{s.TLSURL}, TLS: config.ClientTLS{CAFile: s.CAFile}, Preset: "openLDAP", BaseDN: s.BaseDN,
		BindDN: s.ServiceDN, BindPassword: config.Secret(s.ServicePassword),
		Users: config.LDAPUsers{BaseDN: "ou=people," + s.BaseDN, Scope: "sub"}, Groups: config.LDAPGroups{As: "name", Scope: "sub", BaseDN: "ou=groups," + s.BaseDN},
		Accept: []string{"form", "basic"}, RefreshInterval: d(5 * time.Minute),
		BasicCache: config.LDAPBasicCache{Lifetime: d(time.Minute), RejectedLifetime: d(10 * time.Second)},
		Pool:       config.LDAPPool{Size: 8, IdleTimeout: d(5 * time.Minute)}, ConnectTimeout: d(3 * time.Second), Timeout: d(8 * time.Second), PageSize: 500,
	}
}

func usualRegulation() config.Regulation {
	return config.Regulation{MaxRetries: 3, MaxUserRetries: 4, MaxAddressRetries: 30, FindTime: config.Duration(15 * time.Minute), BanTime: config.Duration(15 * time.Minute)}
}

func newRig(t testing.TB, c config.LDAP, change ...func(*setup)) *rig {
	t.Helper()
	s := setup{ldap: c, regulation: usualRegulation(), store: session.NewMemory()}
	for _, f := range change {
		f(&s)
	}
	r := &rig{TB: t, store: s.store, mux: http.NewServeMux(), log: &authntest.Log{}}
	origin := &url.URL{Scheme: "https", Host: "gatehouse.test"}
	pages, err := page.New(page.Brand{}, "/.gatehouse")
	if err != nil {
		t.Fatal(err)
	}
	keys := testKeys()
	cookie := session.NewCookie("gatehouse", "", true)
	log := slog.New(slog.NewJSONHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	r.sessions = session.New(session.Options{Store: s.store, Keys: keys, Cookie: cookie, Log: log,
		Renew: func(ctx context.Context, p authn.Proof) (authn.Proof, error) { return r.route.Renew(ctx, p) }})
	d := s.deps
	d.PublicURL, d.Prefix, d.Regulation = origin, "/.gatehouse", s.regulation
	d.Cookie, d.Keys, d.Store, d.Sessions, d.Pages, d.Log = cookie, keys, s.store, r.sessions, pages, log
	d.Landings = authn.NewLandings(origin, []string{"gatehouse.test"}, func(string) bool { return false })
	r.l, err = newRoute("dir", s.ldap, d)
	if err != nil {
		t.Fatal(err)
	}
	r.l.pace.step = s.step
	r.route = r.l.route()
	if r.route.Mount != nil {
		r.route.Mount(r.mux)
	}
	t.Cleanup(func() {
		r.sessions.Close()
		if err := r.route.Close(); err != nil {
			t.Error(err)
		}
		r.discreet()
	})
	return r
}

// discreet checks that no password is in the log, at the end of every test. By
// convention each has "-pw" in it, right or wrong (LDAP-42).
func (r *rig) discreet() {
	for line := range strings.Lines(r.log.String()) {
		if strings.Contains(line, "-pw") || strings.Contains(line, "Basic ") {
			r.Errorf("LDAP-42 the log has a password: %s", line)
		}
	}
}

// basic is a request with a name and a password.
func basic(t *testing.T, username, password string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://gatehouse.test/graphql", nil)
	r.RemoteAddr = "192.0.2.1:1234"
	r.SetBasicAuth(username, password)
	return r
}

// prove asks without what Basic remembers.
func (r *rig) prove(login, password string) (person, error) {
	return r.proveFrom(login, password, "192.0.2.1:1234")
}

func (r *rig) proveFrom(login, password, remote string) (person, error) {
	ctx, cancel := context.WithTimeout(r.Context(), 20*time.Second)
	defer cancel()
	who, err := r.l.prove(ctx, credentials{login: login, password: password, remote: remote, log: r.l.Log})
	return person{who, login}, err
}

// refused checks a no and returns its reason.
func (r *rig) refused(login, password string) reason {
	r.Helper()
	who, err := r.prove(login, password)
	var no *refusal
	if !errors.As(err, &no) || !errors.Is(err, authn.ErrRejected) || who.Subject != "" {
		r.Errorf("%q: not refused: %+v %v", login, who, err)
		return ""
	}
	return no.reason
}

// in checks a yes.
func (r *rig) in(login, password string) person {
	r.Helper()
	who, err := r.prove(login, password)
	if err != nil {
		r.Fatalf("%q: %v\n%s", login, err, r.log)
	}
	return who
}

const testKey = "bWFkZSBmb3IgdGhpcyB0ZXN0IGFuZCBub3RoaW5nIGVsc2U="

// testKeys is one ring for all rigs, as replicas have it.
func testKeys() session.Keyring {
	keys, err := session.NewKeyring("https://gatehouse.test", []string{testKey})
	if err != nil {
		panic(err)
	}
	return keys
}

// unban lifts bans as the command does.
func unban(store session.Store, c config.Regulation) Unban {
	return Unban{Regulation: c, Store: store, Keys: testKeys()}
}

// later is the route after a while, as far as it remembers bans itself.
func (r *rig) later(d time.Duration) {
	r.l.waiting.mu.Lock()
	defer r.l.waiting.mu.Unlock()
	for _, all := range []map[string]wait{r.l.waiting.young, r.l.waiting.old} {
		for key, one := range all {
			one.seen = one.seen.Add(-d)
			all[key] = one
		}
	}
}
