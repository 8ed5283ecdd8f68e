package workload

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const (
	deviceSecret = "device-code-1234"
	authorized   = `{"device_code":"device-code-1234","user_code":"WDJB-MJHT","verification_uri":"https://idp.example.com/activate",` +
		`"verification_uri_complete":"https://idp.example.com/activate?user_code=WDJB-MJHT","expires_in":900,"interval":2}`
)

// granted is a success of the token endpoint, with a refresh token if refresh is not empty.
func granted(t *testing.T, sub, refresh string) reply {
	t.Helper()
	body := `{"access_token":"` + lasting(t, sub, time.Hour) + `","token_type":"Bearer","expires_in":3600`
	if refresh != "" {
		body += `,"refresh_token":"` + refresh + `"`
	}
	return ok(body + "}")
}

// rig is a device and what it says.
type rig struct {
	*Device
	log     *log
	prompts []Prompt
}

func newRig(t *testing.T, p *peer, change func(*DeviceSettings)) *rig {
	t.Helper()
	r := &rig{log: &log{}}
	s := DeviceSettings{
		Issuer: p.issuer(), Party: Party{ID: "laptop"}, Request: Request{Scope: "openid offline_access"},
		Ask: func(p Prompt) { r.prompts = append(r.prompts, p) }, Log: r.log.logger(),
	}
	if change != nil {
		change(&s)
	}
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	r.Device = NewDevice(s)
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		for _, secret := range []string{deviceSecret, "refresh-", signature} {
			if strings.Contains(r.log.String(), secret) {
				t.Errorf("the log holds a secret:\n%s", r.log)
			}
		}
	})
	return r
}

// fetches wants the token of somebody.
func (r *rig) fetches(t *testing.T, sub string) {
	t.Helper()
	token, err := r.Fetch(t.Context())
	if err != nil || token.Claims.Subject != sub {
		t.Errorf("the token is of %q, %v; want that of %q", token.Claims.Subject, err, sub)
	}
}

func keepIn(f File) func(*DeviceSettings) {
	return func(s *DeviceSettings) { s.RefreshFile = f }
}

func TestDeviceSignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, began := newPeer(t), time.Now()
		p.answer(devicePath, ok(authorized))
		p.answer(tokenPath, no("authorization_pending"), no("slow_down"), no("authorization_pending"),
			reply{err: errors.New("connection reset")}, reply{status: 503}, no("authorization_pending"), granted(t, "ada", "refresh-1"))
		r := newRig(t, p, func(s *DeviceSettings) { s.Request.Audience, s.Request.Resources = "aud", []string{"https://a/"} })
		r.fetches(t, "ada")

		want := Prompt{"https://idp.example.com/activate", "https://idp.example.com/activate?user_code=WDJB-MJHT", "WDJB-MJHT", began.Add(15 * time.Minute)}
		if len(r.prompts) != 1 || r.prompts[0] != want {
			t.Errorf("asked %+v", r.prompts)
		}
		form := p.asked(devicePath)[0].form
		if form.Get("client_id") != "laptop" || form.Get("scope") != "openid offline_access" || form.Get("audience") != "aud" || form.Get("resource") != "https://a/" {
			t.Errorf("the device endpoint was asked %v", form)
		}
		var at []time.Duration
		for _, s := range p.asked(tokenPath) {
			at = append(at, s.at.Sub(began))
			if s.form.Get("device_code") != deviceSecret || s.form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:device_code" || s.form.Get("client_id") != "laptop" {
				t.Errorf("the token endpoint was asked %v", s.form)
			}
		}
		for i, s := range []time.Duration{2, 4, 11, 18, 32, 60, 88} { // +2 +2, slower by 5: +7 +7, twice as slow: +14 +28, and so on
			if at[i] != s*time.Second {
				t.Errorf("polled at %v", at)
				break
			}
		}
	})
}

