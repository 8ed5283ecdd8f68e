package ldap

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/authn/authntest"
)

// TestPaceLearns: LDAP-21, refusals take as long as the directory did for hours, and no
// longer than is bearable.
func TestPaceLearns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pace{step: step}
		took := func() time.Duration {
			began := time.Now()
			p.hold(t.Context(), began)
			return time.Since(began)
		}
		check := func(when string, want time.Duration) {
			t.Helper()
			if got := took(); got != want {
				t.Errorf("%s: %v, want %v", when, got, want)
			}
		}
		check("nothing is known", step)
		p.note(2 * step)
		check("at once", 3*step)
		time.Sleep(50 * time.Minute)
		check("after a quiet while", 3*step)
		p.note(step / 10) // a quick one takes nothing back
		check("after a quick one", 3*step)
		time.Sleep(12 * time.Hour)
		check("after a night", step)
		p.note(time.Hour)
		check("after one that hung", longestUsual+step)
	})
}

// TestPaceOfGoodBinds: LDAP-21, it is known how long a password takes before anybody has
// sent a wrong one.
func TestPaceOfGoodBinds(t *testing.T) {
	const slow = 50 * time.Millisecond
	for who, prefix := range map[string]string{"the one who searches": "cn=", "somebody": "uid="} {
		s := newScripted(t, patient)
		s.d.SetFaults(authntest.DirectoryFaults{Before: func(o authntest.Operation) {
			if o.Kind == authntest.OpBind && strings.HasPrefix(o.DN, prefix) {
				time.Sleep(slow)
			}
		}})
		s.in("bob", "right")
		if got := s.l.pace.late(); got < slow {
			t.Errorf("%s: %v is known of %v", who, got, slow)
		}
	}
}
