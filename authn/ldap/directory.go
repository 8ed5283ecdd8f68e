package ldap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-ldap/ldap/v3"

	"gatehouse/authn"
	"gatehouse/config"
)

// directory asks one directory.
type directory struct {
	settings config.LDAP // resolved
	preset   preset
	dialer   *dialer
	searches *pool  // bound as bindDN, or as nobody
	binds    places // for checking passwords, each on a connection of its own
	service  *service
	referred *service // at other servers, where another password may be right
	log      *slog.Logger

	base, users, groups *ldap.DN
}

// newDirectory opens no connection. Its errors are faults of the settings.
func newDirectory(c config.LDAP) (*directory, error) {
	c = resolved(c)
	conf, err := c.TLS.Load()
	if err != nil {
		return nil, err
	}
	d := &directory{
		settings: c, preset: presetOf(c.Preset), log: slog.New(slog.DiscardHandler),
		service: newService(c), referred: newService(c),
	}
	d.dialer = &dialer{servers: c.Servers(), startTLS: c.StartTLS, tls: conf, timeout: c.ConnectTimeout.Std()}
	if len(d.dialer.servers) == 0 {
		return nil, errors.New("address: names no server")
	}
	for _, dn := range []struct {
		to   **ldap.DN
		key  string
		text string
	}{{&d.base, "baseDN", c.BaseDN}, {&d.users, "users.baseDN", c.Users.BaseDN}, {&d.groups, "groups.baseDN", c.Groups.BaseDN}} {
		if *dn.to, err = parseDN(dn.text); err != nil {
			return nil, fmt.Errorf("%s: %w", dn.key, err)
		}
	}
	if c.BindDN != "" && c.BindPassword == "" {
		return nil, errors.New("bindPassword: is missing; a name without a password proves nothing")
	}
	d.searches = newPool(c.Pool, d.dialer, d.openSearch)
	d.binds = make(places, max(1, c.Pool.Size))
	return d, nil
}

func (d *directory) close() { d.searches.close() }

// issuer names the directory for ever: by its base (RFC 4516), not by the
// servers that happen to hold it.
func (d *directory) issuer() string {
	return (&url.URL{Scheme: "ldap", Path: "/" + canonical(d.base)}).String()
}

// parseDN reads the DN of an entry, which the root is none of.
func parseDN(text string) (*ldap.DN, error) {
	dn, err := ldap.ParseDN(text)
	if err != nil || len(dn.RDNs) == 0 || !utf8.ValidString(text) || !legible(dn) {
		return nil, fmt.Errorf("%q is not a DN", authn.Bounded(text))
	}
	return dn, nil
}

// legible says whether all of a DN is text. The library takes bytes that are
// none for one and the same character.
func legible(dn *ldap.DN) bool {
	for _, part := range dn.RDNs {
		for _, a := range part.Attributes {
			if !utf8.ValidString(a.Value) || strings.ContainsRune(a.Value, utf8.RuneError) {
				return false
			}
		}
	}
	return true
}

// below says whether dn lies below base. Only A to Z count as a to z: to the
// library some letters of other scripts are ours too.
func below(dn, base *ldap.DN) bool {
	above := len(dn.RDNs) - len(base.RDNs)
	return above > 0 && canonical(&ldap.DN{RDNs: dn.RDNs[above:]}) == canonical(base)
}

// canonical is one spelling for all of a DN's.
func canonical(dn *ldap.DN) string { return authn.FoldASCII(dn.String()) }

// openSearch connects, and binds as the one who searches.
func (d *directory) openSearch(ctx context.Context) (*conn, error) {
	return d.service.open(ctx, d.dialer)
}

// query is one search.
type query struct {
	base   string
	scope  int
	filter string
	attrs  []string
	// most is how many entries may come; more are errTooMany. Zero: one page.
	most int
}

var (
	errTooMany = errors.New("the search finds too many entries")
	errNoBase  = errors.New("what is searched below is not there")
)

