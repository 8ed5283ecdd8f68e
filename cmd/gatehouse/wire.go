package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"gatehouse/authn"
	"gatehouse/authn/apikey"
	"gatehouse/authn/audit"
	"gatehouse/authn/bearer"
	"gatehouse/authn/ldap"
	"gatehouse/authn/meter"
	"gatehouse/authn/oidc"
	"gatehouse/authn/page"
	"gatehouse/cmd/gatehouse/metrics"
	"gatehouse/config"
	"gatehouse/proxy"
	"gatehouse/proxy/assertion"
	"gatehouse/proxy/exchange"
	"gatehouse/session"
)

// gateway is everything that one settings file makes.
type gateway struct {
	handler   *proxy.Handler
	chain     authn.Chain
	accounts  authn.Accounts
	cookie    string // the session's name
	routes    []authn.Route
	upstreams []config.Upstream
	store     session.Store
	sessions  *session.Sessions
	register  *session.Register
	news      *session.News
	trail     trail

	exchangers []*exchange.Exchanger
	own        ownings
	closed     bool // all but the handler
}

// ownings is what a gateway has from its own process alone, so that the next one there
// has to go on with it.
type ownings struct {
	origin string
	keys   *session.Keyring // nil if they are in the settings
	memory *session.Memory  // nil if there is another store
	lent   bool             // another gateway closes the memory
}

// build makes a gateway from sound settings. It opens no connection, so it
// works while the provider, the store and the upstreams are down. What happens in it is
// told to o.
func build(c config.Config, log *slog.Logger, o observers) (*gateway, error) {
	return buildAfter(c, log, o, nil)
}

// buildAfter makes a gateway that can follow another in the same process; nil stands for
// none.
func buildAfter(c config.Config, log *slog.Logger, o observers, former *gateway) (*gateway, error) {
	origin := c.Origin()
	pages, err := openPages(c)
	if err != nil {
		return nil, err
	}
	own := ownings{origin: origin.String()}
	keys, err := own.openKeys(c, former)
	if err != nil {
		return nil, err
	}
	store, err := own.openStore(c, former, o.calls(metrics.Store, "redis"), log)
	if err != nil {
		return nil, err
	}
	cookie := session.NewCookie(c.Session.Cookie.Name, c.Session.Cookie.Domain, origin.Scheme == "https")
	landings := authn.NewLandings(origin, c.Hosts(), c.Paths.Owns)

	routes := map[string]authn.Route{}
	news := session.NewNews(store, log)
	trail, err := openTrail(c, keys, o.out, log, former.trailOf())
	if err != nil {
		return nil, errors.Join(err, own.closeStore(store))
	}
	register := session.NewRegister(store, keys, news, c.Session.IdleTimeout.Std()).Audited(trail)
	sessions := session.New(session.Options{
		Store:         store,
		Register:      register,
		Remember:      c.Session.Cache.Lifetime.Std(),
		RememberBytes: uint64(c.Session.Cache.MaxSize), //nolint:gosec // the settings were checked
		Keys:          keys,
		Cookie:        cookie,
		Lifetime:      c.Session.Lifetime.Std(),
		IdleTimeout:   c.Session.IdleTimeout.Std(),
		MaxPerPerson:  c.Session.MaxPerPerson,
		OutageGrace:   c.Session.OutageGrace.Std(),
		Renew:         renewBy(routes),
		Log:           log,
	})

	g := &gateway{accounts: accounts(c), cookie: cookie.Name, upstreams: c.Upstreams, store: store, sessions: sessions, register: register, news: news, trail: trail, own: own}
	house := house{
		origin: origin, cookie: cookie, keys: keys, store: store, register: register, sessions: sessions, landings: landings, pages: pages,
		accounts: g.accounts, trail: trail, observe: o, log: log,
	}
	for i, section := range c.Authn {
		route, err := house.openRoute(c, i, g)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("authn[%d] (%s): %w", i, section.Name, err), g.close())
		}
		routes[route.Name] = route
		g.routes = append(g.routes, route)
	}

	g.chain = o.chain(g.routes, sessions)
	var before *proxy.Handler
	if former != nil {
		before = former.handler
	}
	if g.handler, err = house.openHandler(c, g, before); err != nil {
		return nil, errors.Join(err, g.close())
	}
	news.OnEnd(g.handler.Recheck)
	return g, nil
}

