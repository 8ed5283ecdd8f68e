package ldap

import (
	"strings"

	"gatehouse/config"
)

// preset is what is known of a kind of directory.
type preset struct {
	// users and groups are where people and groups are, above the base.
	users, groups string
	userClass     string
	userFilter    string
	// from is how groups are found; groupFilter finds them by search.
	from, groupFilter string
	// classFilter finds groups of one objectClass, named by the settings.
	classFilter string
	// nestedFilter finds groups within groups at once; empty where the directory
	// has no rule for that.
	nestedFilter string
	attributes   config.LDAPAttributes
}

const (
	// anyGroup finds a person in the group classes of RFC 4519 and RFC 2307.
	anyGroup = "(|(&(objectClass=groupOfNames)(member={dn}))(&(objectClass=groupOfUniqueNames)(uniqueMember={dn}))" +
		"(&(objectClass=posixGroup)(|(memberUid={username})(gidNumber={gidNumber}))))"
	// classGroup finds them in one class, whatever its attribute for members is.
	classGroup = "(&(objectClass={class})(|(member={dn})(uniqueMember={dn})(memberUid={username})(gidNumber={gidNumber})))"
	// primaryGroup finds the group that a person's own number names.
	primaryGroup = "(&(objectClass=posixGroup)(gidNumber={gidNumber}))"
)

// presetOf returns what is known of a kind; an unknown one is the first.
func presetOf(name string) preset {
	switch name {
	case "activeDirectory":
		return preset{
			userClass:   "user",
			userFilter:  "(&(objectCategory=person)(objectClass={class})(|({username_attribute}={input})(userPrincipalName={input})))",
			from:        "memberOf",
			groupFilter: "(&(objectClass=group)(member={dn}))", classFilter: "(&(objectClass={class})(member={dn}))",
			nestedFilter: "(member:1.2.840.113556.1.4.1941:={dn})", // LDAP_MATCHING_RULE_IN_CHAIN
			attributes: config.LDAPAttributes{
				Subject: "objectGUID", Username: "sAMAccountName", Email: "mail", Name: "displayName", MemberOf: "memberOf", GroupName: "cn",
			},
		}
	case "freeIPA":
		return preset{
			users: "cn=users,cn=accounts", groups: "cn=groups,cn=accounts", // memberOf holds roles and rules too
			userClass: "person", userFilter: "(&(objectClass={class})({username_attribute}={input}))",
			from: "memberOf", groupFilter: "(&(objectClass=groupOfNames)(member={dn}))", classFilter: "(&(objectClass={class})(member={dn}))",
			attributes: config.LDAPAttributes{
				Subject: "ipaUniqueID", Username: "uid", Email: "mail", Name: "displayName", MemberOf: "memberOf", GroupName: "cn",
			},
		}
	case "lldap":
		return preset{
			users: "ou=people", groups: "ou=groups",
			userClass: "person", userFilter: "(&(objectClass={class})({username_attribute}={input}))",
			from: "memberOf", groupFilter: "(&(objectClass=groupOfUniqueNames)(member={dn}))", classFilter: "(&(objectClass={class})(member={dn}))",
			attributes: config.LDAPAttributes{
				Subject: "entryUUID", Username: "uid", Email: "mail", Name: "cn", MemberOf: "memberOf", GroupName: "cn",
			},
		}
	}
	return preset{
		userClass: "person", userFilter: "(&(objectClass={class})({username_attribute}={input}))",
		from: "search", groupFilter: anyGroup, classFilter: classGroup,
		attributes: config.LDAPAttributes{
			Subject: "entryUUID", Username: "uid", Email: "mail", Name: "cn", MemberOf: "memberOf", GroupName: "cn",
		},
	}
}

// resolved is c with all that the preset adds.
func resolved(c config.LDAP) config.LDAP {
	p := presetOf(c.Preset)
	def := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	a := &c.Attributes
	def(&a.Subject, p.attributes.Subject)
	def(&a.Username, p.attributes.Username)
	def(&a.Email, p.attributes.Email)
	def(&a.Name, p.attributes.Name)
	def(&a.MemberOf, p.attributes.MemberOf)
	def(&a.GroupName, p.attributes.GroupName)
	def(&c.Users.BaseDN, above(p.users, c.BaseDN))
	def(&c.Groups.BaseDN, above(p.groups, c.BaseDN))
	def(&c.Users.ObjectClass, p.userClass)
	def(&c.Users.Filter, p.userFilter)
	c.Users.Filter = strings.NewReplacer("{class}", c.Users.ObjectClass,
		"{username_attribute}", a.Username, "{mail_attribute}", a.Email).Replace(c.Users.Filter)
	def(&c.Groups.From, p.from)
	switch {
	case c.Groups.Filter != "":
	case c.Groups.From == "gidNumber":
		c.Groups.Filter = primaryGroup
	case c.Groups.ObjectClass != "":
		c.Groups.Filter = strings.ReplaceAll(p.classFilter, "{class}", c.Groups.ObjectClass)
	default:
		c.Groups.Filter = p.groupFilter
	}
	return c
}

func above(part, base string) string {
	if part == "" {
		return base
	}
	return part + "," + base
}
