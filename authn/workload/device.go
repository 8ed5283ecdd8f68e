package workload

import (
	"cmp"
	"context"
	"encoding/json/jsontext"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"gatehouse/authn"
)

const (
	// deviceInterval is how often to ask if the issuer says nothing (RFC 8628,
	// section 3.2), and how much slower each slow_down makes it (section 3.5).
	deviceInterval = 5 * time.Second
	// maxInterval and maxCodeLife bound what an issuer may ask for.
	maxInterval = 5 * time.Minute
	maxCodeLife = time.Hour
)

// Prompt is what a person needs to know to sign in. It is fit for a terminal.
type Prompt struct {
	// URL is where to type Code. Complete, if there is one, knows the code already.
	URL, Complete, Code string
	// Expires is when the code is worth nothing.
	Expires time.Time
}

// DeviceSettings are those of a [Device].
type DeviceSettings struct {
	Issuer  Issuer
	Party   Party
	Request Request
	// RefreshFile keeps the refresh token over restarts. Empty: in memory alone.
	RefreshFile File
	// Ask shows a person where to sign in.
	Ask func(Prompt)
	Log *slog.Logger
}

// Check says what is wrong with the settings.
func (s DeviceSettings) Check() error {
	return errors.Join(s.Issuer.Check(true), s.Party.Check(), s.Request.Check())
}

// Device gets its first token with the help of a person (RFC 8628), and the
// others with the refresh token that came with it. When that is worth nothing any
// more, it needs a person again.
type Device struct {
	DeviceSettings
	refresh refreshToken
}

// NewDevice makes a Device of settings that were checked.
func NewDevice(s DeviceSettings) *Device {
	return &Device{s, refreshToken{file: s.RefreshFile, issuer: cmp.Or(s.Issuer.URL, s.Issuer.TokenURL), client: s.Party.ID}}
}

// Close lets other processes have the file of the refresh token.
func (d *Device) Close() error { return d.refresh.close() }

// Fetch refreshes, or has a person sign in.
func (d *Device) Fetch(ctx context.Context) (Token, error) {
	if err := d.refresh.open(); err != nil {
		return Token{}, err
	}
	e, err := d.Issuer.discover(ctx, true)
	if err != nil {
		return Token{}, err
	}
	if d.refresh.token != "" {
		t, err := d.redeem(ctx, e)
		if !refused(err, "invalid_grant") {
			return t, err
		}
		d.Log.Error("the refresh token is worth nothing any more: somebody has to sign in again", "err", err)
		if err := d.refresh.forget(); err != nil {
			return Token{}, err
		}
	}
	return d.signIn(ctx, e)
}

func refused(err error, code string) bool {
	var no *Refusal
	return errors.As(err, &no) && no.Code == code
}

// redeem uses the refresh token (RFC 6749, section 6). If the answer is lost on
// its way, the same is sent again: should it have been used up by then, its
// successor is lost too, and there is nothing to spoil.
func (d *Device) redeem(ctx context.Context, e endpoints) (Token, error) {
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {d.refresh.token}}
	g, err := d.ask(ctx, e, form)
	if err != nil {
		return Token{}, fmt.Errorf("refresh: %w", err)
	}
	return d.take(g)
}

// take keeps the new refresh token before it looks at anything else.
func (d *Device) take(g grant) (Token, error) {
	next := cmp.Or(g.Refresh, d.refresh.token)
	if next == "" {
		d.Log.Warn("there is no refresh token: somebody has to sign in each time; does the scope hold offline_access?")
		return d.Request.token(g, time.Now())
	}
	if err := d.refresh.set(next); err != nil {
		d.Log.Error("the refresh token is in memory alone: after a restart somebody has to sign in again", "err", err)
	}
	return d.Request.token(g, time.Now())
}