// openHandler makes what every request goes through. Former is the one whose place it
// takes; nil for none.
func (h house) openHandler(c config.Config, g *gateway, former *proxy.Handler) (*proxy.Handler, error) {
	assertions, err := openAssertions(c, h.keys)
	if err != nil {
		return nil, err
	}
	exchangers, err := h.openExchangers(c, assertions, g)
	if err != nil {
		return nil, err
	}
	return proxy.New(proxy.Options{
		PublicURL:       h.origin,
		Upstreams:       c.Upstreams,
		Teams:           c.Teams,
		Policy:          c.Policy,
		ForwardAuth:     c.ForwardAuth,
		Assertions:      assertions,
		Exchangers:      exchangers,
		Headers:         c.Headers,
		Paths:           c.Paths,
		StallTimeout:    c.Listen.StallTimeout.Std(),
		Limits:          c.Limits,
		MaxURLSize:      int(c.Listen.MaxURLSize),
		HSTS:            c.HSTS,
		TrustedProxies:  c.Networks(),
		ForwardedHeader: c.ForwardedHeader,
		Routes:          g.routes,
		Chain:           g.chain,
		Accounts:        h.accounts,
		Sessions:        h.sessions,
		Register:        h.register,
		Administrators:  c.API.Administrators,
		Cookie:          h.cookie.Name,
		Landings:        h.landings,
		Pages:           h.pages,
		SignedOutURL:    c.Pages.SignedOutURL,
		Log:             h.log,
		Access:          !c.Log.NoAccess,
		Watch:           h.observe.metrics.Requests(names(c)),
		Trace:           h.observe.tracer(),
		Former:          former,
		Audit:           h.trail,
	})
}

// openAssertions makes the signer of what upstreams may believe; nil for none.
func openAssertions(c config.Config, keys session.Keyring) (*assertion.Signer, error) {
	if c.Assertion.Disabled {
		return nil, nil //nolint:nilnil // no signer is no fault
	}
	return assertion.New(assertion.Options{
		Issuer: c.Origin().String(), Algorithm: c.Assertion.Algorithm, Lifetime: c.Assertion.Lifetime.Std(), Secrets: keys.Secrets("assertion"),
	})
}

// openExchangers makes what gets access tokens of the upstreams that want it.
func (h house) openExchangers(c config.Config, signer *assertion.Signer, g *gateway) (map[string]proxy.Exchanger, error) {
	out := map[string]proxy.Exchanger{}
	for i, u := range c.Upstreams {
		if !u.Exchanges() {
			continue
		}
		x, err := exchange.New(u, exchange.Deps{PublicURL: h.origin, Signer: signer, Keys: h.keys, Store: h.store, Calls: h.observe.calls(metrics.Application, u.Name), Log: h.log})
		if err != nil {
			return nil, fmt.Errorf("upstreams[%d] (%s): %w", i, u.Name, err)
		}
		out[u.Name], g.exchangers = x, append(g.exchangers, x)
	}
	return out, nil
}

// renewBy renews a proof by the route that made it, if that is still there.
func renewBy(routes map[string]authn.Route) func(context.Context, authn.Proof) (authn.Proof, error) {
	return func(ctx context.Context, p authn.Proof) (authn.Proof, error) {
		route := routes[p.Identity.Route]
		if !route.Vouches(p.Identity) || route.Renew == nil {
			return authn.Proof{}, fmt.Errorf("route %q of %s is no longer in the settings: %w", p.Identity.Route, p.Identity.Issuer, authn.ErrRejected)
		}
		return route.Renew(ctx, p)
	}
}

// house is what every route is given.
type house struct {
	origin   *url.URL
	cookie   session.Cookie
	keys     session.Keyring
	store    session.Store
	register *session.Register
	sessions *session.Sessions
	landings authn.Landings
	pages    *page.Pages
	accounts authn.Accounts
	trail    audit.Trail
	observe  observers
	log      *slog.Logger
}

