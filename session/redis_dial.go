package session

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// dialer opens every connection: to the servers and Sentinels of the settings, and
// to those that they name.
type dialer struct {
	net net.Dialer
	tls *tls.Config // nil: in clear
	// secret says that there is a password, which goes over no network in clear.
	secret bool
	// sentinel and sentinels are how to sign in at Sentinels, and where they are.
	sentinel  *RedisSentinel
	sentinels []string
}

func newDialer(o RedisOptions, at places) *dialer {
	d := &dialer{net: net.Dialer{Timeout: o.Timeout}}
	d.secret = !o.InsecurePlain && (o.Password != nil || at.password != "")
	if at.secure {
		d.tls = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if at.secure && o.TLS != nil {
		d.tls = o.TLS.Clone()
	}
	if o.Sentinel != nil && o.Sentinel.Password != nil {
		d.sentinel, d.sentinels = o.Sentinel, at.addresses
		d.secret = !o.InsecurePlain
	}
	return d
}

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if d.secret && d.tls == nil && network != "unix" && !thisMachine(address) {
		return nil, fmt.Errorf("%s is another machine, and there is a password, which would go there in clear: use TLS", address)
	}
	conn, err := d.open(ctx, network, address)
	if err != nil || !slices.Contains(d.sentinels, address) {
		return conn, err
	}
	if err := d.signIn(conn); err != nil {
		return nil, errors.Join(fmt.Errorf("sign in at the Sentinel %s: %w", address, err), conn.Close())
	}
	return conn, nil
}

func (d *dialer) open(ctx context.Context, network, address string) (net.Conn, error) {
	if d.tls == nil {
		return d.net.DialContext(ctx, network, address)
	}
	// Without a name of its own, tls expects the host of address.
	return (&tls.Dialer{NetDialer: &d.net, Config: d.tls}).DialContext(ctx, network, address)
}

// signIn sends a Sentinel its password, which the library would keep for ever.
func (d *dialer) signIn(conn net.Conn) error {
	password, err := d.sentinel.Password()
	if err != nil {
		return err
	}
	words := []string{"AUTH", password}
	if d.sentinel.Username != "" {
		words = []string{"AUTH", d.sentinel.Username, password}
	}
	if err := conn.SetDeadline(time.Now().Add(d.net.Timeout)); err != nil {
		return err
	}
	if _, err := conn.Write(command(words)); err != nil {
		return err
	}
	// One line is the whole answer, so nothing of what comes later is read.
	line, err := bufio.NewReaderSize(conn, 1<<10).ReadSlice('\n')
	if err != nil {
		return err
	}
	if line[0] != '+' {
		return errors.New(strings.TrimSpace(string(line[1:])))
	}
	return conn.SetDeadline(time.Time{})
}

// command is words as the protocol writes them.
func command(words []string) []byte {
	out := fmt.Appendf(nil, "*%d\r\n", len(words))
	for _, w := range words {
		out = fmt.Appendf(out, "$%d\r\n%s\r\n", len(w), w)
	}
	return out
}

// thisMachine says whether an address can't be anywhere else.
func thisMachine(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
