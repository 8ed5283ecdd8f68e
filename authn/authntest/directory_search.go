package authntest

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/go-ldap/ldap/v3"
)

// maxPages is how many paged searches a connection can have begun.
const maxPages = 16

// page is what is left of a paged search.
type page struct {
	search  string // what it was about: it must not change on the way
	rest    []Entry
	limited bool
}

// answerSearch is the entries, the references and the result.
func (c *caller) answerSearch(r request, f DirectoryFaults) [][]byte {
	found, result, cookie := c.find(r, f)
	if f.Entries != nil {
		found = f.Entries(r.Operation, found)
	}
	var answer [][]byte
	for _, e := range found {
		answer = append(answer, e.Encode(r.MessageID))
	}
	for _, url := range f.References {
		answer = append(answer, referenceMessage(r.MessageID, url))
	}
	if f.Search != nil {
		result = *f.Search
	}
	if r.page != nil && result.Code == 0 {
		return append(answer, message(r.MessageID, result.packet(responseTag(OpSearch)), pagingControl(cookie)))
	}
	return append(answer, result.Encode(OpSearch, r.MessageID))
}

// find is what a search comes to, and the cookie for more of it.
func (c *caller) find(r request, f DirectoryFaults) (found []Entry, result Result, cookie string) {
	base, err := parseKey(r.DN)
	switch {
	case err != nil:
		return nil, Result{Code: ldap.LDAPResultInvalidDNSyntax, Message: "invalid DN"}, ""
	case r.Scope < 0 || r.Scope > ldap.ScopeChildren:
		return nil, Result{Code: ldap.LDAPResultProtocolError, Message: "invalid scope"}, ""
	case len(base) == 0 && r.Scope == ldap.ScopeBaseObject:
		root := c.d.rootDSE(c.encrypted)
		if r.filter.matches(root, &tree{}) == yes {
			found = append(found, r.pick(root))
		}
		return found, Result{}, ""
	case c.bound == "" && !c.d.options.AnonymousRead:
		return nil, Result{Code: ldap.LDAPResultInsufficientAccessRights, Message: "bind first"}, ""
	}
	if r.page != nil && r.page.cookie != "" {
		return c.nextPage(r)
	}
	t := c.d.snapshot()
	if !base.within(c.d.base) || !t.exists(base) {
		return nil, Result{Code: ldap.LDAPResultNoSuchObject, MatchedDN: c.d.closest(t, base)}, ""
	}
	for _, l := range t.leaves {
		if inScope(l.key, base, r.Scope) && r.filter.matches(l, t) == yes {
			found = append(found, r.pick(l))
		}
	}
	limit := r.SizeLimit
	if r.page == nil && c.d.options.SizeLimit > 0 && (limit == 0 || limit > c.d.options.SizeLimit) {
		limit = c.d.options.SizeLimit
	}
	limited := limit > 0 && len(found) > limit && !f.IgnoreSizeLimit
	if limited {
		found = found[:limit]
	}
	if r.page == nil {
		return found, limitResult(limited), ""
	}
	return c.turn(r, page{search: r.identity(), rest: found, limited: limited})
}

func limitResult(limited bool) Result {
	if limited {
		return Result{Code: ldap.LDAPResultSizeLimitExceeded}
	}
	return Result{}
}

func inScope(k, base dnKey, scope int) bool {
	switch scope {
	case ldap.ScopeBaseObject:
		return len(k) == len(base) && k.within(base)
	case ldap.ScopeSingleLevel:
		return len(k) == len(base)+1 && k.within(base)
	case ldap.ScopeChildren:
		return len(k) > len(base) && k.within(base)
	default:
		return k.within(base)
	}
}

// closest is the matchedDN: the entry next above a name that isn't there.
func (d *Directory) closest(t *tree, k dnKey) string {
	for ; len(k) > 0 && k.within(d.base); k = k[1:] {
		if l := t.byKey[k.String()]; l != nil {
			return l.DN
		}
	}
	return ""
}

// identity is what has to be the same on every page (RFC 2696).
func (r request) identity() string {
	return strings.Join([]string{r.DN, strconv.Itoa(r.Scope), r.Filter, strings.Join(r.Attributes, " ")}, "\n")
}

func (c *caller) nextPage(r request) ([]Entry, Result, string) {
	p, known := c.pages[r.page.cookie]
	if !known || p.search != r.identity() {
		return nil, Result{Code: ldap.LDAPResultUnwillingToPerform, Message: "unknown paging cookie"}, ""
	}
	delete(c.pages, r.page.cookie)
	if r.page.size == 0 { // the client has had enough
		return nil, Result{}, ""
	}
	return c.turn(r, p)
}

// turn gives one page, and the cookie for the next if there is one.
func (c *caller) turn(r request, p page) ([]Entry, Result, string) {
	size := r.page.size
	if most := c.d.options.SizeLimit; most > 0 && (size == 0 || size > most) {
		size = most
	}
	if size == 0 || size >= len(p.rest) {
		return p.rest, limitResult(p.limited), ""
	}
	if len(c.pages) >= maxPages {
		return nil, Result{Code: ldap.LDAPResultAdminLimitExceeded, Message: "too many paged searches"}, ""
	}
	c.turned++
	cookie := "page " + strconv.Itoa(c.turned)
	c.pages[cookie] = page{p.search, p.rest[size:], p.limited}
	return p.rest[:size:size], Result{}, cookie
}

// pick is the entry with the attributes that were asked for.
func (r request) pick(l *leaf) Entry {
	e := Entry{DN: l.DN, Attributes: map[string][]string{}}
	for _, a := range l.all {
		if !r.wants(a) || len(a.values) == 0 {
			continue
		}
		e.Attributes[a.name] = nil
		if !r.typesOnly {
			e.Attributes[a.name] = slices.Clone(a.values)
		}
	}
	return e
}

func (r request) wants(a attribute) bool {
	if len(r.Attributes) == 0 {
		return !a.operational
	}
	return slices.ContainsFunc(r.Attributes, func(asked string) bool {
		switch asked {
		case "*":
			return !a.operational
		case "+":
			return a.operational
		default:
			return a.is(newAttribute(asked, nil))
		}
	})
}

// rootDSE is what the directory says about itself (RFC 4512, section 5.1).
func (d *Directory) rootDSE(encrypted bool) *leaf {
	extensions := []string{oidWhoAmI}
	if d.options.TLS != nil && !encrypted {
		extensions = append(extensions, oidStartTLS)
	}
	says := map[string][]string{
		"namingContexts":       {d.options.BaseDN},
		"supportedLDAPVersion": {"3"},
		"supportedExtension":   extensions,
		"supportedControl":     {oidPaging, oidPolicy},
		"supportedFeatures":    {oidAllOper},
		"vendorName":           {"Gatehouse test directory"},
	}
	for name, values := range d.options.RootDSE {
		maps.DeleteFunc(says, func(have string, _ []string) bool { return strings.EqualFold(have, name) })
		says[name] = values
	}
	root := &leaf{node: &node{}, all: []attribute{newAttribute("objectClass", []string{"top"})}}
	for name, values := range says {
		root.all = append(root.all, operational(name, values...))
	}
	return root
}
