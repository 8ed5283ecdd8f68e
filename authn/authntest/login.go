package authntest

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// sessionCookie holds who is signed in at the provider.
const sessionCookie = "provider_session"

// login is somebody signed in at the provider.
type login struct {
	id      string // the sid claim
	subject string
	at      time.Time
}

// standing returns who may go on without seeing the sign-in page.
func (i *Issuer) standing(w http.ResponseWriter, r *http.Request, a authorization) (login, bool) {
	if auto := i.atOnce(a.loginHint); auto != "" {
		return i.startLogin(w, auto), true
	}
	s, ok := i.current(r)
	if !ok || slices.ContainsFunc(a.prompts, func(p string) bool { return p != "none" }) {
		return login{}, false
	}
	if a.maxAge >= 0 && i.now().Sub(s.at) > a.maxAge {
		return login{}, false
	}
	return s, true
}

// atOnce is the subject of whoever signs in without a page.
func (i *Issuer) atOnce(hint string) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	if at := slices.IndexFunc(i.people, func(p Person) bool { return p.hinted(hint) }); i.options.HintSignsIn && at >= 0 {
		return i.people[at].Subject
	}
	return i.autoLogin
}

// current returns who is signed in by the cookie of r.
func (i *Issuer) current(r *http.Request) (login, bool) {
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return login{}, false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	s, ok := i.sessions[c.Value]
	return s, ok
}

// startLogin signs somebody in at the provider.
func (i *Issuer) startLogin(w http.ResponseWriter, subject string) login {
	s := login{id: newID("sid"), subject: subject, at: i.now()}
	value := newID("session")
	i.mu.Lock()
	i.sessions[value] = s
	i.mu.Unlock()
	i.setCookie(w, value, 0)
	return s
}

// endLogin signs out whoever r's cookie names.
func (i *Issuer) endLogin(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(sessionCookie); err == nil {
		i.mu.Lock()
		delete(i.sessions, c.Value)
		i.mu.Unlock()
	}
	i.setCookie(w, "", -1)
}

func (i *Issuer) setCookie(w http.ResponseWriter, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: sessionCookie, Value: value, MaxAge: maxAge, Path: i.base.Path + "/",
		HttpOnly: true, Secure: i.base.Scheme == "https", SameSite: http.SameSiteLaxMode,
	})
}

// choice is one button of the sign-in page.
type choice struct {
	Subject, Name, Email, Initials string
	Groups                         []string
	Current                        bool // signed in at the provider already
	Hinted                         bool // meant by login_hint
}

// showSignIn lists the people, the one that login_hint means first.
func (i *Issuer) showSignIn(w http.ResponseWriter, r *http.Request, a authorization) {
	now, signedIn := i.current(r)
	i.mu.Lock()
	people := slices.Clone(i.people)
	i.mu.Unlock()
	page := signInPage{Client: a.client.ID, Request: a.raw.Encode()}
	for _, p := range people {
		page.People = append(page.People, choice{
			Subject: p.Subject, Name: p.title(), Email: p.Email, Groups: p.Groups, Initials: initials(p.title()),
			Current: signedIn && p.Subject == now.subject, Hinted: p.hinted(a.loginHint),
		})
	}
	slices.SortStableFunc(page.People, func(a, b choice) int {
		switch {
		case a.Hinted == b.Hinted:
			return 0
		case a.Hinted:
			return -1
		}
		return 1
	})
	i.pages.signIn(w, page)
}

// title is what to call p when there is no name.
func (p Person) title() string {
	for _, s := range []string{p.Name, p.Username, p.Email} {
		if s != "" {
			return s
		}
	}
	return p.Subject
}

// initials are the first letters of the first and the last word.
func initials(name string) string {
	words := strings.Fields(name)
	if len(words) == 0 {
		return "?"
	}
	out := string([]rune(words[0])[:1])
	if len(words) > 1 {
		out += string([]rune(words[len(words)-1])[:1])
	}
	return strings.ToUpper(out)
}

// serveSignIn takes the button that somebody pressed, with the request that they
// came with, which is checked as if it were new.
func (i *Issuer) serveSignIn(w http.ResponseWriter, r *http.Request) {
	// Without this, any page could sign a browser in as somebody else.
	if http.NewCrossOriginProtection().Check(r) != nil {
		i.pages.problem(w, http.StatusForbidden, "Please sign in from the provider's own page.")
		return
	}
	form, err := url.ParseQuery(r.PostForm.Get("request"))
	if err != nil {
		i.pages.problem(w, http.StatusBadRequest, "The application's request is damaged.")
		return
	}
	a, ok := i.readAuthorization(w, form)
	if !ok {
		return
	}
	subject := r.PostForm.Get("subject")
	if subject == "" {
		i.refuseTo(w, a, refuse("access_denied", "the person does not want to sign in"))
		return
	}
	if _, ok := i.person(subject); !ok {
		i.pages.problem(w, http.StatusBadRequest, "There is nobody of that name here.")
		return
	}
	i.grant(w, a, i.startLogin(w, subject))
}
