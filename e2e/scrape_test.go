package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// programs is a client of the gateway at its public name, as programs have it.
func (h *dirHouse) programs() *http.Client {
	h.t.Helper()
	roots := x509.NewCertPool()
	for _, v := range h.env {
		if file, ok := strings.CutPrefix(v, "GATEHOUSE_LISTEN_TLS_CERTIFICATES_0_CERT_FILE="); ok {
			text, err := os.ReadFile(file)
			if err != nil || !roots.AppendCertsFromPEM(text) {
				h.t.Fatalf("the gateway's certificate: %v", err)
			}
		}
	}
	t := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, MaxIdleConnsPerHost: 16,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, loopback(h.port))
		},
	}
	h.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t, Timeout: patience}
}

// ask sends a request with a password and returns the status.
func (h *dirHouse) ask(c *http.Client, path, username, password string) int {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, h.url+path, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	if username != "" {
		req.SetBasicAuth(username, password)
	}
	res, err := c.Do(req)
	if err != nil {
		h.t.Error(err)
		return 0
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

// scrape reads the metrics as Prometheus does.
func (h *dirHouse) scrape() string {
	h.t.Helper()
	res, err := http.Get("http://" + loopback(h.ops) + "/metrics")
	if err != nil {
		h.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		h.t.Fatalf("a scrape answers %d: %v", res.StatusCode, err)
	}
	return string(text)
}

func families(text string, pattern string) []string {
	var out []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// TestScrape has Prometheus' own tool look at the metrics of a gateway in use, and
// compares them with docs/observability.md.
func TestScrape(t *testing.T) {
	t.Parallel()
	h := newDirHouse(t, securePlace(t)).run()
	c := h.programs()
	for _, step := range []struct {
		path, username, password string
		status                   int
	}{
		{"/x", "alice", "alice-pw", 200}, {"/x", "alice", "alice-pw", 200}, {"/x", "alice", "not it", 401}, {"/secret-path", "", "", 401},
		{"/.gatehouse/nothing", "", "", 404},
	} {
		if got := h.ask(c, step.path, step.username, step.password); got != step.status {
			t.Errorf("%s as %q: %d, want %d", step.path, step.username, got, step.status)
		}
	}
	text := h.scrape()
	tool := exec.CommandContext(t.Context(), "promtool", "check", "metrics")
	tool.Stdin = strings.NewReader(text)
	if out, err := tool.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("promtool (%s): %v\n%s", hint, err, out)
	}
	docs, err := os.ReadFile("../docs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	written, there := families(string(docs), "(?m)^\\| `(gatehouse_[a-z_]+)` \\|"), families(text, `(?m)^# TYPE (gatehouse_[a-z_]+) `)
	if !slices.Equal(written, there) {
		t.Errorf("documented are\n%v\nand there are\n%v", written, there)
	}
	for _, secret := range []string{"alice", "-pw", "not it", "secret-path", h.directory.ServicePassword, sessionKey, h.directory.BaseDN, "127.0.0.1"} {
		if strings.Contains(text, secret) {
			t.Errorf("OPS-09: the metrics hold %q", secret)
		}
	}
	for _, line := range []string{
		`gatehouse_requests_total{code="200",route="ldap"} 2`,
		`gatehouse_authn_total{reason="wrong",result="rejected",route="ldap"} 1`,
		`gatehouse_cache_lookups_total{cache="password",result="hit",route="ldap"} 1`,
		`gatehouse_redis_breaker_open 0`,
		`gatehouse_session_news_listening 1`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("the scrape lacks %s\n%s", line, text)
		}
	}
	if status := h.ask(c, "/metrics", "", ""); status != http.StatusUnauthorized {
		t.Errorf("OPS-01: /metrics in public answers %d", status)
	}
}

// TestScrapeOutage: Redis' outage is in the metrics, and in the log once.
func TestScrapeOutage(t *testing.T) {
	t.Parallel()
	h := newDirHouse(t, securePlace(t)).run()
	c := h.programs()
	until := func(line string, meanwhile func()) {
		t.Helper()
		for deadline := time.Now().Add(patience); !strings.Contains(h.scrape(), "\n"+line+"\n"); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s does not come\n%s", line, h.scrape())
			}
			meanwhile()
		}
	}
	guess := func() { h.ask(c, "/x", "bob", "bob-pw") } // which Redis is asked about
	until("gatehouse_session_news_listening 1", func() {})
	h.redis.stop()
	until("gatehouse_redis_breaker_open 1", guess)
	until("gatehouse_session_news_listening 0", func() {})
	res, err := http.Get("http://" + loopback(h.ops) + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if says := string(text); res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(says, "missing   store: ") || !strings.Contains(says, "degraded  news: ") {
		t.Errorf("without Redis /readyz answers %d\n%s", res.StatusCode, says)
	}
	h.redis.start(t)
	until("gatehouse_redis_breaker_open 0", guess)
	until("gatehouse_redis_breaker_opened_total 1", func() {})
	until("gatehouse_session_news_listening 1", func() {})
	if stopped, again := h.out.count(`"the store does not answer`), h.out.count(`"the store answers again"`); stopped != 1 || again != 1 {
		t.Errorf("the log tells of %d outages and %d ends\n%s", stopped, again, h.out.tail(40))
	}
	if text := h.scrape(); !strings.Contains(text, `peer="store",result="error"`) {
		t.Error("no call to Redis has failed")
	}
}

// TestScrapeUnderLoad: scrapes are answered while the gateway is busy, and what they
// count is what was sent.
func TestScrapeUnderLoad(t *testing.T) {
	t.Parallel()
	h := newDirHouse(t, securePlace(t)).run()
	c := h.programs()
	if got := h.ask(c, "/x", "alice", "alice-pw"); got != http.StatusOK {
		t.Fatalf("the first request: %d", got)
	}
	const clients, each = 8, 250
	var all sync.WaitGroup
	var sent atomic.Int64
	for range clients {
		all.Go(func() {
			for range each {
				if h.ask(c, "/x", "alice", "alice-pw") == http.StatusOK {
					sent.Add(1)
				}
			}
		})
	}
	loaded := make(chan struct{})
	go func() { all.Wait(); close(loaded) }()
	scrapes := 0
	for busy := true; busy; scrapes++ {
		select {
		case <-loaded:
			busy = false
		case <-time.After(20 * time.Millisecond):
		}
		begun := time.Now()
		h.scrape()
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("a scrape took %v", took)
		}
	}
	if want := `gatehouse_requests_total{code="200",route="ldap"} ` + "2001"; sent.Load() != clients*each || !strings.Contains(h.scrape(), "\n"+want+"\n") {
		t.Errorf("%d of %d requests went well; the scrape lacks %s", sent.Load(), clients*each, want)
	}
	if scrapes < 3 {
		t.Errorf("there were %d scrapes", scrapes)
	}
}
