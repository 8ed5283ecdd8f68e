package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gatehouse/config"
)

func TestHealth(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { writeText(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		writeText(w, http.StatusServiceUnavailable, "missing   store: it is down\n")
	})
	s := httptest.NewServer(mux)
	defer s.Close()
	at := strings.TrimPrefix(s.URL, "http://")
	port := at[strings.LastIndex(at, ":"):]
	nobody := freeAddress(t)

	for name, tt := range map[string]struct {
		args      []string
		env       []string
		code      int
		out, errs string
	}{
		"alive":                              {args: []string{"--address", at}, out: "ok"},
		"not ready":                          {args: []string{"--address", at, "--ready"}, code: 1, out: "missing   store: it is down", errs: "503"},
		"by the environment":                 {env: []string{"GATEHOUSE_OPERATIONS_ADDRESS=" + at}, out: "ok"},
		"the flag goes before":               {args: []string{"--address", at}, env: []string{"GATEHOUSE_OPERATIONS_ADDRESS=" + nobody}, out: "ok"},
		"on all addresses":                   {args: []string{"--address", port}, out: "ok"},
		"on all addresses, written":          {args: []string{"--address", "0.0.0.0" + port}, out: "ok"},
		"nobody there":                       {args: []string{"--address", nobody}, code: 1, errs: "does not answer"},
		"no address":                         {args: []string{"--address", "here"}, code: 2, errs: "host:port"},
		"too little time":                    {args: []string{"--address", at, "--timeout", "1ns"}, code: 1, errs: "does not answer"},
		"an argument that means nothing yet": {args: []string{"now"}, code: 2, errs: "takes no arguments"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := command(t, tt.env, append([]string{"health"}, tt.args...)...)
			if code != tt.code || !strings.Contains(out, tt.out) || !strings.Contains(errs, tt.errs) {
				t.Errorf("exit %d, want %d with %q and %q\nout: %s\nerr: %s", code, tt.code, tt.out, tt.errs, out, errs)
			}
		})
	}
}

// TestHealthDefault holds the address that health asks to the one that the settings have.
func TestHealthDefault(t *testing.T) {
	c, err := config.Load("", operatorEnv("http://127.0.0.1:9", "https://idp.example.com"))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Operations.Address; got != operationsDefault {
		t.Errorf("health asks at %s, the gateway listens at %s", operationsDefault, got)
	}
}
