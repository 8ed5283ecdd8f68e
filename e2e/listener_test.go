package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json/v2"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// peer is a program that setup.sh builds from source.
func peer(name string) string { return filepath.Join("bin", name) }

// serveSettings starts the gateway at a place with further settings.
func serveSettings(t *testing.T, at place, more string) *process {
	t.Helper()
	program, err := shared.gatehouse()
	if err != nil {
		t.Fatal("build the gateway: ", err)
	}
	file := filepath.Join(t.TempDir(), "gatehouse.yaml")
	text := fmt.Sprintf(`
publicURL: %s
operations: {address: "%s"}
authn: [{name: corp, oidc: {issuer: "http://127.0.0.1:1", clientID: gatehouse}}]
session: {keys: [%s]}
%s`, at.url, at.at(at.ops), sessionKey, more)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "serve", "--config", file)
	cmd.Env = []string{}
	return start(t, cmd, answers("http://"+at.at(at.ops)+"/livez"))
}

// greeter is an application that takes whatever comes and says hello.
func greeter(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, strings.Repeat("hello ", 20))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// pebble is a real ACME server (Let's Encrypt's own for tests) with a resolver by which
// every name is this machine.
type pebble struct {
	*process
	directory, roots string
	ca               string // of its own API, in a file
}

// account is one that pebble knows otherwise.
type account struct{ ID, Key string }

// startPebble starts one that looks for its proofs at these ports.
func startPebble(t *testing.T, httpPort, tlsPort int, accounts ...account) *pebble {
	t.Helper()
	dns, management, api, roots := freePort(t), freePort(t), freePort(t), freePort(t)
	start(t, exec.Command(peer("pebble-challtestsrv"), "-dnsserver", loopback(dns), "-management", loopback(management),
		"-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", ""), func(*process) bool {
		c, err := net.Dial("tcp", loopback(dns))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	cert := writeCertificate(t, "localhost")
	keys := map[string]string{}
	for _, a := range accounts {
		keys[a.ID] = a.Key
	}
	settings, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": loopback(api), "managementListenAddress": loopback(roots), "certificate": cert, "privateKey": cert,
		"httpPort": httpPort, "tlsPort": tlsPort, "externalAccountBindingRequired": len(accounts) > 0, "externalAccountMACKeys": keys,
		"keyAlgorithm": "ecdsa", "profiles": map[string]any{"default": map[string]any{"description": "tests", "validityPeriod": 7776000}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "pebble.json")
	if err := os.WriteFile(file, settings, 0o600); err != nil {
		t.Fatal(err)
	}
	p := &pebble{ca: cert, directory: fmt.Sprintf("https://localhost:%d/dir", api), roots: fmt.Sprintf("https://localhost:%d/roots/0", roots)}
	cmd := exec.Command(peer("pebble"), "-config", file, "-dnsserver", loopback(dns))
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0")
	p.process = start(t, cmd, func(*process) bool { _, err := p.root(); return err == nil })
	return p
}

// root is the certificate of the CA that pebble made when it started, in PEM.
func (p *pebble) root() ([]byte, error) {
	pool := x509.NewCertPool()
	own, err := os.ReadFile(p.ca)
	if err != nil {
		return nil, err
	}
	pool.AppendCertsFromPEM(own)
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}}
	res, err := client.Get(p.roots)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	return io.ReadAll(res.Body)
}

// trusted is a client that trusts that CA and finds gatehouse.test at a port.
func trusted(t *testing.T, root []byte, port int) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(root) {
		t.Fatalf("no certificate: %q", root)
	}
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, loopback(port))
		},
	}}
}

