package authntest_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/authn/authntest"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
)

// pipes is a listener without a network, whose connections live in a bubble.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial() net.Conn {
	here, there := net.Pipe()
	p.conns <- there
	return here
}

// inBubble runs a test with a directory and a clock of its own, which also looks
// that nothing is left running.
func inBubble(t *testing.T, f func(t *testing.T, d *authntest.Directory, p *pipes)) {
	t.Helper()
	server, _ := certificate(t)
	synctest.Test(t, func(t *testing.T) {
		d := authntest.NewDirectory(authntest.DirectoryOptions{BaseDN: baseDN, Entries: entriesOfTwo(), AnonymousRead: true, TLS: server})
		p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		var serving sync.WaitGroup
		serving.Go(func() {
			if err := d.Serve(p); err != nil {
				t.Errorf("Serve: %v", err)
			}
		})
		f(t, d, p)
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		serving.Wait()
	})
}

// client is one that gives up after a minute.
func (p *pipes) client(t *testing.T) *ldap.Conn {
	c := ldap.NewConn(p.dial(), false)
	c.SetTimeout(time.Minute)
	c.Start()
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func timeOf(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

func TestDirectorySilence(t *testing.T) {
	for name, c := range map[string]struct {
		faults   authntest.DirectoryFaults
		answered int
		logged   int
	}{
		"from the start": {authntest.DirectoryFaults{Silent: true}, 0, 0},
		"from the first": {authntest.DirectoryFaults{SilentFrom: 1}, 0, 3},
		"from the third": {authntest.DirectoryFaults{SilentFrom: 3}, 2, 3},
		"cut":            {authntest.DirectoryFaults{Cut: map[authntest.OperationKind]authntest.Cut{authntest.OpAny: {}}}, 0, 3},
	} {
		inBubble(t, func(t *testing.T, d *authntest.Directory, p *pipes) {
			d.SetFaults(c.faults)
			conn := p.client(t)
			answered := 0
			for range 3 {
				var err error
				took := timeOf(func() { err = conn.Bind(adaDN, "demo") })
				switch {
				case err == nil && took == 0:
					answered++
				case took != time.Minute:
					t.Errorf("%s: %v after %v", name, err, took)
				}
			}
			if answered != c.answered || len(d.Log()) != c.logged {
				t.Errorf("%s: %d answers, %d in the log", name, answered, len(d.Log()))
			}
			_ = conn.Close()
			synctest.Wait()
			if n := d.Connections(); n != 0 {
				t.Errorf("%s: %d connections after the client left", name, n)
			}
		})
	}
}

func TestDirectorySlowness(t *testing.T) {
	inBubble(t, func(t *testing.T, d *authntest.Directory, p *pipes) {
		c := p.client(t)
		d.SetFaults(authntest.DirectoryFaults{Delay: 5 * time.Second})
		if took := timeOf(func() { _ = c.Bind(adaDN, "demo") }); took != 5*time.Second {
			t.Errorf("delay: %v", took)
		}
		d.SetFaults(authntest.DirectoryFaults{Drip: time.Second})
		if took := timeOf(func() { _ = c.Bind(adaDN, "demo") }); took != 13*time.Second { // of 14 bytes
			t.Errorf("drip: %v", took)
		}
		d.SetFaults(authntest.DirectoryFaults{Delay: time.Hour})
		go func() { time.Sleep(time.Second); _ = d.Close() }()
		if took := timeOf(func() { _ = c.Bind(adaDN, "demo") }); took != time.Second {
			t.Errorf("Close, in a delay: %v", took)
		}
	})
}

// Before holds an operation up, and the answer knows what happened meanwhile.
func TestDirectoryBefore(t *testing.T) {
	inBubble(t, func(t *testing.T, d *authntest.Directory, p *pipes) {
		release := make(chan struct{})
		var held authntest.Operation
		d.SetFaults(authntest.DirectoryFaults{Before: func(o authntest.Operation) { held = o; <-release }})
		var answer error
		done := make(chan struct{})
		c := p.client(t)
		go func() { defer close(done); answer = c.Bind(adaDN, "new") }()
		synctest.Wait()
		if held.DN != adaDN || len(d.Log()) != 1 {
			t.Errorf("held %+v", held)
		}
		d.SetPassword(adaDN, "new")
		d.SetFaults(authntest.DirectoryFaults{Delay: time.Second})
		close(release)
		if took := timeOf(func() { <-done }); answer != nil || took != time.Second {
			t.Errorf("%v after %v", answer, took)
		}
	})
}

// stranger speaks in messages.
type stranger struct {
	net.Conn
	t *testing.T
}

func (p *pipes) stranger(t *testing.T) stranger { return stranger{p.dial(), t} }

func (s stranger) asks(hexa string) {
	s.t.Helper()
	b, err := hex.DecodeString(hexa)
	if err == nil {
		_, err = s.Write(b)
	}
	if err != nil {
		s.t.Errorf("ask: %v", err)
	}
}

const (
	anonymousBind = "300c020101600702010304008000"
	searchOfAll   = "3031" + "020102" + "632c" + "0411" + "64633d6578616d706c652c64633d6f7267" + "0a0102" + "0a0100" + "020100" + "020100" + "010100" + "8703" + "756964" + "3003" + "0401" + "78"
	startTLS      = "301d020103" + "7718" + "8016" + "312e332e362e312e342e312e313436362e3230303337"
)

// hears lists what comes until the connection ends or a second has passed: the
// message id, what it is, and the result code or DN.
func (s stranger) hears() string {
	var heard []string
	for {
		_ = s.SetReadDeadline(time.Now().Add(time.Second))
		p, err := ber.ReadPacket(s.Conn)
		switch {
		case errors.Is(err, io.ErrClosedPipe), errors.Is(err, io.EOF):
			return strings.Join(append(heard, "end"), " ")
		case errors.Is(err, io.ErrUnexpectedEOF):
			return strings.Join(append(heard, "half"), " ")
		case err != nil:
			return strings.Join(heard, " ")
		}
		what := fmt.Sprint(p.Children[0].Value, "/", uint64(p.Children[1].Tag))
		if of := p.Children[1].Children; len(of) > 0 {
			dn, _, _ := strings.Cut(fmt.Sprint(of[0].Value), ",")
			what += ":" + dn
		}
		heard = append(heard, what)
	}
}

func TestDirectoryAnswerFaults(t *testing.T) {
	cut := func(kind authntest.OperationKind, c authntest.Cut) authntest.DirectoryFaults {
		return authntest.DirectoryFaults{Cut: map[authntest.OperationKind]authntest.Cut{kind: c}}
	}
	stray := authntest.Entry{DN: "uid=stray,dc=elsewhere", Attributes: map[string][]string{"uid": {"stray"}}}
	for _, c := range []struct {
		name       string
		faults     authntest.DirectoryFaults
		ask, heard string
	}{
		{"healthy bind", authntest.DirectoryFaults{}, anonymousBind, "1/1:0"},
		{"healthy search", authntest.DirectoryFaults{}, searchOfAll, "2/4:uid=ada 2/4:uid=ben 2/5:0"},
		{"bind for everybody", authntest.DirectoryFaults{Bind: &authntest.Result{Code: 14, Message: "success"}}, anonymousBind, "1/1:14"},
		{"search result", authntest.DirectoryFaults{Search: &authntest.Result{Code: 51}}, searchOfAll, "2/4:uid=ada 2/4:uid=ben 2/5:51"},
		{"references", authntest.DirectoryFaults{References: []string{"ldap://a", "ldap://b"}}, searchOfAll, "2/4:uid=ada 2/4:uid=ben 2/19:ldap://a 2/19:ldap://b 2/5:0"},
		{"backwards", authntest.DirectoryFaults{Backwards: true}, searchOfAll, "2/5:0 2/4:uid=ben 2/4:uid=ada"},
		{"notice", authntest.DirectoryFaults{Notice: true}, anonymousBind, "0/24:52 1/1:0"},
		{"twice", authntest.DirectoryFaults{Entries: authntest.Twice}, searchOfAll, "2/4:uid=ada 2/4:uid=ben 2/4:uid=ada 2/4:uid=ben 2/5:0"},
		{"stray", authntest.DirectoryFaults{Entries: authntest.Stray(stray)}, searchOfAll, "2/4:uid=ada 2/4:uid=ben 2/4:uid=stray 2/5:0"},
		{"misname", authntest.DirectoryFaults{Entries: authntest.Misname("no DN")}, searchOfAll, "2/4:no DN 2/4:no DN 2/5:0"},
		{"cut at once", cut(authntest.OpSearch, authntest.Cut{Then: authntest.EndClose}), searchOfAll, "end"},
		{"cut after one", cut(authntest.OpSearch, authntest.Cut{After: 1, Then: authntest.EndClose}), searchOfAll, "2/4:uid=ada end"},
		{"cut in the second", cut(authntest.OpSearch, authntest.Cut{After: 1, Bytes: 5, Then: authntest.EndClose}), searchOfAll, "2/4:uid=ada half"},
		{"cut and silent", cut(authntest.OpAny, authntest.Cut{After: 2}), searchOfAll, "2/4:uid=ada 2/4:uid=ben"},
		{"cut after all", cut(authntest.OpSearch, authntest.Cut{After: 9, Then: authntest.EndClose}), searchOfAll, "2/4:uid=ada 2/4:uid=ben 2/5:0 end"},
		{"cut of others", cut(authntest.OpBind, authntest.Cut{}), searchOfAll, "2/4:uid=ada 2/4:uid=ben 2/5:0"},
		{"reset of a pipe", cut(authntest.OpBind, authntest.Cut{Then: authntest.EndReset}), anonymousBind, "end"},
		{"StartTLS later", authntest.DirectoryFaults{StartTLS: &authntest.Result{Code: 52}}, startTLS, "3/24:52"},
		{"StartTLS and silence", authntest.DirectoryFaults{NoHandshake: []byte{}}, startTLS, "3/24:0"},
		{"StartTLS and injection", authntest.DirectoryFaults{StartTLS: &authntest.Result{}, Inject: authntest.Result{}.Encode(authntest.OpBind, 4)}, startTLS, "3/24:0 4/1:0"},
		{"no StartTLS, no injection", authntest.DirectoryFaults{StartTLS: &authntest.Result{Code: 2}, Inject: []byte("x")}, startTLS, "3/24:2"},
	} {
		inBubble(t, func(t *testing.T, d *authntest.Directory, p *pipes) {
			d.SetFaults(c.faults)
			s := p.stranger(t)
			defer s.Close()
			s.asks(c.ask)
			if got := s.hears(); got != c.heard {
				t.Errorf("%s: heard %q, not %q", c.name, got, c.heard)
			}
			d.SetFaults(authntest.DirectoryFaults{})
			if err := p.client(t).Bind(adaDN, "demo"); err != nil {
				t.Errorf("%s: not healthy again: %v", c.name, err)
			}
		})
	}
}

func TestDirectoryBindsAnybody(t *testing.T) {
	inBubble(t, func(t *testing.T, d *authntest.Directory, p *pipes) {
		d.SetFaults(authntest.DirectoryFaults{Bind: &authntest.Result{}})
		c := p.client(t)
		if err := c.UnauthenticatedBind("whoever"); err != nil {
			t.Error(err)
		}
		if who, err := c.WhoAmI(nil); err != nil || who.AuthzID != "dn:whoever" {
			t.Errorf("%v %v", who, err)
		}
		d.SetFaults(authntest.DirectoryFaults{Bind: &authntest.Result{Code: 10, Referrals: []string{"ldap://evil.test/"}}})
		err := c.Bind(adaDN, "demo")
		var e *ldap.Error
		if !errors.As(err, &e) || e.ResultCode != 10 || e.Packet.Children[1].Children[3].Children[0].Value != "ldap://evil.test/" {
			t.Errorf("referral: %v", err)
		}
	})
}

func TestDirectoryIgnoresSizeLimit(t *testing.T) {
	inBubble(t, func(t *testing.T, d *authntest.Directory, p *pipes) {
		c, r := p.client(t), query("(uid=*)")
		r.SizeLimit = 1
		d.SetFaults(authntest.DirectoryFaults{IgnoreSizeLimit: true, Entries: authntest.Smuggle("displayName", "a\r\nX-Admin: 1", "\xff\xfe")})
		result, err := c.Search(r)
		if err != nil || len(result.Entries) != 2 || result.Entries[1].GetAttributeValues("displayName")[1] != "\xff\xfe" {
			t.Errorf("%v %v", result, err)
		}
		d.SetFaults(authntest.DirectoryFaults{})
		if result, err := c.Search(r); code(err) != 4 || len(result.Entries) != 1 || result.Entries[0].GetAttributeValue("displayName") != "Ada Lovelace" {
			t.Errorf("%v %v", result, err)
		}
	})
}

// Malformed answers are sent as they are, and the directory is none the worse.
func TestDirectoryMalformed(t *testing.T) {
	all := authntest.Malformed()
	if len(all) < 60 {
		t.Errorf("only %d", len(all))
	}
	for name, raw := range all {
		for _, kind := range []authntest.OperationKind{authntest.OpBind, authntest.OpSearch, authntest.OpStartTLS} {
			whole := raw(authntest.Operation{Kind: kind, MessageID: 200})
			if good := (authntest.Result{}).Encode(kind, 200); len(whole) == 0 || bytes.Equal(whole, good) {
				t.Errorf("%s of %s is nothing wrong", name, kind)
			}
		}
		inBubble(t, func(t *testing.T, d *authntest.Directory, p *pipes) {
			d.SetFaults(authntest.DirectoryFaults{Raw: map[authntest.OperationKind]authntest.RawAnswer{authntest.OpBind: raw}})
			s := p.stranger(t)
			defer s.Close()
			s.asks(anonymousBind)
			want := raw(authntest.Operation{Kind: authntest.OpBind, MessageID: 1})
			got := make([]byte, len(want))
			if _, err := io.ReadFull(s, got); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %v", name, err)
			}
			if s.asks(searchOfAll); s.hears() != "2/4:uid=ada 2/4:uid=ben 2/5:0" {
				t.Errorf("%s: other operations are not as they were", name)
			}
		})
	}
}

// What is sent raw is not done.
func TestDirectoryRawIsNotDone(t *testing.T) {
	inBubble(t, func(t *testing.T, d *authntest.Directory, p *pipes) {
		c := p.client(t)
		d.SetFaults(authntest.DirectoryFaults{Raw: map[authntest.OperationKind]authntest.RawAnswer{
			authntest.OpBind: func(o authntest.Operation) []byte { return authntest.Result{}.Encode(o.Kind, o.MessageID) }}})
		if err := c.Bind(adaDN, "demo"); err != nil {
			t.Error(err)
		}
		if who, err := c.WhoAmI(nil); err != nil || who.AuthzID != "" {
			t.Errorf("%v %v", who, err)
		}
	})
}

// A panic in a test's own function ends the connection, and Close tells.
func TestDirectoryTellsOfPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := authntest.NewDirectory(authntest.DirectoryOptions{BaseDN: baseDN})
		p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		go func() { _ = d.Serve(p) }()
		d.SetFaults(authntest.DirectoryFaults{Before: func(authntest.Operation) { panic("oops") }})
		s := p.stranger(t)
		if s.asks(anonymousBind); s.hears() != "end" {
			t.Error("the connection is still there")
		}
		if err := d.Close(); err == nil || !strings.Contains(err.Error(), "oops") {
			t.Errorf("Close: %v", err)
		}
	})
}

