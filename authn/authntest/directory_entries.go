package authntest

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"
)

// Set replaces the entry of that DN, which stays the same entry (entryUUID), or
// adds one. The entries above it need not exist. It panics if the DN is none.
func (d *Directory) Set(e Entry) {
	key := mustKey(e.DN)
	d.mu.Lock()
	defer d.mu.Unlock()
	n := &node{Entry: cloneEntry(e), key: key}
	if old := d.entries[key.String()]; old != nil {
		n.made, n.uuid = old.made, old.uuid
	} else {
		d.made++
		d.lives[key.String()]++
		n.made, n.uuid = d.made, uuidFor(key.String(), d.lives[key.String()])
	}
	d.put(n)
}

// SetAttribute replaces one attribute of an entry; without values, it goes. It
// panics if there is no such entry, as do the others below.
func (d *Directory) SetAttribute(dn, name string, values ...string) {
	d.change(dn, func(e *Entry) {
		maps.DeleteFunc(e.Attributes, func(have string, _ []string) bool { return strings.EqualFold(have, name) })
		if len(values) > 0 {
			e.Attributes[name] = slices.Clone(values)
		}
	})
}

// SetPassword replaces an entry's password.
func (d *Directory) SetPassword(dn, password string) {
	d.change(dn, func(e *Entry) { e.Password = password })
}

// AnswerBind replaces an entry's [Entry.Bind] and [Entry.WrongPassword].
func (d *Directory) AnswerBind(dn string, right, wrong *Result) {
	d.change(dn, func(e *Entry) { e.Bind, e.WrongPassword = right, wrong })
}

func (d *Directory) change(dn string, change func(*Entry)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.mustFind(dn)
	n := &node{Entry: cloneEntry(old.Entry), key: old.key, made: old.made, uuid: old.uuid}
	change(&n.Entry)
	d.put(n)
}

// Remove deletes an entry and all below it. Groups keep them as members. An
// entry that is made with the same DN later is another one.
func (d *Directory) Remove(dn string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	top := d.mustFind(dn).key
	maps.DeleteFunc(d.entries, func(_ string, n *node) bool { return n.key.within(top) })
	d.tree = nil
}

// Rename gives an entry another DN, which may be elsewhere, and takes all below
// it along. They stay the same entries (entryUUID). The old name's values go
// from its attributes, the new ones come, and groups follow.
func (d *Directory) Rename(from, to string) {
	target := mustKey(to)
	d.mu.Lock()
	defer d.mu.Unlock()
	top := d.mustFind(from).key
	if d.entries[target.String()] != nil && target.String() != top.String() {
		panic("authntest: there is an entry " + to)
	}
	for _, n := range slices.Collect(maps.Values(d.entries)) {
		moved := &node{Entry: cloneEntry(n.Entry), key: n.key, made: n.made, uuid: n.uuid}
		if n.key.within(top) {
			delete(d.entries, n.key.String())
			moved.DN = newName(n.DN, len(top), to)
			moved.key = mustKey(moved.DN)
		}
		if n.key.String() == top.String() {
			moved.renamed(from)
		}
		for name, values := range moved.Attributes {
			if newAttribute(name, nil).namesEntries() {
				follow(values, top, to)
			}
		}
		d.put(moved)
	}
}

// renamed takes the values of the old name away; put adds the new ones.
func (n *node) renamed(from string) {
	for _, rdn := range rdnsOf(from)[0].Attributes {
		for name, values := range n.Attributes {
			if strings.EqualFold(name, rdn.Type) {
				n.Attributes[name] = slices.DeleteFunc(values, func(v string) bool { return prepare(v) == prepare(rdn.Value) })
			}
		}
	}
}

// follow changes the DNs that are at or below what was renamed.
func follow(values []string, top dnKey, to string) {
	for i, v := range values {
		if key, err := parseKey(v); err == nil && key.within(top) {
			values[i] = newName(v, len(top), to)
		}
	}
}