func soon(t *testing.T, what string, try func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(45 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

// TestACME gets certificates from a real ACME server by both ways that it looks for a
// proof.
func TestACME(t *testing.T) {
	t.Parallel()
	t.Run("TLS-ALPN-01, on disk", func(t *testing.T) {
		t.Parallel()
		at := securePlace(t)
		ca := startPebble(t, freePort(t), at.port)
		cache := filepath.Join(t.TempDir(), "acme")
		settings := fmt.Sprintf(`
listen:
  address: "%s"
  tls: {acme: {directoryURL: "%s", caFile: "%s", email: ops@gatehouse.test, cacheDir: "%s"}}
upstreams: [{url: "%s", public: [/open/]}]
`, at.at(at.port), ca.directory, ca.ca, cache, greeter(t))
		g := serveSettings(t, at, settings)
		root, err := ca.root()
		if err != nil {
			t.Fatal(err)
		}
		client := trusted(t, root, at.port)
		get := func() error {
			res, err := client.Get(at.url + "/open/x")
			if err == nil {
				_ = res.Body.Close()
				if res.StatusCode != http.StatusOK || res.ProtoMajor != 2 {
					err = fmt.Errorf("%s %s", res.Proto, res.Status)
				}
			}
			return err
		}
		soon(t, "a certificate", get)
		for name, mode := range map[string]os.FileMode{cache: 0o700, filepath.Join(cache, "gatehouse.test"): 0o600} {
			if info, err := os.Stat(name); err != nil || info.Mode().Perm() != mode {
				t.Errorf("%s: %v %v", name, info, err)
			}
		}
		rootFile := filepath.Join(t.TempDir(), "root.pem")
		if err := os.WriteFile(rootFile, root, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("curl", "-sS", "--http2", "--cacert", rootFile, "--resolve", fmt.Sprintf("gatehouse.test:%d:127.0.0.1", at.port),
			"-o", filepath.Join(t.TempDir(), "body"), "-w", "%{http_version} %{http_code} %{ssl_verify_result}", at.url+"/open/x").CombinedOutput()
		if err != nil || string(out) != "2 200 0" {
			t.Errorf("curl says %q (%v); %s", out, err, hint)
		}
		if _, text := operations(t, at.at(at.ops), "/metrics"); !strings.Contains(text, `gatehouse_certificate_expiry_timestamp_seconds{certificate="listen.tls.acme gatehouse.test"} 1.`) {
			t.Error("no metric says when the certificate expires")
		}
		ca.stop()
		g.stop()
		serveSettings(t, at, settings)
		soon(t, "the same, without the CA", get)
	})
	t.Run("HTTP-01, in Redis, for two", func(t *testing.T) {
		t.Parallel()
		redis := startRedis(t)
		one, two := securePlace(t), securePlace(t)
		two.url = one.url
		open := freePort(t) // where the CA looks for its proof
		known := account{"kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"}
		ca := startPebble(t, open, freePort(t), known) // there is nothing at its TLS port
		settings := func(at place, plain int) string {
			return fmt.Sprintf(`
listen:
  address: "%s"
  httpAddress: "%s"
  tls: {acme: {directoryURL: "%s", caFile: "%s", accountID: %s, accountKey: %s}}
store: {redis: {url: "%s"}}
upstreams: [{url: "%s", public: [/open/]}]
`, at.at(at.port), loopback(plain), ca.directory, ca.ca, known.ID, known.Key, redis.url(), greeter(t))
		}
		plain := [2]int{freePort(t), freePort(t)}
		shareOut(t, open, plain) // the proof is everybody's to show, whoever has asked
		serveSettings(t, one, settings(one, plain[0]))
		serveSettings(t, two, settings(two, plain[1]))
		root, err := ca.root()
		if err != nil {
			t.Fatal(err)
		}
		var serials []string
		for _, at := range []place{one, two} {
			soon(t, "a certificate", func() error {
				res, err := trusted(t, root, at.port).Get(one.url + "/open/x")
				if err == nil {
					_ = res.Body.Close()
					serials = append(serials, res.TLS.PeerCertificates[0].SerialNumber.String())
				}
				return err
			})
		}
		if serials[0] != serials[1] || ca.out.count("Issued certificate") != 1 {
			t.Errorf("the CA has given %d, %v", ca.out.count("Issued certificate"), serials)
		}
		kept := 0
		err = filepath.Walk(redis.dir, func(path string, info os.FileInfo, err error) error {
			if err != nil || info.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			kept += strings.Count(string(b), "gatehouse:acme:")
			if strings.Contains(string(b), "PRIVATE KEY") || strings.Contains(string(b), "CERTIFICATE") {
				t.Errorf("%s tells what it holds", path)
			}
			return err
		})
		if err != nil || kept == 0 {
			t.Errorf("%d kept, %v", kept, err)
		}
	})
}

// shareOut is a load balancer in front of two.
func shareOut(t *testing.T, port int, to [2]int) {
	t.Helper()
	ln, err := net.Listen("tcp", loopback(port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for i := 0; ; i++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				up, err := net.Dial("tcp", loopback(to[i%2]))
				for deadline := time.Now().Add(5 * time.Second); err != nil && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
					up, err = net.Dial("tcp", loopback(to[i%2])) // it starts just now
				}
				if err != nil {
					return
				}
				defer up.Close()
				go func() { _, _ = io.Copy(up, c) }()
				_, _ = io.Copy(c, up)
			}()
		}
	}()
}

// secureGateway serves /open/ to everybody, by https with a certificate of its own.
func secureGateway(t *testing.T, listen, more string) (place, *process, *http.Client) {
	t.Helper()
	at := securePlace(t)
	at.url = fmt.Sprintf("https://localhost:%d", at.port) // which the tools can look up
	cert := writeCertificate(t, "localhost")
	g := serveSettings(t, at, fmt.Sprintf(`
listen: {address: "%s", tls: {certificates: [{certFile: "%s", keyFile: "%s"}]}%s}
upstreams: [{url: "%s", public: [/open/]}]
%s`, at.at(at.port), cert, cert, listen, greeter(t), more))
	root, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	return at, g, trusted(t, root, at.port)
}

// TestNewCertificate replaces a certificate's files beneath the running program, as
// Kubernetes does, and cuts nobody off.
func TestNewCertificate(t *testing.T) {
	t.Parallel()
	at := securePlace(t)
	dir := t.TempDir()
	put := func(version string) []byte {
		b, err := os.ReadFile(writeCertificate(t, "gatehouse.test"))
		if err == nil {
			err = os.Mkdir(filepath.Join(dir, version), 0o700)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, version, "tls.pem"), b, 0o600)
		}
		if err == nil {
			err = os.Symlink(version, filepath.Join(dir, "next"))
		}
		if err == nil {
			err = os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "data"))
		}
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	first := put("1")
	file := filepath.Join(dir, "tls.pem")
	if err := os.Symlink("data/tls.pem", file); err != nil {
		t.Fatal(err)
	}
	serveSettings(t, at, fmt.Sprintf(`
listen: {address: "%s", tls: {certificates: [{certFile: "%s", keyFile: "%s"}]}}
upstreams: [{url: "%s", public: [/open/]}]
`, at.at(at.port), file, file, greeter(t)))
	get := func(c *http.Client) error {
		res, err := c.Get(at.url + "/open/x")
		if err == nil {
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
		return err
	}
	old := trusted(t, first, at.port)
	old.Transport.(*http.Transport).DisableKeepAlives = false
	if err := get(old); err != nil {
		t.Fatal(err)
	}
	second := put("2")
	soon(t, "the new certificate", func() error { return get(trusted(t, second, at.port)) })
	if err := get(old); err != nil { // on its connection from before
		t.Error(err)
	}
	if err := get(trusted(t, first, at.port)); err == nil {
		t.Error("the old certificate is shown")
	}
}

