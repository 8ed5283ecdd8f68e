package ldap

import (
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/authn"
	"gatehouse/config"
	peer "gatehouse/e2e/directory"
	"gatehouse/session"
)

// throttled checks that nobody's password is looked at, and returns for how long.
func (r *rig) throttled(login, password, remote string) time.Duration {
	r.Helper()
	_, err := r.proveFrom(login, password, remote)
	var wait *authn.Throttled
	if !errors.As(err, &wait) || !errors.Is(err, authn.ErrRejected) {
		r.Errorf("%q from %s is not throttled: %v", login, remote, err)
		return 0
	}
	return wait.After
}

// guess checks that a wrong password is refused as such.
func (r *rig) guess(login, remote string) {
	r.Helper()
	_, err := r.proveFrom(login, "bad-pw", remote)
	var no *refusal
	if !errors.As(err, &no) || no.reason != wrong {
		r.Errorf("%q from %s: %v", login, remote, err)
	}
}

// inFrom checks a yes.
func (r *rig) inFrom(login, remote string) {
	r.Helper()
	if _, err := r.proveFrom(login, login+"-pw", remote); err != nil {
		r.Errorf("%q from %s: %v", login, remote, err)
	}
}

// here is an address like no other.
func here(n int) string { return fmt.Sprintf("198.51.%d.%d:5000", 100+n/250, n%250+1) }

// limits is regulation that counts for an hour.
func limits(pair, person, address int) func(*setup) {
	return func(s *setup) {
		s.regulation = config.Regulation{MaxRetries: pair, MaxUserRetries: person, MaxAddressRetries: address,
			FindTime: config.Duration(time.Hour), BanTime: config.Duration(time.Hour)}
	}
}

// brief is regulation that is over soon.
func brief(ban time.Duration) func(*setup) {
	return func(s *setup) {
		limits(3, 4, 5)(s)
		s.regulation.FindTime, s.regulation.BanTime = config.Duration(ban), config.Duration(ban)
	}
}

func TestUntil(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	const find, ban = 10 * time.Minute, 15 * time.Minute
	for _, c := range []struct {
		name string
		ago  []time.Duration // of the failures, the oldest first
		want time.Duration   // from now; 0 is none
	}{
		{"none", nil, 0},
		{"too few", []time.Duration{2 * time.Minute, time.Minute}, 0},
		{"as many", []time.Duration{3 * time.Minute, 2 * time.Minute, time.Minute}, 14 * time.Minute},
		{"all at once", []time.Duration{0, 0, 0}, ban},
		{"more", []time.Duration{4 * time.Minute, 3 * time.Minute, 2 * time.Minute, time.Minute}, 14 * time.Minute},
		{"just within the time", []time.Duration{find, time.Minute, 0}, ban},
		{"just beyond the time", []time.Duration{find + time.Millisecond, time.Minute, 0}, 0},
		{"the last of them within the time", []time.Duration{time.Hour, 2 * time.Minute, time.Minute, 0}, ban},
		{"nearly over", []time.Duration{ban + time.Minute, ban, ban - time.Millisecond}, time.Millisecond},
		{"over", []time.Duration{ban + 2*time.Minute, ban + time.Minute, ban}, 0},
		{"one after the ban", []time.Duration{20 * time.Minute, 20 * time.Minute, 20 * time.Minute, 0}, 0},
		{"of another clock", []time.Duration{0, 0, -time.Minute}, ban + time.Minute},
		{"beside one of a clock far ahead", []time.Duration{2 * time.Minute, time.Minute, 0, -time.Hour}, ban},
	} {
		t.Run(c.name, func(t *testing.T) {
			var failures []failure
			for _, ago := range c.ago {
				failures = append(failures, failure{At: now.Add(-ago).UnixMilli()})
			}
			got := until(failures, limit{count: 3, find: find, ban: ban}, now)
			if want := now.Add(c.want); c.want == 0 && !got.IsZero() || c.want > 0 && !got.Equal(want) {
				t.Errorf("%s, not %s", got.Sub(now), c.want)
			}
		})
	}
}

