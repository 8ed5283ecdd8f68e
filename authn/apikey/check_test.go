package apikey

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"gatehouse/config"
)

// TestCheck: the look at an application that is to be asked about keys.
func TestCheck(t *testing.T) {
	public, err := url.Parse("https://gatehouse.test")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		ok     bool
		says   string
	}{
		"it says no":          {says(200, "application/json", `{"data":{"viewer":null}}`), true, "says no to a key that nobody has made"},
		"it says 401":         {says(401, "application/json", `{}`), true, "says no"},
		"it takes everything": {says(200, "application/json", ada), false, "takes a key that nobody has made for that of ada"},
		"it is no W&B server": {says(200, "text/html", "<p>hello"), false, "must answer the GraphQL query viewer at http://127.0.0.1:"},
		"it is down":          {nil, false, "must answer the GraphQL query viewer"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(c.answer)
			defer server.Close()
			if c.answer == nil {
				server.Close()
			}
			found := Check(t.Context(), config.APIKey{Application: "verify", SubjectPrefix: "wandb:"}, config.Upstream{Name: "app", URL: server.URL}, public)
			if len(found) != 1 || found[0].OK != c.ok || !strings.Contains(found[0].Detail+found[0].Fix, c.says) || c.ok != (found[0].Fix == "") {
				t.Errorf("%+v", found)
			}
		})
	}
}
