package proxy

import (
	"context"
	"crypto/tls"
	"net"
	"net/http/httptrace"
	"testing"
	"testing/synctest"
)

// TestSettle: HTTP-30, what an upstream has sent too much must have been seen
// before the connection is used again.
func TestSettle(t *testing.T) {
	rows := map[string]struct {
		reused bool
		then   func(c net.Conn) // lets it go on; nil if it must not wait
	}{
		"until the transport reads":  {true, func(c net.Conn) { go func() { _, _ = c.Read(make([]byte, 1)) }() }},
		"until the transport closes": {true, func(c net.Conn) { c.Close() }},
		"not on a new connection":    {false, nil},
	}
	for name, row := range rows {
		t.Run("HTTP-30 "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				defer near.Close()
				defer far.Close()
				c, err := tracked(0, func(context.Context) (net.Conn, error) { return near, nil })(t.Context(), "", "")
				if err != nil {
					t.Fatal(err)
				}
				done := false
				go func() {
					settle(httptrace.GotConnInfo{Conn: tls.Client(c, &tls.Config{MinVersion: tls.VersionTLS12}), Reused: row.reused})
					done = true
				}()
				synctest.Wait()
				want(t, "goes on at once", done, row.then == nil)
				if row.then != nil {
					row.then(c)
					synctest.Wait()
				}
				want(t, "goes on", done, true)
			})
		})
	}
	t.Run("a connection of somebody else's", func(*testing.T) {
		near, _ := net.Pipe()
		settle(httptrace.GotConnInfo{Conn: near, Reused: true})
	})
}
