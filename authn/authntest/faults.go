package authntest

import (
	"bytes"
	"encoding/json/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"
)

// Answer says what a signed token is the answer to: an ID token but for the last three.
type Answer string

// The answers that tokens come in.
const (
	FromAuthorize Answer = "authorize" // the authorization response: implicit and hybrid flow
	FromCode      Answer = "code"      // the token endpoint, for a code
	FromRefresh   Answer = "refresh"   // the token endpoint, for a refresh token
	FromUserinfo  Answer = "userinfo"  // the userinfo endpoint, when it signs
	FromService   Answer = "service"   // the token endpoint, for client credentials: an access token
	FromLogout    Answer = "logout"    // a logout token
)

// Signature is how tokens are signed.
type Signature int

// The ways to sign a token.
const (
	// Genuine is by the first of the provider's keys.
	Genuine Signature = iota
	// Corrupt is genuine but for one bit.
	Corrupt
	// ForeignKey is by a key that is not published, under the kid of the one that is.
	ForeignKey
	// Unsigned is "alg": "none" and no signature.
	Unsigned
	// HMACSecret is HS256 keyed with the client's secret.
	HMACSecret
	// HMACPublicKey is HS256 keyed with the published key in PEM.
	HMACPublicKey
	// HMACEmpty is HS256 keyed with nothing.
	HMACEmpty
)

// Faults is everything that a provider does wrong. The zero value is honest.
// The functions are called on the goroutine of the request and may be called at
// once by several.
type Faults struct {
	// At stands before an endpoint and can do anything to its answers: see
	// [Unavailable], [Hangup], [EditJSON] and the others.
	At map[Endpoint]Fault

	// A token is made in this order: claims, then their JSON, then the header,
	// then the signature over both, then the compact form.

	// Only limits what is said below about tokens to one kind of answer.
	Only Answer
	// Claims changes what a token says: nonce, at_hash, aud, anything.
	Claims func(a Answer, claims map[string]any)
	// Payload changes the JSON of the claims, for what a map can't say:
	// duplicate names, bad UTF-8, endless nesting.
	Payload func(a Answer, payload []byte) []byte
	// Header changes the JOSE header after alg, kid and typ are in it. The
	// signature stays one of the key's own algorithm.
	Header func(a Answer, header map[string]any)
	// Signature is how tokens are signed.
	Signature Signature
	// Compact has the last word on a token.
	Compact func(a Answer, token string) string
	// NoKid leaves the kid out of tokens and of the published keys.
	NoKid bool

	// Redirect changes what is sent back through the browser, by [Authorize] or
	// by [EndSession]: state, iss, code, id_token, error.
	Redirect func(e Endpoint, params url.Values)
	// ResponseMode is the mode of authorization responses whatever was asked
	// for: query, fragment or form_post.
	ResponseMode string

	// ClockShift puts the provider's clock forward, or back if negative: iat,
	// exp, auth_time and the Date header.
	ClockShift time.Duration
}

// Fault stands before an endpoint. It can leave next out, or change the request
// that next sees or the answer that it gives.
type Fault func(next http.Handler) http.Handler

// Unavailable answers 503.
func Unavailable(http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "down for maintenance", http.StatusServiceUnavailable)
	})
}

// Hangup closes the connection without an answer.
func Hangup(http.Handler) http.Handler {
	return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
}

// Instead answers with another handler.
func Instead(h http.Handler) Fault { return func(http.Handler) http.Handler { return h } }

// Reply answers with a status, a type and a body, for instance an HTML page.
func Reply(status int, contentType, body string) Fault {
	return Instead(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
}

// Refuse answers 400 with an OAuth error (RFC 6749, section 5.2), for instance
// invalid_grant.
func Refuse(code string) Fault {
	return Reply(http.StatusBadRequest, "application/json", `{"error":"`+code+`"}`)
}

// SendTo redirects the request elsewhere.
func SendTo(status int, location string) Fault {
	return Instead(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", location)
		w.WriteHeader(status)
	}))
}

