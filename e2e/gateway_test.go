package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"text/template"
	"time"
)

// buildGateway builds the program into dir, as releases and the image have it.
func buildGateway(dir string) (string, error) {
	file := filepath.Join(dir, "gatehouse")
	cmd := exec.Command("go", "build", "-trimpath", "-o", file, "gatehouse/cmd/gatehouse")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return file, nil
}

// place is where a gateway is going to be. It is known before the gateway
// starts, because providers ask for it.
type place struct {
	// url is what people type, without a path.
	url       string
	port, ops int
	// address is what it listens at; empty means 127.0.0.1.
	address string
}

// at is one of its ports.
func (p place) at(port int) string {
	if p.address != "" {
		return net.JoinHostPort(p.address, strconv.Itoa(port))
	}
	return loopback(port)
}

// securePlace is an https address on a site of its own.
func securePlace(t *testing.T) place {
	t.Helper()
	p := place{port: freePort(t), ops: freePort(t)}
	p.url = fmt.Sprintf("https://gatehouse.test:%d", p.port)
	return p
}

// plainPlace is http on localhost, as somebody has it who tries things out.
func plainPlace(t *testing.T) place {
	t.Helper()
	p := place{port: freePort(t), ops: freePort(t)}
	p.url = fmt.Sprintf("http://localhost:%d", p.port)
	return p
}

func (p place) secure() bool { return strings.HasPrefix(p.url, "https:") }

// host is without the port, as cookies know it.
func (p place) host() string {
	u, err := url.Parse(p.url)
	if err != nil {
		return err.Error()
	}
	return u.Hostname()
}

// cookie is the name of the session's cookie.
func (p place) cookie() string {
	if p.secure() {
		return "__Host-gatehouse"
	}
	return "gatehouse"
}

func (p place) paths() clientPaths {
	return clientPaths{p.url + "/oidc/callback", p.url + "/logout"}
}

// route is one way in at a provider.
type route struct {
	Name     string
	Issuer   string
	ClientID string
	Secret   string
	// Extra is further lines of the oidc section.
	Extra []string
}

func routeTo(p provider, extra ...string) route {
	return route{Name: "main", Issuer: p.issuer(), ClientID: p.client().id, Secret: p.client().secret, Extra: extra}
}

// settings is what differs from gateway to gateway.
type settings struct {
	place
	Upstream string
	Routes   []route
	// Redis is its URL. Without one, sessions are in memory.
	Redis string
	// More is further sections.
	More string
	// DrainDelay is how long it goes on when it is told to stop.
	DrainDelay string
}

// sessionKey is the key of every gateway's cookies.
const sessionKey = "bm90IGEgc2VjcmV0LCBqdXN0IGZvciB0aGUgZW5kLXRvLWVuZCB0ZXN0cw=="

const settingsText = `
publicURL: {{.URL}}
listen:
  address: {{.Listen}}
{{- with .DrainDelay}}
  drainDelay: {{.}}
{{- end}}
{{- if .Cert}}
  tls:
    certificates: [{certFile: {{.Cert}}, keyFile: {{.Cert}}}]
{{- end}}
operations:
  address: {{.Operations}}
upstreams:
  - name: app
    url: {{.Upstream}}
    public: [/open/]
authn:
{{- range .Routes}}
  - name: {{.Name}}
    oidc:
      issuer: {{.Issuer}}
      clientID: {{.ClientID}}
{{- with .Secret}}
      clientSecret: {{.}}
{{- end}}
{{- range .Extra}}
      {{.}}
{{- end}}
{{- end}}
session:
{{- with .Redis}}
  keys: [{{$.Key}}]
{{- end}}
  cache: {lifetime: 2s}
{{- with .Redis}}
store:
  redis:
    url: {{.}}
{{- end}}
{{- with .More}}
{{.}}
{{- end}}
pages:
  name: Example Lab
  contact: help@example.com
`

// gateway is the program under test.
type gateway struct {
	*process
	settings
	t          *testing.T
	file, cert string
}

func startGateway(t *testing.T, s settings) *gateway {
	t.Helper()
	g := &gateway{settings: s, t: t, file: filepath.Join(t.TempDir(), "gatehouse.yaml")}
	if s.secure() {
		g.cert = writeCertificate(t, "gatehouse.test")
	}
	g.write("")
	g.restart()
	return g
}

// write writes the settings file, with further sections.
func (g *gateway) write(more string) {
	g.t.Helper()
	s := g.settings
	s.More += more
	data := struct {
		settings
		URL, Listen, Operations, Cert, Key string
	}{s, s.url, s.at(s.port), s.at(s.ops), g.cert, sessionKey}
	var text bytes.Buffer
	err := template.Must(template.New("").Parse(settingsText)).Execute(&text, data)
	if err == nil {
		err = os.WriteFile(g.file, text.Bytes(), 0o600)
	}
	if err != nil {
		g.t.Fatal(err)
	}
}

// restart starts it with the same settings, after stop.
func (g *gateway) restart() {
	g.t.Helper()
	program, err := shared.gatehouse()
	if err != nil {
		g.t.Fatal("build the gateway: ", err)
	}
	cmd := exec.Command(program, "serve", "--config", g.file)
	cmd.Env = []string{} // settings come from there too
	g.process = start(g.t, cmd, answers("http://"+g.at(g.ops)+"/livez"))
}

// operations asks the listener for those who run the gateway.
func (g *gateway) operations(path string) (int, string) {
	g.t.Helper()
	return operations(g.t, g.at(g.ops), path)
}

func operations(t *testing.T, address, path string) (int, string) {
	t.Helper()
	client := &http.Client{Timeout: patience}
	res, err := client.Get("http://" + address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// writeCertificate writes a self-signed certificate and its key into one file.
func writeCertificate(t *testing.T, host string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "gateway.pem")
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
