package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json/v2"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"gatehouse/proxy/assertion"
)

// The drivers are the rest of the programs that docs/assertion.md shows the heart of:
// they verify each of their arguments and print who it is, no (401) or later (503).
const (
	goDriver = `package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
)

func main() {
	who, err := newWho(context.Background())
	if err != nil {
		panic(err)
	}
	for _, token := range os.Args[1:] {
		r := &http.Request{Header: http.Header{"X-Gatehouse-Jwt-Assertion": {token}}}
		switch id, err := who(r); {
		case errors.Is(err, errUnavailable):
			fmt.Println("later")
		case err != nil:
			fmt.Println("no")
		default:
			fmt.Println(id.Subject, strings.Join(id.Groups, ","))
		}
	}
}
`
	pythonDriver = `
import sys

for token in sys.argv[1:]:
    try:
        claims = who({"X-Gatehouse-Jwt-Assertion": token})
        print(claims["sub"], ",".join(claims["groups"]))
    except jwt.PyJWTError:
        print("no")
    except Unavailable:
        print("later")
`
	nodeDriver = `import { Unavailable, who } from "./who.mjs";

for (const token of process.argv.slice(2)) {
  try {
    const claims = await who({ headers: { "x-gatehouse-jwt-assertion": token } });
    console.log(claims.sub, claims.groups.join(","));
  } catch (e) {
    console.log(e instanceof Unavailable ? "later" : "no");
  }
}
`
)

// TestAssertionDocumentation runs what the page tells people to verify tokens with,
// on good tokens and on bad ones.
func TestAssertionDocumentation(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/assertion.md")
	if err != nil {
		t.Fatal(err)
	}
	modules, err := filepath.Abs("oidc-provider/node_modules")
	if err != nil {
		t.Fatal(err)
	}
	for language, program := range map[string]struct {
		files func(snippet string) map[string]string
		run   func(dir string) []string
	}{
		"go": {
			func(s string) map[string]string { return map[string]string{"who.go": s, "main.go": goDriver} },
			func(dir string) []string {
				return []string{"go", "run", filepath.Join(dir, "who.go"), filepath.Join(dir, "main.go")}
			},
		},
		"python": {
			func(s string) map[string]string { return map[string]string{"main.py": s + pythonDriver} },
			// Debian's, which has the libraries that setup.sh installs.
			func(dir string) []string { return []string{"/usr/bin/python3", filepath.Join(dir, "main.py")} },
		},
		"js": {
			func(s string) map[string]string { return map[string]string{"who.mjs": s, "main.mjs": nodeDriver} },
			func(dir string) []string {
				if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
					t.Error(err)
				}
				return []string{"node", filepath.Join(dir, "main.mjs")}
			},
		},
	} {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			g := newPublisher(t)
			dir := t.TempDir()
			for name, text := range program.files(g.adapt(snippet(t, string(page), language))) {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			command := program.run(dir)
			verify(t, command, g.cases(t))
			good := verdict{"a good one", g.signed(t, "A"), "jo a,b"}
			unknown := verdict{"by a key that may be new", g.signed(t, "B"), "later"}
			if language == "js" {
				unknown.want = "no" // jose believes what it has fetched for half a minute
			}
			g.fetches.Store(1)
			verify(t, command, []verdict{good, unknown})
			g.fetches.Store(0)
			good.want = "later"
			verify(t, command, []verdict{good, {"no token", "jo", "no"}})
		})
	}
}

// verdict is a token, what it is, and what a verifier has to say of it.
type verdict struct{ name, token, want string }

// verify runs a verifier on tokens.
func verify(t *testing.T, command []string, cases []verdict) {
	t.Helper()
	args := slices.Clone(command[1:])
	for _, c := range cases {
		args = append(args, c.token)
	}
	ctx, cancel := context.WithTimeout(t.Context(), programPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.Bytes())
	}
	got := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(got) != len(cases) {
		t.Fatalf("%d answers for %d tokens:\n%s", len(got), len(cases), out)
	}
	for i, c := range cases {
		if got[i] != c.want {
			t.Errorf("%s: %s, want %s", c.name, got[i], c.want)
		}
	}
}

// snippet is the first block of a language on a page.
func snippet(t *testing.T, page, language string) string {
	t.Helper()
	_, rest, found := strings.Cut(page, "```"+language+"\n")
	text, _, closed := strings.Cut(rest, "```\n")
	if !found || !closed {
		t.Fatalf("the page shows nothing in %s", language)
	}
	return text
}

// publisher is as much of a gateway as a verifier sees: an issuer and its keys, and
// among those one that tests sign with what no gateway would.
type publisher struct {
	url     string
	own     *ecdsa.PrivateKey
	fetches atomic.Int64 // how often the keys can be fetched before the gateway is down
}

const ownKey = "own"

