package e2e

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"text/template"
	"time"

	"gatehouse/e2e/wandb"
)

// programHouse is a gateway for programs: in front of a W&B server, with
// whatever keys and tokens its settings say.
type programHouse struct {
	*gateway
	t     *testing.T
	redis *redisServer
	wandb *wandb.Server
	// upstream is where the server listens, as long as serving does.
	upstream string
	serving  *httptest.Server
	// cert is the gateways' certificate, if they have one.
	cert string
}

// programSettings is what differs from one such gateway to another.
type programSettings struct {
	// Application is what becomes of the application's keys; without it there is
	// no route for keys.
	Application string
	// Issuer is whose tokens are good; without it there is no route for tokens.
	Issuer string
	// Opaque says that those are no JWTs.
	Opaque bool
}

const (
	// opaqueAudience is whom the provider makes tokens for that are no JWTs.
	opaqueAudience = audience + "/opaque"
	// programPatience bounds a whole program, as slow as machines of tests are.
	programPatience = 2 * time.Minute
)

// The server and its storage are one program, as in the W&B server for one
// machine, and the storage's URLs are signed.
const programText = `
publicURL: {{.Place.URL}}
listen:
  address: {{.Place.Listen}}
{{- if .Place.Cert}}
  tls: {certificates: [{certFile: {{.Place.Cert}}, keyFile: {{.Place.Cert}}}]}
{{- end}}
operations:
  address: {{.Place.Operations}}
upstreams:
  - name: wandb
    url: {{.Upstream}}
    preset: wandb
  - name: storage
    url: {{.Upstream}}
    paths: [/storage]
    public: [/storage/]
authn:
{{- if .Application}}
  - name: keys
    apiKey:
      application: {{.Application}}
      cache: {lifetime: 1s, rejectedLifetime: 1s}
{{- end}}
{{- if .Issuer}}
  - name: tokens
    bearer:
      issuers:
        - issuer: {{.Issuer}}
          kind: service
          keysInterval: 1s
          audiences: [https://wandb.test, https://wandb.test/opaque]
{{- if .Opaque}}
          introspection: {clientID: gateway, clientSecret: a secret of the end-to-end tests}
{{- end}}
      cache: {lifetime: 1s, rejectedLifetime: 1s}
{{- end}}
teams:
  - {name: research, members: [alice, bob]}
serviceAccounts:
  - {name: trainer, team: research{{if .Issuer}}, subject: machine{{end}}}
session:
  keys: [{{.Key}}]
store:
  redis: {url: {{.Redis}}}
`

// newProgramHouse puts a gateway at a place, in front of a server.
func newProgramHouse(t *testing.T, at place, o wandb.Options, s programSettings) *programHouse {
	t.Helper()
	address := loopback(freePort(t))
	h := &programHouse{t: t, redis: startRedis(t), wandb: wandb.NewServer(o), upstream: "http://" + address}
	h.serve(address)
	t.Cleanup(func() { h.serving.Close() })
	if at.secure() {
		h.cert = writeCertificate(t, at.host())
	}
	h.gateway = h.another(at, s)
	return h
}

// serve starts the server's listener, after serving.Close.
func (h *programHouse) serve(address string) {
	h.t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		h.t.Fatal(err)
	}
	h.serving = &httptest.Server{Listener: ln, Config: &http.Server{Handler: h.wandb}}
	h.serving.Start()
}

// another starts a gateway beside, with the same Redis and the same server.
func (h *programHouse) another(at place, s programSettings) *gateway {
	h.t.Helper()
	g := &gateway{settings: settings{place: at}, t: h.t, file: filepath.Join(h.t.TempDir(), "gatehouse.yaml")}
	data := struct {
		programSettings
		Place                struct{ URL, Listen, Operations, Cert string }
		Upstream, Redis, Key string
	}{programSettings: s, Upstream: h.upstream, Redis: h.redis.url(), Key: sessionKey}
	data.Place.URL, data.Place.Listen, data.Place.Operations, data.Place.Cert = at.url, loopback(at.port), loopback(at.ops), h.cert
	var text strings.Builder
	if err := template.Must(template.New("").Parse(programText)).Execute(&text, data); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(g.file, []byte(text.String()), 0o600); err != nil {
		h.t.Fatal(err)
	}
	g.restart()
	return g
}

// said runs a command of the program with the gateway's settings.
func (g *gateway) said(args ...string) string {
	g.t.Helper()
	program, err := shared.gatehouse()
	if err != nil {
		g.t.Fatal("build the gateway: ", err)
	}
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, append(args, "--config", g.file)...)
	cmd.Env = []string{}
	out, err := cmd.Output()
	if err != nil {
		g.t.Fatalf("gatehouse %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// newKey makes a key of the gateway for the service account.
func (g *gateway) newKey() string {
	g.t.Helper()
	return g.said("key", "new", "trainer")
}

// node runs a program that npm has the libraries for, to its end, with a home of
// its own. It returns what the program said.
func node(t *testing.T, script string, env ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), programPatience)
	defer cancel()
	file, err := filepath.Abs(filepath.Join("oidc-provider", script))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "node", file)
	cmd.Dir = t.TempDir() // Weave writes what goes wrong into a file
	cmd.Env = append(os.Environ(), append([]string{"NODE_NO_WARNINGS=1", "HOME=" + cmd.Dir}, env...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// trained checks that a run of the entity is there whole: n metrics, each once.
func (h *programHouse) trained(entity string, n int) {
	h.t.Helper()
	runs := h.wandb.Runs()
	if len(runs) != 1 || !strings.HasPrefix(runs[0], entity+"/") {
		h.t.Errorf("the runs are %q", runs)
		return
	}
	if !h.wandb.Complete(runs[0]) {
		h.t.Error("the run is not complete")
	}
	checkWhole(h.t, h.wandb.File(runs[0], wandb.HistoryFile), n)
}

// checkWhole compares a run's history with what was logged: n values from 0 on.
func checkWhole(t *testing.T, f wandb.File, n int) {
	t.Helper()
	if missing, doubled := f.Missing(n), f.Doubled(); len(missing)+len(doubled) > 0 || len(f) != n {
		t.Errorf("of %d metrics %d arrived; missing %v, twice %v", n, len(f), missing, doubled)
	}
	for i, line := range f.Lines() {
		if want := `"value":` + strconv.Itoa(i); !strings.Contains(line, want+",") && !strings.Contains(line, want+"}") {
			t.Errorf("metric %d is %s", i, line)
			return
		}
	}
}
