package main

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// backChannel posts a logout token, as a provider's server does.
func (w *world) backChannel(token string) answer {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, "https://"+publicHost+"/.gatehouse/backchannel-logout/corp",
		strings.NewReader(url.Values{"logout_token": {token}}.Encode()))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return w.do(w.program(), req)
}

// frame is what a browser sends for a frame of a provider's page: no cookie.
var frame = http.Header{
	"Accept":         {"text/html,application/xhtml+xml,*/*;q=0.8"},
	"Sec-Fetch-Site": {"cross-site"},
	"Sec-Fetch-Mode": {"navigate"},
	"Sec-Fetch-Dest": {"iframe"},
}

// A provider's words go through the whole gateway, and end nothing unless they
// are whole.
func TestLogoutThatEndsNothing(t *testing.T) {
	w := newWorld(t, "")
	ada := w.signIn("ada")
	res := w.backChannel(w.issuer.LogoutToken("another", "1001", ""))
	if res.status != http.StatusBadRequest || res.header.Get("Cache-Control") != "no-store" || !strings.Contains(res.body, `"error":"invalid_request"`) {
		t.Errorf("another client's token: %d %v %s", res.status, res.header, res.body)
	}
	for path, status := range map[string]int{
		"/.gatehouse/backchannel-logout/corp":              http.StatusMethodNotAllowed,
		"/.gatehouse/backchannel-logout/other":             http.StatusNotFound,
		"/.gatehouse/frontchannel-logout/corp":             http.StatusBadRequest,
		"/.gatehouse/frontchannel-logout/corp?iss=x&sid=s": http.StatusBadRequest,
		"/logout":      http.StatusSeeOther, // nobody is signed in in a frame
		"/logout?sid=": http.StatusBadRequest,
		"/logout?iss=https%3A%2F%2Fother.example.com&sid=abc": http.StatusSeeOther,
	} {
		if res := w.get(w.program(), path, frame); res.status != status || res.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", path, res.status, res.header)
		}
	}
	if res := w.get(ada, "/app", navigation); res.status != http.StatusOK {
		t.Errorf("ada is signed out: %d", res.status)
	}
	if res := w.get(ada, "/.gatehouse/", navigation); res.status != http.StatusOK || res.header.Get("Cache-Control") != "no-store" {
		t.Errorf("LGO-23 a page of ours may be shown again after a sign-out: %d %v", res.status, res.header)
	}
}

// LGO-22: who signs out leaves no refresh token behind.
func TestSignOutRevokes(t *testing.T) {
	w := newWorld(t, "")
	ada := w.signIn("ada")
	ada.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+publicHost+"/logout", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	res := w.do(ada, req)
	if res.status != http.StatusSeeOther || !strings.HasPrefix(res.header.Get("Location"), w.issuer.URL()+"/end-session?") {
		t.Errorf("%d to %s", res.status, res.header.Get("Location"))
	}
	if got := w.issuer.Last("revocation").PostForm; got.Get("token") == "" || got.Get("client_id") != "gatehouse" {
		t.Errorf("revoked %v\n%s", got, w.log)
	}
}

// A provider's word ends the sessions that it names, by whichever way it comes,
// and no other.
func TestLogoutAtTheProvider(t *testing.T) {
	for name, tell := range map[string]func(w *world, subject, sid string) answer{
		"by a logout token with sid": func(w *world, _, sid string) answer { return w.backChannel(w.issuer.LogoutToken("gatehouse", "", sid)) },
		"by a logout token with both": func(w *world, sub, sid string) answer {
			return w.backChannel(w.issuer.LogoutToken("gatehouse", sub, sid))
		},
		"by a logout token with sub": func(w *world, sub, _ string) answer { return w.backChannel(w.issuer.LogoutToken("gatehouse", sub, "")) },
		"LGO-19 in a frame": func(w *world, _, sid string) answer {
			return w.framed("/.gatehouse/frontchannel-logout/corp", w.issuer.URL(), sid)
		},
		"LGO-19 in a frame at the sign-out": func(w *world, _, sid string) answer { return w.framed("/logout", w.issuer.URL(), sid) },
		"LGO-19 in a frame of Entra ID":     func(w *world, _, sid string) answer { return w.framed("/logout", "", sid) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "")
			subject := ""
			for _, p := range demoPeople() {
				if p.Username == "ada" {
					subject = p.Subject
				}
			}
			ada, ben := w.signIn("ada"), w.signIn("ben")
			sids := w.issuer.SIDs(subject)
			if len(sids) != 1 {
				t.Fatalf("sessions at the provider: %v", sids)
			}
			if res := tell(w, subject, sids[0]); res.status != http.StatusOK || res.header.Get("Cache-Control") != "no-store" {
				t.Fatalf("%d %v %s\n%s", res.status, res.header, res.body, w.log)
			}
			ada.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			if res := w.get(ada, "/app", navigation); res.status == http.StatusOK {
				t.Error("ada is signed in still")
			}
			if res := w.get(ben, "/app", navigation); res.status != http.StatusOK {
				t.Errorf("ben is signed out: %d", res.status)
			}
		})
	}
}

// framed asks for a front-channel address as a frame of a provider's page does.
func (w *world) framed(path, issuer, sid string) answer {
	w.t.Helper()
	q := url.Values{"sid": {sid}}
	if issuer != "" {
		q.Set("iss", issuer)
	}
	return w.get(w.program(), path+"?"+q.Encode(), frame)
}