// On a real socket a reset is one.
func TestDirectoryReset(t *testing.T) {
	l := newLibrary(t)
	c := l.raw()
	l.d.SetFaults(authntest.DirectoryFaults{Cut: map[authntest.OperationKind]authntest.Cut{authntest.OpBind: {Bytes: 3, Then: authntest.EndReset}}})
	c.send(anonymousBind)
	if got, err := io.ReadAll(c); !errors.Is(err, syscall.ECONNRESET) || len(got) > 3 {
		t.Errorf("%x %v", got, err)
	}
}

func TestDirectoryStartTLSFaults(t *testing.T) {
	_, client := certificate(t)
	for name, c := range map[string]struct {
		faults authntest.DirectoryFaults
		code   int
	}{
		"healthy":     {authntest.DirectoryFaults{}, 0},
		"drip":        {authntest.DirectoryFaults{Drip: time.Second}, 0},
		"unavailable": {authntest.DirectoryFaults{StartTLS: &authntest.Result{Code: 52}}, 52},
		"plaintext":   {authntest.DirectoryFaults{NoHandshake: []byte("no TLS today")}, ldap.ErrorNetwork},
		"closed":      {authntest.DirectoryFaults{Cut: map[authntest.OperationKind]authntest.Cut{authntest.OpStartTLS: {After: 1, Then: authntest.EndClose}}}, ldap.ErrorNetwork},
		"injection":   {authntest.DirectoryFaults{Inject: authntest.Result{}.Encode(authntest.OpBind, 2)}, 0},
	} {
		inBubble(t, func(t *testing.T, d *authntest.Directory, p *pipes) {
			d.SetFaults(c.faults)
			conn := p.client(t)
			if err := conn.StartTLS(client); code(err) != c.code {
				t.Errorf("%s: %v", name, err)
			}
			if c.code != 0 {
				return
			}
			if err := conn.Bind(adaDN, "wrong"); code(err) != 49 {
				t.Errorf("%s: %v", name, err)
			}
			if log := d.Log(); !log[len(log)-1].TLS {
				t.Errorf("%s: the bind came in plaintext", name)
			}
		})
	}
}
