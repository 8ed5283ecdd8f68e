package authn

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
)

// Account is what a service account is to the application. Its zero value is
// no account.
type Account struct {
	// Name is unique and never given to another program.
	Name string
	// Team is the one that it belongs to, and that is meant where it names none.
	Team string
	// Teams are all that it may work for, Team first.
	Teams []string
	// Role is what it is in its teams: admin, member or viewer.
	Role string
}

// Accounts is the registry of service accounts and of who is in their teams.
// Nothing in it changes once it is made; its zero value knows nobody.
type Accounts struct {
	named    map[string]Account
	external map[[2]string]string // issuer and subject of its JWTs: name
	hashes   map[[sha256.Size]byte]string
	members  map[string][]string
}

// Registration is one account and what it proves itself by.
type Registration struct {
	Account
	// Issuer and Subject are those of its JWTs, as they stand there; both are
	// empty for an account that has none.
	Issuer, Subject string
	// KeyHashes are the hashes of API keys: "sha256:" and 64 hex digits.
	KeyHashes []string
}

// NewAccounts makes a registry. Members are the user names and e-mail addresses
// of each team's people.
func NewAccounts(list []Registration, members map[string][]string) Accounts {
	a := Accounts{
		named: map[string]Account{}, external: map[[2]string]string{}, hashes: map[[sha256.Size]byte]string{}, members: map[string][]string{},
	}
	for _, r := range list {
		a.named[r.Name] = r.Account
		if r.Subject != "" {
			a.external[[2]string{r.Issuer, r.Subject}] = r.Name
		}
		for _, text := range r.KeyHashes {
			digits, named := strings.CutPrefix(text, "sha256:")
			if sum, err := hex.DecodeString(digits); named && err == nil && len(sum) == sha256.Size {
				a.hashes[[sha256.Size]byte(sum)] = r.Name
			}
		}
	}
	for team, people := range members {
		for _, p := range people {
			a.members[team] = append(a.members[team], FoldASCII(p))
		}
	}
	return a
}

// Named returns the account of that name.
func (a Accounts) Named(name string) (Account, bool) {
	account, ok := a.named[name]
	return account, ok
}

// External returns the account whose JWTs have that issuer and subject.
func (a Accounts) External(issuer, subject string) (Account, bool) {
	return a.Named(a.external[[2]string{issuer, subject}])
}

// Holder returns the account that the settings give the key with that SHA-256.
func (a Accounts) Holder(key [sha256.Size]byte) (Account, bool) { return a.Named(a.hashes[key]) }

// Member says whether somebody, by user name or e-mail address, is in a team.
func (a Accounts) Member(team, who string) bool {
	return who != "" && slices.Contains(a.members[team], FoldASCII(who))
}
