package config

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"
)

// directoryNames are what begins the names that operators of a Weights & Biases
// server have for the settings of a directory, older and newer.
func directoryNames() []string { return []string{"LOCAL_LDAP_", "LDAP_"} }

// directoryAliases are those whose value is a setting's as it stands.
func directoryAliases() map[string]string {
	return map[string]string{
		"ADDRESS": "address", "BASE_DN": "baseDN", "BIND_DN": "bindDN", "BIND_PW": "bindPassword",
		"USER_BASE_DN": "users.baseDN", "GROUP_BASE_DN": "groups.baseDN",
		"USER_OBJECT_CLASS": "users.objectClass", "GROUP_OBJECT_CLASS": "groups.objectClass",
	}
}

// directoryAttributes are the keys of …_ATTRIBUTES, with the setting of each.
// group is read by itself.
func directoryAttributes() map[string]string {
	return map[string]string{
		"email": "attributes.email", "mail": "attributes.email", "name": "attributes.name",
		"username": "attributes.username", "user": "attributes.username", "uid": "attributes.username",
		"id": "attributes.subject", "subject": "attributes.subject", "groupName": "attributes.groupName",
	}
}

// overlayLDAP is the environment of one directory.
type overlayLDAP struct {
	*document
	schema *setting
	from   map[string]variable
	set    map[string]string
}

// directory puts the environment of a Weights & Biases server's directory over
// the document. …_LOGIN and …_TLS_ENABLE alone make no route: charts set them
// whether or not there is a directory.
func (d *document) directory(set map[string]string, s *setting, from map[string]variable) {
	o := overlayLDAP{d, s, from, set}
	plain := directoryAliases()
	for _, prefix := range directoryNames() {
		for _, name := range slices.Sorted(maps.Keys(plain)) {
			if value := o.text(prefix + name); value != "" {
				o.put(prefix+name, value, plain[name], nil)
			}
		}
	}
	for _, prefix := range directoryNames() {
		if value := o.text(prefix + "GROUP_ALLOW_LIST"); value != "" {
			o.allowList(prefix+"GROUP_ALLOW_LIST", value)
		}
	}
	for _, prefix := range directoryNames() {
		if value := o.text(prefix + "ATTRIBUTES"); value != "" {
			o.attributes(prefix+"ATTRIBUTES", value)
		}
	}
	if o.present() {
		o.flags()
	}
	o.unknown()
}

// flags reads what says true or false.
func (o overlayLDAP) flags() {
	for _, prefix := range directoryNames() {
		if value, on, ok := o.flag(prefix + "LOGIN"); ok {
			o.put(prefix+"LOGIN", value, "testOnly", !on)
		}
		// What the address says is never weakened: ldaps stays ldaps.
		if value, on, ok := o.flag(prefix + "TLS_ENABLE"); ok && on && o.plain() {
			o.put(prefix+"TLS_ENABLE", value, "startTLS", true)
		}
	}
}

func (o overlayLDAP) put(name, value, key string, meaning any) {
	o.putAlias(alias{name, "ldap", key}, variable{name: name, value: value, meaning: meaning}, o.schema, o.from)
}

// route is the first LDAP route as it stands, nil if there is none.
func (o overlayLDAP) route() map[string]any {
	routes, _ := o.root["authn"].([]any)
	for _, r := range routes {
		if m, ok := r.(map[string]any); ok {
			if l, ok := m["ldap"].(map[string]any); ok {
				return l
			}
		}
	}
	return nil
}

func (o overlayLDAP) present() bool { return o.route() != nil }

// plain says whether an address of the route begins without TLS.
func (o overlayLDAP) plain() bool {
	list, _ := o.route()["address"].([]any)
	return slices.ContainsFunc(list, func(a any) bool {
		text, _ := a.(string)
		return strings.HasPrefix(text, "ldap://")
	})
}

// flag reads a variable that says True or False, in any case.
func (o overlayLDAP) flag(name string) (value string, on, ok bool) {
	switch value = o.text(name); {
	case value == "":
	case strings.EqualFold(value, "true"):
		return value, true, true
	case strings.EqualFold(value, "false"):
		return value, false, true
	default:
		o.variableFault(name, "", quoted(value)+" is neither true nor false", "set it to one of the two")
	}
	return value, false, false
}

// attributes reads email=mail,group=gidNumber.
func (o overlayLDAP) attributes(name, text string) {
	known := directoryAttributes()
	for pair := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(pair, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		switch setting := known[key]; {
		case !ok || key == "" || value == "":
			o.variableFault(name, "", quoted(pair)+" is not key=attribute", "write it like email=mail,group=memberOf")
		case strings.EqualFold(key, "group"):
			o.groups(name, value)
		case setting == "":
			o.variableFault(name, "", "the key "+quoted(key)+" is not known", "known here: group, "+strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		default:
			o.put(name, value, setting, value)
		}
	}
}

// groups reads what comes after group=: gidNumber, or an attribute that holds DNs.
func (o overlayLDAP) groups(name, value string) {
	if strings.EqualFold(value, "gidNumber") {
		o.put(name, value, "groups.from", "gidNumber")
		if list, ok := o.route()["allowedGroups"]; !ok || list == nil {
			o.put(name, value, "groups.as", "gidNumber") // an allow list says what to call them
		}
		return
	}
	o.put(name, value, "groups.from", "memberOf")
	o.put(name, value, "attributes.memberOf", value)
}

var digits = regexp.MustCompile(`^[0-9]+$`)

// allowList reads the groups to let in: names or numbers with "," or ";"
// between them, or DNs with ";" between them.
func (o overlayLDAP) allowList(name, text string) {
	separator, as := ",", "name"
	if strings.Contains(text, "=") {
		separator, as = ";", "dn"
	} else if strings.Contains(text, ";") {
		separator = ";"
	}
	var items []any
	numbers := 0
	for item := range strings.SplitSeq(text, separator) {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		if digits.MatchString(item) {
			numbers++
		}
		if as == "dn" && !o.oneDN(item) {
			o.variableFault(name, "", quoted(item)+" is not one DN", `write names alone, or DNs alone with ";" between them`)
			return
		}
		items = append(items, item)
	}
	if items == nil {
		o.variableFault(name, "", "names no group", "unset it to let everybody in whom the directory knows")
		return
	}
	if numbers > 0 {
		if numbers < len(items) {
			o.variableFault(name, "", "has numbers and names", "write one kind: gidNumbers, names, or DNs")
			return
		}
		as = "gidNumber"
	}
	o.put(name, text, "allowedGroups", items)
	o.put(name, text, "groups.as", as)
}

// oneDN says whether item is a single DN: several with commas between them read
// as one, with the base in its midst.
func (o overlayLDAP) oneDN(item string) bool {
	dn, err := ldap.ParseDN(item)
	if err != nil {
		return false
	}
	text, _ := o.route()["baseDN"].(string)
	base, err := ldap.ParseDN(text)
	if err != nil || len(base.RDNs) == 0 {
		return true // a fault of its own
	}
	for end := len(base.RDNs); end < len(dn.RDNs); end++ {
		part := &ldap.DN{RDNs: dn.RDNs[:end]}
		if base.AncestorOfFold(part) || base.EqualFold(part) {
			return false
		}
	}
	return true
}
