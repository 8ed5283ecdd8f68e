package exchange

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
	"gatehouse/authn/issuer"
	"gatehouse/config"
	"gatehouse/proxy/assertion"
	"gatehouse/session"
)

const public = "https://gatehouse.test"

// ring is the keys of all replicas.
const ring = "bm90IGEgc2VjcmV0LCBqdXN0IGZvciB0aGUgdGVzdHMgb2YgdGhpcyBwYWNr"

// application is a scripted token endpoint. Unless told otherwise it gives whoever a
// sound JWT names a new token that is good for an hour.
type application struct {
	t    *testing.T
	set  []byte // the gateway's keys
	then http.HandlerFunc

	mu       sync.Mutex
	subjects []string
	asked    []*http.Request
}

func (a *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		a.t.Error(err)
	}
	subject := a.verify(r, string(body))
	a.mu.Lock()
	a.asked, a.subjects = append(a.asked, r), append(a.subjects, subject)
	n := len(a.asked)
	a.mu.Unlock()
	if a.then != nil {
		a.then(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"access_token":"wb_at_%s_%d","expires_in":3600}`, strings.SplitN(subject, "@", 2)[0], n)
}

// verify checks what the SDK's endpoint gets, and whom it is for.
func (a *application) verify(r *http.Request, body string) string {
	const begin = "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion="
	signed, ok := strings.CutPrefix(body, begin)
	if !ok || r.Method != http.MethodPost || r.URL.Path != "/oidc/token" || r.URL.RawQuery != "" ||
		r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || r.Header.Get("Authorization") != "" {
		a.t.Errorf("asked %s %s with %v: %s", r.Method, r.URL, r.Header, body)
	}
	keys, err := keyfunc.NewJWKSetJSON(a.set)
	if err != nil {
		a.t.Fatal(err)
	}
	token, err := jwt.Parse(signed, keys.Keyfunc, jwt.WithIssuer(public), jwt.WithAudience("wandb"), jwt.WithExpirationRequired(), jwt.WithIssuedAt(),
		jwt.WithTimeFunc(time.Now))
	if err != nil {
		a.t.Errorf("the JWT is no good: %v", err)
		return ""
	}
	claims := token.Claims.(jwt.MapClaims)
	if exp, err := claims.GetExpirationTime(); err != nil || time.Until(exp.Time) > 5*time.Minute {
		a.t.Errorf("the JWT is good until %v (%v)", exp, err)
	}
	subject, err := claims.GetSubject()
	if err != nil || len(claims) != 7 {
		a.t.Errorf("the JWT says %v (%v)", claims, err)
	}
	return subject
}

func (a *application) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.asked)
}

// roundTrip asks a handler without a network, so that time can stand still.
type roundTrip struct{ http.Handler }

func (h roundTrip) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.ServeHTTP(w, r)
	}()
	select {
	case <-done:
		return w.Result(), nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// rig is what several exchangers share.
type rig struct {
	t     *testing.T
	app   *application
	store session.Store
	log   *authntest.Log
}

func newRig(t *testing.T) *rig {
	t.Helper()
	return &rig{t: t, app: &application{t: t}, store: session.NewMemory(), log: &authntest.Log{}}
}

func upstream() config.Upstream {
	return config.Upstream{
		Name: "wandb", URL: "http://wandb:8080", Identity: "exchange", ConnectTimeout: config.Duration(time.Second),
		Exchange: config.UpstreamExchange{Audience: "wandb", Subject: "email"},
	}
}

// exchanger is one replica's.
func (g *rig) exchanger(change func(*config.Upstream, *Deps)) *Exchanger {
	g.t.Helper()
	keys, err := session.NewKeyring(public, []string{ring})
	if err != nil {
		g.t.Fatal(err)
	}
	signer, err := assertion.New(assertion.Options{Issuer: public, Secrets: keys.Secrets("assertion")})
	if err != nil {
		g.t.Fatal(err)
	}
	g.app.set = signer.JWKS()
	at, err := url.Parse(public)
	if err != nil {
		g.t.Fatal(err)
	}
	u, d := upstream(), Deps{
		PublicURL: at, Signer: signer, Keys: keys, Store: g.store,
		Log: slog.New(slog.NewTextHandler(g.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&u, &d)
	}
	x, err := New(u, d)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(x.Close)
	return x
}

// still is an exchanger that asks without a network.
func (g *rig) still() *Exchanger {
	g.t.Helper()
	x := g.exchanger(nil)
	x.endpoint.client = issuer.Guarded(roundTrip{g.app})
	return x
}

func (g *rig) token(x *Exchanger, id authn.Identity) string {
	g.t.Helper()
	token, err := x.Token(g.t.Context(), id)
	if err != nil {
		g.t.Fatal(err)
	}
	return token
}

func (g *rig) asked(want int) {
	g.t.Helper()
	if got := g.app.count(); got != want {
		g.t.Fatalf("the application was asked %d times, want %d", got, want)
	}
}

func person(name string) authn.Identity {
	return authn.Identity{Issuer: "https://idp.test", Subject: "sub-" + name, Kind: authn.Person, Username: name, Email: name + "@example.com", Route: "corp"}
}

// brokenStore answers nothing until it is given up.
type brokenStore struct {
	session.Store
	hangs bool
}

var errStore = errors.New("store is down")

func (b brokenStore) fail(ctx context.Context) error {
	if b.hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	return errStore
}

func (b brokenStore) Get(ctx context.Context, _ string) ([]byte, bool, error) {
	return nil, false, b.fail(ctx)
}

func (b brokenStore) Set(ctx context.Context, _ string, _ []byte, _ time.Duration) error {
	return b.fail(ctx)
}

// authority is the file of a test server's certificate.
func authority(t *testing.T, s *httptest.Server) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// hookedStore does something when it has read.
type hookedStore struct {
	session.Store
	then func()
}

func (h hookedStore) Get(ctx context.Context, key string) ([]byte, bool, error) {
	raw, found, err := h.Store.Get(ctx, key)
	h.then()
	return raw, found, err
}
