package ldap

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"gatehouse/config"
	peer "gatehouse/e2e/directory"
	"gatehouse/session"
)

// change writes values of an entry as slapd's administrator; without any the
// attribute goes.
func change(t *testing.T, s *peer.Slapd, dn, attr string, values ...string) {
	t.Helper()
	// What the password policy keeps for itself takes the Relax control.
	m := ldap.NewModifyRequest(dn, []ldap.Control{ldap.NewControlString("1.3.6.1.4.1.4203.666.5.12", true, "")})
	m.Replace(attr, values)
	if err := s.Admin(t).Modify(m); err != nil {
		t.Fatal(err)
	}
}

// read returns one value of an entry as the administrator sees it.
func read(t *testing.T, c *ldap.Conn, dn, attr string) string {
	t.Helper()
	res, err := c.Search(ldap.NewSearchRequest(dn, ldap.ScopeBaseObject, ldap.NeverDerefAliases, 1, 0, false, "(objectClass=*)", []string{attr}, nil))
	if err != nil || len(res.Entries) != 1 {
		t.Fatalf("%s: %v", dn, err)
	}
	return res.Entries[0].GetAttributeValue(attr)
}

// asked is how many binds and searches slapd was asked for while f ran.
func asked(t *testing.T, s *peer.Slapd, f func()) (binds, searches int) {
	t.Helper()
	b, q := s.Operations(t)
	f()
	binds, searches = s.Operations(t)
	return binds - b, searches - q
}

// expectAsked checks how many binds and searches f costs.
func expectAsked(t *testing.T, s *peer.Slapd, binds, searches int, f func()) {
	t.Helper()
	if b, q := asked(t, s, f); b != binds || q != searches {
		t.Errorf("%d binds and %d searches instead of %d and %d", b, q, binds, searches)
	}
}

// ldif is an entry, or a change, in LDIF. Every value is in base64.
func ldif(dn string, pairs ...string) string {
	var b strings.Builder
	for pair := range slices.Chunk(append([]string{"dn", dn}, pairs...), 2) {
		fmt.Fprintf(&b, "%s:: %s\n", pair[0], base64.StdEncoding.EncodeToString([]byte(pair[1])))
	}
	return b.String() + "\n"
}

const (
	treeBase   = "dc=example,dc=org"
	peopleBase = "ou=people," + treeBase
	groupsBase = "ou=groups," + treeBase
)

// somebody is a person below ou=people whose password is "<uid>-pw".
func somebody(uid string, more ...string) string {
	return ldif("uid="+ldap.EscapeDN(uid)+","+peopleBase, append([]string{
		"objectClass", "inetOrgPerson", "uid", uid, "cn", "Some Body", "sn", "Body", "userPassword", uid + "-pw"}, more...)...)
}

// team is a group below ou=groups.
func team(cn string, members ...string) string {
	pairs := []string{"objectClass", "groupOfNames", "cn", cn}
	for _, m := range members {
		pairs = append(pairs, "member", m)
	}
	return ldif("cn="+ldap.EscapeDN(cn)+","+groupsBase, pairs...)
}

// lax lets a test guess as often as it likes.
func lax(s *setup) {
	s.regulation = config.Regulation{MaxRetries: 1000, MaxUserRetries: 1000, MaxAddressRetries: 1000,
		FindTime: config.Duration(time.Minute), BanTime: config.Duration(time.Minute)}
}

// eventually waits for what real servers take a moment for.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: ", what)
		}
	}
}

// front is a port that leads to another. It stands for whatever is between us
// and a directory, and for a server that dies.
type front struct {
	l       net.Listener
	forward func(net.Conn) (net.Conn, error)

	mu    sync.Mutex
	held  []net.Conn
	dead  bool
	conns int
	all   sync.WaitGroup
}

// newFront joins each connection to what forward makes for it.
func newFront(t *testing.T, l net.Listener, forward func(net.Conn) (net.Conn, error)) *front {
	t.Helper()
	f := &front{l: l, forward: forward}
	f.all.Go(f.serve)
	t.Cleanup(f.die)
	return f
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// to dials a URL's host and port.
func to(ldapURL string) func(net.Conn) (net.Conn, error) {
	s, _ := config.ParseServer(ldapURL)
	return func(net.Conn) (net.Conn, error) { return net.DialTimeout(s.Network, s.Address, 5*time.Second) }
}

func (f *front) url(scheme string) string { return scheme + "://" + f.l.Addr().String() }

func (f *front) serve() {
	for {
		in, err := f.l.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		f.conns++
		f.mu.Unlock()
		f.all.Go(func() { f.join(in) })
	}
}

func (f *front) join(in net.Conn) {
	out, err := f.forward(in)
	if err != nil {
		_ = in.Close()
		return
	}
	if !f.hold(in, out) {
		return
	}
	f.all.Go(func() { _, _ = io.Copy(out, in); _ = out.Close() })
	_, _ = io.Copy(in, out)
	_ = in.Close()
}

func (f *front) hold(conns ...net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		for _, c := range conns {
			_ = c.Close()
		}
		return false
	}
	f.held = append(f.held, conns...)
	return true
}

// used is how many connections there have been.
func (f *front) used() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.conns
}

// die ends the listener and all connections.
func (f *front) die() {
	_ = f.l.Close()
	f.mu.Lock()
	f.dead = true
	for _, c := range f.held {
		_ = c.Close()
	}
	f.mu.Unlock()
	f.all.Wait()
}

// on is the same rig for a subtest.
func (r *rig) on(t testing.TB) *rig {
	c := *r
	c.TB = t
	return &c
}

var errStore = errors.New("the store is out")

// spyStore is a store that remembers what was written, and fails where told.
type spyStore struct {
	session.Store
	mu      sync.Mutex
	fails   func(op string) bool
	written bytes.Buffer
}

func newSpyStore() *spyStore { return &spyStore{Store: session.NewMemory()} }

// fail lets operations fail from now on; nil lets none.
func (s *spyStore) fail(fails func(op string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = fails
}

func (s *spyStore) note(op, key string, values ...[]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails != nil && s.fails(op) {
		return errStore
	}
	s.written.WriteString(key + "\n")
	for _, v := range values {
		s.written.Write(v)
	}
	return nil
}

func (s *spyStore) Get(ctx context.Context, key string) ([]byte, bool, error) {
	if err := s.note("get", key); err != nil {
		return nil, false, err
	}
	return s.Store.Get(ctx, key)
}

func (s *spyStore) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := s.note("set", key, value); err != nil {
		return err
	}
	return s.Store.Set(ctx, key, value, ttl)
}

func (s *spyStore) Add(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
	if err := s.note("add", key, value); err != nil {
		return false, err
	}
	return s.Store.Add(ctx, key, value, ttl)
}

func (s *spyStore) Swap(ctx context.Context, key string, old, next []byte, ttl time.Duration) (bool, error) {
	if err := s.note("swap", key, next); err != nil {
		return false, err
	}
	return s.Store.Swap(ctx, key, old, next, ttl)
}

func (s *spyStore) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := s.note("delete", key); err != nil {
			return err
		}
	}
	return s.Store.Delete(ctx, keys...)
}