// TestHTTP2Conformance runs h2spec, which knows the letter of RFC 9113 and of HPACK.
func TestHTTP2Conformance(t *testing.T) {
	t.Parallel()
	at, _, _ := secureGateway(t, "", "")
	// Where Go's server means it otherwise, and does no harm.
	known := map[string]string{
		"Sends a large size HEADERS frame that exceeds the SETTINGS_MAX_FRAME_SIZE":                    "it takes larger frames than h2spec sends, and says so",
		"Sends multiple values of SETTINGS_INITIAL_WINDOW_SIZE":                                        "it hangs up (CVE-2026-78669)",
		"Sends a HEADERS frame that contains the connection-specific header field":                     "it answers 400",
		`Sends a HEADERS frame that contains the TE header field with any value other than "trailers"`: "it answers 400",
	}
	out, err := exec.Command(peer("h2spec"), "-h", "localhost", "-p", strconv.Itoa(at.port), "-t", "-k", "-P", "/open/x").CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v; %s", err, hint)
	}
	_, failures, _ := strings.Cut(string(out), "Failures:")
	for line := range strings.Lines(failures) {
		if _, failed, ok := strings.Cut(line, "× "); ok {
			if _, name, _ := strings.Cut(strings.TrimSpace(failed), ": "); known[name] == "" {
				t.Errorf("h2spec: %s", failed)
			}
		}
	}
	var all, passed int
	if _, last, ok := strings.Cut(failures, "Finished in"); ok {
		_, last, _ = strings.Cut(last, "\n")
		_, _ = fmt.Sscanf(strings.TrimSpace(last), "%d tests, %d passed", &all, &passed)
	}
	if all < 140 || passed < all-len(known) {
		t.Errorf("%d of %d passed:\n%s", passed, all, out)
	}
}

