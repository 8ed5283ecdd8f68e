package assertion

import (
	"encoding/json/v2"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/google/go-cmp/cmp"
)

func TestDiscovery(t *testing.T) {
	for alg, want := range map[string]string{"": "ES256", "EdDSA": "EdDSA"} {
		var got map[string]any
		s := newSigner(t, Options{Algorithm: alg})
		if err := json.Unmarshal(s.Discovery(origin+"/.gatehouse/jwks.json"), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]any{
			"issuer": origin, "jwks_uri": origin + "/.gatehouse/jwks.json",
			"response_types_supported": []any{}, "subject_types_supported": []any{"public"},
			"id_token_signing_alg_values_supported": []any{want},
		}, got); diff != "" {
			t.Error(diff)
		}
	}
}

// TestFoundByDiscovery: a foreign client that is told where the document is finds the
// keys by it.
func TestFoundByDiscovery(t *testing.T) {
	for _, alg := range []string{"ES256", "EdDSA"} {
		var s *Signer
		mux := http.NewServeMux()
		server := httptest.NewServer(mux)
		defer server.Close()
		s = newSigner(t, Options{Issuer: server.URL, Algorithm: alg})
		mux.HandleFunc("/.gatehouse/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
			w.Write(s.Discovery(server.URL + "/.gatehouse/jwks.json"))
		})
		mux.HandleFunc("/.gatehouse/jwks.json", func(w http.ResponseWriter, r *http.Request) { w.Write(s.JWKS()) })
		p, err := oidc.NewProvider(oidc.InsecureIssuerURLContext(t.Context(), server.URL), server.URL+"/.gatehouse")
		if err != nil {
			t.Fatal(err)
		}
		token := sign(t, s)
		if id, err := p.Verifier(&oidc.Config{ClientID: "app"}).Verify(t.Context(), token); err != nil || id.Subject != "jo" {
			t.Errorf("%s: %v", alg, err)
		}
		if _, err := p.Verifier(&oidc.Config{ClientID: "else"}).Verify(t.Context(), token); err == nil {
			t.Errorf("%s: good for another audience", alg)
		}
	}
}