func TestRegulation(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{})
	// Five wrong passwords lock an account in slapd, and some cases go that far.
	unlocked := func(t *testing.T) {
		t.Cleanup(func() { s.SetPassword(t, s.PersonDN("alice"), "alice-pw") })
	}
	t.Run("LDAP-22 20 wrong ones, then the right", func(t *testing.T) {
		unlocked(t)
		r := newRig(t, settingsFor(s))
		b := r.browser()
		form := b.get("")
		binds, _ := asked(t, s, func() {
			for i := range 20 {
				if i%2 == 0 {
					r.fails("alice", fmt.Sprintf("bad%d-pw", i))
				} else {
					b.do(post(b, form.fields("alice", "bad-pw")))
				}
			}
		})
		if binds != 3+1 { // one is the service's
			t.Errorf("%d binds", binds)
		}
		expectAsked(t, s, 0, 0, func() {
			var wait *authn.Throttled
			if _, err := r.by("alice", "alice-pw"); !errors.As(err, &wait) || wait.After < 14*time.Minute || wait.After > 15*time.Minute {
				t.Errorf("Basic: %v", err)
			}
			b.stays(b.do(post(b, form.fields("alice", "alice-pw"))), http.StatusTooManyRequests, "Too many attempts")
		})
		r.inFrom("bob", "192.0.2.1:1")
	})
	t.Run("LDAP-22 the ban ends", func(t *testing.T) {
		unlocked(t)
		const ban = 400 * time.Millisecond
		r := newRig(t, settingsFor(s), brief(ban))
		for range 3 {
			r.guess("alice", here(1))
		}
		began := time.Now()
		if wait := r.throttled("alice", "alice-pw", here(1)); wait <= 0 || wait > ban {
			t.Errorf("for %s", wait)
		}
		eventually(t, "the ban ends", func() bool { _, err := r.proveFrom("alice", "alice-pw", here(1)); return err == nil })
		if took := time.Since(began); took < ban/2 {
			t.Errorf("it took %s", took)
		}
		r.guess("alice", here(1)) // and all is forgotten
		r.guess("alice", here(1))
		r.inFrom("alice", here(1))
	})
	t.Run("LDAP-22 trying on does not prolong it", func(t *testing.T) {
		unlocked(t)
		r := newRig(t, settingsFor(s))
		for range 3 {
			r.guess("alice", here(1))
		}
		first := r.throttled("alice", "bad-pw", here(1))
		for range 10 {
			r.throttled("alice", "bad-pw", here(1))
		}
		if last := r.throttled("alice", "bad-pw", here(1)); last >= first {
			t.Errorf("%s after %s", last, first)
		}
	})
	t.Run("LDAP-22 hanging up is no way out", func(t *testing.T) {
		unlocked(t)
		f := newFront(t, listen(t), func(in net.Conn) (net.Conn, error) {
			out, err := to(s.URL)(in)
			return mute{out}, err
		})
		settings := settingsFor(s)
		settings.Address, settings.Users.DNTemplate = []string{f.url("ldap")}, "uid={input},"+peopleBase
		settings.Timeout = config.Duration(200 * time.Millisecond) // so long the answer is waited for all the same
		r := newRig(t, settings)
		try := func() error {
			ctx, hangUp := context.WithCancel(t.Context())
			defer hangUp()
			answer := make(chan error, 1)
			before, _ := s.Operations(t)
			go func() {
				_, err := r.l.prove(ctx, credentials{login: "alice", password: "bad-pw", remote: here(1), log: r.l.Log})
				answer <- err
			}()
			for {
				select {
				case err := <-answer:
					return err
				case <-time.After(time.Millisecond):
				}
				if now, _ := s.Operations(t); now > before { // it has reached slapd, and no answer us
					hangUp()
				}
			}
		}
		for range 3 {
			if err := try(); err == nil || errors.Is(err, authn.ErrRejected) {
				t.Error(err)
			}
		}
		var wait *authn.Throttled
		expectAsked(t, s, 0, 0, func() {
			if err := try(); !errors.As(err, &wait) {
				t.Error(err)
			}
		})
	})
	t.Run("LDAP-22 hanging up with the right password is no failure", func(t *testing.T) {
		var hold sync.Mutex
		f := newFront(t, listen(t), func(in net.Conn) (net.Conn, error) {
			out, err := to(s.URL)(in)
			return slow{out, &hold}, err
		})
		settings := settingsFor(s)
		settings.Address, settings.Users.DNTemplate = []string{f.url("ldap")}, "uid={input},"+peopleBase
		r := newRig(t, settings)
		for range 3 {
			ctx, hangUp := context.WithCancel(t.Context())
			hold.Lock()
			release := sync.OnceFunc(hold.Unlock)
			defer release()
			before, _ := s.Operations(t)
			answer := make(chan error, 1)
			go func() {
				_, err := r.l.prove(ctx, credentials{login: "alice", password: "alice-pw", remote: here(1), log: r.l.Log})
				answer <- err
			}()
			eventually(t, "it reaches slapd", func() bool { now, _ := s.Operations(t); return now > before })
			hangUp()
			release()
			if err := <-answer; errors.Is(err, authn.ErrRejected) {
				t.Error(err)
			}
		}
		r.inFrom("alice", here(1))
	})
	t.Run("the right password resets", func(t *testing.T) {
		unlocked(t)
		r := newRig(t, settingsFor(s))
		for range 3 {
			r.guess("alice", here(1))
			r.guess("alice", here(1))
			r.inFrom("alice", here(1))
		}
	})
	t.Run("LDAP-23 one counter for all spellings", func(t *testing.T) {
		unlocked(t)
		settings := settingsFor(s)
		settings.Users.Filter = "(&(objectClass=person)(|({username_attribute}={input})({mail_attribute}={input})))"
		r := newRig(t, settings, limits(1000, 4, 1000))
		for i, login := range []string{"ALICE", " alice", "alice@example.org", "ａｌｉｃｅ"} {
			r.guess(login, here(i))
		}
		for i, login := range []string{"alice", "Alice ", "Alice@Example.Org", "ALICE", "ａLICE", "al\u00adice"} {
			if login == "al\u00adice" { // nobody's here, but counted by itself
				r.guess(login, here(50+i))
				continue
			}
			r.throttled(login, "alice-pw", here(50+i))
		}
	})
	t.Run("LDAP-23 one counter for all spellings of nobody", func(t *testing.T) {
		r := newRig(t, settingsFor(s), limits(1000, 4, 1000))
		for i, login := range []string{"NOBODY", " nobody", "ｎｏｂｏｄｙ", "no\u200bbody"} {
			r.guess(login, here(i))
		}
		for i, login := range []string{"nobody", "Nobody ", "no\u00adbody", "nobodＹ"} {
			r.throttled(login, "bad-pw", here(50+i))
		}
	})
	t.Run("LDAP-23 one counter for all spellings by dnTemplate", func(t *testing.T) {
		unlocked(t)
		settings := settingsFor(s)
		settings.Users.DNTemplate = "uid={input}," + peopleBase
		r := newRig(t, settings, limits(1000, 4, 1000))
		for i, login := range []string{"ALICE", " alice", "ａｌｉｃｅ", "al\u200bice"} {
			r.guess(login, here(i))
		}
		for i, login := range []string{"alice", "Alice", "alice ", "ａLICE"} {
			r.throttled(login, "alice-pw", here(50+i))
		}
	})
	t.Run("LDAP-24 networks", func(t *testing.T) {
		for _, c := range []struct {
			name string
			same []string
			not  []string
		}{
			{"IPv4 and its ports", []string{"192.0.2.7:1", "192.0.2.7:2", "192.0.2.7:3"}, []string{"192.0.2.8:1"}},
			{"IPv4 within IPv6", []string{"192.0.2.7:1", "[::ffff:192.0.2.7]:1", "[::ffff:c000:207]:2"}, []string{"[::ffff:192.0.2.8]:1"}},
			{"IPv6 /64", []string{"[2001:db8:0:1::1]:1", "[2001:db8:0:1:ffff:ffff:ffff:ffff]:1", "[2001:db8:0:1::2]:9"}, []string{"[2001:db8:0:2::1]:1"}},
			{"IPv6 zone", []string{"[fe80::1%eth0]:1", "[fe80::1%eth1]:1", "[fe80::2]:1"}, []string{"[fe81::1%eth0]:1"}},
			{"without a port", []string{"192.0.2.7", "192.0.2.7:1", "192.0.2.7"}, []string{"192.0.2.8"}},
		} {
			t.Run(c.name, func(t *testing.T) {
				r := newRig(t, settingsFor(s), limits(1000, 1000, 3))
				for i, remote := range c.same {
					r.guess(fmt.Sprintf("nobody%d", i), remote)
				}
				for _, remote := range c.same {
					r.throttled("bob", "bob-pw", remote)
				}
				for _, remote := range c.not {
					r.inFrom("bob", remote)
				}
			})
		}
	})
	t.Run("LDAP-25 one address, many names", func(t *testing.T) {
		r := newRig(t, settingsFor(s), limits(3, 4, 10))
		r.inFrom("bob", here(2)) // opens the connections
		for i := range 10 {
			if i == 5 {
				r.inFrom("carol", here(1)) // one's own password buys nothing
			}
			r.guess(fmt.Sprintf("name%d", i), here(1))
		}
		expectAsked(t, s, 0, 0, func() {
			r.throttled("bob", "bob-pw", here(1))
			r.throttled("name99", "bad-pw", here(1))
			if _, err := r.route.Authenticator.Authenticate(fromAddress(basic(t, "bob", "bob-pw"), here(1))); !errors.Is(err, authn.ErrRejected) {
				t.Error(err)
			}
		})
		r.inFrom("bob", here(2))
		if !strings.Contains(r.log.String(), "too many wrong passwords from one address") {
			t.Error("the log does not say so")
		}
	})
	t.Run("LDAP-25 one address, many names at once", func(t *testing.T) {
		const most = 10
		var people strings.Builder
		for i := range 60 {
			people.WriteString(somebody(fmt.Sprintf("p%d", i)))
		}
		s := peer.NewSlapd(t, peer.SlapdOptions{AnonymousRead: true, ExtraLDIF: people.String()})
		settings := settingsFor(s)
		settings.BindDN, settings.BindPassword, settings.Address = "", "", []string{s.URL}
		r := newRig(t, settings, limits(3, 4, most))
		binds, _ := asked(t, s, func() {
			var all sync.WaitGroup
			for i := range 60 {
				all.Go(func() {
					if _, err := r.proveFrom(fmt.Sprintf("p%d", i), "bad-pw", here(1)); !errors.Is(err, authn.ErrRejected) {
						t.Error(err)
					}
				})
			}
			all.Wait()
		})
		if binds != most {
			t.Errorf("%d binds", binds)
		}
		r.throttled("p0", "p0-pw", here(1))
	})
	t.Run("LDAP-26 a pair's limit is below the person's", func(t *testing.T) {
		unlocked(t)
		r := newRig(t, settingsFor(s), func(s *setup) { limits(3, 4, 30)(s) })
		r.inFrom("alice", here(9))
		b := r.browser()
		b.from = here(8)
		b.signIn("alice", "alice-pw")
		if _, err := r.route.Authenticator.Authenticate(fromAddress(basic(t, "alice", "alice-pw"), here(7))); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			r.guess("alice", here(1))
		}
		for range 50 {
			r.throttled("alice", "bad-pw", here(1))
		}
		r.inFrom("alice", here(9)) // who gets in elsewhere resets nothing here
		r.throttled("alice", "alice-pw", here(1))
		r.guess("alice", here(2))
		r.throttled("alice", "alice-pw", here(9))
		if !strings.Contains(r.log.String(), "too many wrong passwords for one person") {
			t.Error("the log does not say so")
		}
		if _, err := b.session(); err != nil {
			t.Errorf("the session: %v", err)
		}
		expectAsked(t, s, 0, 0, func() {
			if _, err := r.route.Authenticator.Authenticate(fromAddress(basic(t, "alice", "alice-pw"), here(7))); err != nil {
				t.Errorf("what Basic remembers: %v", err)
			}
		})
	})
	t.Run("what is not the password does not count", func(t *testing.T) {
		settings := settingsFor(s)
		settings.Groups.BaseDN = "ou=nowhere," + treeBase
		r := newRig(t, settings)
		for range 10 {
			r.unsure("bob", "bob-pw")
			if got := r.refused("eve", "eve-pw"); got != unfit {
				t.Error(got)
			}
		}
	})
	t.Run("a socket has no address", func(t *testing.T) {
		r := newRig(t, settingsFor(s), limits(1000, 1000, 2))
		for i := range 5 {
			r.guess(fmt.Sprintf("nobody%d", i), "@")
		}
		r.inFrom("bob", "@")
	})
}

