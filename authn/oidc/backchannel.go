package oidc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json/v2"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/issuer"
)

const (
	// maxLogoutForm and maxLogoutToken bound what a provider may send, in bytes.
	maxLogoutForm, maxLogoutToken = 64 << 10, 16 << 10
	// logoutAge is how old a logout token may be: a provider sends it at once, and
	// again for a while if it could not be delivered.
	logoutAge = 10 * time.Minute
	// endTime bounds the ending of sessions.
	endTime = 10 * time.Second
	// logoutEvent is what a logout token is about (OpenID Connect Back-Channel
	// Logout, section 2.4).
	logoutEvent = "http://schemas.openid.net/event/backchannel-logout"
)

// Ender ends sessions. It is what logout at the provider needs of
// session.Sessions.
type Ender interface {
	// EndSessions ends those that l names and says how many there were; none is no
	// error. After an error some may be left, and the same again does no harm.
	EndSessions(ctx context.Context, l authn.Logout) (ended int, err error)
}

// LogoutPaths are where a provider says that it has signed somebody out: its
// server, and a frame of its page (OpenID Connect Back-Channel Logout, section
// 2.2; Front-Channel Logout, section 2).
func LogoutPaths(prefix, route string) (backChannel, frontChannel string) {
	return prefix + "/backchannel-logout/" + route, prefix + "/frontchannel-logout/" + route
}

// backChannel takes a logout token (OpenID Connect Back-Channel Logout, section
// 2.5).
func (o *relying) backChannel(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		writeLogout(w, http.StatusMethodNotAllowed, "invalid_request", "Logout tokens are sent by POST.")
		return
	}
	token, err := readLogoutToken(w, r)
	if err == nil {
		// A provider that does not wait for the answer means it all the same.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), endTime)
		defer cancel()
		err = o.follow(ctx, token)
	}
	switch {
	case err == nil:
		w.WriteHeader(http.StatusOK)
	case errors.Is(err, issuer.ErrUnavailable):
		o.log(r).Error("back-channel logout could not be followed", "err", err)
		w.Header().Set("Retry-After", "10")
		writeLogout(w, http.StatusServiceUnavailable, "temporarily_unavailable", "The sessions could not be ended. Try again.")
	default:
		o.log(r).Warn("back-channel logout refused", "err", err)
		writeLogout(w, http.StatusBadRequest, "invalid_request", "The logout token was refused; the log says why.")
	}
}

// writeLogout answers with an error (Back-Channel Logout, section 2.8).
func writeLogout(w http.ResponseWriter, status int, code, description string) {
	body, _ := json.Marshal(map[string]string{"error": code, "error_description": description}, json.Deterministic(true))
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body) // whoever asked may be gone
}

// readLogoutToken reads the one token of the request's body.
func readLogoutToken(w http.ResponseWriter, r *http.Request) (string, error) {
	if r.URL.Query().Has("logout_token") {
		return "", errors.New("the token is in the URL")
	}
	body, status := readForm(w, r, maxLogoutForm)
	if status != 0 {
		return "", fmt.Errorf("the body is not a form that can be read: %d", status)
	}
	form, err := url.ParseQuery(body)
	if err != nil {
		return "", errors.New("the body is not a form")
	}
	token := form["logout_token"]
	switch {
	case len(token) != 1:
		return "", fmt.Errorf("%d logout tokens", len(token))
	case len(token[0]) > maxLogoutToken:
		return "", fmt.Errorf("the token is larger than %d bytes", maxLogoutToken)
	}
	return token[0], nil
}

// follow does what a logout token says, once. It is marked as used when that is
// done: what could not be ended may be tried again.
func (o *relying) follow(ctx context.Context, token string) error {
	m, err := o.provider.metadata(ctx)
	if err != nil {
		return err
	}
	c, err := o.verifyLogout(ctx, m, token)
	if err != nil {
		return fmt.Errorf("logout token: %w", err)
	}
	l, err := o.told(c)
	if err != nil {
		return fmt.Errorf("logout token: %w", err)
	}
	mark := o.logoutMark(c)
	_, used, err := o.Store.Get(ctx, mark)
	switch {
	case err != nil:
		return fmt.Errorf("%w: look for the token's mark: %w", issuer.ErrUnavailable, err)
	case used:
		return errors.New("logout token: it was used before")
	}
	if err := o.end(ctx, l); err != nil {
		return err
	}
	// Of two at once both get here, and nothing is left for either to end.
	if _, err := o.Store.Add(ctx, mark, []byte{1}, logoutAge+2*o.settings.ClockSkew.Std()+time.Minute); err != nil {
		return fmt.Errorf("%w: mark the token as used: %w", issuer.ErrUnavailable, err)
	}
	return nil
}

