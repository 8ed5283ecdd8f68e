package oidc

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"gatehouse/authn/authntest"
)

// lie is one thing wrong with an ID token.
type lie struct {
	name  string
	fault func(*authntest.Faults)
	log   string // what the log has to say; empty for a token that is fine
}

// claim makes a lie of claims.
func claim(name, log string, edit func(map[string]any)) lie {
	return lie{name, func(f *authntest.Faults) {
		f.Claims = func(_ authntest.Answer, c map[string]any) { edit(c) }
	}, log}
}

func set(name, claimName string, value any, log string) lie {
	return claim(name, log, func(c map[string]any) { c[claimName] = value })
}

func without(name, claimName, log string) lie {
	return claim(name, log, func(c map[string]any) { delete(c, claimName) })
}

func inHeader(name, log string, edit func(map[string]any)) lie {
	return lie{name, func(f *authntest.Faults) {
		f.Header = func(_ authntest.Answer, h map[string]any) { edit(h) }
	}, log}
}

func signed(name string, how authntest.Signature, log string) lie {
	return lie{name, func(f *authntest.Faults) { f.Signature = how }, log}
}

func payload(name, log string, edit func([]byte) []byte) lie {
	return lie{name, func(f *authntest.Faults) {
		f.Payload = func(_ authntest.Answer, p []byte) []byte { return edit(p) }
	}, log}
}

func compact(name, log string, edit func(string) string) lie {
	return lie{name, func(f *authntest.Faults) {
		f.Compact = func(_ authntest.Answer, s string) string { return edit(s) }
	}, log}
}

func ago(d time.Duration) int64 { return time.Now().Add(-d).Unix() }

