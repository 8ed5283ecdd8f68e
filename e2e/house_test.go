package e2e

import (
	"testing"
	"time"
)

// house is a gateway with everything around it.
type house struct {
	*gateway
	t        *testing.T
	provider provider
	redis    *redisServer
	app      *app
}

// newHouse puts a gateway at a place, with routes to a provider that is there already.
func newHouse(t *testing.T, at place, p provider, routes ...route) *house {
	t.Helper()
	h := &house{t: t, provider: p, redis: startRedis(t), app: startApp(t)}
	h.gateway = startGateway(t, settings{place: at, Upstream: h.app.URL, Routes: routes, Redis: h.redis.url()})
	return h
}

// signIn goes to a path as somebody new, signs in and arrives there.
func (h *house) signIn(t *testing.T, path, login string) *tab {
	t.Helper()
	b := newProfile(t)
	b.open(h.url + path)
	h.provider.signIn(b, login)
	b.await(h.url + path)
	return b
}

// nodeHouse is a house in front of the npm provider.
func nodeHouse(t *testing.T, at place, o nodeOptions, extra ...string) (*house, *nodeProvider) {
	t.Helper()
	o.paths = at.paths()
	p := startNodeProvider(t, o)
	scopes := "scopes: [openid, profile, email, groups]"
	return newHouse(t, at, p, routeTo(p, append([]string{scopes}, extra...)...)), p
}

// lemonHouse is a house in front of LemonLDAP::NG. It has no claim that says
// whether an address is verified, and reads a secret in an Authorization header
// up to the first "+", "/" or "=" of its base64 only.
func lemonHouse(t *testing.T, at place, accessTokenLife time.Duration) *house {
	t.Helper()
	p := startLemonProvider(t, at.paths(), accessTokenLife)
	return newHouse(t, at, p, routeTo(p, "trustUnverifiedEmail: true", "clientAuth: post"))
}
