package config

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const federation = `
publicURL: https://wandb.example.com
upstreams: [{url: "http://app:8080"}]
teams: [{name: research}, {name: wandb}]
authn:
- name: robots
  bearer:
    issuers:
    - {issuer: "https://idp.example.com", preset: wandb}
`

// TestBearerDefaults: what a bearer route is without a word about it.
func TestBearerDefaults(t *testing.T) {
	b := decode(t, federation).Authn[0].Bearer
	i := b.Issuers[0]
	got := []any{b.Unknown, b.Exchange.Lifetime.Std(), b.Exchange.Replay, b.Exchange.Disabled, b.Cache.Lifetime.Std(), b.Cache.RejectedLifetime.Std(), b.Cache.Size,
		i.ClockSkew.Std(), i.MaxLifetime.Std(), i.KeysInterval.Std(), i.Kind, i.Claims.Subject, i.SkipAudienceValidation}
	want := []any{"refuse", time.Hour, "allow", false, time.Minute, 5 * time.Second, 10000, time.Minute, 24 * time.Hour, 10 * time.Second, "person", "sub", false}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !slices.Equal(i.SigningAlgorithms, []string{"RS256", "ES256", "EdDSA"}) || !slices.Equal(i.Types, []string{"JWT", "at+jwt", "none"}) {
		t.Errorf("%v, %v", i.SigningAlgorithms, i.Types)
	}
}

func TestWithPreset(t *testing.T) {
	teams := []Team{{Name: "research"}, {Name: "wandb"}, {Name: "ops"}}
	claims := Claims{Subject: "sub", Username: "preferred_username", Email: "email"}
	for name, c := range map[string]struct{ set, want Issuer }{
		"none": {Issuer{Claims: claims}, Issuer{Claims: claims}},
		"wandb": {Issuer{Preset: "wandb", Claims: claims}, Issuer{Preset: "wandb", Audiences: []string{"wandb", "research", "ops"}, TrustUnverifiedEmail: true,
			Claims: Claims{Subject: "sub", Username: "sub", Email: "sub"}}},
		"wandb, with its own": {Issuer{Preset: "wandb", Audiences: []string{"acme"}, Claims: Claims{Subject: "sub", Username: "nickname", Email: "email"}},
			Issuer{Preset: "wandb", Audiences: []string{"acme"}, TrustUnverifiedEmail: true, Claims: Claims{Subject: "sub", Username: "nickname", Email: "sub"}}},
		"wandb, for anybody": {Issuer{Preset: "wandb", SkipAudienceValidation: true, Claims: claims},
			Issuer{Preset: "wandb", SkipAudienceValidation: true, TrustUnverifiedEmail: true, Claims: Claims{Subject: "sub", Username: "sub", Email: "sub"}}},
		"kubernetes, elsewhere": {Issuer{Preset: "kubernetes", Issuer: "https://oidc.eks.example.com/id"}, Issuer{Preset: "kubernetes", Issuer: "https://oidc.eks.example.com/id", Kind: "service"}},
		"kubernetes, inside": {Issuer{Preset: "kubernetes", Issuer: "https://kubernetes.default.svc"},
			Issuer{Preset: "kubernetes", Issuer: "https://kubernetes.default.svc", Kind: "service", TokenFile: clusterFiles + "token", TLS: ClientTLS{CAFile: clusterFiles + "ca.crt"}}},
		"kubernetes, inside, with its own": {Issuer{Preset: "kubernetes", Issuer: "https://kubernetes.default.svc.cluster.local", TokenFile: "t", TLS: ClientTLS{CAFile: "c"}},
			Issuer{Preset: "kubernetes", Issuer: "https://kubernetes.default.svc.cluster.local", Kind: "service", TokenFile: "t", TLS: ClientTLS{CAFile: "c"}}},
		"kubernetes, with a key file": {Issuer{Preset: "kubernetes", Issuer: "https://kubernetes.default.svc", KeyFile: "k"}, Issuer{Preset: "kubernetes", Issuer: "https://kubernetes.default.svc", KeyFile: "k", Kind: "service"}},
	} {
		t.Run(name, func(t *testing.T) {
			audiences := slices.Clone(c.set.Audiences)
			if diff := cmp.Diff(c.want, c.set.WithPreset(teams)); diff != "" {
				t.Error(diff)
			}
			if !slices.Equal(audiences, c.set.Audiences) {
				t.Error("the settings were changed")
			}
		})
	}
}

// TestSkipAudience: the switch of a W&B server.
func TestSkipAudience(t *testing.T) {
	other := federation + "    - {issuer: \"https://ci.example.com\", audiences: [gate], subjectPrefix: \"ci:\"}\nsharedEmails: true\n"
	for name, c := range map[string]struct {
		text, env string
		skip      bool
	}{
		"true":    {other, "SKIP_AUDIENCE_VALIDATION=true", true},
		"1":       {other, "SKIP_AUDIENCE_VALIDATION=1", true},
		"false":   {other, "SKIP_AUDIENCE_VALIDATION=false", false},
		"nothing": {other, "SKIP_AUDIENCE_VALIDATION=", false},
	} {
		t.Run(name, func(t *testing.T) {
			issuers := decode(t, c.text, c.env).Authn[0].Bearer.Issuers
			if issuers[0].SkipAudienceValidation != c.skip {
				t.Errorf("%+v", issuers[0])
			}
			if issuers[1].SkipAudienceValidation || !slices.Equal(issuers[1].Audiences, []string{"gate"}) {
				t.Errorf("another issuer's audiences went: %+v", issuers[1])
			}
		})
	}
	_, err := Decode("x.yaml", []byte("publicURL: https://w.example.com\nupstreams: [{url: \"http://app\"}]\nauthn: [{name: a, bearer: {issuers: [{issuer: \"https://i.example.com\", preset: wandb, audiences: [acme]}]}}]\n"), []string{"SKIP_AUDIENCE_VALIDATION=true"})
	if err == nil || !strings.Contains(err.Error(), "SKIP_AUDIENCE_VALIDATION: authn[0].bearer.issuers[0].audiences: are set") {
		t.Errorf("audiences in the file beside it: %v", err)
	}
	if c := decode(t, "", minimal("SKIP_AUDIENCE_VALIDATION=true")...); len(c.Authn) != 1 || c.Authn[0].Bearer != nil {
		t.Errorf("alone it makes no route: %+v", c.Authn)
	}
}

// TestBearerRoute: there is one at most, and it is found wherever it stands.
func TestBearerRoute(t *testing.T) {
	if b := decode(t, "", minimal()...).bearer(); b != nil {
		t.Errorf("%+v", b)
	}
	if b := decode(t, federation).bearer(); b == nil || b.Issuers[0].Issuer != "https://idp.example.com" {
		t.Errorf("%+v", b)
	}
}
