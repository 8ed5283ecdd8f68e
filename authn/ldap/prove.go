package ldap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/go-ldap/ldap/v3"
	"golang.org/x/text/unicode/norm"

	"gatehouse/authn"
	"gatehouse/authn/audit"
	"gatehouse/config"
)

const (
	// maxLogin and maxPassword bound what people type, in bytes.
	maxLogin    = 256
	maxPassword = 1024
)

// refusal is the no to a name and a password. It wraps [authn.ErrRejected].
type refusal struct {
	reason reason
	cause  error // for the log; may be nil
}

func (e *refusal) Error() string {
	if e.cause == nil {
		return "ldap: " + string(e.reason)
	}
	return "ldap: " + string(e.reason) + ": " + e.cause.Error()
}

// Reason is why, for counts.
func (e *refusal) Reason() string { return e.reason.word() }

// Unwrap makes it a kind of [authn.ErrRejected].
func (e *refusal) Unwrap() []error { return []error{authn.ErrRejected, e.cause} }

// credentials are what somebody sent, and from where.
type credentials struct {
	login, password, remote string
	form                    bool          // it was typed into the gateway's own page
	r                       *http.Request // that they came with
	log                     *slog.Logger  // of the request
}

// screen refuses what no directory should see. An empty password is a bind
// without authentication, which a directory lets anybody do (RFC 4513, section
// 5.1.2; LDAP-01).
func (c credentials) screen() error {
	switch {
	case strings.TrimSpace(c.login) == "", c.password == "":
		return &refusal{reason: wrong, cause: errors.New("the name or the password is empty")}
	case len(c.login) > maxLogin, len(c.password) > maxPassword:
		return &refusal{reason: wrong, cause: errors.New("the name or the password is too long")}
	case !authn.Text(c.login), strings.ContainsRune(c.password, 0):
		return &refusal{reason: wrong, cause: errors.New("the name or the password is not text")}
	}
	return nil
}

// prove finds out whose name and password these are. Every no takes as long as
// every other, so that it does not tell whether there is such a name (LDAP-21).
func (l *route) prove(ctx context.Context, c credentials) (authn.Identity, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, l.settings.Timeout.Std())
	defer cancel()
	var who authn.Identity
	err := c.screen()
	if err == nil {
		if err := l.mayTry(ctx, c); err != nil { // known before, and told at once
			return authn.Identity{}, err
		}
		who, err = l.ask(ctx, c)
	}
	if errors.Is(err, authn.ErrRejected) {
		l.pace.hold(ctx, began)
	}
	return who, err
}

func (l *route) ask(ctx context.Context, c credentials) (authn.Identity, error) {
	a, err := l.account(ctx, c)
	if err != nil {
		return authn.Identity{}, err
	}
	if err := l.tried(ctx, a, c); err != nil {
		return authn.Identity{}, err
	}
	return l.known(ctx, a.entry, c)
}

// mayTry says whether anything may be tried from there, as far as that can be said
// without asking the directory who is meant.
func (l *route) mayTry(ctx context.Context, c credentials) error {
	address, name := l.waitingKeys(c)
	for _, key := range []string{address, name} {
		if err := l.waiting.check(key); err != nil {
			return err
		}
	}
	err := l.regulation.admits(ctx, c.remote)
	l.waiting.note(address, err)
	if err != nil {
		c.log.Info("password not looked at", "reason", "of the address", "err", err)
	}
	l.banned(c, "unknown", err)
	return err
}