// Delay answers after d.
func Delay(d time.Duration) Fault {
	return before(func(r *http.Request) error { return wait(r.Context(), d) })
}

// Hold answers after release is closed. Calls tells how many are being held.
func Hold(release <-chan struct{}) Fault {
	return before(func(r *http.Request) error {
		select {
		case <-release:
			return nil
		case <-r.Context().Done():
			return r.Context().Err()
		}
	})
}

func before(f func(*http.Request) error) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if f(r) == nil {
				next.ServeHTTP(w, r)
			}
		})
	}
}

// When has the fault only for requests that match. The form is parsed already.
func When(match func(*http.Request) bool, f Fault) Fault {
	return func(next http.Handler) http.Handler {
		faulty := f(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if match(r) {
				faulty.ServeHTTP(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// OnRefresh has the fault only for refresh requests at the token endpoint.
func OnRefresh(f Fault) Fault {
	return When(func(r *http.Request) bool { return r.PostForm.Get("grant_type") == "refresh_token" }, f)
}

// Times has the fault for the first n requests.
func Times(n int64, f Fault) Fault {
	var seen atomic.Int64
	return When(func(*http.Request) bool { return seen.Add(1) <= n }, f)
}

// EditBody changes the body of the honest answer.
func EditBody(edit func(body []byte) []byte) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			honest := capture{header: w.Header()}
			next.ServeHTTP(&honest, r)
			body := edit(honest.body.Bytes())
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			honest.writeStatus(w)
			_, _ = w.Write(body)
		})
	}
}

// EditJSON changes the JSON object of the honest answer: the discovery document,
// the keys, a token response, userinfo.
func EditJSON(edit func(doc map[string]any)) Fault {
	return EditBody(func(body []byte) []byte {
		doc := map[string]any{}
		if json.Unmarshal(body, &doc) != nil {
			return body
		}
		edit(doc)
		return marshal(doc)
	})
}

// Truncate cuts the honest answer in half.
func Truncate(next http.Handler) http.Handler {
	return EditBody(func(body []byte) []byte { return body[:len(body)/2] })(next)
}

// Duplicate says every name of the honest JSON object a second time, with null.
func Duplicate(next http.Handler) http.Handler {
	return EditBody(func(body []byte) []byte {
		doc := map[string]any{}
		if json.Unmarshal(body, &doc) != nil {
			return body
		}
		for name := range doc {
			doc[name] = nil
		}
		again := marshal(doc)
		return append(append(body[:len(body)-1:len(body)-1], ','), again[1:]...)
	})(next)
}

// Pad puts n bytes of white space before the honest answer; it stays valid JSON.
func Pad(n int) Fault {
	return EditBody(func(body []byte) []byte { return append(bytes.Repeat([]byte(" "), n), body...) })
}

// Drip sends the honest answer a byte at a time, one every interval.
func Drip(interval time.Duration) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			honest := capture{header: w.Header()}
			next.ServeHTTP(&honest, r)
			honest.writeStatus(w)
			for _, b := range honest.body.Bytes() {
				if _, err := w.Write([]byte{b}); err != nil || wait(r.Context(), interval) != nil {
					return
				}
				_ = http.NewResponseController(w).Flush()
			}
		})
	}
}

// capture keeps an answer back. Its header is the real one.
type capture struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (c *capture) Header() http.Header { return c.header }

func (c *capture) WriteHeader(status int) { c.status = status }

func (c *capture) Write(p []byte) (int, error) { return c.body.Write(p) }

func (c *capture) writeStatus(w http.ResponseWriter) {
	if c.status != 0 {
		w.WriteHeader(c.status)
	}
}

// marshal writes JSON that always looks the same. What the provider itself says
// can be written; anything else comes from a test's own fault.
func marshal(v any) []byte {
	out, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		panic("authntest: " + err.Error())
	}
	return out
}
