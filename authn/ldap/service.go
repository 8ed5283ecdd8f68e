package ldap

import (
	"context"
	"errors"
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

// service opens connections that search. It keeps a wrong bindPassword from
// locking the account that it belongs to, for every sign-in would try it again:
// one bind at a time, and after a wrong password none for a while.
type service struct {
	dn, password string
	rest         time.Duration // after a wrong password; zero is none
	turn         places
	took         func(time.Duration) // is told how long a good bind took, and reaching the server; nil tells nobody

	mu    sync.Mutex
	until time.Time
	last  error
}

func newService(c config.LDAP) *service {
	return &service{dn: c.BindDN, password: c.BindPassword.Reveal(), turn: make(places, 1)}
}

// spread has it try no more often than a person may within findTime, the look
// that gatehouse serve takes at the start included.
func (s *service) spread(r config.Regulation) {
	s.rest = r.FindTime.Std() / time.Duration(max(1, r.MaxUserRetries-1))
}

// open connects by d, and binds as the one who searches.
func (s *service) open(ctx context.Context, d *dialer) (*conn, error) {
	if s.dn == "" {
		return d.dial(ctx)
	}
	// Who waits while a server hangs finds it marked, so the turn comes first.
	if err := s.turn.take(ctx); err != nil {
		return nil, err
	}
	defer s.turn.giveBack()
	if err := s.resting(); err != nil {
		return nil, err
	}
	began := time.Now()
	c, err := d.dial(ctx)
	if err != nil {
		return nil, err
	}
	asked := time.Now()
	err = c.do(ctx, "bind", func(l *ldap.Conn) error { return l.Bind(s.dn, s.password) })
	s.note(err)
	switch {
	case err == nil:
		if s.took != nil {
			s.took(time.Since(began))
		}
		return c, nil
	case errors.Is(err, errBroken):
		d.broke(c.server, asked, err)
		err = authn.Foreign{Err: err}
	case ctx.Err() == nil:
		err = refusedService{err}
	}
	c.close()
	return nil, err
}

// resting says that it is not tried now, and why.
func (s *service) resting() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	wait := time.Until(s.until)
	if wait <= 0 {
		return nil
	}
	return refusedService{fmt.Errorf("%w (not tried again for %s, lest the account be locked; a restart tries at once)", s.last, wait.Round(time.Second))}
}

// note has it rest if the password is wrong. A directory that says what else is
// the matter, such as that the account is locked already, does not count it.
func (s *service) note(err error) {
	if !ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) {
		return
	}
	var no *refusal
	if errors.As(judgeBind(nil, err), &no) && no.reason == wrong {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.until, s.last = time.Now().Add(s.rest), resultError{err}
	}
}
