package ldap

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-ldap/ldap/v3"

	"gatehouse/authn"
	"gatehouse/config"
)

// refusedService is the directory's no to bindDN.
type refusedService struct{ err error }

func (e refusedService) Error() string {
	return "the directory refuses bindDN: " + authn.Bounded(e.err.Error())
}
func (e refusedService) Unwrap() error { return e.err }

// service keeps a wrong bindPassword from locking the account that it belongs to:
// every sign-in would try it again. Like a person's it is tried only so often,
// one bind at a time, until one goes well.
type service struct {
	limit config.Regulation // the zero value is none
	turn  places

	mu      sync.Mutex
	refused []time.Time
	last    error
}

// rests says that it is not tried now, and why.
func (s *service) rests() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.refused) > 0 && time.Since(s.refused[0]) >= s.limit.FindTime.Std() {
		s.refused = s.refused[1:]
	}
	if most := s.limit.MaxUserRetries; most == 0 || len(s.refused) < most {
		return nil
	}
	wait := time.Until(s.refused[0].Add(s.limit.FindTime.Std())).Round(time.Second)
	return refusedService{fmt.Errorf("%w (not tried again for %s, lest the account be locked; a restart tries at once)", s.last, wait)}
}

// note keeps what the directory said.
func (s *service) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		s.refused = nil
	case ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials): // else it did not look at the password
		s.refused, s.last = append(s.refused, time.Now()), err
	}
}

// bind binds as the service.
func (s *service) bind(ctx context.Context, c *conn, settings config.LDAP) error {
	if err := s.turn.take(ctx); err != nil {
		return err
	}
	defer s.turn.giveBack()
	if err := s.rests(); err != nil {
		return err
	}
	err := c.do(ctx, func(l *ldap.Conn) error { return l.Bind(settings.BindDN, settings.BindPassword.Reveal()) })
	s.note(err)
	return err
}
