package bearer

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/authn/authntest"
	"gatehouse/authn/issuer"
	"gatehouse/config"
)

func TestDiscovery(t *testing.T) {
	bubble(t, "at oidc-configuration", func(t *testing.T, r *rig) {
		r.hosts["idp.test"] = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			switch req.URL.Path {
			case "/.well-known/oidc-configuration":
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write([]byte(object(m{"issuer": idpURL, "jwks_uri": idpURL + "/jwks"})))
			case "/.well-known/openid-configuration":
				http.NotFound(w, req)
			default:
				r.idp.ServeHTTP(w, req)
			}
		})
		r.accepted(good())
	})
	bubble(t, "read once an hour", func(t *testing.T, r *rig) {
		for n := range 5 {
			r.accepted(signedBy(es256(), n))
			synctest.Wait()
			time.Sleep(15 * time.Minute)
		}
		if n := r.idp.Calls(authntest.Discovery); n != 2 {
			t.Errorf("%d times in an hour and a quarter", n)
		}
	})
	bubble(t, "not read if the settings say where the keys are", func(t *testing.T, r *rig) {
		r.accepted(good())
		if n := r.idp.Calls(authntest.Discovery); n != 0 {
			t.Errorf("%d times", n)
		}
	}, func(s *setup) { s.first().JWKSURL = idpURL + "/jwks" })
	bubble(t, "with a token, read each time", func(t *testing.T, r *rig) {
		file := r.setup.first().TokenFile
		write(t, file, "first-token\n")
		r.accepted(good())
		for _, e := range []authntest.Endpoint{authntest.Discovery, authntest.JWKS} {
			if got := r.idp.Last(e).Header.Get("Authorization"); got != "Bearer first-token" {
				t.Errorf("%s: %q", e, got)
			}
		}
		write(t, file, "second-token")
		time.Sleep(keysAge)
		r.accepted(signedBy(es256(), 1))
		synctest.Wait()
		if got := r.idp.Last(authntest.JWKS).Header.Get("Authorization"); got != "Bearer second-token" {
			t.Errorf("%q", got)
		}
	}, func(s *setup) { s.first().TokenFile = filepath.Join(t.TempDir(), "token") })
	bubble(t, "with a token that is missing", func(t *testing.T, r *rig) { r.unsure(good()) },
		func(s *setup) { s.first().TokenFile = "/nowhere/token" })
	bubble(t, "with a token that is missing, and a known place", func(t *testing.T, r *rig) { r.unsure(good()) },
		func(s *setup) { s.first().TokenFile, s.first().JWKSURL = "/nowhere/token", idpURL+"/jwks" })
}

