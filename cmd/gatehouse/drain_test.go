package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"gatehouse/config"
)

// TestDrain (WS-13): a gateway that is told to stop tells the WebSockets so, at once, and
// lets the other requests end.
func TestDrain(t *testing.T) {
	begun, finish := make(chan bool), make(chan bool)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !websocket.IsWebSocketUpgrade(r) {
			close(begun)
			<-finish
			fmt.Fprint(w, "done")
			return
		}
		c, err := (&websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}).Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		_, _, _ = c.ReadMessage()
	}))
	defer app.Close()
	c, err := config.Decode("gatehouse.yaml", []byte(`
publicURL: https://example.com
upstreams:
  - {url: `+app.URL+`, public: [/live, /slow]}
authn:
  - name: corp
    oidc: {issuer: "http://127.0.0.1:1", clientID: gatehouse}
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	g, err := build(c, log, onlyMetrics())
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		err := runServers(ctx, func() {}, func() time.Duration { return 10 * time.Second }, log, server{publicServer(c.Listen, g.handler, log), ln})
		done <- errors.Join(err, g.close())
	}()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", ln.Addr().String())
	}
	d := websocket.Dialer{NetDialContext: dial}
	conn, _, err := d.Dial("ws://"+publicHost+"/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	slow := make(chan string, 1)
	go func() {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial}}
		res, err := client.Get("http://" + publicHost + "/slow")
		if err != nil {
			slow <- err.Error()
			return
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		slow <- string(body)
	}()
	<-begun
	stop()
	_ = conn.SetReadDeadline(time.Now().Add(3 * time.Second))
	if _, _, err := conn.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseGoingAway) {
		t.Errorf("got %v, want 1001", err)
	}
	conn.Close()
	close(finish)
	if got := <-slow; got != "done" {
		t.Errorf("the other request: %q", got)
	}
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("it has not stopped")
	}
}
