package e2e

import (
	"encoding/base64"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/e2e/wandb"
)

// applicationKey is one that the application gave to alice.
var applicationKey = strings.Repeat("a1B2c3D4e5", 4)

var alice = wandb.Viewer{Username: "alice", Email: "alice@example.com", Entity: "research", Teams: []string{"research"}}

// TestKey lets the real SDK log with a key of the gateway: the application is
// told of the service account, and sees no key.
func TestKey(t *testing.T) {
	t.Parallel()
	h := newProgramHouse(t, plainPlace(t), wandb.Options{Trust: true}, programSettings{Application: "refuse"})
	key := h.newKey()
	out, err := node(t, "run.mjs", "WANDB_BASE_URL="+h.url, "WANDB_API_KEY="+key, "METRICS=200", "EVERY_MS=5")
	if err != nil || !strings.Contains(out, "\ndone\n") {
		t.Fatalf("the program failed: %v\n%s", err, out)
	}
	h.trained("research", 200)
	requests := h.wandb.Requests("/")
	checkAccounts(t, "keys", requests)
	if len(requests) < 3 {
		t.Errorf("the application was asked %d times", len(requests))
	}
	if strings.Contains(h.out.String(), key) {
		t.Error("the key is in the log")
	}
}

// checkAccounts compares what the application was told with the service account,
// which is the same one whatever it proves itself by, and shows the first
// request that differs.
func checkAccounts(t *testing.T, route string, requests []wandb.Request) {
	t.Helper()
	const subject = "account:trainer"
	want := map[string]string{
		"X-Forwarded-User": subject, "X-Gatehouse-Subject": subject, "X-Gatehouse-Route": route,
		"X-Forwarded-Preferred-Username": "trainer", "X-Gatehouse-Teams": "research", "X-Gatehouse-Roles": "member",
	}
	for _, r := range requests {
		got := told(r)
		issuer := got["X-Gatehouse-Issuer"]
		delete(got, "X-Gatehouse-Issuer") // a key has the gateway's, a token its own
		if !maps.Equal(got, want) || issuer == "" {
			t.Errorf("%s tells %v and the issuer %q, want %v", r.Path, got, issuer, want)
			return
		}
	}
}

// TestApplicationKey lets the real SDK log with a key that the application gave
// out, as the settings let it.
func TestApplicationKey(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		mode, key string
		// says is what the program must say if it must fail.
		says string
		// asked tells that the application was asked, and subject what it was told.
		asked   bool
		subject string
	}{
		{mode: "pass", key: applicationKey, asked: true},
		{mode: "pass", key: strings.Repeat("0", 40), asked: true, says: "permission denied"},
		{mode: "verify", key: applicationKey, asked: true, subject: "wandb:alice"},
		{mode: "verify", key: strings.Repeat("0", 40), asked: true, says: "Fatal HTTP error (401)"},
		{mode: "refuse", key: applicationKey, says: "Fatal HTTP error (401)"},
	} {
		t.Run(test.mode+" "+test.key[:4], func(t *testing.T) {
			t.Parallel()
			h := newProgramHouse(t, plainPlace(t), wandb.Options{Keys: map[string]wandb.Viewer{applicationKey: alice}}, programSettings{Application: test.mode})
			out, err := node(t, "run.mjs", "WANDB_BASE_URL="+h.url, "WANDB_API_KEY="+test.key, "METRICS=20", "EVERY_MS=5")
			if test.says != "" {
				if err == nil || !strings.Contains(out, test.says) {
					t.Errorf("the program ended with %v and said\n%s", err, out)
				}
			} else if err != nil {
				t.Fatalf("the program failed: %v\n%s", err, out)
			} else {
				h.trained("research", 20)
			}
			if asked := len(h.wandb.Requests("/")) > 0; asked != test.asked {
				t.Errorf("the application was asked: %t", asked)
			}
			for _, r := range h.wandb.Requests("/files/") {
				got := told(r)
				if !strings.HasPrefix(got["Authorization"], "Basic ") || got["X-Gatehouse-Subject"] != test.subject || got["X-Forwarded-User"] != test.subject {
					t.Errorf("the application was told %v", got)
				}
			}
		})
	}
}

// TestWeave lets the real Weave library trace a function through the gateway, at
// the address that it makes up itself.
func TestWeave(t *testing.T) {
	t.Parallel()
	at := plainPlace(t)
	at.url = "https" + strings.TrimPrefix(at.url, "http")
	h := newProgramHouse(t, at, wandb.Options{Trust: true}, programSettings{Application: "refuse"})
	out, err := node(t, "weave.mjs", "WANDB_BASE_URL="+h.url, "NODE_EXTRA_CA_CERTS="+h.cert, "WANDB_API_KEY="+h.newKey(), "PROJECT=e2e")
	if err != nil || !strings.Contains(out, "done") {
		t.Fatalf("the program failed: %v\n%s", err, out)
	}
	calls := h.wandb.Calls()
	if len(calls) != 1 || calls[0].Started != 1 || calls[0].Ended != 1 || calls[0].Output != `{"doubled":42}` {
		t.Errorf("the calls are %+v", calls)
	}
	checkAccounts(t, "keys", h.wandb.Requests("/"))
	for _, r := range h.wandb.Requests("/") {
		if r.Status != http.StatusOK {
			t.Errorf("%s was answered %d", r.Path, r.Status)
		}
	}
	if n := len(h.wandb.Requests("/traces/")); n < 3 {
		t.Errorf("the trace server was asked %d times", n)
	}
}

// TestSecondCredential has a program that shows the application its own key, and
// the gateway another one beside it, as the SDK can be told to. The application
// sees its own, and who the other one stands for; storage sees neither.
func TestSecondCredential(t *testing.T) {
	t.Parallel()
	h := newProgramHouse(t, plainPlace(t), wandb.Options{Keys: map[string]wandb.Viewer{applicationKey: alice}}, programSettings{Application: "refuse"})
	own := "Basic " + base64.StdEncoding.EncodeToString([]byte("api:"+applicationKey))
	s := wandb.Settings{URL: h.url, Key: applicationKey, Second: time.Millisecond, Header: http.Header{"X-Gatehouse-Authorization": {"Bearer " + h.newKey()}}}
	c := wandb.NewClient(s)
	train(t, c, "run", 20)
	checkWhole(t, h.wandb.File("research/e2e/run", wandb.HistoryFile), 20)
	requests := h.wandb.Requests("/")
	for _, r := range requests {
		if got := r.Header.Get("Authorization"); got != own {
			t.Errorf("%s came with the credential %q", r.Path, got)
		}
		r.Header.Del("Authorization")
	}
	checkAccounts(t, "keys", requests)
	run, err := c.Start(t.Context(), "", "e2e", "files")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Upload(t.Context(), run, "notes.txt", []byte("hello")); err != nil {
		t.Error(err)
	}
	if err := run.Finish(); err != nil {
		t.Error(err)
	}
	before := len(h.wandb.Requests("/"))
	for name, key := range map[string]string{"none": "", "no key": "Bearer abc"} {
		s.Header.Set("X-Gatehouse-Authorization", key)
		if _, err := wandb.NewClient(s).Start(t.Context(), "", "e2e", "refused"); err == nil || !strings.Contains(err.Error(), "HTTP 401") {
			t.Errorf("with %s for the gateway: %v", name, err)
		}
	}
	if n := len(h.wandb.Requests("/")) - before; n > 0 {
		t.Errorf("the application was asked %d times", n)
	}
}
