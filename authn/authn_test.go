package authn_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"gatehouse/authn"
)

func answers(id authn.Identity, err error) authn.AuthenticatorFunc {
	return func(*http.Request) (authn.Identity, error) { return id, err }
}

func TestChain(t *testing.T) {
	alice := authn.Identity{Issuer: "i", Subject: "alice"}
	bob := authn.Identity{Issuer: "i", Subject: "bob"}
	down := errors.New("the directory does not answer")
	rejected := fmt.Errorf("session: unknown: %w", authn.ErrRejected)
	none := answers(authn.Identity{}, authn.ErrNoCredential)

	tests := map[string]struct {
		chain authn.Chain
		want  authn.Identity
		err   error
	}{
		"an empty chain knows nobody":                 {nil, authn.Identity{}, authn.ErrNoCredential},
		"nobody claims":                               {authn.Chain{none, none}, authn.Identity{}, authn.ErrNoCredential},
		"the first claim decides":                     {authn.Chain{none, answers(alice, nil), answers(bob, nil)}, alice, nil},
		"a refused claim never becomes somebody else": {authn.Chain{answers(bob, rejected), answers(alice, nil)}, authn.Identity{}, authn.ErrRejected},
		"unknown is closed":                           {authn.Chain{answers(bob, down), answers(alice, nil)}, authn.Identity{}, down},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := tt.chain.Authenticate(httptest.NewRequest("GET", "/", nil))
			if !errors.Is(err, tt.err) {
				t.Errorf("error = %v, want %v", err, tt.err)
			}
			if got.Subject != tt.want.Subject {
				t.Errorf("identity = %q, want %q", got.Subject, tt.want.Subject)
			}
		})
	}

	t.Run("HDR-29 vouching for nobody is a failure, not a guest", func(t *testing.T) {
		_, err := authn.Chain{answers(authn.Identity{Issuer: "i"}, nil)}.Authenticate(httptest.NewRequest("GET", "/", nil))
		if err == nil || errors.Is(err, authn.ErrNoCredential) || errors.Is(err, authn.ErrRejected) {
			t.Errorf("error = %v, want one that means 503", err)
		}
	})
}

func TestNotAllowed(t *testing.T) {
	err := fmt.Errorf("route a: %w", &authn.NotAllowed{Missing: "You need to be in research."})
	var refusal *authn.NotAllowed
	if !errors.As(err, &refusal) || refusal.Missing != "You need to be in research." {
		t.Errorf("%v does not carry what is missing", err)
	}
}

func TestRouteVouches(t *testing.T) {
	corp := authn.Route{Name: "corp", Issuer: "https://a.test"}
	for name, tt := range map[string]struct {
		route authn.Route
		id    authn.Identity
		want  bool
	}{
		"its own":                          {corp, authn.Identity{Route: "corp", Issuer: "https://a.test"}, true},
		"the route has moved to a new one": {corp, authn.Identity{Route: "corp", Issuer: "https://b.test"}, false},
		"another route's":                  {corp, authn.Identity{Route: "lab", Issuer: "https://a.test"}, false},
		"a route of many issuers":          {authn.Route{Name: "jwt"}, authn.Identity{Route: "jwt", Issuer: "https://b.test"}, true},
		"no route at all":                  {authn.Route{}, authn.Identity{Route: "corp", Issuer: "https://a.test"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tt.route.Vouches(tt.id); got != tt.want {
				t.Errorf("Vouches = %v, want %v", got, tt.want)
			}
		})
	}
}