// TestSlowClients (DOS-01, DOS-02, DOS-03): who is slow at will is cut off, and others are served
// meanwhile.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string][]string{
		"headers": {"-H", "-i", "3", "-t", "GET"},
		"bodies":  {"-B", "-i", "3", "-t", "POST", "-s", "8192"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at, _, client := secureGateway(t, ", headerTimeout: 2s, stallTimeout: 2s", "")
			args := append([]string{"-c", "300", "-r", "150", "-l", "12", "-p", "2", "-u", at.url + "/open/x"}, flags...)
			ctx, stop := context.WithTimeout(t.Context(), time.Minute)
			defer stop()
			cmd := exec.CommandContext(ctx, "slowhttptest", args...)
			cmd.Dir = t.TempDir()
			var out output
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatalf("%v; %s", err, hint)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			asked := 0
			for over := false; !over; {
				begun := time.Now()
				res, err := client.Get(at.url + "/open/x")
				if err != nil {
					t.Fatalf("another is not served: %v\n%s", err, out.tail(20))
				}
				_ = res.Body.Close()
				if took := time.Since(begun); took > 2*time.Second {
					t.Errorf("another waits for %s", took)
				}
				asked++
				select {
				case <-ended:
					over = true
				case <-time.After(100 * time.Millisecond):
				}
			}
			if said := out.String(); !strings.Contains(said, "No open connections left") || asked < 10 {
				t.Errorf("asked %d times; slowhttptest says\n%s", asked, out.tail(30))
			}
		})
	}
}

// TestTLSProtocols holds what testssl.sh sees of the protocols against what should be there.
func TestTLSProtocols(t *testing.T) {
	t.Parallel()
	at, _, _ := secureGateway(t, "", "")
	cmd := exec.Command("testssl", "--quiet", "--color", "0", "--warnings", "off", "--ip", "127.0.0.1", "--nodns", "none", "-p", "localhost:"+strconv.Itoa(at.port))
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("testssl: %v; %s\n%s", err, hint, out)
	}
	seen := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) > 2 {
			seen[f[0]+" "+f[1]] = line
		}
	}
	for protocol, offered := range map[string]bool{"SSLv2 not": false, "SSLv3 not": false, "TLS 1": false, "TLS 1.1": false, "TLS 1.2": true, "TLS 1.3": true} {
		line, ok := seen[protocol]
		if !ok || strings.Contains(line, "not offered") == offered {
			t.Errorf("%s: %q\n%s", protocol, line, out)
		}
	}
}