// logoutMark is where a used token is remembered. Its jti is unique at the issuer.
func (o *relying) logoutMark(c issuer.Claims) string {
	jti, _ := c.Text("jti")
	sum := sha256.Sum256([]byte("gatehouse logout\x00" + o.settings.Issuer + "\x00" + o.settings.ClientID + "\x00" + jti))
	return "logout:" + hex.EncodeToString(sum[:])
}

// end ends the sessions that l names.
func (o *relying) end(ctx context.Context, l authn.Logout) error {
	ended, err := o.Ender.EndSessions(ctx, l)
	if err != nil {
		return fmt.Errorf("%w: end sessions: %w", issuer.ErrUnavailable, err)
	}
	if ended > 0 || !l.Unsigned { // anybody can ask in vain
		o.Log.Info("signed out by the provider", "subject", l.Subject, "by_sid", l.SID != "", "sessions", ended)
	}
	return nil
}

// verifyLogout returns the claims of a logout token that the provider made for
// this client (Back-Channel Logout, section 2.6). What an ID token or an access
// token has, and a logout token may not, refuses those too.
func (o *relying) verifyLogout(ctx context.Context, m *metadata, token string) (issuer.Claims, error) {
	c, _, err := o.signed(ctx, m, token, append(idTokenTypes(), "logout+jwt", "application/logout+jwt")...)
	if err != nil {
		return nil, err
	}
	for _, check := range []func() error{
		func() error { _, err := o.checkAddress(c); return err },
		func() error { return checkLogoutTimes(c, time.Now(), o.settings.ClockSkew.Std()) },
		func() error { return checkEvent(c) },
	} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// checkLogoutTimes: iat is required, and so is exp by the last version of the
// specification; earlier ones had none.
func checkLogoutTimes(c issuer.Claims, now time.Time, skew time.Duration) error {
	exp, expErr := c.Instant("exp")
	iat, iatErr := c.Instant("iat")
	nbf, nbfErr := c.Instant("nbf")
	switch {
	case expErr != nil || iatErr != nil || nbfErr != nil:
		return errors.Join(expErr, iatErr, nbfErr)
	case iat.IsZero():
		return errors.New(`claim "iat" is missing`)
	case iat.After(now.Add(skew)):
		return fmt.Errorf("made in the future, at %s", iat.UTC().Format(time.RFC3339))
	case iat.Before(now.Add(-logoutAge - skew)):
		return fmt.Errorf("made long ago, at %s", iat.UTC().Format(time.RFC3339))
	case !exp.IsZero() && !now.Before(exp.Add(skew)):
		return fmt.Errorf("expired at %s", exp.UTC().Format(time.RFC3339))
	case nbf.After(now.Add(skew)):
		return fmt.Errorf("not valid before %s", nbf.UTC().Format(time.RFC3339))
	}
	return nil
}

// checkEvent: it is about a logout, has a name of its own, and is no ID token.
func checkEvent(c issuer.Claims) error {
	if _, ok := c["nonce"]; ok {
		return errors.New("it has a nonce, as an ID token has")
	}
	if c["events"].Kind() != '{' {
		return errors.New(`claim "events" is not an object`)
	}
	events, err := issuer.ParseClaims(c["events"])
	if err != nil {
		return err
	}
	if events[logoutEvent].Kind() != '{' {
		return errors.New("it is not about a logout")
	}
	jti, err := c.Text("jti")
	if err == nil && jti == "" {
		err = errors.New(`claim "jti" is missing`)
	}
	return err
}

// told is which sessions a logout token means. One that names nobody means none.
func (o *relying) told(c issuer.Claims) (authn.Logout, error) {
	sub, subErr := named(c, "sub")
	sid, sidErr := named(c, "sid")
	at, atErr := c.Instant("iat")
	l := authn.Logout{Issuer: o.settings.Issuer, SID: sid, At: at}
	switch bySub := o.settings.Claims.Subject == "sub"; {
	case subErr != nil || sidErr != nil || atErr != nil:
		return authn.Logout{}, errors.Join(subErr, sidErr, atErr)
	case sub == "" && sid == "":
		return authn.Logout{}, errors.New("it says neither who nor which session")
	case sub != "" && bySub:
		var err error
		l.Subject, err = o.mapping.spelled(sub)
		return l, err
	case sid == "":
		return authn.Logout{}, fmt.Errorf("it names somebody by sub alone, and the route knows people by the claim %q: have the provider send sid",
			o.settings.Claims.Subject)
	}
	return l, nil
}

// named returns a claim that must name something if it is there.
func named(c issuer.Claims, claim string) (string, error) {
	text, err := c.Text(claim)
	if _, present := c[claim]; err == nil && present && (len(text) > authn.MaxID || !authn.CleanID(text)) {
		err = fmt.Errorf("claim %q can't name anything", claim)
	}
	return text, err
}
