package e2e

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestSDK lets a real program of a Weights & Biases user, whose credential the
// gateway does not know, talk to the gateway: it is told so in its own terms and
// never sent to a page, which it would take for success.
func TestSDK(t *testing.T) {
	t.Parallel()
	at := plainPlace(t)
	h, _ := nodeHouse(t, at, nodeOptions{as: "public"})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "sdk.mjs")
	cmd.Dir = "oidc-provider"
	cmd.Env = append(os.Environ(), "NODE_NO_WARNINGS=1", "WANDB_BASE_URL="+h.url, "WANDB_API_KEY="+strings.Repeat("0", 40))
	out, err := cmd.CombinedOutput()
	if err == nil || strings.Contains(string(out), "done") {
		t.Error("the program believes that it is done")
	}
	for _, want := range []string{"Fatal HTTP error (401)", "You are not signed in."} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the program does not say %q", want)
		}
	}
	if n := h.app.count("/graphql"); n != 0 {
		t.Errorf("the application was asked %d times", n)
	}
	h.gateway.stop() // which writes the last of its log
	if log := h.gateway.out.String(); !strings.Contains(log, "/graphql") || strings.Contains(log, "/.gatehouse/sign-in") {
		t.Error("the gateway's log does not show one refused request and no way to sign-in")
	}
	if t.Failed() {
		t.Logf("the program said:\n%s", out)
	}
}