// TestDiscoveryLies: SSRF-01 to SSRF-09, a document that can't be trusted.
func TestDiscoveryLies(t *testing.T) {
	lies := map[string]authntest.Fault{
		"SSRF-02 a redirect":           authntest.SendTo(302, "https://evil.test/.well-known/openid-configuration"),
		"SSRF-02 a redirect inwards":   authntest.SendTo(307, "http://169.254.169.254/latest/meta-data"),
		"SSRF-07 larger than a MiB":    authntest.Pad(2 << 20),
		"HTML":                         authntest.Reply(200, "text/html", "<html>"),
		"SSRF-15 secrets in an error":  authntest.Reply(500, "text/html", "<b>s3cret</b>\x1b[31m"),
		"a hang-up":                    authntest.Hangup,
		"an issuer that stalls":        authntest.Delay(time.Hour),
		"names twice":                  authntest.Duplicate,
		"another type":                 authntest.EditJSON(func(d map[string]any) { d["jwks_uri"] = 7 }),
		"no jwks_uri":                  authntest.EditJSON(func(d map[string]any) { delete(d, "jwks_uri") }),
		"no issuer":                    authntest.EditJSON(func(d map[string]any) { delete(d, "issuer") }),
		"another issuer":               authntest.EditJSON(func(d map[string]any) { d["issuer"] = "https://evil.test" }),
		"an issuer with a slash":       authntest.EditJSON(func(d map[string]any) { d["issuer"] = idpURL + "/" }),
		"another issuer with our keys": authntest.EditJSON(func(d map[string]any) { d["issuer"], d["jwks_uri"] = otherURL, "https://other.test/jwks" }),
	}
	for _, uri := range []string{
		"file:///etc/passwd", "gopher://evil.test/", "http://idp.test/jwks", "https://127.0.0.1:6379/", "https://169.254.169.254/",
		"https://[::1]/", "https://localhost./", "https://localhost/", "https://user:pw@evil.test/", "https://evil.test/#x", "//evil.test/",
		"https://[::ffff:169.254.169.254]/", "https://0x7f.1/", "https://2130706433/", "https://0.0.0.0/", "https://[::]/",
		"https://[64:ff9b::a9fe:a9fe]/", "https://[fe80::1%25eth0]/", "https://127.1/", "https://10.0.0.5/jwks", "https://[fd00::5]/jwks", "https://", "jwks", "https://" + strings.Repeat("a", 3000),
	} {
		lies["SSRF-03 "+uri[:min(len(uri), 40)]] = authntest.EditJSON(func(d map[string]any) { d["jwks_uri"] = uri })
	}
	for name, lie := range lies {
		bubble(t, name, func(t *testing.T, r *rig) {
			r.idp.Set(func(f *authntest.Faults) { f.At[authntest.Discovery] = lie })
			start := time.Now()
			r.unsure(good())
			if waited := time.Since(start); waited > issuer.CallTime {
				t.Errorf("waited %v", waited)
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			for at := range r.calls {
				if !strings.HasPrefix(at, "idp.test/.well-known/") {
					t.Errorf("asked %s", at)
				}
			}
			if strings.Contains(r.log.String(), "s3cret") {
				t.Error("the log quotes an answer")
			}
		})
	}
}

// TestPrivateEndpoint: SSRF-01, an address of a private network is for whom the
// settings know by a certificate, and for whom is there too.
func TestPrivateEndpoint(t *testing.T) {
	of := func(c config.Issuer) *trusted {
		base, err := issuer.Parse(c.Issuer)
		if err != nil {
			t.Fatal(err)
		}
		return &trusted{settings: c, base: base}
	}
	own := config.Issuer{Issuer: "https://kubernetes.default.svc", TLS: config.ClientTLS{CAFile: "ca.crt"}}
	near := config.Issuer{Issuer: "https://10.1.2.3:6443"}
	for _, c := range []config.Issuer{own, near} {
		if err := of(c).checkEndpoint("https://10.0.0.5:6443/openid/v1/jwks"); err != nil {
			t.Errorf("%s: %v", c.Issuer, err)
		}
		if err := of(c).checkEndpoint("https://169.254.169.254/"); err == nil {
			t.Errorf("%s may lead to its link", c.Issuer)
		}
	}
	if err := of(config.Issuer{Issuer: "https://idp.example.com"}).checkEndpoint("https://10.0.0.5/"); err == nil || !strings.Contains(err.Error(), "name it in the settings") {
		t.Errorf("%v", err)
	}
}

// TestForeignEndpoint: SSRF-09, another https host is the issuer's to name.
func TestForeignEndpoint(t *testing.T) {
	r := newRig(t)
	r.hosts["keys.test"] = r.idp
	r.idp.Set(func(f *authntest.Faults) {
		f.At[authntest.Discovery] = authntest.EditJSON(func(d map[string]any) { d["jwks_uri"] = "https://keys.test/jwks" })
	})
	r.accepted(good())
}

// TestTokenFor: SSRF-08, what the gateway shows to its issuer goes nowhere else.
func TestTokenFor(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	write(t, file, "cluster-token\n")
	for name, c := range map[string]struct {
		settings config.Issuer
		uri      string
		shown    bool
	}{
		"to the issuer":                   {config.Issuer{Issuer: idpURL, TokenFile: file}, idpURL + "/jwks", true},
		"to another port":                 {config.Issuer{Issuer: idpURL, TokenFile: file}, idpURL + ":8443/jwks", false},
		"to another host":                 {config.Issuer{Issuer: idpURL, TokenFile: file}, "https://evil.test/jwks", false},
		"to a host below":                 {config.Issuer{Issuer: idpURL, TokenFile: file}, "https://idp.test.evil.test/jwks", false},
		"to where the settings say":       {config.Issuer{Issuer: idpURL, TokenFile: file, JWKSURL: "https://keys.test/jwks"}, "https://keys.test/jwks", true},
		"to who has the right authority":  {config.Issuer{Issuer: idpURL, TokenFile: file, TLS: config.ClientTLS{CAFile: "ca.crt"}}, "https://10.0.0.1/jwks", true},
		"to nobody, for there is no file": {config.Issuer{Issuer: idpURL}, idpURL + "/jwks", false},
	} {
		t.Run(name, func(t *testing.T) {
			base, err := issuer.Parse(c.settings.Issuer)
			if err != nil {
				t.Fatal(err)
			}
			got, err := (&trusted{settings: c.settings, base: base}).tokenFor(c.uri)
			if want := map[bool]string{true: "cluster-token"}[c.shown]; err != nil || got != want {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	base, err := issuer.Parse(idpURL)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := (&trusted{settings: config.Issuer{TokenFile: file}, base: base}).tokenFor("https://a b/%zz"); err == nil || got != "" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestDiscoveryPause: an issuer that is down is not asked by each request, and
// what it said before counts for a day.
func TestDiscoveryPause(t *testing.T) {
	bubble(t, "down at start", func(t *testing.T, r *rig) {
		r.idp.Set(func(f *authntest.Faults) { f.At[authntest.Discovery] = authntest.Unavailable })
		for n := range 50 {
			r.unsure(fmt.Sprintf("opaque.%d", n))
		}
		if n := r.idp.Calls(authntest.Discovery); n != 1 {
			t.Errorf("asked %d times", n)
		}
		r.idp.Set(func(f *authntest.Faults) {
			f.At[authntest.Discovery] = authntest.EditJSON(func(d map[string]any) { d["introspection_endpoint"] = idpURL + "/introspect" })
		})
		r.asked.says(active(m{"exp": nil}))
		time.Sleep(discoveryPause)
		r.accepted(opaque)
		r.idp.Set(func(f *authntest.Faults) { f.At[authntest.Discovery] = authntest.Unavailable })
		for n := range 11 {
			time.Sleep(2 * time.Hour)
			r.accepted(fmt.Sprintf("later.%d", n))
			r.accepted(fmt.Sprintf("again.%d", n))
		}
		time.Sleep(3 * time.Hour)
		r.unsure("too.late")
	}, asks, func(s *setup) { s.first().Introspection.URL = "" })
}