// lies are ID tokens that no sign-in may accept, in either flow.
func lies() []lie {
	const cid = "gw"
	all := []lie{
		set("IDT-01 aud another", "aud", "other", "audience is"),
		without("IDT-01 aud absent", "aud", `"aud\" is missing`),
		set("IDT-01 aud empty list", "aud", []string{}, `"aud\" is missing`),
		set("IDT-01 aud list of another", "aud", []string{"other"}, "audience is"),
		set("IDT-01 aud null", "aud", nil, `"aud\" is missing`),
		set("IDT-01 aud object", "aud", map[string]any{"0": cid}, "not a list of strings"),
		set("IDT-01 aud of numbers", "aud", []any{cid, 7}, "not a list of strings"),
		set("IDT-01 aud longer", "aud", cid+"x", "audience is"),
		set("IDT-01 aud empty", "aud", "", "audience is"),
		set("IDT-02 aud with another", "aud", []string{cid, "evil"}, "extraAudiences"),
		set("IDT-02 azp another", "azp", "evil", "authorized party"),
		set("IDT-02 azp empty", "azp", "", "authorized party"),
		set("IDT-02 azp number", "azp", 7, "not a string"),
		claim("IDT-02 azp with untrusted extra", "extraAudiences", func(c map[string]any) { c["aud"], c["azp"] = []string{cid, "evil"}, cid }),
		without("IDT-03 iss absent", "iss", "issuer is"),
		set("IDT-03 iss list", "iss", []string{issuerURL}, "not a string"),
		without("IDT-04 exp absent", "exp", `"exp\" is missing`),
		set("IDT-04 exp past", "exp", ago(61*time.Second), "expired"),
		set("IDT-04 exp text", "exp", "2999999999", "not a time"),
		set("IDT-04 exp negative", "exp", -1, "not a time"),
		set("IDT-04 exp zero", "exp", 0, "not a time"),
		set("IDT-04 exp beyond time", "exp", 1e300, "not a time"),
		set("IDT-04 exp null", "exp", nil, "missing"),
		set("IDT-06 nbf ahead", "nbf", ago(-10*time.Minute), "not valid before"),
		set("IDT-06 nbf text", "nbf", "now", "not a time"),
		set("IDT-06 iat ahead", "iat", ago(-10*time.Minute), "in the future"),
		set("IDT-06 iat a year old", "iat", ago(365*24*time.Hour), "long ago"),
		without("IDT-06 iat absent", "iat", `"iat\" is missing`),
		without("IDT-07 sub absent", "sub", `"sub\" is missing`),
		set("IDT-07 sub empty", "sub", "", `"sub\" is missing`),
		set("IDT-07 sub too long", "sub", strings.Repeat("a", 300), "can't name anybody"),
		set("IDT-07 sub number", "sub", 42, "not a string"),
		set("IDT-07 sub list", "sub", []string{"1001"}, "not a string"),
		set("IDT-07 sub with NUL", "sub", "1001\x00", "can't name anybody"),
		set("IDT-07 sub with newline", "sub", "1001\n", "can't name anybody"),
		set("IDT-07 sub with leading space", "sub", " 1001", "can't name anybody"),
		set("IDT-16 sub with no-break space", "sub", "1001\u00a0", "can't name anybody"),
		set("IDT-16 sub with zero-width space", "sub", "10\u200b01", "can't name anybody"),
		signed("IDT-27 idtoken-sig-none", authntest.Unsigned, "not base64url"),
		signed("IDT-28 HS256 with the secret", authntest.HMACSecret, `algorithm \"HS256\"`),
		signed("IDT-28 HS256 with the public key", authntest.HMACPublicKey, `algorithm \"HS256\"`),
		signed("IDT-28 HS256 with nothing", authntest.HMACEmpty, `algorithm \"HS256\"`),
		signed("invalid-sig-es256", authntest.Corrupt, "signature is not the issuer's"),
		signed("JWT-32 another issuer's key", authntest.ForeignKey, "signature is not the issuer's"),
		payload("IDT-30 deep", "nests deeper", func([]byte) []byte {
			return []byte(`{"a":` + strings.Repeat("[", 10000) + strings.Repeat("]", 10000) + `}`)
		}),
		set("IDT-30 large claim", "x", strings.Repeat("a", 5<<18), "larger than"),
		set("IDT-30 100 000 groups", "groups", strings.Split(strings.Repeat("group,", 100_000), ","), "larger than"),
		payload("duplicate sub", "duplicate", func(p []byte) []byte { return append(p[:len(p)-1], `,"sub":"1002"}`...) }),
		payload("duplicate nested", "duplicate", func(p []byte) []byte { return append(p[:len(p)-1], `,"x":{"a":1,"a":2}}`...) }),
		payload("bad UTF-8", "UTF-8", func(p []byte) []byte { return bytes.Replace(p, []byte("Ada"), []byte("\xff\xfe"), 1) }),
		payload("not an object", "not a JSON object", func([]byte) []byte { return []byte(`["a"]`) }),
		payload("null", "not a JSON object", func([]byte) []byte { return []byte(`null`) }),
		payload("JWT-23 a JWT in a JWT", "not a JSON", func([]byte) []byte { return []byte(`eyJhbGciOiJub25lIn0.e30.`) }),
		payload("trailing text", "not exactly one", func(p []byte) []byte { return append(p, `{}`...) }),
		payload("another case", "missing", func(p []byte) []byte { return bytes.Replace(p, []byte(`"exp"`), []byte(`"EXP"`), 1) }),
		compact("JWT-21 two parts", "compact form", func(s string) string { return s[:strings.LastIndex(s, ".")] }),
		compact("JWT-21 four parts", "compact form", func(s string) string { return s + ".a" }),
		compact("JWT-24 five parts", "compact form", func(s string) string { return s + ".a.b" }),
		compact("JWT-21 dots", "larger than", func(string) string { return strings.Repeat(".", 1<<19) }),
		compact("JWT-28 JSON serialization", "compact form", func(s string) string {
			p := strings.Split(s, ".")
			return fmt.Sprintf(`{"payload":%q,"protected":%q,"signature":%q}`, p[1], p[0], p[2])
		}),
		compact("JWT-29 detached", "not base64url", func(s string) string { p := strings.Split(s, "."); return p[0] + ".." + p[2] }),
		compact("JWT-30 padding", "not base64url", func(s string) string { return s + "=" }),
		compact("JWT-30 newline", "not base64url", func(s string) string { return s[:20] + "\n" + s[20:] }),
		compact("JWT-30 leading space", "not base64url", func(s string) string { return " " + s }),
		compact("JWT-30 unused bits", "not base64url", func(s string) string { return s[:len(s)-1] + string(s[len(s)-1]+1) }),
	}
	for name, iss := range map[string]string{
		"slash": issuerURL + "/", "upper case": "https://IDP.test", "http": "http://idp.test",
		"trailing space": issuerURL + " ", "prefix": issuerURL + ".evil", "empty": "", "no scheme": "idp.test",
	} {
		all = append(all, set("IDT-03 iss "+name, "iss", iss, "issuer is"))
	}
	for _, typ := range []string{"logout+jwt", "at+jwt", "application/at+jwt", "secevent+jwt", "dpop+jwt", "JWE"} {
		all = append(all, inHeader("IDT-29 typ "+typ, "type", func(h map[string]any) { h["typ"] = typ }))
	}
	all = append(all, set("IDT-29 events", "events", map[string]any{}, "security event"))
	for name, alg := range map[string]any{
		"none": "none", "None": "None", "NONE": "NONE", "empty": "", "absent": nil, "list": []string{"ES256"}, "case": "es256", "other": "RS256", "number": 7,
	} {
		log := "algorithm"
		if name == "list" || name == "number" {
			log = "not a string"
		}
		all = append(all, inHeader("JWT-04 alg "+name, log, func(h map[string]any) { h["alg"] = alg }))
	}
	for name, kid := range map[string]any{
		"path": "../../../dev/null", "SQL": "' OR 1=1", "URL": "http://evil.test/", "NUL": "\x00", "long": strings.Repeat("k", 1000),
	} {
		all = append(all, inHeader("JWT-05 kid "+name, "signature", func(h map[string]any) { h["kid"] = kid }))
	}
	all = append(all,
		inHeader("JWT-05 kid number", `is not a string`, func(h map[string]any) { h["kid"] = 7 }),
		inHeader("JWT-12 crit", "not supported", func(h map[string]any) { h["crit"] = []string{"exp"} }),
		inHeader("JWT-12 crit b64", "not supported", func(h map[string]any) { h["crit"], h["b64"] = []string{"b64"}, false }),
		inHeader("JWT-12 b64", "not supported", func(h map[string]any) { h["b64"] = false }),
		inHeader("JWT-12 crit empty", "not supported", func(h map[string]any) { h["crit"] = []string{} }),
	)
	return all
}

// flows runs a test with both flows.
func flows(t *testing.T, f func(t *testing.T, flow func(*setup))) {
	for name, flow := range map[string]func(*setup){"code": func(*setup) {}, "implicit": implicit} {
		t.Run(name, func(t *testing.T) { f(t, flow) })
	}
}

func TestIDTokenLies(t *testing.T) {
	for _, l := range lies() {
		t.Run(l.name, func(t *testing.T) {
			flows(t, func(t *testing.T, flow func(*setup)) {
				r := newRig(t, flow)
				r.issuer.Set(l.fault)
				b := r.browser()
				d := b.authorize(b.start("?rd=/x"))
				if size := len(d.params().Encode()); size > maxForm {
					r.refused(b.deliver(d), 413)
					return
				}
				a := b.deliver(d)
				r.refused(a, 400)
				if !strings.Contains(a.body, "rd=%2Fx") {
					t.Error("the page has no way to start again")
				}
				r.logged(l.log)
				if strings.Contains(a.body, "claim") || strings.Contains(a.body, "ID token") {
					t.Error("the page tells what only the log may know")
				}
			})
		})
	}
}
