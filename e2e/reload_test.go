package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestReload: settings change again and again, by SIGHUP and by themselves, while
// somebody who is signed in works. No request fails, nobody signs in again, and what
// can't be loaded changes nothing.
func TestReload(t *testing.T) {
	t.Parallel()
	for _, store := range []string{"redis", "memory"} {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			at := plainPlace(t)
			p := startNodeProvider(t, nodeOptions{as: "public", paths: at.paths()})
			h := &house{t: t, provider: p, app: startApp(t)}
			s := settings{place: at, Upstream: h.app.URL, Routes: []route{routeTo(p)}, More: "reload: {interval: 1s}"}
			if store == "redis" {
				s.Redis = startRedis(t).url()
			}
			h.gateway = startGateway(t, s)
			testReload(t, h)
		})
	}
}

func testReload(t *testing.T, h *house) {
	b := h.signIn(t, "/before", "alice")
	cookie := h.cookie() + "=" + b.cookies()[h.cookie()].Value
	client := &http.Client{Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	ctx, over := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var answered atomic.Int64
	for i := range 4 {
		all.Go(func() {
			for ctx.Err() == nil {
				if err := work(client, h.url, cookie, i%2 == 0); err != nil {
					t.Error(err)
					return
				}
				answered.Add(1)
			}
		})
	}
	closed := func() bool { return work(client, h.url+"/closed", cookie, false) != nil }
	for i := range 4 {
		deny := fmt.Sprintf("\npolicy: [{name: closed-%d, paths: [/closed/], access: deny}]", i)
		if i%2 == 1 {
			deny = ""
		}
		h.gateway.write(deny)
		if i < 2 {
			_ = syscall.Kill(h.gateway.cmd.Process.Pid, syscall.SIGHUP)
		}
		if !settles(func() bool { return closed() == (deny != "") }) {
			t.Fatalf("the change of settings %d is not seen\n%s", i, h.gateway.out.tail(5))
		}
	}

	if err := os.WriteFile(h.gateway.file, []byte("publicURL: https://elsewhere.test\nauthn: [{nam"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused := func() bool {
		status, text := h.gateway.operations("/readyz")
		return status == http.StatusOK && strings.Contains(text, "not reloaded")
	}
	if !settles(refused) {
		t.Errorf("/readyz does not say that settings were refused: %s", h.gateway.out.tail(5))
	}
	h.gateway.write("\nlog: {level: debug}")
	if said := h.gateway.said("check", "--offline", "--running"); !strings.Contains(said, "log.level: info -> debug") {
		t.Errorf("gatehouse check says\n%s", said)
	}
	h.gateway.write("")
	_ = syscall.Kill(h.gateway.cmd.Process.Pid, syscall.SIGHUP)
	if !settles(func() bool { return !refused() }) {
		t.Error("/readyz goes on saying that settings were refused")
	}
	time.Sleep(200 * time.Millisecond)
	over()
	all.Wait()
	if n := answered.Load(); n < 500 {
		t.Errorf("only %d requests were answered", n)
	}
	h.gateway.stop()
	if log := h.gateway.out.String(); strings.Count(log, `"settings reloaded"`) != 5 || strings.Count(log, `"settings not reloaded`) != 1 {
		t.Errorf("the log tells of %d and %d", strings.Count(log, `"settings reloaded"`), strings.Count(log, `"settings not reloaded`))
	}
}