// mute is a connection by which nothing comes back.
type mute struct{ net.Conn }

func (m mute) Read(b []byte) (int, error) {
	for {
		if _, err := m.Conn.Read(b); err != nil {
			return 0, err
		}
	}
}

// slow is a connection by which nothing comes back while somebody holds it.
type slow struct {
	net.Conn
	hold *sync.Mutex
}

func (s slow) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	s.hold.Lock()
	defer s.hold.Unlock()
	return n, err
}

func fromAddress(r *http.Request, remote string) *http.Request {
	r.RemoteAddr = remote
	return r
}

// With anonymous searches every bind is a password that reached slapd.
func TestRegulationAtOnce(t *testing.T) {
	for _, c := range []struct {
		name     string
		replicas int
		remote   func(int) string
		most     int
	}{
		{"from one address", 1, func(int) string { return here(1) }, 3},
		{"from everywhere", 1, here, 4},
		{"from everywhere at two replicas", 2, here, 4},
		{"from one address at two replicas", 2, func(int) string { return here(1) }, 3},
	} {
		t.Run("LDAP-22 40 wrong ones at once "+c.name, func(t *testing.T) {
			s := peer.NewSlapd(t, peer.SlapdOptions{AnonymousRead: true})
			settings := settingsFor(s)
			settings.BindDN, settings.BindPassword, settings.Address = "", "", []string{s.URL}
			store := session.NewMemory()
			var rigs []*rig
			for range c.replicas {
				rigs = append(rigs, newRig(t, settings, func(s *setup) { s.store = store }))
			}
			binds, _ := asked(t, s, func() {
				var all sync.WaitGroup
				for i := range 40 {
					all.Go(func() {
						if _, err := rigs[i%c.replicas].proveFrom("alice", fmt.Sprintf("bad%d-pw", i), c.remote(i)); !errors.Is(err, authn.ErrRejected) {
							t.Error(err)
						}
					})
				}
				all.Wait()
			})
			if binds != c.most {
				t.Errorf("%d binds, not %d", binds, c.most)
			}
			rigs[0].throttled("alice", "alice-pw", c.remote(0))
		})
	}
	t.Run("40 right ones at once", func(t *testing.T) {
		s := peer.NewSlapd(t, peer.SlapdOptions{})
		store := session.NewMemory()
		share := func(s *setup) { s.store = store }
		var rigs []*rig
		for range 6 { // so that more are under way than may fail
			rigs = append(rigs, newRig(t, settingsFor(s), share))
		}
		var all sync.WaitGroup
		for i := range 40 {
			all.Go(func() { rigs[i%len(rigs)].inFrom("alice", here(1)) })
		}
		all.Wait()
	})
}

