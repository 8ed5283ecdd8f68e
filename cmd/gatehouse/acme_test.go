package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json/v2"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"gatehouse/config"
	"gatehouse/session"
)

// withKeys is settings with a ring of keys, newest first.
func withKeys(t *testing.T, fills ...byte) config.Config {
	t.Helper()
	c := config.Config{PublicURL: "https://example.com", Listen: config.Listen{TLS: config.ListenTLS{ACME: &config.ACME{}}}}
	for _, fill := range fills {
		var key [32]byte
		for i := range key {
			key[i] = fill + byte(i)
		}
		c.Session.Keys = append(c.Session.Keys, config.Secret(base64.StdEncoding.EncodeToString(key[:])))
	}
	return c
}

func keptIn(c config.Config, store session.Store) keptCertificates {
	return openKept(*c.Listen.TLS.ACME, func() (config.Config, session.Store) { return c, store })
}

// TestSealedCertificates: who reads the store learns nothing, keys rotate, and nothing takes
// another's place.
func TestSealedCertificates(t *testing.T) {
	store := session.NewMemory()
	defer store.Close()
	open := func(fills ...byte) keptCertificates {
		t.Helper()
		return keptIn(withKeys(t, fills...), store)
	}
	ctx := t.Context()
	kept := open(1)
	if _, err := kept.Get(ctx, "example.com"); !errors.Is(err, autocert.ErrCacheMiss) {
		t.Errorf("before: %v", err)
	}
	plain := []byte("-----BEGIN EC PRIVATE KEY-----")
	if err := kept.Put(ctx, "example.com", plain); err != nil {
		t.Fatal(err)
	}
	key := certificateKey("example.com")
	raw, found, err := store.Get(ctx, key)
	if err != nil || !found || bytes.Contains(raw, []byte("PRIVATE")) || strings.Contains(key, "example") {
		t.Errorf("%s: %q %v %v", key, raw, found, err)
	}
	if got, err := kept.Get(ctx, "example.com"); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("%q %v", got, err)
	}
	if err := store.Set(ctx, certificateKey("other.test"), raw, time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, err := kept.Get(ctx, "other.test"); !errors.Is(err, autocert.ErrCacheMiss) {
		t.Errorf("in another's place: %v", err)
	}
	for name, other := range map[string]keptCertificates{"another key": open(9), "changed": kept} {
		if name == "changed" {
			raw[len(raw)-1] ^= 1
			if err := store.Set(ctx, key, raw, time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := other.Get(ctx, "example.com"); !errors.Is(err, autocert.ErrCacheMiss) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := kept.Delete(ctx, "example.com"); err != nil {
		t.Fatal(err)
	}
	if _, found, _ := store.Get(ctx, key); found {
		t.Error("it is still there")
	}
	t.Run("one asks", func(t *testing.T) {
		two := open(1)
		mine, done, err := kept.claim(ctx, "example.com")
		if err != nil || !mine {
			t.Fatal(mine, err)
		}
		if mine, _, err := two.claim(ctx, "example.com"); err != nil || mine {
			t.Error("two may ask at once", err)
		}
		if mine, _, err := two.claim(ctx, "other.test"); err != nil || !mine {
			t.Error("another host waits", err)
		}
		done()
		if mine, _, err := two.claim(ctx, "example.com"); err != nil || !mine {
			t.Error("nobody may ask any more", err)
		}
	})
	t.Run("who was too slow gives back nothing of another's", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			store := session.NewMemory()
			defer store.Close()
			one, two, three := keptIn(withKeys(t, 1), store), keptIn(withKeys(t, 1), store), keptIn(withKeys(t, 1), store)
			_, done, err := one.claim(t.Context(), "example.com")
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(claimTime + time.Second)
			if mine, _, err := two.claim(t.Context(), "example.com"); err != nil || !mine {
				t.Fatal("nobody may ask any more", err)
			}
			done()
			if mine, _, err := three.claim(t.Context(), "example.com"); err != nil || mine {
				t.Error("two may ask at once", err)
			}
		})
	})
	t.Run("the store is away", func(t *testing.T) {
		gone, cancel := context.WithCancel(ctx)
		cancel()
		lost := keptIn(withKeys(t, 1), away{store})
		if _, err := lost.Get(gone, "example.com"); err == nil || errors.Is(err, autocert.ErrCacheMiss) {
			t.Errorf("an outage passes for absence: %v", err)
		}
		if mine, _, err := lost.claim(gone, "example.com"); err == nil || mine {
			t.Errorf("%v %v", mine, err)
		}
	})
}

// away is a store that can't be reached.
type away struct{ session.Store }

var errAway = errors.New("away")

func (away) Get(context.Context, string) ([]byte, bool, error) { return nil, false, errAway }
func (away) Add(context.Context, string, []byte, time.Duration) (bool, error) {
	return false, errAway
}

