package oidc

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json/v2"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	// attemptTime is how long an attempt to sign in may take.
	attemptTime = 10 * time.Minute
	// attemptKept is how long its cookie stays, so that somebody late is told so
	// and brought back to where they were going.
	attemptKept = time.Hour
	// attemptMarked is how long a used attempt is remembered: until it is late, by
	// the clock of any replica.
	attemptMarked = attemptTime + 2*time.Minute
	// Attempts of one browser at once, and the bytes of their cookies together.
	maxAttempts, maxAttemptBytes = 5, 6 << 10
	// maxFormer is how many sessions of the browser an attempt remembers.
	maxFormer = 2
	// maxExpired bounds the cookies that one response takes back.
	maxExpired = 20
)

// attempt is one sign-in under way: everything that the answer is held against.
// It is in a sealed cookie of the browser that began it and nowhere else.
type attempt struct {
	State    string `json:"s"`
	Nonce    string `json:"n"`
	Verifier string `json:"v,omitempty"`
	Route    string `json:"r"`
	Landing  string `json:"l"`
	// Token is the token endpoint that was known when the attempt began. The
	// code goes there or nowhere.
	Token string `json:"t,omitempty"`
	// Former refers to the sessions that the browser had when it began. They end
	// with this sign-in, and the answer may come without their cookies.
	Former []string `json:"f,omitempty"`
	Made   int64    `json:"m"` // Unix seconds
}

// random returns 256 bits in 43 characters that are safe in a URL.
func random() string {
	var b [32]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// attemptID names an attempt without telling its state.
func attemptID(state string) string {
	sum := sha256.Sum256([]byte("gatehouse attempt\x00" + state))
	return hex.EncodeToString(sum[:])
}

// attemptCookie is the name of the cookie of the attempt with this state.
func (o *relying) attemptCookie(state string) string { return o.Cookie.Attempt(attemptID(state)[:16]) }

func (a attempt) made() time.Time { return time.Unix(a.Made, 0) }

func (a attempt) late() bool {
	age := time.Since(a.made())
	return age > attemptTime || age < -time.Minute
}

// keepAttempt gives the browser its attempt, without its landing if that is too
// long for a cookie. It takes back the oldest ones and those that can't be read,
// so that what the browser sends stays small.
func (o *relying) keepAttempt(w http.ResponseWriter, r *http.Request, a attempt) error {
	name := o.attemptCookie(a.State)
	sealed, err := o.sealAttempt(name, a)
	if err != nil { // the landing is the one part that can be too long
		a.Landing = "/"
		sealed, err = o.sealAttempt(name, a)
	}
	if err != nil {
		return err
	}
	o.dropAttempts(w, r, len(name)+len(sealed))
	o.setAttempt(w, name, sealed)
	return nil
}

func (o *relying) sealAttempt(name string, a attempt) (string, error) {
	plain, err := json.Marshal(a)
	if err != nil {
		return "", err
	}
	return o.sealer.Seal(name, plain)
}

// dropAttempts takes back attempts until one more of size bytes fits.
func (o *relying) dropAttempts(w http.ResponseWriter, r *http.Request, size int) {
	type kept struct {
		name string
		size int
		made int64
	}
	var live []kept
	var gone []string
	for _, c := range r.Cookies() {
		if !strings.HasPrefix(c.Name, o.Cookie.Attempt("")) {
			continue
		}
		if a, ok := o.openAttempt(c); ok && !a.late() {
			live = append(live, kept{c.Name, len(c.Name) + len(c.Value), a.Made})
		} else {
			gone = append(gone, c.Name)
		}
	}
	slices.SortStableFunc(live, func(a, b kept) int { return int(b.made - a.made) }) // newest first
	for i, k := range live {
		if size += k.size; i >= maxAttempts-1 || size > maxAttemptBytes {
			gone = append(gone, k.name)
		}
	}
	for _, name := range gone[:min(len(gone), maxExpired)] {
		o.setAttempt(w, name, "")
	}
}

// setAttempt sets an attempt's cookie, or takes it back if value is empty. The
// answer of the implicit flow is a POST from the provider's site, which brings
// only SameSite=None cookies, and those must be Secure.
func (o *relying) setAttempt(w http.ResponseWriter, name, value string) {
	c := &http.Cookie{
		Name: name, Value: value, Path: "/", Domain: o.Cookie.Domain,
		MaxAge: int(attemptKept / time.Second), HttpOnly: true,
		Secure: o.Cookie.Secure, SameSite: http.SameSiteLaxMode,
	}
	if o.implicit() {
		c.Secure, c.SameSite = true, http.SameSiteNoneMode
	}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

func (o *relying) openAttempt(c *http.Cookie) (attempt, bool) {
	plain, err := o.sealer.Open(c.Name, c.Value)
	if err != nil {
		return attempt{}, false
	}
	var a attempt
	if err := json.Unmarshal(plain, &a); err != nil || a.State == "" || a.Nonce == "" {
		return attempt{}, false
	}
	return a, true
}

// findAttempt returns the browser's attempt with this state. A cookie of the
// same name that somebody else planted does not hide it.
func (o *relying) findAttempt(r *http.Request, state string) (attempt, bool) {
	if len(state) != 43 {
		return attempt{}, false
	}
	for _, c := range r.CookiesNamed(o.attemptCookie(state)) {
		a, ok := o.openAttempt(c)
		if ok && subtle.ConstantTimeCompare([]byte(a.State), []byte(state)) == 1 {
			return a, true
		}
	}
	return attempt{}, false
}
