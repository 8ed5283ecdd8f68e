package ldap

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"gatehouse/authn"
	"gatehouse/config"
)

// maxReferrals bounds how many places one answer may send us to. None of them
// may send us any further.
const maxReferrals = 8

// errReferred: the answer is at a server that the settings don't name.
var errReferred = errors.New("the directory refers to a server that is in neither address nor referralHosts")

// follow adds to res what the servers say that it refers to, if the settings
// name them. Without referralHosts references are left alone: Active Directory
// adds some to every search of a whole domain. An answer that is nothing but a
// referral is then no answer.
func (d *directory) follow(ctx context.Context, req *ldap.SearchRequest, res *ldap.SearchResult, err error) error {
	refs := referrals(err)
	if err == nil {
		refs = res.Referrals
	}
	if len(d.settings.ReferralHosts) == 0 || len(refs) == 0 {
		if err != nil {
			return fmt.Errorf("%w: %s", errReferred, authn.Bounded(strings.Join(refs, " ")))
		}
		return nil
	}
	for _, ref := range refs[:min(len(refs), maxReferrals)] {
		s, base, ok := d.refersTo(ref)
		if !ok {
			return fmt.Errorf("%w: %s", errReferred, authn.Bounded(ref))
		}
		there := *req
		there.Controls = nil
		if base != "" {
			there.BaseDN = base
		}
		found, err := d.searchAt(ctx, s, &there)
		if err != nil {
			return err
		}
		res.Entries = append(res.Entries, found...)
	}
	return nil
}

// referrals are the URLs of a result that is a referral (RFC 4511, section 4.1.10).
func referrals(err error) []string {
	var result *ldap.Error
	if !errors.As(err, &result) || result.ResultCode != ldap.LDAPResultReferral || result.Packet == nil || len(result.Packet.Children) < 2 {
		return nil
	}
	var out []string
	for _, child := range result.Packet.Children[1].Children {
		if child.Tag != 3 || len(child.Children) == 0 {
			continue
		}
		for _, u := range child.Children {
			out = append(out, u.Data.String())
		}
	}
	return out
}

// refersTo reads a referral to a host that the settings name, with no less
// encryption than the settings ask of every server.
func (d *directory) refersTo(ref string) (config.Server, string, bool) {
	u, err := url.Parse(ref)
	if err != nil || u.User != nil {
		return config.Server{}, "", false
	}
	s, problem := config.ParseServer(u.Scheme + "://" + strings.ToLower(u.Host))
	if problem != "" || !slices.ContainsFunc(d.settings.ReferralHosts, func(h string) bool { return isServer(h, s) }) || s.Network != "tcp" || !s.TLS && !d.settings.StartTLS && !d.settings.InsecurePlainLDAP {
		return config.Server{}, "", false
	}
	return s, strings.TrimPrefix(u.Path, "/"), true
}

// isServer says whether a referral host of the settings is a server: without a port
// it is the usual one of either scheme.
func isServer(host string, s config.Server) bool {
	for _, scheme := range []string{"ldap://", "ldaps://"} {
		if known, problem := config.ParseServer(scheme + host); problem == "" && known.Address == s.Address {
			return true
		}
	}
	return false
}

// at is the way to one server that is not among those of the settings.
func (d *directory) at(s config.Server) *dialer {
	return &dialer{servers: []config.Server{s}, startTLS: d.dialer.startTLS, tls: d.dialer.tls, timeout: d.dialer.timeout}
}

func (d *directory) searchAt(ctx context.Context, s config.Server, req *ldap.SearchRequest) ([]*ldap.Entry, error) {
	c, err := d.referred.open(ctx, d.at(s))
	if err != nil {
		return nil, fmt.Errorf("referred to %s: %w", s.Address, err)
	}
	defer c.part()
	var res *ldap.SearchResult
	err = c.do(ctx, "search", func(l *ldap.Conn) (err error) {
		res, err = l.Search(req)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("referred to %s: %w", s.Address, authn.Foreign{Err: err})
	}
	return res.Entries, nil
}