// tried checks the password of an account, and counts it unless it is right. No
// more look at one account at once than may be wrong about it.
func (l *route) tried(ctx context.Context, a account, c credentials) error {
	for waited := time.Duration(0); ; waited += pendingPause {
		err := l.tryOnce(ctx, a, c)
		if !errors.Is(err, errPending) {
			return err
		}
		if waited >= pendingWait {
			return &authn.Throttled{After: time.Second}
		}
		select {
		case <-time.After(pendingPause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (l *route) tryOnce(ctx context.Context, a account, c credentials) error {
	done, err := l.turns.take(ctx, a.key)
	if err != nil {
		return fmt.Errorf("ldap: wait for another attempt: %w", err)
	}
	defer done()
	attempt, err := l.regulation.begin(ctx, a, c.remote)
	if err != nil {
		_, name := l.waitingKeys(c)
		l.waiting.note(name, err)
		c.log.Info("password not looked at", "account", a.named(), "err", err)
		l.banned(c, a.named(), err)
		return errors.Join(err, attempt.undone(ctx))
	}
	sent := false
	if a.dn == "" {
		err = &refusal{reason: wrong, cause: a.nobody}
	} else {
		sent, err = l.bind(ctx, a.dn, c.password)
	}
	lost := sent && unanswered(err)
	err = a.spoken(err)
	var no *refusal
	var settled error
	switch {
	case err == nil:
		return attempt.succeeded(ctx)
	case errors.As(err, &no) && no.reason.counts():
		settled = attempt.failed(ctx)
	case no == nil && lost:
		settled = attempt.unanswered(ctx)
	default:
		settled = attempt.undone(ctx)
	}
	if no != nil {
		c.log.Info("password refused", "account", a.named(), "reason", string(no.reason), "err", no.cause)
		l.refused(c, a.named(), string(no.reason))
	}
	if settled != nil {
		c.log.Error("what came of a password is not written down", "err", settled)
	}
	return errors.Join(err, settled)
}

// banned tells the audit trail of somebody who is refused whatever their password is, if
// that is what the error says.
func (l *route) banned(c credentials, account string, err error) {
	var wait *authn.Throttled
	if errors.As(err, &wait) {
		l.refused(c, account, "not looked at, after others that were wrong")
	}
}

// refused tells the audit trail.
func (l *route) refused(c credentials, account, reason string) {
	e := audit.Of(c.r, audit.SignIn, audit.Refused)
	e.Route, e.Claimed, e.Reason = l.name, account, reason
	_ = audit.Or(l.Audit).Record(e) // it is refused all the same
}

// account is whose password is to be checked.
type account struct {
	// key is one for all spellings of a name (LDAP-23).
	key string
	// dn is what to bind as; empty if there is nobody of that name, or several.
	dn     string
	nobody error
	// username is as the entry spells it; empty where it is not known yet.
	username string
	// entry is nil where it is read only afterwards.
	entry *ldap.Entry
}

// spoken is what the directory said of a password. What it says of a DN that was
// made of what somebody typed stays out, for people type passwords there.
func (a account) spoken(err error) error {
	var result *ldap.Error
	if a.entry != nil || !errors.As(err, &result) || result.ResultCode >= ldap.ErrorNetwork {
		return err
	}
	bare := fmt.Errorf("LDAP result code %d", result.ResultCode)
	var no *refusal
	if errors.As(err, &no) {
		return &refusal{reason: no.reason, cause: bare}
	}
	return fmt.Errorf("ldap: check a password: %w", bare)
}

// named is the account for the log: the name as the entry spells it and the
// subject, or that there is none.
func (a account) named() string {
	if subject, ok := strings.CutPrefix(a.key, "id:"); ok {
		return a.username + " (" + subject + ")"
	}
	return "unknown" // the name stays out of the log: people type passwords there
}

// account finds whom a name means. Without anybody, or with several, the name
// itself is counted, so that guessing names is no way around the counters.
func (l *route) account(ctx context.Context, c credentials) (account, error) {
	d, login := l.directory, c.login
	if d.settings.Users.DNTemplate != "" {
		// A spelling that the directory may take for another name is nobody's:
		// it would be counted apart.
		if folded := foldName(login); folded != strings.ToLower(login) {
			return account{key: "name:" + folded, nobody: errNobody}, nil
		}
		return account{key: "name:" + foldName(login), dn: d.templated(login)}, nil
	}
	e, err := d.find(ctx, login)
	switch {
	case errors.Is(err, errAmbiguous):
		c.log.Warn("several entries for one name", "fix", "make users.filter narrower")
		return account{key: "name:" + foldName(login), nobody: err}, nil
	case errors.Is(err, errNobody):
		return account{key: "name:" + foldName(login), nobody: err}, nil
	case err != nil:
		return account{}, err
	}
	a := account{key: accountKey(e, d.settings), dn: e.DN, entry: e}
	a.username, _ = single(e, d.settings.Attributes.Username) // one that is unfit is refused later
	return a, nil
}

// accountKey is the key of an entry. One without a subject, which is refused
// when the password is right, has its DN.
func accountKey(e *ldap.Entry, c config.LDAP) string {
	subject, err := single(e, c.Attributes.Subject)
	if err != nil {
		subject = e.DN
	}
	return "id:" + subject
}

// foldName is a name in one spelling of those that directories don't tell apart
// (RFC 4518, section 2): case, width, spaces, and what shows nothing.
func foldName(name string) string {
	name = strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point) {
			return -1
		}
		return r
	}, name)
	return strings.ToLower(norm.NFKC.String(strings.Join(strings.Fields(norm.NFKC.String(name)), " ")))
}

// known is whose entry it is, after the password was found right. Without an
// entry it is read now.
func (l *route) known(ctx context.Context, e *ldap.Entry, c credentials) (authn.Identity, error) {
	who, err := l.read(ctx, e, c)
	var no *refusal
	if errors.As(err, &no) {
		c.log.Warn("sign-in refused, though the password is right", "reason", string(no.reason), "err", no.cause)
	}
	return who, err
}

func (l *route) read(ctx context.Context, e *ldap.Entry, c credentials) (authn.Identity, error) {
	if e == nil {
		var err error
		if e, err = l.directory.find(ctx, c.login); errors.Is(err, errNobody) || errors.Is(err, errAmbiguous) {
			return authn.Identity{}, &refusal{reason: wrong, cause: err}
		} else if err != nil {
			return authn.Identity{}, err
		}
	}
	if why := outOfUse(e, time.Now()); why != "" {
		return authn.Identity{}, &refusal{reason: why}
	}
	who, err := l.identity(ctx, e)
	if errors.Is(err, errTooMany) {
		err = fmt.Errorf("%w: more than %d groups, or more than the directory lists at once", errUnfit, maxGroups)
	}
	if errors.Is(err, errUnfit) {
		return authn.Identity{}, &refusal{reason: unfit, cause: err}
	}
	return who, err
}

// identity is an entry with its groups.
func (l *route) identity(ctx context.Context, e *ldap.Entry) (authn.Identity, error) {
	who, err := l.person(e)
	if err != nil {
		return authn.Identity{}, err
	}
	if who.Groups, err = l.directory.groupsOf(ctx, e, who.Username); err != nil {
		return authn.Identity{}, err
	}
	return who, nil
}

// bind checks a password, on a connection of its own. Once it is sent, it goes on
// though whoever sent it may hang up, and it is never sent twice: a guess counts,
// here and at the directory, however hasty its sender.
func (l *route) bind(ctx context.Context, dn, password string) (sent bool, err error) {
	d, began := l.directory, time.Now()
	if err := d.binds.take(ctx); err != nil {
		return false, err
	}
	defer d.binds.giveBack()
	c, err := d.dialer.dial(ctx)
	if err != nil {
		return false, fmt.Errorf("ldap: check a password: %w", err)
	}
	if deadline, ok := ctx.Deadline(); ok {
		if time.Until(deadline) < l.settings.Timeout.Std()/8 { // too late for an answer, so it would count for nothing
			c.part()
			return false, errBusy
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(context.WithoutCancel(ctx), deadline)
		defer cancel()
	}
	asked := time.Now()
	err = c.bind(ctx, dn, password)
	var no *refusal
	switch {
	case err == nil, errors.As(err, &no):
		l.pace.note(time.Since(began))
	case errors.Is(err, errBroken):
		d.dialer.broke(c.server, asked, err)
	}
	if err != nil && no == nil {
		err = fmt.Errorf("ldap: check a password: %w", authn.Foreign{Err: err})
	}
	if errors.Is(err, errBroken) {
		c.close()
	} else {
		c.part()
	}
	return true, err
}

// bind binds as dn. The directory's no is a *refusal.
func (c *conn) bind(ctx context.Context, dn, password string) error {
	var res *ldap.SimpleBindResult
	err := c.do(ctx, "bind", func(l *ldap.Conn) (err error) {
		res, err = l.SimpleBind(ldap.NewSimpleBindRequest(dn, password, []ldap.Control{ldap.NewControlBeheraPasswordPolicy()}))
		return err
	})
	if errors.Is(err, errBroken) {
		return err
	}
	return judgeBind(res, err)
}
