package authntest

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"
)

// DirectoryOptions says what a directory is like when nothing is wrong with it.
type DirectoryOptions struct {
	// BaseDN is the naming context. Its own entry is made if Entries have none.
	BaseDN  string
	Entries []Entry
	// TLS offers StartTLS. For ldaps, give Serve a TLS listener.
	TLS *tls.Config
	// AnonymousRead lets everybody search, not only who is bound.
	AnonymousRead bool
	// RefuseUnauthenticated answers 53 to a bind with a name and no password.
	// Without it, such a bind succeeds and means nothing (RFC 4513, section
	// 5.1.2), which is what a client has to be afraid of.
	RefuseUnauthenticated bool
	// SizeLimit is the most entries in one answer, like Active Directory's
	// MaxPageSize. Zero is no limit.
	SizeLimit int
	// RootDSE replaces attributes of the root DSE or adds some, so that it can
	// look like another product's. One without values is left out.
	RootDSE map[string][]string
}

// Entry is what a directory knows under one name.
type Entry struct {
	DN string
	// Password is what a simple bind has to give. Without one, nothing will do.
	Password string
	// BindNames stand for the DN in a bind, like ada@example.com at Active
	// Directory.
	BindNames []string
	// Bind is the answer to a bind with the right password, WrongPassword to
	// any other. Without them, success and 49.
	Bind, WrongPassword *Result
	// Attributes may have options in their names (mail;lang-de) and any octets
	// in their values. What the DN says is added, and an object class if there
	// is none; entryUUID is made up and memberOf is gathered from the groups
	// unless they are here.
	Attributes map[string][]string
}

// Directory is a small LDAPv3 server that keeps to RFC 4511 until it is told
// not to by [Directory.SetFaults]. People bind with a name and a password and
// read what is there; nobody can write. It is safe for concurrent use.
type Directory struct {
	options DirectoryOptions
	base    dnKey
	// secret keys what the log keeps of passwords, so that it is of no use
	// anywhere else.
	secret []byte
	done   chan struct{}
	all    sync.WaitGroup

	mu        sync.Mutex
	faults    DirectoryFaults
	entries   map[string]*node
	made      int            // entries ever made, for their order
	lives     map[string]int // how often a name was given, for entryUUID
	tree      *tree          // nil after a change
	log       []Operation
	listeners map[net.Listener]bool
	callers   map[*caller]bool
	accepted  int
	peak      int
	closed    bool
	panics    []error
}

// NewDirectory returns a directory. It panics if a DN is none.
func NewDirectory(o DirectoryOptions) *Directory {
	d := &Directory{
		options: o, base: mustKey(o.BaseDN), secret: make([]byte, 32), done: make(chan struct{}),
		entries: map[string]*node{}, lives: map[string]int{},
		listeners: map[net.Listener]bool{}, callers: map[*caller]bool{},
	}
	_, _ = rand.Read(d.secret)
	d.Set(Entry{DN: o.BaseDN})
	for _, e := range o.Entries {
		d.Set(e)
	}
	return d
}

// StartDirectory serves a directory on a free port of 127.0.0.1 until its
// Close. The URL is ldap://127.0.0.1 and the port.
func StartDirectory(o DirectoryOptions) (d *Directory, url string, err error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	d = NewDirectory(o)
	go func() { _ = d.Serve(listener) }()
	return d, "ldap://" + listener.Addr().String(), nil
}

// Serve answers on a listener until Close, and then returns nil. It may be
// called for several.
func (d *Directory) Serve(ln net.Listener) error {
	if !d.open(ln) {
		return ln.Close()
	}
	defer d.all.Done()
	for {
		conn, err := ln.Accept()
		if err != nil {
			return d.shut(ln, err)
		}
		if c := d.welcome(conn); c != nil {
			go c.run()
		}
	}
}

func (d *Directory) open(ln net.Listener) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.all.Add(1)
	d.listeners[ln] = true
	return true
}

func (d *Directory) shut(ln net.Listener, err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.listeners, ln)
	if d.closed {
		return nil
	}
	return errors.Join(err, ln.Close())
}

// welcome counts a new connection; nil if it is too late for one.
func (d *Directory) welcome(conn net.Conn) *caller {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		_ = conn.Close()
		return nil
	}
	d.accepted++
	c := &caller{d: d, number: d.accepted, conn: conn, raw: conn, pages: map[string]page{}}
	if t, ok := conn.(*tls.Conn); ok {
		c.raw, c.encrypted = t.NetConn(), true
	}
	d.callers[c] = true
	d.peak = max(d.peak, len(d.callers))
	d.all.Add(1)
	return c
}

// leave forgets a connection. What it panicked with is Close's to tell.
func (d *Directory) leave(c *caller, panicked error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.callers, c)
	if panicked != nil {
		d.panics = append(d.panics, panicked)
	}
	d.all.Done()
}

// Close ends the listeners and all connections, and waits for what serves them.
// Its error says that serving panicked, which is the directory's own fault.
func (d *Directory) Close() error {
	d.mu.Lock()
	if !d.closed {
		d.closed = true
		close(d.done)
	}
	for ln := range d.listeners {
		_ = ln.Close()
	}
	for c := range d.callers {
		_ = c.raw.Close()
	}
	d.mu.Unlock()
	d.all.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	return errors.Join(d.panics...)
}

// Disconnect sends the Notice of Disconnection (RFC 4511, section 4.4.1) on all
// connections and closes them. New ones are welcome.
func (d *Directory) Disconnect() {
	notice := noticeOf(Result{Code: 52, Message: "going down for maintenance"})
	for _, c := range d.present() {
		// Who doesn't read, or is in a handshake, can't hold it up.
		_ = c.raw.SetDeadline(time.Now().Add(time.Second))
		_ = c.write(notice, 0)
		_ = c.raw.Close()
	}
}

// Hangup closes all connections without a word, like a firewall that has
// forgotten them. New ones are welcome.
func (d *Directory) Hangup() {
	for _, c := range d.present() {
		_ = c.raw.Close()
	}
}

func (d *Directory) present() []*caller {
	d.mu.Lock()
	defer d.mu.Unlock()
	callers := make([]*caller, 0, len(d.callers))
	for c := range d.callers {
		callers = append(callers, c)
	}
	return callers
}

// Connections is how many are open now.
func (d *Directory) Connections() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.callers)
}

// PeakConnections is how many were ever open at once.
func (d *Directory) PeakConnections() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.peak
}

// pause blocks for t and says whether the directory is still there after it.
func (d *Directory) pause(t time.Duration) bool {
	if t <= 0 {
		return true
	}
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-d.done:
		return false
	}
}
