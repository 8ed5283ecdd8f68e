package oidc

import (
	"strings"
	"testing"

	"gatehouse/authn"
	"gatehouse/authn/issuer"
	"gatehouse/config"
)

// FuzzLogoutClaims: whatever a logout token says, it does not mean everybody, nor
// anybody of another route or issuer.
func FuzzLogoutClaims(f *testing.F) {
	const rest = `,"iat":1,"jti":"j","events":{"` + logoutEvent + `":{}}}`
	for _, seed := range []string{
		`{"sub":"1001","sid":"s"` + rest, `{"sub":"1001"` + rest, `{"sid":"s"` + rest, `{"x":1` + rest, `{"sub":"","sid":""` + rest, `{"sub":null,"sid":"s"` + rest,
		`{"sub":7,"sid":["s"]` + rest, `{"sub":"b:1"` + rest, `{"sub":"\u200b"` + rest, `{"nonce":null,"sid":"s"` + rest, `{"events":[],"sid":"s"}`, `null`,
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, text []byte, bySub bool) {
		c := config.OIDC{Issuer: issuerURL}
		if !bySub {
			c.Claims.Subject = "oid"
		}
		c = withDefaults(c)
		o := &relying{settings: c, mapping: newMapping("main", c, []string{"b:"}, nil)}
		claims, err := issuer.ParseClaims(text)
		if err != nil || checkEvent(claims) != nil {
			return
		}
		l, err := o.told(claims)
		if err != nil {
			return
		}
		if l.Issuer != issuerURL || l.Subject == "" && l.SID == "" || l.Subject != "" && !bySub {
			t.Errorf("%+v", l)
		}
		for _, name := range []string{l.Subject, l.SID} {
			if name != "" && !authn.CleanID(name) || len(name) > authn.MaxID {
				t.Errorf("%q names something", name)
			}
		}
		if strings.HasPrefix(l.Subject, "b:") {
			t.Errorf("%q is another route's", l.Subject)
		}
	})
}
