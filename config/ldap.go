package config

import (
	"fmt"
	"net"
	"net/url"
	"strings"
)

// LDAP is sign-in with the password that people have in a directory.
type LDAP struct {
	// The directory's servers, tried in this order: ldaps://host, ldap://host or
	// ldapi://%2Fpath%2Fto%2Fsocket. All must hold the same people.
	Address []string `json:"address" jsonschema:"required,uniqueItems=true"`
	// The kind of directory. It says what attributes and filters are when their
	// settings are left out; see docs/ldap.md.
	Preset string `json:"preset" jsonschema:"enum=openLDAP,enum=activeDirectory,enum=freeIPA,enum=lldap,default=openLDAP"`
	// Begins TLS on ldap:// connections before anything else is said (RFC 4511,
	// section 4.14). A server that refuses gets no password.
	StartTLS bool `json:"startTLS,omitempty"`
	// How to speak TLS to the directory.
	TLS ClientTLS `json:"tls,omitempty"`
	// Lets passwords go over the network as they are, where anyone on it can read
	// them. For tests behind closed doors.
	InsecurePlainLDAP bool `json:"insecurePlainLDAP,omitempty"`
	// What everything is searched below.
	BaseDN string `json:"baseDN" jsonschema:"required"`
	// Who the gateway searches as: a DN, or for Active Directory also
	// name@domain. Without it, the gateway searches without a name.
	BindDN string `json:"bindDN,omitempty"`
	// The password of bindDN.
	BindPassword Secret `json:"bindPassword,omitempty"`
	// A file that holds the password of bindDN.
	BindPasswordFile string `json:"bindPasswordFile,omitempty"`
	// How to find people.
	Users LDAPUsers `json:"users,omitempty"`
	// How to find their groups.
	Groups LDAPGroups `json:"groups,omitempty"`
	// Which attributes say what. Those left out are the preset's.
	Attributes LDAPAttributes `json:"attributes,omitempty"`
	// How people may send their password: "form", on the gateway's own page, for
	// browsers; "basic", with each request (RFC 7617), for programs.
	Accept []string `json:"accept" jsonschema:"enum=form,enum=basic,default=form,default=basic,uniqueItems=true"`
	// Connects, binds, searches and reports, at the start and in gatehouse check,
	// but lets nobody in.
	TestOnly bool `json:"testOnly,omitempty"`
	// Put before every subject of this route. With several routes each must have
	// its own, so that two of them can't name the same person; one may go without.
	SubjectPrefix string `json:"subjectPrefix,omitempty" jsonschema:"pattern=^[A-Za-z0-9._-]*[:|]?$"`
	// Lets in only people in at least one of these groups, spelled as groups.as
	// says. A to Z count as a to z.
	AllowedGroups []string `json:"allowedGroups,omitempty" jsonschema:"minItems=1,uniqueItems=true"`
	// Lets in only people whose address is in one of these domains.
	// "*.example.com" stands for every domain below example.com.
	AllowedEmailDomains []string `json:"allowedEmailDomains,omitempty" jsonschema:"minItems=1,uniqueItems=true"`
	// How often the entry of somebody who is signed in is read again. A session
	// ends that long after the entry is gone, disabled or no longer allowed in.
	RefreshInterval Duration `json:"refreshInterval" jsonschema:"default=5m"`
	// How long the answer to a password that came by basic is remembered.
	BasicCache LDAPBasicCache `json:"basicCache,omitempty"`
	// The connections that are kept open.
	Pool LDAPPool `json:"pool,omitempty"`
	// How long one server may take to accept a connection, TLS included.
	ConnectTimeout Duration `json:"connectTimeout" jsonschema:"default=3s"`
	// How long all the questions of one sign-in may take together.
	Timeout Duration `json:"timeout" jsonschema:"default=8s"`
	// How many entries to ask for at once when a search may find many (RFC 2696).
	PageSize int `json:"pageSize" jsonschema:"minimum=1,maximum=10000,default=500"`
	// The hosts to follow referrals to, host or host:port, with the same TLS settings and bindDN.
	// Without any, no referral is followed.
	ReferralHosts []string `json:"referralHosts,omitempty" jsonschema:"minItems=1,uniqueItems=true"`
}

