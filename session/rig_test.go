package session_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/authn"
	"gatehouse/session"
)

const (
	origin     = "https://wandb.example.com"
	cookieName = "__Host-gatehouse"
	key        = "VGhpcyBrZXkgaXMgZm9yIHRlc3RzIG9ubHksIG9rPyE="
	lifetime   = 24 * time.Hour
	idle       = time.Hour
)

// rig is two replicas of a gateway over one store and one provider.
type rig struct {
	store    *spy
	provider *provider
	log      *bytes.Buffer
	one, two *session.Sessions
}

func newRig(t testing.TB, store session.Store, change ...func(*session.Options)) *rig {
	t.Helper()
	r := &rig{store: &spy{Store: store}, provider: &provider{}, log: &bytes.Buffer{}}
	keys, err := session.NewKeyring(origin, []string{key})
	if err != nil {
		t.Fatal(err)
	}
	o := session.Options{
		Store: r.store, Keys: keys, Cookie: session.NewCookie("gatehouse", "", true),
		Lifetime: lifetime, IdleTimeout: idle, Renew: r.provider.renew,
		Log: slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, c := range change {
		c(&o)
	}
	r.one, r.two = session.New(o), session.New(o)
	return r
}

func (r *rig) close() {
	r.one.Close()
	r.two.Close()
	r.store.Close()
}

// inMemory runs f in a bubble, where time is fake, over a memory store.
func inMemory(t *testing.T, name string, f func(t *testing.T, r *rig), change ...func(*session.Options)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, session.NewMemory(), change...)
			defer r.close()
			f(t, r)
		})
	})
}

// overBoth runs f over memory and over the real Redis, in real time.
func overBoth(t *testing.T, s *server, name string, f func(t *testing.T, r *rig)) {
	inMemory(t, name+" (memory)", f)
	t.Run(name+" (redis)", func(t *testing.T) {
		s.raw.FlushAll(t.Context())
		r := newRig(t, s.open(t))
		defer r.close()
		f(t, r)
	})
}

// person is a proof that never needs renewal.
func person(name string) authn.Proof {
	return authn.Proof{
		Identity: authn.Identity{
			Issuer: "https://idp.example.com", Subject: name + "-1", Kind: authn.Person, Username: name,
			Groups: []string{"everyone", "admins"}, Route: "okta", AuthTime: time.Now(),
		},
		Grant: []byte("rt-0"),
	}
}

// dueIn is a proof that is to be renewed at once and expires in d.
func dueIn(d time.Duration) authn.Proof {
	p := person("alice")
	p.RenewAt = time.Now().Add(-time.Second)
	p.Identity.Expires = time.Now().Add(d)
	return p
}

func request(cookies ...*http.Cookie) *http.Request {
	r := httptest.NewRequest("GET", origin+"/", nil)
	for _, c := range cookies {
		r.AddCookie(c)
	}
	return r
}

// signIn starts a session and returns what the browser then holds.
func (r *rig) signIn(t testing.TB, p authn.Proof, cookies ...*http.Cookie) *http.Cookie {
	t.Helper()
	w := httptest.NewRecorder()
	if err := r.one.Start(w, request(cookies...), p); err != nil {
		t.Fatal("sign-in: ", err)
	}
	set := w.Result().Cookies()
	if len(set) != 1 || set[0].Name != cookieName || set[0].Value == "" {
		t.Fatalf("sign-in sets %v", set)
	}
	return &http.Cookie{Name: set[0].Name, Value: set[0].Value}
}

func (r *rig) accepted(t testing.TB, s *session.Sessions, subject string, cookies ...*http.Cookie) authn.Identity {
	t.Helper()
	id, err := s.Authenticate(request(cookies...))
	if err != nil || id.Subject != subject {
		t.Errorf("Authenticate = %q, %v, want %s", id.Subject, err, subject)
	}
	return id
}

func (r *rig) rejected(t testing.TB, s *session.Sessions, cookies ...*http.Cookie) {
	t.Helper()
	if id, err := s.Authenticate(request(cookies...)); !errors.Is(err, authn.ErrRejected) || id.Subject != "" {
		t.Errorf("Authenticate = %q, %v, want a rejection", id.Subject, err)
	}
}

func (r *rig) outage(t testing.TB, s *session.Sessions, cookies ...*http.Cookie) {
	t.Helper()
	id, err := s.Authenticate(request(cookies...))
	if !outage(err) || id.Subject != "" {
		t.Errorf("Authenticate = %q, %v, want an error that is no answer", id.Subject, err)
	}
}

// outage says whether err means that something could not be found out.
func outage(err error) bool {
	return err != nil && !errors.Is(err, authn.ErrRejected) && !errors.Is(err, authn.ErrNoCredential)
}

// spy is a store that remembers the commands and fails on demand.
type spy struct {
	session.Store
	mu       sync.Mutex
	commands []string // "get session:…"
	fault    func(command string) error
	wait     func(command string)
}