func TestDeviceSignInEndsBadly(t *testing.T) {
	for name, tt := range map[string]struct {
		device  reply
		replies []reply
		err     string
		final   bool
	}{
		"the person says no":          {ok(authorized), []reply{no("access_denied")}, "device code: the issuer answered 400 \"access_denied\"", true},
		"the code has ended":          {ok(authorized), []reply{no("expired_token")}, "nobody signed in within 15m0s", false},
		"nobody comes":                {ok(strings.Replace(authorized, "900", "7", 1)), []reply{no("authorization_pending"), no("authorization_pending"), no("authorization_pending")}, "nobody signed in within 7s", false},
		"nobody is known":             {no("invalid_client"), nil, "device authorization: ", true},
		"an answer without a code":    {ok(strings.Replace(authorized, "user_code", "code", 1)), nil, "lacks device_code", true},
		"an answer without an end":    {ok(strings.Replace(authorized, "900", "0", 1)), nil, "lacks device_code", true},
		"a place that is no URL":      {ok(strings.Replace(authorized, "https://idp.example.com/activate\"", `javascript:alert(1)"`, 1)), nil, "verification_uri", true},
		"a place in the clear":        {ok(strings.Replace(authorized, "https://idp.example.com/activate?", "http://idp.example.com/activate?", 1)), nil, "must be https", true},
		"a token that is no JWT":      {ok(authorized), []reply{ok(`{"access_token":"opaque","token_type":"Bearer"}`)}, "no JWT", true},
		"an issuer that is not there": {reply{err: errors.New("no route")}, nil, "device authorization: ask idp.example.com: no route", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t)
				p.answer(devicePath, tt.device)
				p.answer(tokenPath, tt.replies...)
				r := newRig(t, p, nil)
				_, err := r.Fetch(t.Context())
				assertError(t, err, tt.err, deviceSecret)
				if Final(err) != tt.final {
					t.Errorf("final %v, want %v", Final(err), tt.final)
				}
			})
		})
	}
}

// A URL is shown whole or not at all.
func TestDevicePromptIsWhole(t *testing.T) {
	const url, complete = `activate","`, `user_code=WDJB-MJHT`
	long := func(n int) string { return strings.Repeat("x", n) }
	whole := len("https://idp.example.com/activate?")
	for name, tt := range map[string]struct{ instead, by, complete string }{
		"just short enough": {complete, long(300 - whole), "https://idp.example.com/activate?" + long(300-whole)},
		"too long":          {complete, long(301 - whole), ""},
		"not for terminals": {complete, "\u202e", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t)
				p.answer(devicePath, ok(strings.Replace(authorized, tt.instead, tt.by, 1)))
				p.answer(tokenPath, granted(t, "ada", ""))
				r := newRig(t, p, nil)
				r.fetches(t, "ada")
				if got := r.prompts[0]; got.Complete != tt.complete || got.URL != "https://idp.example.com/activate" || got.Code != "WDJB-MJHT" {
					t.Errorf("asked %+v", got)
				}
				if r.log.count("level=WARN", "no refresh token", "offline_access") != 1 {
					t.Errorf("the log is\n%s", r.log)
				}
			})
		})
	}
	for name, answer := range map[string]string{
		"a URL that is too long":  strings.Replace(authorized, url, `activate?`+long(301-whole)+`","`, 1),
		"a code that is too long": strings.Replace(authorized, "WDJB-", long(301), 1),
		"a code for the terminal": strings.Replace(authorized, "WDJB-", `\u001b[2J`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t)
				p.answer(devicePath, ok(answer))
				r := newRig(t, p, nil)
				_, err := r.Fetch(t.Context())
				assertError(t, err, "verification_uri or user_code is too long, or not fit for a terminal", "xxx", "\x1b")
				if !Final(err) || len(r.prompts) != 0 {
					t.Errorf("final %v, asked %+v", Final(err), r.prompts)
				}
			})
		})
	}
}

func TestDeviceEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		p.answer(devicePath, ok(authorized))
		ctx, stop := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, stop)
		r := newRig(t, p, nil)
		if _, err := r.Fetch(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// spent are the refresh tokens that were sent, in order.
func (p *peer) spent() (out []string) {
	for _, s := range p.asked(tokenPath) {
		if s.form.Get("grant_type") == "refresh_token" {
			out = append(out, s.form.Get("refresh_token"))
		}
	}
	return out
}

func TestRefreshInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		p.answer(devicePath, ok(authorized))
		p.answer(tokenPath, granted(t, "ada", "refresh-1"), granted(t, "ada2", "refresh-2"), granted(t, "ada3", ""), reply{status: 503}, granted(t, "ada4", "refresh-3"))
		r := newRig(t, p, func(s *DeviceSettings) { s.Request.Resources = []string{"https://a/"} })
		r.fetches(t, "ada")
		r.fetches(t, "ada2")
		r.fetches(t, "ada3")
		_, err := r.Fetch(t.Context())
		assertError(t, err, "refresh: the issuer answered 503", "refresh-2")
		r.fetches(t, "ada4")
		if got := strings.Join(p.spent(), " "); got != "refresh-1 refresh-2 refresh-2 refresh-2" { // ada3 came without a new one
			t.Errorf("spent %s", got)
		}
		if form := p.asked(tokenPath)[1].form; form.Get("resource") != "https://a/" || form.Has("scope") {
			t.Errorf("a refresh asks %v", form)
		}
		if len(r.prompts) != 1 {
			t.Errorf("somebody was asked %d times", len(r.prompts))
		}
	})
}

func TestRefreshTokenOverARestart(t *testing.T) {
	f := tempFile(t)
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		p.answer(devicePath, ok(authorized))
		p.answer(tokenPath, granted(t, "ada", "refresh-1"), granted(t, "ada2", "refresh-2"))
		r := newRig(t, p, keepIn(f))
		r.fetches(t, "ada")
		r.fetches(t, "ada2")
		assertMode(t, f)

		second := newRig(t, p, keepIn(f))
		_, err := second.Fetch(t.Context())
		assertError(t, err, "another gatehouse uses")
		if !Final(err) {
			t.Error("that would pass")
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		p.answer(tokenPath, granted(t, "ada3", "refresh-3"))
		second.fetches(t, "ada3")
		if got := strings.Join(p.spent(), " "); got != "refresh-1 refresh-2" || len(second.prompts) != 0 {
			t.Errorf("spent %s, asked %d times", got, len(second.prompts))
		}
		assertHolds(t, f, `{"issuer":"https://idp.example.com","client_id":"laptop","refresh_token":"refresh-3"}`)
	})
}

// A refresh token goes to nobody but who gave it.
func TestRefreshTokenOfSomebodyElse(t *testing.T) {
	for name, text := range map[string]string{
		"another issuer":  `{"issuer":"https://evil.example.com","client_id":"laptop","refresh_token":"refresh-1"}`,
		"another client":  `{"issuer":"https://idp.example.com","client_id":"phone","refresh_token":"refresh-1"}`,
		"a bare token":    "refresh-1",
		"nothing in it":   "",
		"two in the same": `{"issuer":"https://idp.example.com","client_id":"laptop","refresh_token":"refresh-0","refresh_token":"refresh-1"}`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := tempFile(t)
				if err := f.Write(Secret(text)); err != nil {
					t.Fatal(err)
				}
				p := newPeer(t)
				p.answer(devicePath, ok(authorized))
				p.answer(tokenPath, granted(t, "ada", "refresh-9"))
				r := newRig(t, p, keepIn(f))
				r.fetches(t, "ada")
				if len(p.spent()) != 0 || len(r.prompts) != 1 {
					t.Errorf("spent %v", p.spent())
				}
			})
		})
	}
}

func TestRefreshTokenThatIsWorthNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := tempFile(t)
		p := newPeer(t)
		p.answer(devicePath, ok(authorized), ok(authorized))
		p.answer(tokenPath, granted(t, "ada", "refresh-1"), no("invalid_grant"), no("access_denied"), granted(t, "ben", "refresh-2"))
		r := newRig(t, p, keepIn(f))
		r.fetches(t, "ada")
		_, err := r.Fetch(t.Context())
		assertError(t, err, "access_denied")
		assertHolds(t, f, "")
		if r.log.count("level=ERROR", "somebody has to sign in again") != 1 || len(r.prompts) != 2 {
			t.Errorf("asked %d times\n%s", len(r.prompts), r.log)
		}
		p.answer(devicePath, ok(authorized))
		r.fetches(t, "ben")
		if got := strings.Join(p.spent(), " "); got != "refresh-1" {
			t.Errorf("spent %s", got)
		}
	})
}