// LDAPUsers is how to find people.
type LDAPUsers struct {
	// What people are searched below. Without it, what the preset says, or baseDN.
	BaseDN string `json:"baseDN,omitempty"`
	// How deep to search: "sub", all that is below, or "one", directly below.
	Scope string `json:"scope" jsonschema:"enum=sub,enum=one,default=sub"`
	// The objectClass of people, for the preset's filter.
	ObjectClass string `json:"objectClass,omitempty" jsonschema:"pattern=^[A-Za-z][A-Za-z0-9-]*$"`
	// The filter that finds one person (RFC 4515). {input} stands for what they
	// typed, {username_attribute} and {mail_attribute} for attributes.username
	// and attributes.email. Without it, the preset's.
	Filter string `json:"filter,omitempty"`
	// The DN of a person, with {input} for what they typed, for instance
	// uid={input},ou=people,dc=example,dc=org. With it the password is checked
	// without a search; the entry is read afterwards, as bindDN.
	DNTemplate string `json:"dnTemplate,omitempty"`
}

// LDAPGroups is how to find the groups of a person.
type LDAPGroups struct {
	// Where groups are: "memberOf", in an attribute of the person that holds DNs;
	// "search", entries that filter finds; "gidNumber", the one posixGroup that
	// the person's gidNumber names; "none". Without it, the preset's.
	From string `json:"from,omitempty" jsonschema:"enum=memberOf,enum=search,enum=gidNumber,enum=none"`
	// What groups are called: "name", by attributes.groupName; "dn", by their DN in
	// lower case; "gidNumber", by their number.
	As string `json:"as" jsonschema:"enum=name,enum=dn,enum=gidNumber,default=name"`
	// What groups must be below to count. Without it, what the preset says, or
	// baseDN. Name the narrowest place: whoever can make a group there can give
	// it any name.
	BaseDN string `json:"baseDN,omitempty"`
	// How deep to search, like users.scope.
	Scope string `json:"scope" jsonschema:"enum=sub,enum=one,default=sub"`
	// The objectClass of groups, for the preset's filter.
	ObjectClass string `json:"objectClass,omitempty" jsonschema:"pattern=^[A-Za-z][A-Za-z0-9-]*$"`
	// The filter that finds the groups of a person. {dn}, {username} and
	// {gidNumber} stand for what the person's entry has. Without it, the preset's.
	Filter string `json:"filter,omitempty"`
	// Counts groups within groups too: in Active Directory by its own rule for it,
	// elsewhere by up to 10 further searches.
	Nested bool `json:"nested,omitempty"`
}

// LDAPAttributes says which attribute is what.
type LDAPAttributes struct {
	// What names a person for ever and is never given to anybody else.
	Subject string `json:"subject,omitempty" jsonschema:"pattern=^[A-Za-z][A-Za-z0-9-]*$"`
	// The name that people type.
	Username string `json:"username,omitempty" jsonschema:"pattern=^[A-Za-z][A-Za-z0-9-]*$"`
	// The e-mail address. The directory vouches for it.
	Email string `json:"email,omitempty" jsonschema:"pattern=^[A-Za-z][A-Za-z0-9-]*$"`
	// The full name.
	Name string `json:"name,omitempty" jsonschema:"pattern=^[A-Za-z][A-Za-z0-9-]*$"`
	// The groups of a person, as DNs, for groups.from memberOf.
	MemberOf string `json:"memberOf,omitempty" jsonschema:"pattern=^[A-Za-z][A-Za-z0-9-]*$"`
	// The name of a group.
	GroupName string `json:"groupName,omitempty" jsonschema:"pattern=^[A-Za-z][A-Za-z0-9-]*$"`
}

