package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// load is what clients send to a contender.
type load struct {
	url, cookie       string
	password          string             // of ada, by Basic
	tokens            func(i int) string // the Bearer token of request i
	exchange          bool               // the token goes to the token endpoint
	asks              bool               // about a request, as another proxy does
	requests, clients int
	status            int
	down, up          int64 // bytes of one stream, instead of requests
}

func (l load) to(url string) load                   { l.url = url; return l }
func (l load) with(cookie string) load              { l.cookie = cookie; return l }
func (l load) basic(pw string) load                 { l.password = pw; return l }
func (l load) bearing(tokens func(int) string) load { l.tokens = tokens; return l }
func (l load) expecting(status int) load            { l.status = status; return l }
func (l load) asking() load                         { l.asks = true; return l }
func (l load) wants() int                           { return max(l.status, http.StatusOK) }

// client holds the connections of a load. They stay open from round to round, as those
// of browsers and proxies do, so that none is measured that is opened.
func (l load) client() *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: max(l.clients, 1), DisableCompression: true, WriteBufferSize: 256 << 10, ReadBufferSize: 256 << 10}}
}

// run sends the load once and returns the CPU time that it cost p.
func (l load) run(ctx context.Context, p *process) (time.Duration, error) {
	c := l.client()
	defer c.CloseIdleConnections()
	return l.by(ctx, c, p)
}

// by is run with connections that are open.
func (l load) by(ctx context.Context, c *http.Client, p *process) (time.Duration, error) {
	before, err := p.cpu()
	if err != nil {
		return 0, err
	}
	if l.requests > 0 {
		err = l.many(ctx, c)
	} else {
		err = l.one(ctx, c)
	}
	if err != nil {
		return 0, err
	}
	after, err := p.cpu()
	return after - before, err
}

func (l load) many(ctx context.Context, c *http.Client) error {
	g, ctx := errgroup.WithContext(ctx)
	for client := range l.clients {
		g.Go(func() error {
			for n := range l.requests / l.clients {
				l := l
				if l.tokens != nil {
					token := l.tokens(n*l.clients + client)
					l.tokens = func(int) string { return token }
				}
				if err := l.request(ctx, c); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// request sends one small request.
func (l load) request(ctx context.Context, c *http.Client) error {
	switch {
	case l.asks:
		return l.send(ctx, c, http.MethodGet, "/.gatehouse/auth/traefik", nil)
	case !l.exchange && l.up > 0:
		return l.one(ctx, c)
	case !l.exchange:
		return l.send(ctx, c, http.MethodGet, "/", nil)
	}
	form := "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion=" + l.tokens(0)
	l.up = int64(len(form))
	return l.send(ctx, c, http.MethodPost, "/oidc/token", strings.NewReader(form))
}

func (l load) one(ctx context.Context, c *http.Client) error {
	if l.up > 0 {
		return l.send(ctx, c, http.MethodPost, "/up", io.LimitReader(zeros{}, l.up))
	}
	return l.send(ctx, c, http.MethodGet, fmt.Sprintf("/down?bytes=%d", l.down), nil)
}

func (l load) send(ctx context.Context, c *http.Client, method, path string, body io.Reader) error {
	req, err := http.NewRequestWithContext(ctx, method, l.url+path, body)
	if err != nil {
		return err
	}
	if body != nil {
		req.ContentLength = l.up
	}
	if l.cookie != "" {
		req.Header.Set("Cookie", l.cookie)
	}
	switch {
	case l.exchange:
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	case l.tokens != nil:
		req.Header.Set("Authorization", "Bearer "+l.tokens(0))
	}
	if l.asks {
		req.Header.Set("X-Forwarded-Method", http.MethodGet)
		req.Header.Set("X-Forwarded-Host", "localhost")
		req.Header.Set("X-Forwarded-Uri", "/runs/1?tab=charts")
	}
	if l.password != "" {
		req.SetBasicAuth(person, l.password)
	}
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, res.Body, make([]byte, 32<<10))
	if err != nil {
		return err
	}
	if res.StatusCode != l.wants() || l.down > 0 && n != l.down {
		return fmt.Errorf("%s %s: %s, %d bytes", method, path, res.Status, n)
	}
	return nil
}

// zeros is an endless body.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
