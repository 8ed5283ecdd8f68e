package proxy

import (
	"maps"
	"slices"

	"gatehouse/authn"
)

// same reports whether two identities say the same in every respect.
func same(a, b authn.Identity) bool {
	return a.Issuer == b.Issuer && a.Subject == b.Subject && a.Kind == b.Kind && a.Username == b.Username && a.Name == b.Name &&
		a.Email == b.Email && a.Route == b.Route && a.AuthTime.Equal(b.AuthTime) && a.Expires.Equal(b.Expires) && a.Onward == b.Onward &&
		a.Account.Name == b.Account.Name && a.Account.Team == b.Account.Team && a.Account.Role == b.Account.Role &&
		sameList(a.Account.Teams, b.Account.Teams) && sameList(a.Groups, b.Groups) && sameList(a.Teams, b.Teams) &&
		maps.EqualFunc(a.Claims, b.Claims, sameList)
}

// sameList compares without looking at each text where both are one list, as with a
// proof that was remembered: nobody changes an identity's lists.
func sameList(a, b []string) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b))
}