// LDAPBasicCache is how long the answer to a password that came by basic is
// remembered in this process. It is remembered by a keyed hash, never as it is.
type LDAPBasicCache struct {
	// How long a right one counts without asking again, and so the longest that a
	// changed password, or somebody who has left, goes unnoticed. 0s asks always.
	Lifetime Duration `json:"lifetime" jsonschema:"default=1m"`
	// How long a wrong one is refused without asking again.
	RejectedLifetime Duration `json:"rejectedLifetime" jsonschema:"default=10s"`
}

// LDAPPool is the connections that are kept open.
type LDAPPool struct {
	// The most connections for searches, and for checking passwords, each of
	// which has one of its own, as many again. Who finds none free waits.
	Size int `json:"size" jsonschema:"minimum=1,maximum=1000,default=8"`
	// How long one that is not used stays open.
	IdleTimeout Duration `json:"idleTimeout" jsonschema:"default=5m"`
}

// Regulation is what stands against guessing passwords. The counters live in
// the store, so all replicas have the same.
type Regulation struct {
	// How many wrong passwords one person may send from one address within
	// findTime before they have to wait.
	MaxRetries int `json:"maxRetries" jsonschema:"minimum=1,maximum=1000,default=3"`
	// How many wrong passwords may come for one person from anywhere. Keep it
	// below the number at which the directory itself locks people out.
	MaxUserRetries int `json:"maxUserRetries" jsonschema:"minimum=1,maximum=1000,default=4"`
	// How many wrong passwords may come from one address, for whomever. Of IPv6
	// addresses the first 64 bits count.
	MaxAddressRetries int `json:"maxAddressRetries" jsonschema:"minimum=1,maximum=1000,default=30"`
	// The time in which they are counted. Make it as long as the directory's own.
	FindTime Duration `json:"findTime" jsonschema:"default=15m"`
	// How long to wait after the last wrong one. Nobody's password is looked at
	// before, not even the right one. At least findTime.
	BanTime Duration `json:"banTime" jsonschema:"default=15m"`
}

// Format is like [OIDC.Format].
func (l LDAP) Format(w fmt.State, _ rune) {
	type plain LDAP
	_, _ = fmt.Fprintf(w, "%+v", plain(l))
}

// Server is one address of a directory.
type Server struct {
	// Network and Address are what net.Dial takes.
	Network, Address string
	// Host is the name to expect in its certificate; empty for a socket.
	Host string
	// TLS says that it speaks TLS from the first byte.
	TLS bool
}

// Servers is Address in parsed form.
func (l LDAP) Servers() []Server {
	var out []Server
	for _, text := range l.Address {
		if s, problem := ParseServer(text); problem == "" {
			out = append(out, s)
		}
	}
	return out
}

// ParseServer reads one address of a directory. It returns what is wrong with
// it in words.
func ParseServer(text string) (Server, string) {
	if rest, ok := strings.CutPrefix(text, "ldapi://"); ok {
		path, err := url.PathUnescape(strings.TrimSuffix(rest, "/"))
		if err != nil || !strings.HasPrefix(path, "/") {
			return Server{}, "names no socket: its path goes where a host would, each / as %2F"
		}
		return Server{Network: "unix", Address: path}, ""
	}
	u, problem := webURL(strings.TrimSuffix(text, "/"), "ldaps", "ldap", "ldapi")
	switch {
	case problem != "":
		return Server{}, problem
	case u.Path != "":
		return Server{}, "has a path; what to search below is baseDN"
	case !hostname(strings.ToLower(u.Hostname())):
		return Server{}, "its host is not a host name"
	}
	s := Server{Network: "tcp", Host: u.Hostname(), TLS: u.Scheme == "ldaps"}
	port := u.Port()
	if port == "" && s.TLS {
		port = "636"
	} else if port == "" {
		port = "389"
	}
	s.Address = net.JoinHostPort(s.Host, port)
	return s, ""
}
