package main

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"gatehouse/config"
)

// TestSettingsAreForThisMachine: OPS, neither another machine is told the settings, nor a
// site whose name leads here (DNS rebinding), nor whom a proxy on this machine serves.
func TestSettingsAreForThisMachine(t *testing.T) {
	ops := opsServer(nil, func() config.Config { return config.Config{} }, http.NotFoundHandler(), slog.New(slog.DiscardHandler)).Handler
	for name, tt := range map[string]struct {
		peer, host, header string
		want               int
	}{
		"gatehouse check":           {"127.0.0.1:4711", "localhost:9090", "", 200},
		"over IPv6":                 {"[::1]:4711", "[::1]:9090", "", 200},
		"an address":                {"127.0.0.1:4711", "127.0.0.1", "", 200},
		"another machine":           {"192.0.2.1:4711", "localhost:9090", "", 404},
		"a name that leads here":    {"127.0.0.1:4711", "evil.example:9090", "", 404},
		"no name":                   {"127.0.0.1:4711", "", "", 404},
		"a proxy on this machine":   {"127.0.0.1:4711", "localhost:9090", "X-Forwarded-For", 404},
		"one that follows RFC 7239": {"127.0.0.1:4711", "localhost:9090", "Forwarded", 404},
		"one that says so":          {"127.0.0.1:4711", "localhost:9090", "Via", 404},
	} {
		r := httptest.NewRequest("GET", settingsPath, nil)
		r.RemoteAddr, r.Host = tt.peer, tt.host
		if tt.header != "" {
			r.Header.Set(tt.header, "for=192.0.2.1")
		}
		w := httptest.NewRecorder()
		ops.ServeHTTP(w, r)
		if w.Code != tt.want {
			t.Errorf("%s: %d, want %d", name, w.Code, tt.want)
		}
	}
}