func TestReplicas(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{})
	store := session.NewMemory()
	share := func(s *setup) { s.store = store }
	one, two := newRig(t, settingsFor(s), share), newRig(t, settingsFor(s), share)
	one.guess("alice", here(1))
	two.guess("alice", here(2))
	one.guess("alice", here(3))
	two.guess("alice", here(4))
	one.throttled("alice", "alice-pw", here(5))
	two.throttled("alice", "alice-pw", here(5))
	one.inFrom("bob", here(1))

	t.Run("lift", func(t *testing.T) {
		lift := func(login string) bool {
			t.Helper()
			lifted, err := unban(store, usualRegulation()).Lift(t.Context(), "dir", login, settingsFor(s))
			if err != nil {
				t.Error(err)
			}
			return lifted
		}
		if lift("bob") || lift("nobody") || lift("al*") || lift("*") {
			t.Error("lifts nothing")
		}
		one.throttled("alice", "alice-pw", here(5))
		if !lift(" ALICE ") {
			t.Error("not lifted")
		}
		one.inFrom("alice", here(1))
		two.inFrom("alice", here(1))
		if lift("alice") {
			t.Error("lifted twice")
		}
		for i := range 4 {
			one.guess("no body", here(10+i))
		}
		one.throttled("no body", "bad-pw", here(20))
		if !lift("No  BODY") {
			t.Error("the name of nobody is not lifted")
		}
		newRig(t, settingsFor(s), share).guess("no body", here(20))
		one.throttled("no body", "bad-pw", here(20)) // a replica that knew of the ban looks again after a while
		one.later(believed + time.Second)
		one.guess("no body", here(20))
	})
	t.Run("lift at another route", func(t *testing.T) {
		for i := range 4 {
			one.guess("dave", here(30+i))
		}
		if lifted, err := unban(store, usualRegulation()).Lift(t.Context(), "other", "dave", settingsFor(s)); lifted || err != nil {
			t.Error(lifted, err)
		}
		one.throttled("dave", "dave-pw", here(40))
	})
	t.Run("lift by dnTemplate", func(t *testing.T) {
		settings := settingsFor(s)
		settings.Users.DNTemplate = "uid={input}," + peopleBase
		r := newRig(t, settings, share)
		for i := range 4 {
			r.guess("carol", here(50+i))
		}
		if lifted, err := unban(store, usualRegulation()).Lift(t.Context(), "dir", "Carol", settings); !lifted || err != nil {
			t.Error(lifted, err)
		}
		r.inFrom("carol", here(60))
	})
	t.Run("lift while the directory is down", func(t *testing.T) {
		settings := settingsFor(s)
		settings.Address = []string{"ldaps://127.0.0.1:1"}
		if _, err := unban(store, usualRegulation()).Lift(t.Context(), "dir", "alice", settings); err == nil {
			t.Error("it says nothing")
		}
	})
	t.Run("lift an address", func(t *testing.T) {
		few := newRig(t, settingsFor(s), share, limits(3, 4, 5), share)
		for i := range 5 {
			few.guess(fmt.Sprintf("name%d", i), "[2001:db8:0:7::1]:1")
		}
		few.throttled("bob", "bob-pw", "[2001:db8:0:7::1]:1")
		lift := func(address string) (bool, error) {
			return unban(store, few.l.Regulation).LiftAddress(t.Context(), address)
		}
		if lifted, err := lift("2001:db8:0:8::1"); lifted || err != nil {
			t.Error(lifted, err)
		}
		if lifted, err := lift("localhost"); lifted || err == nil {
			t.Error(lifted, err)
		}
		few.throttled("bob", "bob-pw", "[2001:db8:0:7::1]:1")
		if lifted, err := lift("2001:db8:0:7::99"); !lifted || err != nil {
			t.Error(lifted, err)
		}
		few.throttled("bob", "bob-pw", "[2001:db8:0:7::1]:1")
		few.later(believed + time.Second)
		few.inFrom("bob", "[2001:db8:0:7::1]:1")
	})
	t.Run("lift while keys are changing", func(t *testing.T) {
		for i := range 4 {
			one.guess("carol", here(70+i))
		}
		rotated, err := session.NewKeyring("https://gatehouse.test", []string{"rT0bWvQ5yXk2mN8cJ4hF7gD1sA9pL3zE6uI0oKqVxYw=", testKey})
		if err != nil {
			t.Fatal(err)
		}
		u := Unban{Regulation: usualRegulation(), Store: store, Keys: rotated}
		if lifted, err := u.Lift(t.Context(), "dir", "carol", settingsFor(s)); !lifted || err != nil {
			t.Error(lifted, err)
		}
		one.inFrom("carol", here(80))
	})
}

