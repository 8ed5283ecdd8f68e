package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json/jsontext"
	"encoding/json/v2"
	"errors"
	"fmt"
	"html/template"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"gatehouse/authn/authntest"
	"gatehouse/proxy/assertion"
)

//go:embed demo
var demoFiles embed.FS

const (
	groupsHeader = "X-Forwarded-Groups"
	teamsHeader  = "X-Gatehouse-Teams"
	rolesHeader  = "X-Gatehouse-Roles"
	// maxSlow bounds how long /slow can be told to wait.
	maxSlow = 5 * time.Minute
	// maxEcho bounds a WebSocket message, in bytes.
	maxEcho = 1 << 20
)

// demoPeople are who can sign in at the demo's provider.
func demoPeople() []authntest.Person {
	return []authntest.Person{
		{Subject: "1001", Username: "ada", Name: "Ada Lovelace", Email: "ada@example.com", EmailVerified: true,
			Groups: []string{"admins", "research"}},
		{Subject: "1002", Username: "ben", Name: "Ben Okafor", Email: "ben@example.com", EmailVerified: true,
			Groups: []string{"research"}},
		{Subject: "1003", Username: "cleo", Name: "Cleo Laurent", Email: "cleo@example.com", EmailVerified: true,
			Groups: []string{"guests"}},
	}
}

// newDemoApp is the web application that the demo stands in front of. It knows
// nothing of OpenID: it reads headers, and shows what it received. Verify looks at the
// signed one.
func newDemoApp(verify demoVerify) http.Handler {
	page := template.Must(template.ParseFS(demoFiles, "demo/page.html"))
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { writeDemoPage(w, r, page, verify) })
	mux.HandleFunc("/whoami", serveWhoami)
	mux.HandleFunc("/health", serveWhoami)
	mux.HandleFunc("/upload", serveUpload)
	mux.HandleFunc("GET /slow", serveSlow)
	mux.HandleFunc("GET /events", serveEvents)
	mux.HandleFunc("GET /echo", serveEcho)
	mux.HandleFunc("GET /demo/{file}", serveDemoFile)
	return mux
}

// demoRequest is what the application got to see of a request.
type demoRequest struct {
	Method   string        `json:"method"`
	Target   string        `json:"target"`
	Host     string        `json:"host"`
	Protocol string        `json:"protocol"`
	Identity *demoIdentity `json:"identity"` // null: nobody that the gateway vouches for
	Headers  http.Header   `json:"headers"`
}

// demoIdentity is what the identity headers say, decoded.
type demoIdentity struct {
	Subject  string   `json:"subject"`
	Username string   `json:"username,omitempty"`
	Email    string   `json:"email,omitempty"`
	Groups   []string `json:"groups,omitempty"`
	Teams    []string `json:"teams,omitempty"`
	Roles    []string `json:"roles,omitempty"` // what they are in each of Teams
	Issuer   string   `json:"issuer,omitempty"`
	Route    string   `json:"route,omitempty"`
}

// Called is what to call somebody.
func (d *demoIdentity) Called() string {
	if d.Username != "" {
		return d.Username
	}
	return d.Subject
}

// Initial is the first letter of that.
func (d *demoIdentity) Initial() string {
	for _, letter := range d.Called() {
		return strings.ToUpper(string(letter))
	}
	return ""
}

func readDemoRequest(r *http.Request) demoRequest {
	return demoRequest{Method: r.Method, Target: r.RequestURI, Host: r.Host, Protocol: r.Proto,
		Identity: readDemoIdentity(r.Header), Headers: r.Header}
}

// readDemoIdentity is all that an application has to do to know its people.
func readDemoIdentity(h http.Header) *demoIdentity {
	subject := percentDecode(h.Get("X-Gatehouse-Subject"))
	if subject == "" {
		return nil
	}
	id := &demoIdentity{
		Subject:  subject,
		Username: percentDecode(h.Get("X-Forwarded-Preferred-Username")),
		Email:    percentDecode(h.Get("X-Forwarded-Email")),
		Issuer:   percentDecode(h.Get("X-Gatehouse-Issuer")),
		Route:    percentDecode(h.Get("X-Gatehouse-Route")),
	}
	for name, list := range map[string]*[]string{groupsHeader: &id.Groups, teamsHeader: &id.Teams, rolesHeader: &id.Roles} {
		if value := h.Get(name); value != "" {
			*list = identityValues(name, value)
		}
	}
	return id
}

// identityValues decodes what is in an identity header. The commas of lists come
// first: one inside a group is encoded.
func identityValues(name, value string) []string {
	values := []string{value}
	if name == groupsHeader || name == teamsHeader || name == rolesHeader {
		values = strings.Split(value, ",")
	}
	for n := range values {
		values[n] = percentDecode(values[n])
	}
	return values
}

// percentDecode undoes the percent-encoding of identity headers. What isn't any
// stays as it is.
func percentDecode(v string) string {
	decoded, err := url.PathUnescape(v)
	if err != nil {
		return v
	}
	return decoded
}

// demoHeader is one line of the page's table.
type demoHeader struct {
	Name, Value string
	Decoded     []string // each of the values in it; empty if they read as they are
	Identity    bool
}

