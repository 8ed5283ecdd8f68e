package workload

import (
	"encoding/base64"
	"encoding/json/v2"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/authn/authntest"
	"gatehouse/authn/issuer"
)

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// signature is what the tokens of these tests end with.
var signature = encode("a signature that nobody verifies")

// jwt makes a token of JSON claims.
func jwt(claims string) string {
	return encode(`{"alg":"RS256","typ":"JWT"}`) + "." + encode(claims) + "." + signature
}

// lasting makes a token that says so, of subject sub.
func lasting(t *testing.T, sub string, life time.Duration) string {
	t.Helper()
	now := time.Now()
	text, err := json.Marshal(map[string]any{"iss": "https://idp.example.com", "sub": sub, "aud": "wandb", "iat": now.Unix(), "exp": now.Add(life).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	return jwt(string(text))
}

// log keeps what is logged.
type log struct{ authntest.Log }

func (l *log) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// count says how many lines hold all parts.
func (l *log) count(parts ...string) (n int) {
line:
	for line := range strings.Lines(l.String()) {
		for _, p := range parts {
			if !strings.Contains(line, p) {
				continue line
			}
		}
		n++
	}
	return n
}

// peer is a scripted issuer that is reached without a network, so that time can
// be made up. It fails what it has no answer for.
type peer struct {
	t *testing.T
	// answers are used up in order, by path.
	answers map[string][]reply
	// seen are the requests, in order.
	seen []seen
}

// reply is an answer, or an error instead of one.
type reply struct {
	status int
	body   string
	err    error
	header http.Header
}

type seen struct {
	path       string
	form       url.Values
	user, pass string
	at         time.Time
}

const (
	peerURL    = "https://idp.example.com"
	tokenPath  = "/token"
	devicePath = "/device"
	wellKnown  = "/.well-known/openid-configuration"
)

func newPeer(t *testing.T) *peer {
	t.Helper()
	return &peer{t: t, answers: map[string][]reply{}}
}

func (p *peer) answer(path string, replies ...reply) {
	p.answers[path] = append(p.answers[path], replies...)
}

func ok(body string) reply { return reply{status: http.StatusOK, body: body} }

func no(code string) reply {
	return reply{status: http.StatusBadRequest, body: `{"error":"` + code + `"}`}
}

// RoundTrip answers in order.
func (p *peer) RoundTrip(r *http.Request) (*http.Response, error) {
	path := r.URL.Path
	user, pass, _ := r.BasicAuth()
	if err := r.ParseForm(); err != nil {
		p.t.Error(err)
	}
	p.seen = append(p.seen, seen{path, r.PostForm, user, pass, time.Now()})
	if path == wellKnown {
		return write(ok(`{"issuer":"` + peerURL + `","token_endpoint":"` + peerURL + tokenPath + `","device_authorization_endpoint":"` + peerURL + devicePath + `"}`)), nil
	}
	if len(p.answers[path]) == 0 {
		p.t.Errorf("%s was asked once too often: %v", path, r.PostForm)
		return nil, errors.New("no answer is left")
	}
	a := p.answers[path][0]
	p.answers[path] = p.answers[path][1:]
	if a.err != nil {
		return nil, a.err
	}
	return write(a), nil
}

func write(a reply) *http.Response {
	w := httptest.NewRecorder()
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.status)
	w.WriteString(a.body)
	return w.Result()
}

// asked are the requests for a path.
func (p *peer) asked(path string) (out []seen) {
	for _, s := range p.seen {
		if s.path == path {
			out = append(out, s)
		}
	}
	return out
}

func (p *peer) client() *http.Client { return issuer.Guarded(p) }

func (p *peer) issuer() Issuer { return Issuer{URL: peerURL, Client: p.client()} }

func tempFile(t *testing.T) File {
	t.Helper()
	return File(filepath.Join(t.TempDir(), "token"))
}

// assertHolds compares what a file holds; nothing stands for no file.
func assertHolds(t *testing.T, f File, want string) {
	t.Helper()
	text, there, err := f.Read()
	if err != nil || there != (want != "") || string(text) != want {
		t.Errorf("the file holds %q (%v), want %q", string(text), err, want)
	}
}

// assertError wants an error that says what and holds no secret.
func assertError(t *testing.T, err error, what string, secrets ...string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), what) {
		t.Errorf("the error is %q, want %q in it", err, what)
		return
	}
	for _, s := range secrets {
		if strings.Contains(err.Error(), s) {
			t.Errorf("the error holds a secret: %v", err)
		}
	}
}