// newName is a DN with its last n names replaced.
func newName(dn string, n int, to string) string {
	var kept strings.Builder
	rdns := rdnsOf(dn)
	for _, rdn := range rdns[:len(rdns)-n] {
		kept.WriteString(rdn.String() + ",")
	}
	return kept.String() + to
}

// put files an entry and makes it complete. The lock is held.
func (d *Directory) put(n *node) {
	if n.Attributes == nil {
		n.Attributes = map[string][]string{}
	}
	for _, rdn := range rdnsOf(n.DN)[0].Attributes {
		n.ensure(rdn.Type, rdn.Value, false)
	}
	n.ensure("objectClass", "top", true)
	n.attributes = nil
	for _, name := range slices.Sorted(maps.Keys(n.Attributes)) {
		if a := newAttribute(name, n.Attributes[name]); a.base != "entryuuid" {
			n.attributes = append(n.attributes, a)
		} else if len(a.values) > 0 {
			n.uuid = a.values[0]
		}
	}
	d.entries[n.key.String()] = n
	d.tree = nil
}

// ensure adds a value unless it is there, or unless any is.
func (n *node) ensure(name, value string, any bool) {
	for have, values := range n.Attributes {
		if strings.EqualFold(have, name) {
			if !any && !slices.ContainsFunc(values, func(v string) bool { return prepare(v) == prepare(value) }) {
				n.Attributes[have] = append(values, value)
			}
			return
		}
	}
	n.Attributes[name] = []string{value}
}

// mustFind is the entry of that DN. The lock is held.
func (d *Directory) mustFind(dn string) *node {
	n := d.entries[mustKey(dn).String()]
	if n == nil {
		panic("authntest: no entry " + dn)
	}
	return n
}

func cloneEntry(e Entry) Entry {
	e.Attributes = maps.Clone(e.Attributes)
	for name, values := range e.Attributes {
		e.Attributes[name] = slices.Clone(values)
	}
	e.BindNames = slices.Clone(e.BindNames)
	return e
}

// uuidFor makes an entryUUID (RFC 4530) that is the same in every run, and
// another one for everybody who has the name later.
func uuidFor(key string, life int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", life, key))
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80 // RFC 9562, version 8
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// DirectoryOf makes entries of people: an inetOrgPerson each in ou=people, and
// their groups, each a groupOfNames in ou=groups. All have the same password;
// an empty one means "demo".
func DirectoryOf(people []Person, baseDN, password string) []Entry {
	if password == "" {
		password = "demo"
	}
	entries := []Entry{unit("people", baseDN), unit("groups", baseDN)}
	members := map[string][]string{}
	for _, p := range people {
		e := p.entry(baseDN, password)
		entries = append(entries, e)
		for _, g := range p.Groups {
			members[g] = append(members[g], e.DN)
		}
	}
	for _, g := range slices.Sorted(maps.Keys(members)) {
		entries = append(entries, Entry{
			DN:         "cn=" + ldap.EscapeDN(g) + ",ou=groups," + baseDN,
			Attributes: map[string][]string{"objectClass": {"top", "groupOfNames"}, "cn": {g}, "member": members[g]},
		})
	}
	return entries
}

func unit(name, baseDN string) Entry {
	return Entry{
		DN:         "ou=" + name + "," + baseDN,
		Attributes: map[string][]string{"objectClass": {"top", "organizationalUnit"}, "ou": {name}},
	}
}

func (p Person) entry(baseDN, password string) Entry {
	uid := p.Username
	if uid == "" {
		uid = p.Subject
	}
	name := p.Name
	if name == "" {
		name = uid
	}
	attributes := map[string][]string{
		"objectClass": {"top", "person", "organizationalPerson", "inetOrgPerson"},
		"uid":         {uid}, "cn": {name}, "displayName": {name},
		"sn": {name[strings.LastIndex(name, " ")+1:]}, // the schema demands one
	}
	if p.Email != "" {
		attributes["mail"] = []string{p.Email}
	}
	return Entry{DN: "uid=" + ldap.EscapeDN(uid) + ",ou=people," + baseDN, Password: password, Attributes: attributes}
}
