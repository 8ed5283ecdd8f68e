package proxy

import (
	"fmt"
	"io"
	"testing"
	"time"

	"gatehouse/authn"
	"gatehouse/config"
)

// succeed makes a handler by other settings that answers from now on.
func (g *rig) succeed(d *desk, upstream string, change func(*Options)) {
	g.t.Helper()
	o := g.options(upstream)
	o.Chain = authn.Chain{d}
	o.Former = g.gw
	change(&o)
	next, err := New(o)
	if err != nil {
		g.t.Fatal(err)
	}
	next.Succeed()
	former := g.gw
	g.gw = next
	g.t.Cleanup(func() { former.Close(); next.Close() })
}

// TestSucceed: what is open goes on under other settings, unless these no longer let it.
func TestSucceed(t *testing.T) {
	deny := func(paths ...string) []config.Rule {
		return []config.Rule{{Name: "closed", Paths: paths, Access: "deny"}}
	}
	for name, tt := range map[string]struct {
		change func(*Options)
		said   string // to whom it ends for; empty if it goes on
	}{
		"the same":               {func(*Options) {}, ""},
		"other paths are closed": {func(o *Options) { o.Policy = deny("/elsewhere/") }, ""},
		"the path is closed":     {func(o *Options) { o.Policy = deny("/live", "/public/") }, "no longer allowed"},
		"others are let in": {func(o *Options) {
			o.Policy = []config.Rule{{Name: "few", Paths: []string{"/live", "/public/"}, Require: []config.Requirement{{Groups: []string{"admins"}}}}}
		}, "no longer allowed"},
		"nobody goes to that host":    {func(o *Options) { o.Upstreams[0].Hosts = []string{"other.test"} }, "no longer allowed"},
		"the route is gone":           {func(o *Options) { o.Routes = nil }, "signed out"},
		"the route lets in nobody":    {func(o *Options) { o.Routes[0].Allow = func(authn.Identity) error { return &authn.NotAllowed{} } }, "no longer allowed"},
		"another upstream has it now": {func(o *Options) { o.Upstreams[0].Name = "another" }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, d := newDesk(t, "")
			g.up.sockets(t)
			alice, nobody := g.socket("alice"), g.socket("")
			g.succeed(d, g.upServer.URL, tt.change)
			if tt.said != "" {
				parted(t, alice, soon, closePolicy, tt.said)
				return
			}
			time.Sleep(quiet)
			lives(t, alice)
			lives(t, nobody)
		})
	}
}

// TestSucceedNobody: what was public and is no more ends for who is nobody.
func TestSucceedNobody(t *testing.T) {
	t.Parallel()
	g, d := newDesk(t, "")
	g.up.sockets(t)
	nobody := g.socket("")
	g.succeed(d, g.upServer.URL, func(o *Options) { o.Upstreams[0].Public = nil })
	parted(t, nobody, soon, closePolicy, "signed out")
}

// TestSucceedTransfer: a long download of nobody's goes on, but where the new settings
// close its path or ask who it is.
func TestSucceedTransfer(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Options)
		ends   bool
	}{
		"the same": {func(*Options) {}, false},
		"it is closed": {func(o *Options) {
			o.Policy = []config.Rule{{Name: "closed", Paths: []string{"/public/"}, Access: "deny"}}
		}, true},
		"it asks": {func(o *Options) { o.Upstreams[0].Public = nil }, true},
	} {
		for _, h2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, h2 %v", name, h2), func(t *testing.T) {
				t.Parallel()
				g, d := newDesk(t, "")
				gone, failed := make(chan error, 1), make(chan error, 1)
				g.up.then = endless(gone)
				req := g.request("GET", "/public/events", nil)
				req.Header.Del("Cookie")
				go func() {
					res, err := g.client(h2).Do(req)
					if err == nil {
						defer res.Body.Close()
						_, err = io.Copy(io.Discard, res.Body)
					}
					failed <- err
				}()
				await(t, func() bool { return len(g.up.all()) == 1 })
				g.succeed(d, g.upServer.URL, tt.change)
				wait := soon
				if !tt.ends {
					wait = quiet
				}
				select {
				case err := <-failed:
					if !tt.ends || err == nil {
						t.Errorf("it ended with %v", err)
					}
				case <-time.After(wait):
					want(t, "still open", tt.ends, false)
				}
			})
		}
	}
}

// TestSucceedAgain: what began long ago is judged by the latest settings, heard of there,
// and told when the gateway stops.
func TestSucceedAgain(t *testing.T) {
	t.Parallel()
	g, d := newDesk(t, "")
	g.up.sockets(t)
	alice, bob := g.socket("alice"), g.socket("bob")
	first := g.gw
	g.succeed(d, g.upServer.URL, func(*Options) {})
	second := g.gw
	g.succeed(d, g.upServer.URL, func(*Options) {})
	second.Close()
	d.fails("alice", errSignedOut)
	g.gw.Recheck()
	parted(t, alice, soon, closePolicy, "signed out")
	lives(t, bob)
	g.gw.Drain()
	parted(t, bob, soon, closeGoingAway, "going away")
	first.Close()
	if n := len(g.gw.lineage.open); n != 1 {
		t.Errorf("%d handlers are thought to have open requests", n)
	}
}