// search returns the entries that q finds, page by page if they may be many.
func (d *directory) search(ctx context.Context, q query) ([]*ldap.Entry, error) {
	var out []*ldap.Entry
	err := d.searches.do(ctx, func(ctx context.Context, c *conn) error {
		out = nil
		paging := ldap.NewControlPaging(uint32(d.settings.PageSize)) //nolint:gosec // the settings bound it
		for {
			page, next, err := d.page(ctx, c, q, paging, q.most-len(out))
			if out = append(out, page...); err != nil || next == nil {
				return err
			}
			paging.SetCookie(next)
		}
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// page asks for one page and returns where the next begins, nil if nowhere.
func (d *directory) page(ctx context.Context, c *conn, q query, paging *ldap.ControlPaging, room int) ([]*ldap.Entry, []byte, error) {
	limit := room + 1 // one more, or a server that cuts in silence would hide it
	paged := q.most >= d.settings.PageSize
	if paged {
		limit = 0 // the page's size bounds it
	}
	req := ldap.NewSearchRequest(q.base, q.scope, ldap.NeverDerefAliases, limit, seconds(ctx), false, q.filter, q.attrs, nil)
	if paged {
		req.Controls = []ldap.Control{paging}
	}
	var res *ldap.SearchResult
	err := c.do(ctx, "search", func(l *ldap.Conn) (err error) {
		res, err = l.Search(req)
		return err
	})
	if err == nil || ldap.IsErrorWithCode(err, ldap.LDAPResultReferral) {
		err = d.follow(ctx, req, res, err)
	}
	switch {
	case ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded), res != nil && len(res.Entries) > room:
		return nil, nil, errTooMany
	case ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject):
		return nil, nil, fmt.Errorf("%w: %s", errNoBase, authn.Bounded(q.base))
	case err != nil:
		return nil, nil, fmt.Errorf("search below %s: %w", authn.Bounded(q.base), authn.Foreign{Err: err})
	}
	if control, ok := ldap.FindControl(res.Controls, ldap.ControlTypePaging).(*ldap.ControlPaging); ok && paged && len(control.Cookie) > 0 {
		if len(res.Entries) == 0 && string(control.Cookie) == string(paging.Cookie) {
			return nil, nil, errors.New("the directory's pages do not end")
		}
		return res.Entries, control.Cookie, nil
	}
	return res.Entries, nil, nil
}

// seconds is what is left of ctx, as a time limit for the server.
func seconds(ctx context.Context) int {
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return max(1, int(math.Ceil(time.Until(deadline).Seconds())))
}

var (
	// errNobody: the directory has nobody of that name.
	errNobody = errors.New("the directory has nobody of that name")
	// errAmbiguous: it has several, and which is meant is not ours to guess.
	errAmbiguous = errors.New("the directory has several entries for that name")
)

// find returns the entry of whoever types login.
func (d *directory) find(ctx context.Context, login string) (*ldap.Entry, error) {
	all, err := d.candidates(ctx, login, 1)
	switch {
	case errors.Is(err, errTooMany):
		return nil, errAmbiguous
	case err != nil:
		return nil, err
	case len(all) == 0:
		return nil, errNobody
	}
	return all[0], nil
}

// candidates returns at most most entries that login may mean. What they type is
// one value in the filter, whatever is in it (RFC 4515, section 3).
func (d *directory) candidates(ctx context.Context, login string, most int) ([]*ldap.Entry, error) {
	q := query{
		base: d.settings.Users.BaseDN, scope: scope(d.settings.Users.Scope), most: most,
		filter: strings.ReplaceAll(d.settings.Users.Filter, "{input}", ldap.EscapeFilter(login)),
		attrs:  d.personAttributes(),
	}
	if d.settings.Users.DNTemplate != "" {
		q.base, q.scope = d.templated(login), ldap.ScopeBaseObject
	}
	all, err := d.search(ctx, q)
	if errors.Is(err, errNoBase) && q.scope == ldap.ScopeBaseObject {
		return nil, nil
	}
	for _, e := range all {
		if dn, no := parseDN(e.DN); no != nil || !below(dn, d.users) && !below(dn, d.base) {
			return nil, fmt.Errorf("the directory answers with an entry from elsewhere: %q", authn.Bounded(e.DN))
		}
	}
	return all, err
}

// templated is the DN that dnTemplate makes of login, which stays one value in
// it (RFC 4514, section 2.4).
func (d *directory) templated(login string) string {
	return strings.ReplaceAll(d.settings.Users.DNTemplate, "{input}", ldap.EscapeDN(login))
}

func scope(name string) int {
	if name == "one" {
		return ldap.ScopeSingleLevel
	}
	return ldap.ScopeWholeSubtree
}

// personAttributes are the attributes to ask for, and no others: a photo may be large.
func (d *directory) personAttributes() []string {
	a := d.settings.Attributes
	out := append([]string{a.Subject, a.Username, a.Email, a.Name}, stateAttributes()...)
	if d.settings.Groups.From == "memberOf" {
		out = append(out, a.MemberOf)
	}
	return append(out, "gidNumber")
}

// ready reports whether the directory can be searched.
func (d *directory) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, d.settings.Timeout.Std())
	defer cancel()
	_, err := d.search(ctx, query{base: d.settings.BaseDN, scope: ldap.ScopeBaseObject, filter: "(objectClass=*)", attrs: []string{"1.1"}, most: 1})
	return err
}