func (s *spy) note(verb, key string) error {
	command := verb + " " + key
	s.mu.Lock()
	s.commands = append(s.commands, command)
	fault, wait := s.fault, s.wait
	s.mu.Unlock()
	if wait != nil {
		wait(command)
	}
	if fault != nil {
		return fault(command)
	}
	return nil
}

// fail makes the commands that begin with prefix fail; nil makes them work again.
func (s *spy) fail(prefix string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = func(command string) error {
		if strings.HasPrefix(command, prefix) {
			return err
		}
		return nil
	}
}

// slow makes the commands that begin with prefix take so long.
func (s *spy) slow(prefix string, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wait = func(command string) {
		if strings.HasPrefix(command, prefix) {
			time.Sleep(d)
		}
	}
}

// since returns and forgets the commands so far.
func (s *spy) since() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.commands
	s.commands = nil
	return c
}

// record finds the store key of the newest session.
func (s *spy) record(t testing.TB) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.commands) - 1; i >= 0; i-- {
		if key, ok := strings.CutPrefix(s.commands[i], "set "); ok {
			return key
		}
	}
	t.Fatal("no session was stored")
	return ""
}

func lockOf(record string) string { return "renew:" + strings.TrimPrefix(record, "session:") }

func (s *spy) Get(ctx context.Context, key string) ([]byte, bool, error) {
	if err := s.note("get", key); err != nil {
		return nil, false, err
	}
	return s.Store.Get(ctx, key)
}

func (s *spy) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := s.note("set", key); err != nil {
		return err
	}
	return s.Store.Set(ctx, key, value, ttl)
}

func (s *spy) Add(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
	if err := s.note("add", key); err != nil {
		return false, err
	}
	return s.Store.Add(ctx, key, value, ttl)
}

func (s *spy) Swap(ctx context.Context, key string, old, next []byte, ttl time.Duration) (bool, error) {
	if err := s.note("swap", key); err != nil {
		return false, err
	}
	return s.Store.Swap(ctx, key, old, next, ttl)
}

func (s *spy) Touch(ctx context.Context, key string, ttl time.Duration) error {
	if err := s.note("touch", key); err != nil {
		return err
	}
	return s.Store.Touch(ctx, key, ttl)
}

func (s *spy) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := s.note("delete", key); err != nil {
			return err
		}
	}
	return s.Store.Delete(ctx, keys...)
}

func (s *spy) Members(ctx context.Context, index string) (map[string][]byte, error) {
	if err := s.note("members", index); err != nil {
		return nil, err
	}
	return s.Store.Members(ctx, index)
}

func (s *spy) Enter(ctx context.Context, index, member string, value []byte, ttl time.Duration) error {
	if err := s.note("enter", index); err != nil {
		return err
	}
	return s.Store.Enter(ctx, index, member, value, ttl)
}

func (s *spy) Publish(ctx context.Context, message []byte) error {
	if err := s.note("publish", ""); err != nil {
		return err
	}
	return s.Store.Publish(ctx, message)
}

// provider rotates refresh tokens: each works once, and the use of a spent one
// revokes the whole family.
type provider struct {
	mu      sync.Mutex
	calls   int
	token   int
	revoked bool
	groups  []string
	latency time.Duration
	// answer, if set, is what the provider does instead, without the lock.
	answer func(ctx context.Context, p authn.Proof) (authn.Proof, error)
}

func (v *provider) renew(ctx context.Context, p authn.Proof) (authn.Proof, error) {
	v.mu.Lock()
	v.calls++
	answer, latency := v.answer, v.latency
	v.mu.Unlock()
	if answer != nil {
		return answer(ctx, p)
	}
	select {
	case <-time.After(latency):
	case <-ctx.Done():
		return authn.Proof{}, ctx.Err()
	}
	return v.rotate(p)
}

func (v *provider) rotate(p authn.Proof) (authn.Proof, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if string(p.Grant) != fmt.Sprintf("rt-%d", v.token) {
		v.revoked = true
	}
	if v.revoked {
		return authn.Proof{}, fmt.Errorf("invalid_grant: %w", authn.ErrRejected)
	}
	v.token++
	p.Grant = fmt.Appendf(nil, "rt-%d", v.token)
	p.Identity.Expires = time.Now().Add(time.Hour)
	p.RenewAt = time.Now().Add(50 * time.Minute)
	if v.groups != nil {
		p.Identity.Groups = v.groups
	}
	return p, nil
}

func (v *provider) set(answer func(ctx context.Context, p authn.Proof) (authn.Proof, error)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.answer = answer
}

func (v *provider) asked() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.calls
}

var errDown = errors.New("connection refused")

func down(context.Context, authn.Proof) (authn.Proof, error) { return authn.Proof{}, errDown }

// endAll ends everything of a person and says how many accesses there were.
func endAll(ctx context.Context, g *session.Register, p session.Person) (int, error) {
	ended, err := g.EndOthers(ctx, p, "")
	return len(ended), err
}
