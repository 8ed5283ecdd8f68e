package oidc

import (
	"encoding/json/v2"
	"strings"
	"testing"

	"gatehouse/authn"
	"gatehouse/authn/issuer"
	"gatehouse/config"
)

// FuzzClaims: whatever a provider says, mapping does not panic, and nobody gets
// in without a subject that is clean, prefixed and nobody else's.
func FuzzClaims(f *testing.F) {
	for _, seed := range []string{
		`{"sub":"1001","preferred_username":"ada","name":"Ada","email":"a@x.test","email_verified":true,"groups":["a"]}`,
		`{"sub":"\u0000","groups":"a"}`, `{"sub":"b:1"}`, `{"sub":" "}`, `{"sub":"a","groups":[[]]}`, `{"sub":"s","auth_time":1e300}`,
		`{"sub":"s","_claim_names":{"groups":"x"}}`, `{"a":{"b":{"c":1}},"a.b.c":2,"sub":"\u200b"}`, `null`, `[]`, `{"sub":"s","email":"a@b@c"}`,
		`{"sub":"s","aud":["x"],"exp":1,"iat":1.5,"realm_access":{"roles":["r"]}}`,
	} {
		f.Add([]byte(seed))
	}
	m := newMapping("main", withDefaults(config.OIDC{
		SubjectPrefix: "p:", TrustUnverifiedEmail: true, Claims: config.Claims{Groups: "realm_access.roles"},
	}), []string{"p:other:", "b:"}, []string{"realm_access.roles"})
	f.Fuzz(func(t *testing.T, text []byte) {
		id, err := issuer.ParseClaims(text)
		if err != nil {
			return
		}
		_, _ = id.Audience()
		_ = id.Beyond("groups")
		p, err := m.profile(source{Claims: id})
		if err != nil {
			return
		}
		who, err := m.identity(id, p)
		if err != nil {
			if who.Subject != "" {
				t.Errorf("an identity comes with an error: %+v", who)
			}
			return
		}
		sub, ok := strings.CutPrefix(who.Subject, "p:")
		if !ok || !authn.CleanID(sub) || len(sub) > authn.MaxID || strings.HasPrefix(who.Subject, "p:other:") {
			t.Errorf("subject %q", who.Subject)
		}
		for _, s := range []string{who.Username, who.Name, who.Email} {
			if s != "" && !authn.CleanID(s) {
				t.Errorf("unclean %q", s)
			}
		}
		if who.Email != "" && strings.Count(who.Email, "@") != 1 {
			t.Errorf("e-mail %q", who.Email)
		}
		for _, g := range who.Groups {
			if g == "" || strings.ContainsAny(g, "\r\n\x00") {
				t.Errorf("group %q", g)
			}
		}
		if _, err := json.Marshal(who); err != nil {
			t.Errorf("not to be kept: %v", err)
		}
	})
}