// ask sends a form to the token endpoint.
func (d *Device) ask(ctx context.Context, e endpoints, form url.Values) (grant, error) {
	p, err := d.Party.prove(e, time.Now())
	if err != nil {
		return grant{}, err
	}
	if len(d.Request.Resources) > 0 {
		form["resource"] = d.Request.Resources
	}
	var g grant
	return g, post(ctx, d.Issuer.Client, e.Token, form, p, &g)
}

// authorization is the answer of the device authorization endpoint (RFC 8628,
// section 3.2).
type authorization struct {
	DeviceCode string         `json:"device_code"`
	UserCode   string         `json:"user_code"`
	URL        string         `json:"verification_uri"`
	Complete   string         `json:"verification_uri_complete"`
	Expires    jsontext.Value `json:"expires_in"`
	Interval   jsontext.Value `json:"interval"`
}

func (a authorization) check() error {
	if a.DeviceCode == "" || a.UserCode == "" || a.URL == "" || seconds(a.Expires) == 0 {
		return final{errors.New("the answer lacks device_code, user_code, verification_uri or expires_in")}
	}
	for _, u := range []string{a.URL, a.Complete} {
		if u == "" {
			continue
		}
		if err := checkURL(u, true); err != nil {
			return final{fmt.Errorf("verification_uri: %w", err)}
		}
	}
	if authn.Bounded(a.URL) != a.URL || authn.Bounded(a.UserCode) != a.UserCode {
		return final{errors.New("verification_uri or user_code is too long, or not fit for a terminal")}
	}
	return nil
}

// prompt is what a person is told. Nothing in it is cut: half a URL leads nowhere.
// They can do without the one that knows the code.
func (a authorization) prompt(expires time.Time) Prompt {
	p := Prompt{URL: a.URL, Complete: a.Complete, Code: a.UserCode, Expires: expires}
	if authn.Bounded(a.Complete) != a.Complete {
		p.Complete = ""
	}
	return p
}

// signIn has a person sign in.
func (d *Device) signIn(ctx context.Context, e endpoints) (Token, error) {
	p, err := d.Party.prove(e, time.Now())
	if err != nil {
		return Token{}, err
	}
	var a authorization
	err = post(ctx, d.Issuer.Client, e.Device, d.Request.form("", ""), p, &a)
	if err == nil {
		err = a.check()
	}
	if err != nil {
		return Token{}, fmt.Errorf("device authorization: %w", err)
	}
	life := min(seconds(a.Expires), maxCodeLife)
	ctx, cancel := context.WithTimeout(ctx, life)
	defer cancel()
	d.Ask(a.prompt(time.Now().Add(life)))
	g, err := d.poll(ctx, e, a)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) || refused(err, "expired_token") {
		return Token{}, fmt.Errorf("device code: nobody signed in within %s", life.Round(time.Second))
	}
	if err != nil {
		return Token{}, fmt.Errorf("device code: %w", err)
	}
	return d.take(g)
}

// poll asks until the person has decided (RFC 8628, section 3.5).
func (d *Device) poll(ctx context.Context, e endpoints, a authorization) (grant, error) {
	interval := deviceInterval
	if s := seconds(a.Interval); s > 0 {
		interval = min(max(s, time.Second), maxInterval)
	}
	for {
		timer := time.NewTimer(interval)
		select {
		case <-ctx.Done():
			timer.Stop()
			return grant{}, ctx.Err()
		case <-timer.C:
		}
		g, err := d.ask(ctx, e, url.Values{
			"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {a.DeviceCode},
		})
		switch {
		case err == nil:
			return g, nil
		case refused(err, "authorization_pending"):
		case refused(err, "slow_down"):
			interval = min(interval+deviceInterval, maxInterval)
		case refused(err, "expired_token") || Final(err):
			return grant{}, err
		default: // it could not be asked: more and more seldom
			interval = min(2*interval, maxInterval)
			d.Log.Warn("the issuer could not be asked whether somebody has signed in", "err", err)
		}
	}
}