// TestKeyRotationKeepsCertificates opens what an older key of the ring has sealed.
func TestKeyRotationKeepsCertificates(t *testing.T) {
	store := session.NewMemory()
	defer store.Close()
	if err := keptIn(withKeys(t, 1), store).Put(t.Context(), "example.com", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if got, err := keptIn(withKeys(t, 5, 1), store).Get(t.Context(), "example.com"); err != nil || string(got) != "x" {
		t.Errorf("%q %v", got, err)
	}
}

// TestReloadKeepsCertificates: after a reload they are in the store that counts then, under its keys; the
// former store is closed.
func TestReloadKeepsCertificates(t *testing.T) {
	former, next := session.NewMemory(), session.NewMemory()
	defer former.Close()
	defer next.Close()
	c, store := withKeys(t, 1), session.Store(former)
	kept := openKept(*c.Listen.TLS.ACME, func() (config.Config, session.Store) { return c, store })
	c, store = withKeys(t, 5), next
	if err := kept.Put(t.Context(), "example.com", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, found, err := former.Get(t.Context(), certificateKey("example.com")); err != nil || found {
		t.Errorf("it is in the former store: %v", err)
	}
	if got, err := keptIn(withKeys(t, 5), next).Get(t.Context(), "example.com"); err != nil || string(got) != "x" {
		t.Errorf("%q %v", got, err)
	}
}

// issuedFor is what asks a CA that is not there.
func issuedFor(t *testing.T, c config.Config) *issued {
	t.Helper()
	c.Listen.TLS.ACME.CacheDir = filepath.Join(t.TempDir(), "acme")
	i, err := openIssued(t.Context(), c, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// TestIssuedHosts: the CA is asked for what has no certificate in a file, and nobody who
// connects makes it be asked.
func TestIssuedHosts(t *testing.T) {
	ca := newAuthority(t, "one")
	c := withKeys(t, 1)
	c.Upstreams = []config.Upstream{{Hosts: []string{"files.example.com"}}}
	c.Listen.TLS.ACME.DirectoryURL = "https://127.0.0.1:1/directory"
	c.Listen.TLS.Certificates = []config.Certificate{settingsPair(t, ca.leaf(time.Hour, "example.com"))}
	i := issuedFor(t, c)
	if fmt.Sprint(i.hosts()) != "[files.example.com]" {
		t.Errorf("asked for %v", i.hosts())
	}
	certs, err := openShown(c.Listen.TLS, i, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := certs.check(); err == nil || !strings.Contains(err.Error(), "files.example.com: "+errNotYet.Error()) {
		t.Errorf("check says %v", err)
	}
	if at, err := i.expiries()["listen.tls.acme files.example.com"](); err != nil || !at.IsZero() {
		t.Errorf("a certificate that there is not yet expires at %v, %v", at, err)
	}
	for _, name := range []string{"example.com", "files.example.com", "evil.test"} {
		state, err := shake(t, certs, &tls.Config{ServerName: name, InsecureSkipVerify: true})
		if err != nil || state.PeerCertificates[0].DNSNames[0] != "example.com" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := shake(t, certs, &tls.Config{ServerName: "evil.test", NextProtos: []string{acme.ALPNProto}, InsecureSkipVerify: true}); err == nil {
		t.Error("a proof of nothing is shown")
	}
	for host, good := range map[string]bool{"files.example.com": true, "files.example.com:80": true, "FILES.example.com": true, "example.com": false, "": false, "evil.test": false} {
		if err := i.policy(t.Context(), host); (err == nil) != good {
			t.Errorf("%q: %v", host, err)
		}
	}
	c.Listen.TLS.ACME.Hosts = []string{"example.com"}
	if i := issuedFor(t, c); fmt.Sprint(i.hosts()) != "[example.com]" {
		t.Errorf("asked for %v, though the settings say which", i.hosts())
	}
}

// TestIssuedFollows: applications that come with other settings are asked for, and those
// that have gone no more, by what the CA was when the program started.
func TestIssuedFollows(t *testing.T) {
	with := func(hosts ...string) config.Config {
		c := withKeys(t, 1)
		c.Upstreams = []config.Upstream{{Hosts: hosts}}
		c.Listen.TLS.ACME.DirectoryURL = "https://127.0.0.1:1/directory"
		return c
	}
	i := issuedFor(t, with("one.example.com", "two.example.com"))
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { i.run(ctx) })
	asked := func(host string) {
		t.Helper()
		within(t, host+" is asked for", func() bool {
			_, err := i.present(host)
			return !errors.Is(err, errNotYet) && !errors.Is(err, errNotOurs)
		})
	}
	asked("one.example.com")
	asked("two.example.com")
	next := with("two.example.com", "three.example.com")
	next.Listen.TLS.ACME = nil // that counts after a restart
	i.follow(next)
	if _, err := i.present("two.example.com"); errors.Is(err, errNotYet) {
		t.Error("what is known of a host that stays is lost")
	}
	asked("three.example.com")
	if err := i.policy(t.Context(), "one.example.com"); !errors.Is(err, errNotOurs) {
		t.Errorf("a host that has gone: %v", err)
	}
	i.note("one.example.com", nil) // an answer that comes late
	if _, err := i.present("one.example.com"); !errors.Is(err, errNotOurs) {
		t.Errorf("a host that has gone: %v", err)
	}
	if got := slices.Sorted(maps.Keys(i.expiries())); fmt.Sprint(got) != "[listen.tls.acme example.com listen.tls.acme three.example.com listen.tls.acme two.example.com]" {
		t.Errorf("the metrics are of %v", got)
	}
	stop()
	running.Wait()
}

// TestChallengeConnection: a connection that only looks for a proof needs no client's
// certificate, and so carries no request.
func TestChallengeConnection(t *testing.T) {
	reached := false
	h := withoutChallenges(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	r := httptest.NewRequest(http.MethodGet, "https://example.com/", nil)
	r.TLS.NegotiatedProtocol = acme.ALPNProto
	func() {
		defer func() {
			if recover() != http.ErrAbortHandler { //nolint:errorlint // a panic value is compared as net/http does
				t.Error("it is not cut off")
			}
		}()
		h.ServeHTTP(httptest.NewRecorder(), r)
	}()
	if reached {
		t.Error("a request got through")
	}
	r.TLS.NegotiatedProtocol = "h2"
	if h.ServeHTTP(httptest.NewRecorder(), r); !reached {
		t.Error("no request gets through")
	}
}

// TestCheckListener holds what gatehouse check says of certificates and their CA.
func TestCheckListener(t *testing.T) {
	ca := newAuthority(t, "one")
	say := func(certs ...tls.Certificate) string {
		c := config.Config{PublicURL: "https://example.com", ForwardAuth: &config.ForwardAuth{Hosts: []string{"elsewhere.test"}}}
		for _, cert := range certs {
			c.Listen.TLS.Certificates = append(c.Listen.TLS.Certificates, settingsPair(t, cert))
		}
		var out bytes.Buffer
		r := report{out: &out}
		r.section(listenerSection, listenerFindings(c, time.Now()))
		return out.String()
	}
	for name, tt := range map[string]struct {
		certs []tls.Certificate
		want  string
		fault bool
	}{
		"good":           {[]tls.Certificate{ca.leaf(90*24*time.Hour, "example.com", "www.example.com")}, "example.com, www.example.com, from ", false},
		"a wildcard":     {[]tls.Certificate{ca.leaf(time.Hour, "*.com")}, "good until", false},
		"ended":          {[]tls.Certificate{ca.leaf(-time.Minute, "example.com")}, "has ended at", true},
		"another's name": {[]tls.Certificate{ca.leaf(time.Hour, "www.example.com")}, "no certificate is good for example.com", true},
		"no name":        {[]tls.Certificate{ca.leaf(time.Hour)}, "no name, from", true},
	} {
		if got := say(tt.certs...); !strings.Contains(got, tt.want) || strings.Contains(got, "FAULT") != tt.fault {
			t.Errorf("%s:\n%s", name, got)
		}
	}
	c := config.Config{PublicURL: "https://example.com", Listen: config.Listen{TLS: config.ListenTLS{ACME: &config.ACME{}}}}
	if f := listenerFindings(c, time.Now()); len(f) != 1 || !f[0].OK || !strings.Contains(f[0].Detail, "example.com") {
		t.Errorf("%+v", f)
	}
}

func TestCheckCA(t *testing.T) {
	directory := map[string]any{}
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := json.MarshalWrite(w, directory); err != nil {
			t.Error(err)
		}
	}))
	defer s.Close()
	cert, _ := writePair(t, s.TLS.Certificates[0])
	sound := map[string]any{"newNonce": s.URL, "newAccount": s.URL, "newOrder": s.URL, "meta": map[string]any{"termsOfService": "https://ca.test/terms"}}
	bound := map[string]any{"newNonce": s.URL, "newAccount": s.URL, "newOrder": s.URL, "meta": map[string]any{"externalAccountRequired": true}}
	for name, tt := range map[string]struct {
		settings  config.ACME
		directory map[string]any
		ok        bool
		says      string
	}{
		"sound":            {config.ACME{DirectoryURL: s.URL, CAFile: cert}, sound, true, "https://ca.test/terms"},
		"of nobody":        {config.ACME{DirectoryURL: s.URL}, sound, false, "certificate signed by unknown authority"},
		"no directory":     {config.ACME{DirectoryURL: s.URL, CAFile: cert}, map[string]any{}, false, ""},
		"no account":       {config.ACME{DirectoryURL: s.URL, CAFile: cert}, bound, false, "accounts alone"},
		"an account":       {config.ACME{DirectoryURL: s.URL, CAFile: cert, AccountID: "k", AccountKey: "c2VjcmV0"}, bound, true, "answers"},
		"nowhere":          {config.ACME{DirectoryURL: "https://127.0.0.1:1", CAFile: cert}, nil, false, "refused"},
		"no certificate's": {config.ACME{DirectoryURL: s.URL, CAFile: "nowhere.pem"}, nil, false, "no such file"},
	} {
		directory = tt.directory
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		f := checkCA(ctx, tt.settings)
		cancel()
		if len(f) != 1 || f[0].OK != tt.ok || !strings.Contains(f[0].Detail, tt.says) {
			t.Errorf("%s: %+v", name, f)
		}
	}
}
