package exchange

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		then http.HandlerFunc
		ok   bool
		says string
	}{
		"there":            {says(400, `{"error":"invalid_grant"}`), true, "refuses"},
		"not there":        {says(404, `{"error":"no such path"}`), false, "404"},
		"a page":           {says(200, "<html>"), false, "page for people"},
		"takes everything": {says(200, good), false, "gives a token"},
	} {
		server := httptest.NewServer(c.then)
		u := upstream()
		u.URL = server.URL
		got := Check(t.Context(), u, &url.URL{Scheme: "https", Host: "gatehouse.test"})
		if len(got) != 1 || got[0].OK != c.ok || !strings.Contains(got[0].Detail, c.says) || (got[0].Fix == "") != c.ok {
			t.Errorf("%s: %+v", name, got)
		}
		server.Close()
	}
	u := upstream()
	u.Exchange.TokenURL, u.Exchange.TLS.CAFile = "https://wandb.test/oidc/token", "/nonexistent"
	if got := Check(t.Context(), u, nil); got[0].OK || !strings.Contains(got[0].Detail, "nonexistent") {
		t.Errorf("a missing file: %+v", got)
	}
}
