package oidc

import (
	"encoding/json/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gatehouse/authn"
)

func TestSignIn(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	a := b.signIn("?rd=%2Fruns%2F7%3Ftab%3Dlogs")
	r.landed(a, "/runs/7?tab=logs")
	want := authn.Identity{
		Issuer: issuerURL, Subject: "1001", Kind: authn.Person, Username: "ada", Name: "Ada Lovelace",
		Email: "ada@example.com", Groups: []string{"admins", "research"}, Route: "main",
	}
	got := r.starts.last(t)
	if d := cmp.Diff(want, got.Identity, cmpopts.IgnoreFields(authn.Identity{}, "AuthTime", "Expires")); d != "" {
		t.Error(d)
	}
	if since := time.Since(got.Identity.AuthTime); since < 0 || since > time.Minute {
		t.Errorf("auth time is %s ago", since)
	}
	if got.Identity.Expires.IsZero() || got.RenewAt.IsZero() || !got.RenewAt.Before(got.Identity.Expires) {
		t.Errorf("renew at %s, expires %s", got.RenewAt, got.Identity.Expires)
	}
	var g grant
	if err := json.Unmarshal(got.Grant, &g); err != nil || g.Refresh == "" || g.IDToken == "" || g.Sub != "1001" {
		t.Errorf("grant %+v, %v", g, err)
	}
	if n := len(b.attempts()); n != 0 {
		t.Errorf("%d attempts are left", n)
	}
	r.logged(`"msg":"signed in","route":"main"`)
	if a.body != "" || a.header.Get("Cache-Control") != "no-store" || a.header.Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("OIDC-41: %q %v", a.body, a.header)
	}
	for _, secret := range []string{g.Refresh, g.IDToken, g.Nonce, "s3cret"} {
		if strings.Contains(r.log.String(), secret) {
			t.Errorf("OPS-09: log holds %q", secret)
		}
	}
}

func TestSignInImplicit(t *testing.T) {
	r := newRig(t, implicit)
	b := r.browser()
	r.landed(b.signIn("?rd=/x"), "/x")
	got := r.starts.last(t)
	if got.Identity.Subject != "1001" || !got.RenewAt.IsZero() || !got.Identity.Expires.IsZero() {
		t.Errorf("%+v", got)
	}
	q, _ := url.Parse(b.start(""))
	if v := q.Query(); v.Get("response_type") != "id_token" || v.Get("response_mode") != "form_post" || v.Get("nonce") == "" || v.Has("code_challenge") {
		t.Errorf("authorization request %v", v)
	}
}
