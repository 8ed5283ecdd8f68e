package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// play is what this program does as a process of the comparison: the
// application, or the bare proxy in front of it. It prints its address and
// serves until its standard input ends.
func play(args []string) error {
	var h http.Handler
	switch {
	case len(args) == 1 && args[0] == "app":
		h = application()
	case len(args) == 1 && args[0] == "answer":
		h = answerer()
	case len(args) == 2 && args[0] == "bare":
		u, err := url.Parse(args[1])
		if err != nil {
			return err
		}
		h = bareProxy(u)
	default:
		return fmt.Errorf("there is no role %q", args)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it ends with the process
	if err != nil {
		return err
	}
	fmt.Println("http://" + ln.Addr().String())
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends when the parent does
		_ = server.Close()
	}()
	if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// bareProxy is a reverse proxy without authentication, tuned as well as the
// standard library's can be.
func bareProxy(u *url.URL) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(u)
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
		Transport: &http.Transport{MaxIdleConnsPerHost: 1024, IdleConnTimeout: 90 * time.Second, DisableCompression: true},
	}
}

// answerer answers everybody as the gateway answers another proxy about somebody, but
// asks nothing: what the standard library's server costs at least.
func answerer() http.Handler {
	said := http.Header{"X-Gatehouse-Jwt-Assertion": {strings.Repeat("j", 640)}, "Cache-Control": {"no-store"}}
	for _, name := range []string{
		"X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Preferred-Username", "X-Forwarded-Groups", "X-Gatehouse-Subject",
		"X-Gatehouse-Issuer", "X-Gatehouse-Route", "X-Gatehouse-Teams", "X-Gatehouse-Roles", "X-Request-Id",
	} {
		said[name] = []string{"ada@example.com"}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { maps.Copy(w.Header(), said) })
}

// application answers at once, sends and swallows streams.
func application() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, "hello from the application\n")
	})
	mux.HandleFunc("GET /down", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.ParseInt(r.FormValue("bytes"), 10, 64)
		if err != nil {
			http.Error(w, "how many bytes?", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
		_, _ = io.CopyBuffer(struct{ io.Writer }{w}, io.LimitReader(zeros{}, n), make([]byte, 256<<10))
	})
	mux.HandleFunc("POST /up", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintln(w, n)
	})
	return mux
}