// demoHeaders lists the headers, identity headers first.
func demoHeaders(h http.Header) []demoHeader {
	var identity, others []demoHeader
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			line := demoHeader{Name: name, Value: value, Identity: isDemoIdentity(name)}
			if !line.Identity {
				others = append(others, line)
				continue
			}
			if strings.Contains(value, "%") {
				line.Decoded = identityValues(name, value)
			}
			identity = append(identity, line)
		}
	}
	return append(identity, others...)
}

func isDemoIdentity(name string) bool {
	switch name {
	case "X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Preferred-Username", groupsHeader:
		return true
	}
	return strings.HasPrefix(name, "X-Gatehouse-")
}

// demoVerify verifies a signed header.
type demoVerify func(ctx context.Context, token string) (assertion.Verified, error)

// demoSigned is what came of that.
type demoSigned struct {
	assertion.Verified
	Fault string // why it can't be believed
	Until string
}

func readDemoSigned(r *http.Request, verify demoVerify) *demoSigned {
	token := r.Header.Get("X-Gatehouse-Jwt-Assertion")
	if token == "" {
		return nil
	}
	v, err := verify(r.Context(), token)
	if err != nil {
		return &demoSigned{Fault: err.Error()}
	}
	return &demoSigned{Verified: v, Until: v.Expires.UTC().Format(time.TimeOnly)}
}

// verifyBy verifies by the keys that the gateway publishes, fetched as an application
// would: at first, and when they have grown old.
func verifyBy(gateway, audience string) demoVerify {
	var mu sync.Mutex
	var keys []byte
	var fetched time.Time
	return func(ctx context.Context, token string) (assertion.Verified, error) {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(fetched) > assertion.MaxAge {
			fresh, err := fetchKeys(ctx, gateway+"/.gatehouse/jwks.json")
			if err != nil {
				return assertion.Verified{}, fmt.Errorf("the gateway's keys can't be fetched: %w", err)
			}
			keys, fetched = fresh, time.Now()
		}
		return assertion.Verify(keys, token, gateway, audience, time.Now())
	}
}

func fetchKeys(ctx context.Context, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, errors.New(res.Status)
	}
	return io.ReadAll(io.LimitReader(res.Body, maxEcho))
}

func writeDemoPage(w http.ResponseWriter, r *http.Request, page *template.Template, verify demoVerify) {
	seen := readDemoRequest(r)
	var body bytes.Buffer
	err := page.Execute(&body, map[string]any{
		"Request": seen, "Identity": seen.Identity, "Headers": demoHeaders(r.Header), "Signed": readDemoSigned(r, verify),
	})
	if err != nil {
		http.Error(w, "the page can't be made", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "+
		"img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = body.WriteTo(w)
}

func serveDemoFile(w http.ResponseWriter, r *http.Request) {
	kinds := map[string]string{"style.css": "text/css; charset=utf-8", "app.js": "text/javascript; charset=utf-8"}
	kind, known := kinds[r.PathValue("file")]
	text, err := demoFiles.ReadFile("demo/" + r.PathValue("file"))
	if !known || err != nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(text)
}

// serveWhoami tells a program what arrived.
func serveWhoami(w http.ResponseWriter, r *http.Request) { writeDemoJSON(w, readDemoRequest(r)) }

func writeDemoJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	text, err := json.Marshal(v, jsontext.WithIndent("  "), json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
	if err != nil {
		http.Error(w, "the answer can't be made", http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(append(text, '\n'))
}

// serveUpload counts a body of any size, as it comes.
func serveUpload(w http.ResponseWriter, r *http.Request) {
	sum := sha256.New()
	n, err := io.Copy(sum, r.Body)
	if err != nil {
		http.Error(w, "the body broke off", http.StatusBadRequest)
		return
	}
	writeDemoJSON(w, map[string]any{"bytes": n, "sha256": hex.EncodeToString(sum.Sum(nil))})
}

// serveSlow answers after a while (?for=30s), like a long poll.
func serveSlow(w http.ResponseWriter, r *http.Request) {
	d, err := 10*time.Second, error(nil)
	if text := r.FormValue("for"); text != "" {
		d, err = time.ParseDuration(text)
	}
	if err != nil || d < 0 || d > maxSlow {
		http.Error(w, fmt.Sprintf("for is a time of at most %v", maxSlow), http.StatusBadRequest)
		return
	}
	select {
	case <-time.After(d):
		writeDemoJSON(w, map[string]any{"waited": d.String()})
	case <-r.Context().Done():
	}
}

// serveEvents sends the time every second, as server-sent events.
func serveEvents(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	everySecond := time.NewTicker(time.Second)
	defer everySecond.Stop()
	control := http.NewResponseController(w)
	for now := time.Now(); ; {
		if _, err := fmt.Fprintf(w, "event: tick\ndata: %s\n\n", now.UTC().Format(time.RFC3339)); err != nil {
			return
		}
		if control.Flush() != nil {
			return
		}
		select {
		case now = <-everySecond.C:
		case <-r.Context().Done():
			return
		}
	}
}

// serveEcho sends every WebSocket message back.
func serveEcho(w http.ResponseWriter, r *http.Request) {
	upgrader := websocket.Upgrader{HandshakeTimeout: 10 * time.Second}
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // the upgrader has answered
	}
	defer func() { _ = conn.Close() }()
	conn.SetReadLimit(maxEcho)
	for {
		kind, message, err := conn.ReadMessage()
		if err != nil || conn.WriteMessage(kind, message) != nil {
			return
		}
	}
}