func TestRegulationStore(t *testing.T) {
	t.Parallel()
	s := peer.NewSlapd(t, peer.SlapdOptions{})
	unsure := func(err error) bool { return err != nil && !errors.Is(err, authn.ErrRejected) }
	rejected := func(err error) bool { return errors.Is(err, authn.ErrRejected) }
	for _, c := range []struct {
		op           string
		right, wrong func(error) bool
		passwords    int // that reach slapd
	}{
		{"get", unsure, unsure, 0},
		{"add", unsure, unsure, 0},
		{"swap", unsure, rejected, 2}, // the attempt stays written down, and counts
		{"everything", unsure, unsure, 0},
	} {
		t.Run("LDAP-27 the store fails at "+c.op, func(t *testing.T) {
			store := newSpyStore()
			r := newRig(t, settingsFor(s), func(s *setup) { s.store = store })
			if err := r.route.Ready(t.Context()); err != nil { // opens the connection that searches
				t.Fatal(err)
			}
			store.fail(func(op string) bool { return c.op == op || c.op == "everything" })
			binds, _ := asked(t, s, func() {
				if who, err := r.prove("alice", "alice-pw"); !c.right(err) || err != nil && who.Subject != "" {
					t.Errorf("the right one: %+v, %v", who, err)
				}
				if who, err := r.proveFrom("bob", "bad-pw", here(2)); !c.wrong(err) || who.Subject != "" {
					t.Errorf("a wrong one: %+v, %v", who, err)
				}
			})
			if binds != c.passwords {
				t.Errorf("%d binds", binds)
			}
		})
	}
	t.Run("LDAP-27 a failure that can't be written down counts", func(t *testing.T) {
		store := newSpyStore()
		r := newRig(t, settingsFor(s), limits(3, 4, 1000), func(s *setup) { s.store = store })
		store.fail(func(op string) bool { return op == "swap" })
		if _, err := r.proveFrom("dave", "bad-pw", here(1)); err == nil {
			t.Error("in")
		}
		store.fail(nil)
		r.guess("dave", here(2))
		r.guess("dave", here(3))
		r.guess("dave", here(4))
		r.throttled("dave", "dave-pw", here(5)) // though the first is still under way
	})
	t.Run("LDAP-27 what the store holds is not ours", func(t *testing.T) {
		store := session.NewMemory()
		r := newRig(t, settingsFor(s), func(s *setup) { s.store = store })
		r.guess("nobody", here(1))
		at, _ := network(here(1))
		if err := store.Set(t.Context(), r.l.regulation.addressKey(at), []byte("x"), time.Minute); err != nil {
			t.Fatal(err)
		}
		if _, err := r.proveFrom("alice", "alice-pw", here(1)); err == nil || errors.Is(err, authn.ErrRejected) {
			t.Error(err)
		}
	})
	t.Run("LDAP-31 no password in the store", func(t *testing.T) {
		store := newSpyStore()
		r := newRig(t, settingsFor(s), func(s *setup) { s.store = store })
		const right, bad = "alice-pw", "bad-guess-pw"
		b := r.browser()
		b.signIn("alice", bad)
		b.signIn("alice", right)
		r.fails("alice", bad)
		r.passes("alice", right)
		store.mu.Lock()
		defer store.mu.Unlock()
		written := store.written.String()
		if !strings.Contains(written, "failures:person:") || !strings.Contains(written, "session:") {
			t.Fatal("the test sees nothing")
		}
		for _, password := range []string{right, bad, "alice:" + right, "alice", "192.0.2.1"} {
			m, h1, h2 := md5.Sum([]byte(password)), sha1.Sum([]byte(password)), sha256.Sum256([]byte(password))
			for _, form := range [][]byte{[]byte(password), m[:], h1[:], h2[:]} {
				for _, text := range []string{string(form), hex.EncodeToString(form), base64.StdEncoding.EncodeToString(form), base64.RawURLEncoding.EncodeToString(form)} {
					if strings.Contains(written, text) {
						t.Errorf("the store has %q, which is %q", text, password)
					}
				}
			}
		}
	})
}

