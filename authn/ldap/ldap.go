// Package ldap is sign-in with the password that people have in a directory:
// HTTP Basic for programs, a form for browsers, both with one lookup, one
// counter of wrong passwords and one identity.
//
// How a password is checked: the person's entry is searched as bindDN, exactly
// one must be found, then a bind as that entry with the password on a connection
// that is used for nothing else. Only the directory's success is one. Groups are
// read afterwards.
//
// It relies on go-ldap for the protocol, on session.Store for counters that all
// replicas share, and on authn.Memory for what Basic has proved. What a server
// sends is taken in only as whole, well-formed messages of bounded size
// (frame.go), and every question ends with its context.
//
// The package never sends a password over a connection that is not encrypted
// unless the settings say so, never binds without a password, never puts what
// somebody typed into a filter or a DN but as one value, and never says whether
// a name exists.
package ldap

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"

	"gatehouse/authn"
	"gatehouse/authn/audit"
	"gatehouse/authn/meter"
	"gatehouse/authn/page"
	"gatehouse/config"
	"gatehouse/session"
)

// Deps is what a route needs of the house around it.
type Deps struct {
	// PublicURL is where browsers reach the gateway.
	PublicURL *url.URL
	// Prefix is what the gateway's own pages are below.
	Prefix string
	// ForeignPrefixes are the subject prefixes of all other routes. A subject
	// that begins with one of them is refused.
	ForeignPrefixes []string
	// Regulation is what stands against guessing passwords.
	Regulation config.Regulation
	// Others are the other ways in for a browser that is to land there; nil means none.
	Others func(landing string) []page.Choice
	Cookie session.Cookie
	Keys   session.Keyring
	Store  session.Store
	// Register is where what is remembered can be ended; nil means nowhere.
	Register *session.Register
	Sessions session.Starter
	Landings authn.Landings
	Pages    *page.Pages
	// Audit is told of passwords that are right or wrong; nil tells nobody.
	Audit audit.Trail
	// Calls is told of what the directory is asked, and Signed of sign-ins by the form.
	Calls  meter.Calls
	Signed authn.Signed
	Log    *slog.Logger
}

// route is one directory as a way in.
type route struct {
	Deps
	name       string
	label      string // empty if it goes without saying
	settings   config.LDAP
	directory  *directory
	regulation *regulation
	memory     *authn.Memory
	admission  authn.Admission
	pace       pace
	turns      turns
	waiting    waiting
	sealer     session.Sealer
	forms      *http.CrossOriginProtection
}

// New makes the route that signs people in with the directory of c. It opens no
// connection: the directory may be down. Its errors are faults of the settings.
func New(name, label string, c config.LDAP, d Deps) (authn.Route, error) {
	l, err := newRoute(name, c, d)
	if err != nil {
		return authn.Route{}, fmt.Errorf("ldap: route %s: %w", name, err)
	}
	l.label = label
	return l.route(), nil
}

func newRoute(name string, c config.LDAP, d Deps) (*route, error) {
	dir, err := newDirectory(c)
	if err != nil {
		return nil, err
	}
	c = dir.settings
	allowed, err := allowedGroups(c)
	if err != nil {
		return nil, err
	}
	memory, err := authn.NewMemory(d.Register.Remembering(authn.MemoryOptions{
		Lifetime: c.BasicCache.Lifetime.Std(), RejectedLifetime: c.BasicCache.RejectedLifetime.Std(), Limit: c.Timeout.Std() + step,
	}))
	if err != nil {
		return nil, err
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	d.Log = d.Log.With("route", name)
	dir.log, dir.dialer.calls = d.Log, d.Calls
	dir.service.spread(d.Regulation)
	dir.referred.spread(d.Regulation)
	l := &route{
		Deps: d, name: name, settings: c, directory: dir, memory: memory,
		regulation: newRegulation(d.Regulation, name, d.Store, d.Keys, d.Log),
		admission:  authn.NewAdmission(c.AllowedEmailDomains, allowed, true),
		sealer:     d.Keys.Sealer("ldap form"), forms: http.NewCrossOriginProtection(),
	}
	l.pace.step, l.turns.atOnce = step, d.Regulation.MaxUserRetries
	dir.service.took = l.pace.note // a first idea of it, before anybody has signed in
	if err := l.forms.AddTrustedOrigin(d.PublicURL.Scheme + "://" + d.PublicURL.Host); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *route) route() authn.Route {
	label := l.label
	if label == "" {
		label = l.name
	}
	r := authn.Route{
		Name: l.name, Issuer: l.directory.issuer(), Label: label,
		Renew: l.renew, Allow: l.admission.Allow, Ready: l.directory.ready,
		Recall: func() []authn.Recall { return []authn.Recall{l.memory.Recall("password")} },
		Close:  func() error { l.directory.close(); return nil },
	}
	if l.settings.TestOnly {
		// Who signed in before it was only a test is nobody now.
		r.Allow = func(authn.Identity) error {
			return &authn.NotAllowed{Missing: "This way to sign in is only being tested."}
		}
		return r
	}
	if l.accepts("basic") {
		r.Authenticator, r.Claims = authn.AuthenticatorFunc(l.authenticate), l.claims
		r.Challenge = `Basic realm="` + l.PublicURL.Scheme + "://" + l.PublicURL.Host + `", charset="UTF-8"`
	}
	if l.accepts("form") {
		r.SignInPath, r.Hub = l.signInPath(), true
		r.Mount = func(mux *http.ServeMux) {
			mux.HandleFunc("GET "+l.signInPath(), page.Quiet(l.showForm))
			mux.HandleFunc("POST "+l.signInPath(), page.Quiet(l.postForm))
		}
	}
	return r
}

func (l *route) accepts(way string) bool {
	return len(l.settings.Accept) == 0 || slices.Contains(l.settings.Accept, way)
}

// allowedGroups are the groups of the settings in the spelling that groups have.
func allowedGroups(c config.LDAP) ([]string, error) {
	if c.Groups.As != "dn" {
		return c.AllowedGroups, nil
	}
	var out []string
	for _, text := range c.AllowedGroups {
		dn, err := parseDN(text)
		if err != nil {
			return nil, fmt.Errorf("allowedGroups: %w", err)
		}
		out = append(out, canonical(dn))
	}
	return out, nil
}

// log is the route's log with what tells this request from others.
func (l *route) log(r *http.Request) *slog.Logger {
	return authn.LogOf(l.Log, r)
}
