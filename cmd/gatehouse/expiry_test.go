package main

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/config"
)

// TestCertificateExpiry: each certificate of the settings has its end in the metrics, and
// a file that can't be read has none.
func TestCertificateExpiry(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	cert, _ := writePair(t, server.TLS.Certificates[0])
	c := config.Config{
		Listen:    config.Listen{TLS: config.ListenTLS{Certificates: []config.Certificate{{CertFile: cert}}}},
		Store:     config.Store{Redis: &config.Redis{TLS: config.ClientTLS{CertFile: writeFile(t, "broken.pem", "no PEM")}}},
		Upstreams: []config.Upstream{{Name: "app", TLS: config.ClientTLS{CertFile: cert}}, {Name: "plain"}},
		Authn: []config.Route{
			{Name: "people", LDAP: &config.LDAP{TLS: config.ClientTLS{CertFile: cert}}},
			{Name: "ci", Bearer: &config.Bearer{Issuers: []config.Issuer{{}, {TLS: config.ClientTLS{CertFile: cert}}}}},
			{Name: "corp", OIDC: &config.OIDC{TLS: config.ClientTLS{CertFile: cert}}},
		},
	}
	want := []string{
		"authn.ci.bearer.issuers[1].tls.certFile", "authn.corp.oidc.tls.certFile", "authn.people.ldap.tls.certFile",
		"listen.tls.certificates[0].certFile", "store.redis.tls.certFile", "upstreams.app.tls.certFile",
	}
	if got := slices.Sorted(maps.Keys(certificates(c))); !slices.Equal(got, want) {
		t.Fatalf("the certificates are %q", got)
	}
	o := onlyMetrics()
	expiries := map[string]func() (time.Time, error){}
	for setting, file := range certificates(c) {
		expiries[setting] = expiryOf(file)
	}
	o.metrics.Certificates(expiries)
	w := &world{t: t, metrics: o.metrics, log: &lockedBuffer{}}
	families := w.scrape()
	for _, name := range want {
		at := value(families, "gatehouse_certificate_expiry_timestamp_seconds", map[string]string{"certificate": name})
		if is := at == float64(server.Certificate().NotAfter.Unix()); is == (name == "store.redis.tls.certFile") {
			t.Errorf("%s expires at %v", name, at)
		}
	}
	if !strings.Contains(w.log.String(), "broken.pem holds no PEM") {
		t.Errorf("the log does not say what can't be read:\n%s", w.log)
	}
}
