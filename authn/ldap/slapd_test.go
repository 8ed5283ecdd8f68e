package ldap

import (
	"testing"

	peer "gatehouse/e2e/directory"
)

func TestSmoke(t *testing.T) {
	s := peer.NewSlapd(t, peer.SlapdOptions{})
	r := newRig(t, settingsFor(s))
	who := r.in("alice", "alice-pw")
	t.Logf("%+v", who)
	if got := r.refused("alice", "wrong"); got != wrong {
		t.Error(got)
	}
	if got := r.refused("nobody", "wrong"); got != wrong {
		t.Error(got)
	}
	for _, f := range Check(t.Context(), settingsFor(s), usualRegulation()) {
		t.Logf("%v %s: %s | %s", f.OK, f.What, f.Detail, f.Fix)
	}
	t.Log(r.log)
}