// Every no takes as long as every other.
func TestPace(t *testing.T) {
	const step = 60 * time.Millisecond
	s := peer.NewSlapd(t, peer.SlapdOptions{ExtraLDIF: somebody("max")})
	change(t, s, "uid=max,"+peopleBase, "pwdReset", "TRUE")
	r := newRig(t, settingsFor(s), lax, func(s *setup) { s.step = step })
	r.in("bob", "bob-pw") // opens the connections
	for _, c := range []struct{ id, login, password string }{
		{"wrong password", "alice", "bad-pw"}, {"nobody", "nobody", "bad-pw"}, {"no password", "alice", ""},
		{"no name", "", "x-pw"}, {"must change", "max", "max-pw"}, {"unfit", "eve", "eve-pw"},
	} {
		t.Run("LDAP-21 "+c.id, func(t *testing.T) {
			began := time.Now()
			r.on(t).refused(c.login, c.password)
			if took := time.Since(began); took < step || took > step+2*time.Second {
				t.Errorf("%s", took)
			}
		})
	}
	t.Run("LDAP-21 a slow directory", func(t *testing.T) {
		r.l.pace.note(4 * step) // as if it had been
		began := time.Now()
		r.on(t).refused("nobody", "bad-pw")
		if took := time.Since(began); took < 4*step {
			t.Errorf("%s", took)
		}
	})
}