// openRoute is the one switch over the kinds of routes.
func (h house) openRoute(c config.Config, i int, g *gateway) (authn.Route, error) {
	section := c.Authn[i]
	switch {
	case section.OIDC != nil:
		return oidc.New(section.Name, section.Label, *section.OIDC, oidc.Deps{
			PublicURL:       h.origin,
			Prefix:          c.Paths.Prefix,
			CallbackPath:    c.CallbackPath(i),
			SignOutPath:     c.Paths.SignOut,
			Cookie:          h.cookie,
			Keys:            h.keys,
			Store:           h.store,
			Sessions:        h.sessions,
			Ender:           h.sessions,
			Landings:        h.landings,
			Pages:           h.pages,
			ForeignPrefixes: foreignPrefixes(c, i),
			Claims:          c.PolicyClaims(),
			Audit:           h.trail,
			Calls:           h.observe.calls(metrics.Provider, section.Name),
			Signed:          h.observe.metrics.Signed(section.Name),
			Log:             h.log,
		})
	case section.LDAP != nil:
		return ldap.New(section.Name, section.Label, *section.LDAP, ldap.Deps{
			PublicURL:       h.origin,
			Prefix:          c.Paths.Prefix,
			Regulation:      c.Regulation,
			Others:          func(landing string) []page.Choice { return g.choices(section.Name, landing) },
			Cookie:          h.cookie,
			Keys:            h.keys,
			Store:           h.store,
			Register:        h.register,
			Sessions:        h.sessions,
			Landings:        h.landings,
			Pages:           h.pages,
			ForeignPrefixes: foreignPrefixes(c, i),
			Audit:           h.trail,
			Calls:           h.observe.calls(metrics.Directory, section.Name),
			Signed:          h.observe.metrics.Signed(section.Name),
			Log:             h.log,
		})
	case section.Bearer != nil:
		return bearer.New(section.Name, *section.Bearer, bearer.Deps{
			PublicURL:       h.origin,
			TokenPath:       c.Paths.Token,
			Prefix:          c.Paths.Prefix,
			Teams:           c.Teams,
			Claims:          c.PolicyClaims(),
			Accounts:        h.accounts,
			ForeignPrefixes: foreignPrefixes(c, i),
			Keys:            h.keys,
			Store:           h.store,
			Register:        h.register,
			Audit:           h.trail,
			Calls:           h.observe.calls(metrics.Provider, section.Name),
			Signed:          h.observe.metrics.Signed(section.Name),
			Log:             h.log,
		})
	case section.APIKey != nil:
		return apikey.New(section.Name, *section.APIKey, apikey.Deps{
			PublicURL:       h.origin,
			Upstream:        upstreamToAsk(c, *section.APIKey),
			Upstreams:       c.KeyUpstreams(*section.APIKey),
			Accounts:        h.accounts,
			ForeignPrefixes: foreignPrefixes(c, i),
			Keys:            h.keys,
			Store:           h.store,
			Register:        h.register,
			Calls:           h.observe.calls(metrics.Application, section.Name),
			Log:             h.log,
		})
	}
	return authn.Route{}, errors.New("the route has no kind")
}

// choices are the ways to sign in other than the route of that name.
func (g *gateway) choices(except, landing string) []page.Choice {
	var out []page.Choice
	for _, r := range g.routes {
		if r.SignInPath != "" && r.Name != except {
			out = append(out, page.Choice{Label: r.Label, URL: r.SignInPath + "?rd=" + url.QueryEscape(landing)})
		}
	}
	return out
}

// foreignPrefixes are the subject prefixes of every other route.
func foreignPrefixes(c config.Config, i int) []string {
	var out []string
	if len(c.ServiceAccounts) > 0 {
		out = append(out, config.AccountPrefix)
	}
	for j, r := range c.Authn {
		for _, p := range r.SubjectPrefixes() {
			if j != i && p != "" {
				out = append(out, p)
			}
		}
	}
	return out
}

// openKeys makes the key ring, or goes on with the former one that is this process's.
func (o *ownings) openKeys(c config.Config, former *gateway) (session.Keyring, error) {
	if len(c.Session.Keys) > 0 {
		return openKeys(c)
	}
	if former != nil && former.own.keys != nil && former.own.origin == o.origin {
		o.keys = former.own.keys
		return *o.keys, nil
	}
	ring, err := openKeys(c)
	o.keys = &ring
	return ring, err
}

