package e2e

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/e2e/wandb"
)

// TestStorage uploads a file to where the application says, which is behind the
// gateway too: what arrives there has a signature and nothing else.
func TestStorage(t *testing.T) {
	t.Parallel()
	h := newProgramHouse(t, plainPlace(t), wandb.Options{Trust: true}, programSettings{Application: "refuse"})
	c := wandb.NewClient(wandb.Settings{URL: h.url, Key: h.newKey(), Second: time.Millisecond})
	run, err := c.Start(t.Context(), "", "e2e", "run")
	if err != nil {
		t.Fatal(err)
	}
	defer run.Finish()
	content := bytes.Repeat([]byte("weights "), 1<<17)
	if err := c.Upload(t.Context(), run, "model.bin", content); err != nil {
		t.Fatal(err)
	}
	if got, ok := h.wandb.Blob("research/e2e/run/model.bin"); !ok || !bytes.Equal(got, content) {
		t.Errorf("storage has %d bytes", len(got))
	}
	for _, r := range h.wandb.Requests("/storage/") {
		if got := told(r); len(got) > 0 || r.Status != http.StatusOK {
			t.Errorf("storage answered %d and saw %v", r.Status, got)
		}
		if "http://"+r.Host != h.url || r.Header.Get("X-Gatehouse-Subject") != "" {
			t.Errorf("storage was asked at %s", r.Host)
		}
	}
	// What ~/.netrc has for the host comes along with some programs.
	put := h.wandb.Requests("/storage/")[0]
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, h.url+put.Path+"?"+put.Query, strings.NewReader("again"))
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("user", applicationKey)
	r.Header.Set("X-Gatehouse-Subject", "somebody")
	r.Header.Set("X-Forwarded-User", "somebody")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("storage answered %d to a program with a credential for the gateway", res.StatusCode)
	}
}

// TestLargeQuery sends what "wandb verify" sends to see whether a proxy bounds
// bodies.
func TestLargeQuery(t *testing.T) {
	t.Parallel()
	h := newProgramHouse(t, plainPlace(t), wandb.Options{Trust: true}, programSettings{Application: "refuse"})
	c := wandb.NewClient(wandb.Settings{URL: h.url, Key: h.newKey(), Second: time.Millisecond})
	if err := c.Query(t.Context(), "query Viewer { viewer { id } }", map[string]string{"padding": strings.Repeat("x", 1e7)}, nil); err != nil {
		t.Error(err)
	}
}

// TestAttribution has a program say for whom it works: somebody of its team, or
// somebody else.
func TestAttribution(t *testing.T) {
	t.Parallel()
	h := newProgramHouse(t, plainPlace(t), wandb.Options{Trust: true}, programSettings{Application: "refuse"})
	key := h.newKey()
	for _, test := range []struct{ says, told string }{{"alice", "alice"}, {"mallory", ""}, {"", ""}} {
		c := wandb.NewClient(wandb.Settings{URL: h.url, Key: key, Second: time.Millisecond, Username: test.says})
		if err := c.Query(t.Context(), "query Viewer { viewer { id } }", nil, nil); err != nil {
			t.Fatal(err)
		}
		requests := h.wandb.Requests("/graphql")
		if got := requests[len(requests)-1].Header.Get("X-Wandb-Username"); got != test.told {
			t.Errorf("a program that works for %q is said to work for %q", test.says, got)
		}
	}
}
