package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestRollingRestart: two gateways behind Caddy are restarted in turn, twice each, while
// somebody who is signed in works. No request fails, and nobody signs in again.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	front := plainPlace(t)
	one := place{url: front.url, port: freePort(t), ops: freePort(t)}
	two := one // with the same ports: Caddy looks after all replicas at one
	two.address = "127.0.0.2"
	p := startNodeProvider(t, nodeOptions{as: "public", paths: front.paths()})
	app, redis := startApp(t), startRedis(t)
	var gateways []*gateway
	for _, at := range []place{one, two} {
		gateways = append(gateways, startGateway(t, settings{place: at, Upstream: app.URL, Routes: []route{routeTo(p)}, Redis: redis.url(), DrainDelay: "500ms"}))
	}
	balance(t, front, one, two)
	time.Sleep(500 * time.Millisecond) // so that Caddy knows that both are ready
	h := &house{t: t, provider: p, redis: redis, app: app, gateway: gateways[0]}
	b := h.signIn(t, "/before", "alice")
	cookie := h.cookie() + "=" + b.cookies()[h.cookie()].Value

	ctx, over := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var answered atomic.Int64
	for i := range 6 {
		all.Go(func() {
			client := &http.Client{Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			for ctx.Err() == nil {
				if err := work(client, h.url, cookie, i%2 == 0); err != nil {
					t.Error(err)
					return
				}
				answered.Add(1)
			}
		})
	}
	for range 2 {
		for _, g := range gateways {
			g.stop()
			g.restart()
			if !settles(func() bool { status, _ := g.operations("/readyz"); return status == http.StatusOK }) {
				t.Error("a gateway that was restarted does not get ready")
			}
			time.Sleep(500 * time.Millisecond) // so that Caddy knows
		}
	}
	over()
	all.Wait()
	if n := answered.Load(); n < 500 {
		t.Errorf("only %d requests were answered", n)
	}
}

// settles waits until something is so.
func settles(is func() bool) bool {
	for range 500 {
		if is() {
			return true
		}
		time.Sleep(20 * time.Millisecond)
	}
	return false
}

// work sends one request of somebody who is signed in.
func work(client *http.Client, url, cookie string, posts bool) error {
	method, body := http.MethodGet, io.Reader(nil)
	if posts {
		method, body = http.MethodPost, strings.NewReader(strings.Repeat("x", 10_000))
	}
	r, err := http.NewRequest(method, url+"/work", body)
	if err != nil {
		return err
	}
	r.Header.Set("Cookie", cookie)
	r.Header.Set("Origin", url)
	res, err := client.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = errors.New(res.Status)
	}
	if err != nil {
		return fmt.Errorf("%s: %w\n%.300s", method, err, text)
	}
	return nil
}

// balance runs a Caddy that shares the requests out among those that say they are ready.
func balance(t *testing.T, at place, replicas ...place) {
	t.Helper()
	program, err := find("caddy", "/usr/bin/caddy")
	if err != nil {
		t.Fatal(err)
	}
	var dial []string
	for _, r := range replicas {
		dial = append(dial, r.at(r.port))
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "Caddyfile")
	text := fmt.Sprintf(`{
	admin off
	auto_https off
}
http://localhost:%d {
	bind 127.0.0.1
	respond /caddy 200
	reverse_proxy %s {
		lb_policy random
		health_uri /readyz
		health_port %d
		health_interval 100ms
		health_timeout 1s
	}
}
`, at.port, strings.Join(dial, " "), replicas[0].ops)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "run", "--adapter", "caddyfile", "--config", file)
	cmd.Env = []string{"HOME=" + dir}
	start(t, cmd, answers(at.url+"/caddy"))
}