// openStore opens the store, or goes on with the former one that is this process's.
func (o *ownings) openStore(c config.Config, former *gateway, calls meter.Calls, log *slog.Logger) (session.Store, error) {
	if c.Store.Redis == nil && former != nil && former.own.memory != nil {
		o.memory, o.lent = former.own.memory, true
		return o.memory, nil
	}
	store, err := openWatchedStore(c.Store, calls, log)
	o.memory, _ = store.(*session.Memory)
	return store, err
}

// trailOf is the trail of a gateway, nil if there is none.
func (g *gateway) trailOf() trail {
	if g == nil {
		return nil
	}
	return g.trail
}

// closeStore closes the store, unless another gateway does.
func (o *ownings) closeStore(store session.Store) error {
	if o.lent {
		return nil
	}
	return store.Close()
}

// inherit makes g the owner of what it has from a former gateway.
func (g *gateway) inherit(former *gateway) {
	if g.own.lent && g.own.memory == former.own.memory {
		g.own.lent, former.own.lent = false, true
	}
}

func openKeys(c config.Config) (session.Keyring, error) {
	origin := c.Origin().String()
	if len(c.Session.Keys) == 0 {
		return session.RandomKeyring(origin), nil // settings ask for keys when sessions outlive the process
	}
	keys := make([]string, len(c.Session.Keys))
	for i, k := range c.Session.Keys {
		keys[i] = k.Reveal()
	}
	return session.NewKeyring(origin, keys)
}

// openStore opens the store for a command, which counts nothing.
func openStore(c config.Store) (session.Store, error) { return openWatchedStore(c, nil, nil) }

func openWatchedStore(c config.Store, calls meter.Calls, log *slog.Logger) (session.Store, error) {
	if c.Redis == nil {
		return session.NewMemory(), nil
	}
	conf, err := c.Redis.TLS.Load()
	if err != nil {
		return nil, fmt.Errorf("store.redis.tls: %w", err)
	}
	o := redisOptions(*c.Redis, conf)
	o.Calls, o.Log = calls, log
	return session.NewRedis(o)
}

func redisOptions(c config.Redis, conf *tls.Config) session.RedisOptions {
	o := session.RedisOptions{
		URL:           c.URL,
		Username:      c.Username,
		KeyPrefix:     c.KeyPrefix,
		Timeout:       c.Timeout.Std(),
		TLS:           conf,
		InsecurePlain: c.InsecurePlainRedis,
	}
	if c.Password != "" {
		o.Password = c.ReadPassword
	}
	if c.Cluster != nil {
		o.Cluster = c.Cluster.Addresses
	}
	if s := c.Sentinel; s != nil {
		o.Sentinel = &session.RedisSentinel{Master: s.Master, Addresses: s.Addresses, Database: s.Database, Username: s.Username}
		if s.Password != "" {
			o.Sentinel.Password = s.ReadPassword
		}
	}
	return o
}

func openPages(c config.Config) (*page.Pages, error) {
	brand := page.Brand{Name: c.Pages.Name, Colour: c.Pages.Colour, Contact: c.Pages.Contact}
	if f := c.Pages.LogoFile; f != "" {
		b, err := os.ReadFile(f) //nolint:gosec // naming it is the operator's right
		if err != nil {
			return nil, fmt.Errorf("pages.logoFile: %w", err)
		}
		brand.Logo, brand.LogoType = b, logoType(f, b)
	}
	return page.New(brand, c.Paths.Prefix)
}

func logoType(name string, b []byte) string {
	if strings.EqualFold(filepath.Ext(name), ".svg") {
		return "image/svg+xml"
	}
	return http.DetectContentType(b)
}

// close gives back what the gateway holds. Requests must have ended.
func (g *gateway) close() error {
	if g.handler != nil {
		g.handler.Close()
	}
	return g.closeRooms()
}

// closeRooms gives back all but what requests need that are forwarded already. To close
// twice is no fault.
func (g *gateway) closeRooms() error {
	if g.closed {
		return nil
	}
	g.closed = true
	for _, x := range g.exchangers {
		x.Close()
	}
	g.sessions.Close()
	g.news.Close()
	var err error
	for _, r := range g.routes {
		if r.Close != nil {
			err = errors.Join(err, r.Close())
		}
	}
	return errors.Join(err, g.own.closeStore(g.store), g.trail.Close())
}

// newLogger writes what the settings ask for to w.
func newLogger(c config.Log, w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelInfo // the settings were checked; an empty level is info
	}
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "text" {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}
