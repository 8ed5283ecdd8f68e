package proxy

import (
	"bytes"
	"encoding/json/v2"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"gatehouse/authn"
	"gatehouse/config"
	"gatehouse/proxy/assertion"
	"gatehouse/proxy/policy"
)

func signer(t testing.TB) *assertion.Signer {
	t.Helper()
	s, err := assertion.New(assertion.Options{Issuer: gwURL, Secrets: [][]byte{bytes.Repeat([]byte("k"), 32)}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// vouching is a rig whose upstreams get assertions.
func vouching(t *testing.T) *rig {
	return newRig(t, func(o *Options) {
		o.Assertions = signer(t)
		o.Teams = []config.Team{{Name: "vision", Groups: []config.TeamGroup{{Group: "alices", Role: "admin"}}}}
		other := o.Upstreams[0]
		other.Name, other.Audience, other.Paths, other.Public = "other", "https://other.test", []string{"/other"}, nil
		o.Upstreams = append(o.Upstreams, other)
	})
}

const assertionHeader = "X-Gatehouse-Jwt-Assertion"

// TestAssertion: the upstream can verify whom a request comes from by what the
// gateway publishes, and a client's own word for it never arrives (HDR-25).
func TestAssertion(t *testing.T) {
	g := vouching(t)
	published := g.get("/.gatehouse/jwks.json", "")
	want(t, "keys", published.StatusCode, 200)
	want(t, "Content-Type", published.Header.Get("Content-Type"), "application/json")
	want(t, "Cache-Control", published.Header.Get("Cache-Control"), "public, max-age=300")
	keys, err := keyfunc.NewJWKSetJSON([]byte(published.body))
	if err != nil {
		t.Fatal(err)
	}
	var found struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := json.Unmarshal([]byte(g.get("/.gatehouse/.well-known/openid-configuration", "").body), &found); err != nil {
		t.Fatal(err)
	}
	want(t, "issuer", found.Issuer, gwURL)
	want(t, "jwks_uri", found.Keys, gwURL+"/.gatehouse/jwks.json")

	forged := assertionHeader + ": eve\r\nx_gatehouse_jwt_assertion: eve\r\n"
	read := func(target, headers string) jwt.MapClaims {
		t.Helper()
		g.forget()
		want(t, "status", g.get(target, headers+forged).StatusCode, 200)
		values := g.last().Header[assertionHeader]
		if len(values) != 1 {
			t.Fatalf("%q", values)
		}
		claims := jwt.MapClaims{}
		if _, err := jwt.ParseWithClaims(values[0], claims, keys.Keyfunc, jwt.WithValidMethods([]string{"ES256"}), jwt.WithIssuer(gwURL)); err != nil {
			t.Fatal(err)
		}
		return claims
	}
	first := read("/x", aliceOnly)
	again := read("/x", aliceOnly)
	want(t, "reused", first["jti"] == again["jti"], true)
	for name := range map[string]bool{"exp": true, "iat": true, "nbf": true, "jti": true} {
		delete(first, name)
	}
	if diff := cmp.Diff(jwt.MapClaims{
		"iss": gwURL, "aud": "app", "sub": "sub-alice", "email": "alice@example.com", "preferred_username": "alice", "name": "Alice",
		"groups": []any{"users", "alices"}, "teams": []any{"vision"}, "roles": []any{"admin"}, "kind": "person", "route": "corp", "auth_time": 1700000000.0,
	}, first); diff != "" {
		t.Error(diff)
	}
	other := read("/other/x", aliceOnly)
	want(t, "the audience of another", other["aud"], any("https://other.test"))
	want(t, "bob", read("/x", bobOnly)["sub"], any("sub-bob"))

	g.forget()
	g.get("/public/x", aliceOnly+forged)
	want(t, "on a public path", len(g.last().Header[assertionHeader]), 0)
}

func TestNoAssertion(t *testing.T) {
	g := newRig(t, nil)
	g.get("/x", aliceOnly+assertionHeader+": eve\r\n")
	want(t, "none", len(g.last().Header[assertionHeader]), 0)
	want(t, "no keys", g.get("/.gatehouse/jwks.json", "").StatusCode, 404)
}

// TestAssertionPresets: each contract has it where its applications look for it.
func TestAssertionPresets(t *testing.T) {
	for preset, name := range map[string]string{
		"pomerium": "X-Pomerium-Jwt-Assertion", "google-iap": "X-Goog-Iap-Jwt-Assertion", "cloudflare-access": "Cf-Access-Jwt-Assertion", "authelia": assertionHeader,
	} {
		g := newRig(t, func(o *Options) { o.Headers.Preset, o.Assertions = preset, signer(t) })
		g.get("/x", aliceOnly+name+": eve\r\n")
		want(t, preset, strings.Count(g.last().Header.Get(name), "."), 2)
	}
}

// TestAssertionOfManyGroups: the signed header counts too, and who does not fit is
// refused.
func TestAssertionOfManyGroups(t *testing.T) {
	g := vouching(t)
	id := person("alice")
	for i := range 400 {
		id.Groups = append(id.Groups, strings.Repeat("g", 40)+string(rune('a'+i%26)))
	}
	g.people["alice"] = id
	g.denied(g.get("/x", aliceOnly), 403)
}

// TestUnvouchable: HDR-16, what can't be signed is let in nowhere.
func TestUnvouchable(t *testing.T) {
	g := vouching(t)
	id := person("alice")
	id.Groups = []string{"\xff"}
	g.people["alice"] = id
	g.denied(g.get("/x", aliceOnly), 503)
	if !strings.Contains(g.log.String(), "vouch for") {
		t.Error("nobody is told why")
	}
}

// TestAssertionIsRenewed: one is used for four fifths of its life, so that what is on
// its way has some left.
func TestAssertionIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		by, s := signer(t), &standing{Subject: policy.Subject{Identity: authn.Identity{Subject: "s"}}}
		token := func() string {
			token, err := s.assert(by, "app")
			if err != nil {
				t.Fatal(err)
			}
			return token
		}
		first := token()
		time.Sleep(3*time.Minute + 59*time.Second)
		want(t, "in its time", token() == first, true)
		time.Sleep(2 * time.Second)
		want(t, "after", token() == first, false)
		other, err := s.assert(by, "other")
		if err != nil || other == token() {
			t.Error("another audience has the same")
		}
	})
	if _, err := (&standing{}).assert(signer(t), "app"); err == nil || errors.Is(err, http.ErrAbortHandler) {
		t.Error("nobody was vouched for")
	}
}

// payload is what a JWT says; nobody has verified it.
func payload(t *testing.T, token string) map[string]any {
	t.Helper()
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(token, claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// TestStandingsOfOnePerson: several sessions of a person, in turn, cost nothing anew and
// don't get what is another's.
func TestStandingsOfOnePerson(t *testing.T) {
	g := newRig(t, nil)
	laptop := person("alice")
	phone, token := laptop, laptop
	phone.AuthTime = laptop.AuthTime.Add(time.Hour)
	token.Expires = time.Now().Add(time.Minute)
	first := map[string]*standing{}
	sessions := map[string]authn.Identity{"laptop": laptop, "phone": phone, "token": token}
	for name, id := range sessions {
		first[name] = g.gw.stand(id)
	}
	for name, id := range sessions {
		s := g.gw.stand(id)
		want(t, name+" is kept", s == first[name], true)
		want(t, name+" was proved", s.AuthTime, id.AuthTime)
	}
	other := laptop
	other.Groups = []string{"users"}
	want(t, "other groups", len(g.gw.stand(other).Groups), 1)
	want(t, "and back", len(g.gw.stand(laptop).Groups), 2)
}
