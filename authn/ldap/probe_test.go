package ldap

import (
	"testing"

	peer "gatehouse/e2e/directory"
)

func TestProbe(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{SizeLimit: 100, ManyGroups: map[string]int{"alice": 300}})
	for _, n := range []int{10000, 500, 101, 100, 50} {
		c := settingsFor(s)
		c.PageSize = n
		r := newRig(t, c)
		who, err := r.prove("alice", "alice-pw")
		t.Log(n, len(who.Groups), err)
	}
}