func newPublisher(t *testing.T) *publisher {
	t.Helper()
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &publisher{own: own}
	p.fetches.Store(math.MaxInt64)
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	p.url = server.URL
	set := p.set(t)
	mux.HandleFunc("GET /.gatehouse/jwks.json", func(w http.ResponseWriter, r *http.Request) {
		if p.fetches.Add(-1) < 0 {
			http.Error(w, "the gateway is down", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/jwk-set+json")
		w.Write(set)
	})
	return p
}

// signer makes a signer with a secret of one letter and a clock that is wrong by so
// much.
func (p *publisher) signer(t *testing.T, letter string, wrong time.Duration) *assertion.Signer {
	t.Helper()
	s, err := assertion.New(assertion.Options{
		Issuer: p.url, Secrets: [][]byte{bytes.Repeat([]byte(letter), 64)}, Now: func() time.Time { return time.Now().Add(wrong) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// signed is a token for the application of the page.
func (p *publisher) signed(t *testing.T, letter string) string {
	t.Helper()
	token, _, err := p.signer(t, letter, 0).Sign(assertion.Claims{Subject: "jo", Groups: []string{"a", "b"}}, "my-app")
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// set is the gateway's key set with the tests' own key in it.
func (p *publisher) set(t *testing.T) []byte {
	t.Helper()
	var set struct {
		Keys []any `json:"keys"`
	}
	if err := json.Unmarshal(p.signer(t, "A", 0).JWKS(), &set); err != nil {
		t.Fatal(err)
	}
	own, err := jwkset.NewJWKFromKey(p.own.Public(), jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{
		KID: ownKey, ALG: jwkset.AlgES256, USE: jwkset.UseSig,
	}})
	if err != nil {
		t.Fatal(err)
	}
	set.Keys = append(set.Keys, own.Marshal())
	text, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// adapt makes the page's example verify this publisher's tokens.
func (p *publisher) adapt(text string) string {
	return strings.ReplaceAll(text, "https://app.example.com", p.url)
}

// cases are tokens, each wrong in its own way but for the first ones.
func (p *publisher) cases(t *testing.T) []verdict {
	t.Helper()
	signed := func(s *assertion.Signer, audience string) string {
		token, _, err := s.Sign(assertion.Claims{Subject: "jo", Groups: []string{"a", "b"}}, audience)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	// made is a token of the published key of the tests, with other claims or
	// another algorithm.
	made := func(method jwt.SigningMethod, key any, change jwt.MapClaims) string {
		claims := jwt.MapClaims{"iss": p.url, "aud": "my-app", "sub": "jo", "groups": []string{"a", "b"}, "exp": time.Now().Add(time.Minute).Unix()}
		for name, value := range change {
			claims[name] = value
			if value == nil {
				delete(claims, name)
			}
		}
		j := jwt.NewWithClaims(method, claims)
		j.Header["kid"] = ownKey
		token, err := j.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	public, err := p.own.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	good := signed(p.signer(t, "A", 0), "my-app")
	parts := strings.Split(good, ".")
	const jo, no = "jo a,b", "no"
	return []verdict{
		{"a good one", good, jo},
		{"a clock that is fast", signed(p.signer(t, "A", 20*time.Second), "my-app"), jo},
		{"a clock that is slow", signed(p.signer(t, "A", -20*time.Second-assertion.MaxLifetime), "my-app"), jo},
		{"the tests' own, with nothing wrong", made(jwt.SigningMethodES256, p.own, nil), jo},
		{"nothing", "", no},
		{"no token", "jo", no},
		{"an expired one", signed(p.signer(t, "A", -time.Hour), "my-app"), no},
		{"one of tomorrow", signed(p.signer(t, "A", 24*time.Hour), "my-app"), no},
		{"for the application next door", signed(p.signer(t, "A", 0), "their-app"), no},
		{"by a key that is not published", signed(p.signer(t, "B", 0), "my-app"), no},
		{"no signature", parts[0] + "." + parts[1] + ".", no},
		{"another's claims", parts[0] + "." + strings.Split(made(jwt.SigningMethodES256, p.own, nil), ".")[1] + "." + parts[2], no},
		{"another issuer", made(jwt.SigningMethodES256, p.own, jwt.MapClaims{"iss": "https://else.example.com"}), no},
		{"no issuer", made(jwt.SigningMethodES256, p.own, jwt.MapClaims{"iss": nil}), no},
		{"no audience", made(jwt.SigningMethodES256, p.own, jwt.MapClaims{"aud": nil}), no},
		{"no end", made(jwt.SigningMethodES256, p.own, jwt.MapClaims{"exp": nil}), no},
		{"no algorithm", made(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil), no},
		{"the public key for a secret", made(jwt.SigningMethodHS256, public, nil), no},
	}
}