// A refusal of the client itself is no reason to bother a person.
func TestRefreshRefusedForAnotherReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		p.answer(devicePath, ok(authorized))
		p.answer(tokenPath, granted(t, "ada", "refresh-1"), no("invalid_client"), granted(t, "ada2", "refresh-2"))
		r := newRig(t, p, nil)
		r.fetches(t, "ada")
		_, err := r.Fetch(t.Context())
		assertError(t, err, "invalid_client")
		r.fetches(t, "ada2")
		if len(r.prompts) != 1 {
			t.Errorf("somebody was asked %d times", len(r.prompts))
		}
	})
}

// A rotated token that can't be written must not be used again after a restart.
func TestRefreshTokenThatCanNotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := tempFile(t)
		p := newPeer(t)
		p.answer(devicePath, ok(authorized))
		p.answer(tokenPath, granted(t, "ada", "refresh-1"), granted(t, "ada2", "refresh-2"), granted(t, "ada3", "refresh-3"))
		r := newRig(t, p, keepIn(f))
		r.fetches(t, "ada")
		if err := errors.Join(os.Remove(string(f)), os.Symlink("elsewhere", string(f))); err != nil {
			t.Fatal(err)
		}
		r.fetches(t, "ada2")
		if r.log.count("level=ERROR", "in memory alone", "is a symbolic link") != 1 {
			t.Errorf("the log is\n%s", r.log)
		}
		if _, err := os.Lstat(string(f)); err == nil {
			t.Error("what is at its place was left")
		}
		r.fetches(t, "ada3")
		assertHolds(t, f, `{"issuer":"https://idp.example.com","client_id":"laptop","refresh_token":"refresh-3"}`)
		if got := strings.Join(p.spent(), " "); got != "refresh-1 refresh-2" {
			t.Errorf("spent %s", got)
		}
	})
}

func TestRefreshFileThatCanNotBeUsed(t *testing.T) {
	p := newPeer(t)
	r := newRig(t, p, keepIn(File(filepath.Join(t.TempDir(), "missing", "refresh"))))
	_, err := r.Fetch(t.Context())
	assertError(t, err, "refresh token: ")
	dir := newRig(t, p, keepIn(File(t.TempDir())))
	_, err = dir.Fetch(t.Context())
	assertError(t, err, "is not a plain file")
	if len(p.seen) != 0 {
		t.Error("somebody was asked before")
	}
}

// Whoever may write to the directory could have any file made, or locked.
func TestRefreshLockIsNoLink(t *testing.T) {
	p := newPeer(t)
	f, away := tempFile(t), filepath.Join(t.TempDir(), "away")
	if err := os.Symlink(away, string(f)+".lock"); err != nil {
		t.Fatal(err)
	}
	_, err := newRig(t, p, keepIn(f)).Fetch(t.Context())
	assertError(t, err, "token.lock: is a symbolic link")
	if !Final(err) {
		t.Error("that would pass")
	}
	if file, err := openHere(string(f)+".lock", os.O_CREATE|os.O_RDWR); err == nil {
		t.Error("a link that comes later is followed", file.Close())
	}
	if _, err := os.Lstat(away); err == nil {
		t.Error("the link was followed")
	}
}

// A confidential client proves itself each time.
func TestDeviceOfAConfidentialClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		p.answer(devicePath, ok(authorized))
		p.answer(tokenPath, granted(t, "ada", "refresh-1"), granted(t, "ada2", "refresh-2"))
		r := newRig(t, p, func(s *DeviceSettings) { s.Party.Secret = "s" })
		r.fetches(t, "ada")
		r.fetches(t, "ada2")
		for _, s := range p.seen {
			if s.path != wellKnown && (s.user != "laptop" || s.pass != "s") {
				t.Errorf("%s was asked as %q", s.path, s.user)
			}
		}
	})
}
