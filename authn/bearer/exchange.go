package bearer

import (
	"context"
	"crypto/rand"
	"encoding/json/v2"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/audit"
	"gatehouse/authn/issuer"
	"gatehouse/session"
)

const (
	// maxForm bounds the form of a token request, in bytes: the longest JWT, every
	// byte of it percent-encoded, and room for the rest.
	maxForm = 3*authn.MaxToken + 4<<10
	// atOnce is how many token requests are looked at at the same time, besides those that
	// wait for an issuer's keys. More than that is no fleet that starts, but a flood.
	atOnce = 256
	// slack is how much longer a token is good than its client is told. The client
	// counts from when the answer arrives, and some renew only after the end.
	slack = 2 * time.Minute
	// longestMark bounds how long a JWT's id is remembered.
	longestMark = 10 * 365 * 24 * time.Hour
	// retryAfter is when to come again after an answer that nobody could give.
	retryAfter = 5 * time.Second
)

// The grants of the token endpoint and the types of tokens in them.
const (
	grantJWT      = "urn:ietf:params:oauth:grant-type:jwt-bearer"     // RFC 7523, section 2.1
	grantExchange = "urn:ietf:params:oauth:grant-type:token-exchange" // RFC 8693, section 2.1

	typePrefix      = "urn:ietf:params:oauth:token-type:"
	typeAccessToken = typePrefix + "access_token"
)

// exchange is the token endpoint: a JWT of a trusted issuer for an access token
// of the gateway.
type exchange struct {
	*route
	digests []func(string) string // what stands for a jti in the store, for each key of the ring
	places  chan struct{}
	pace    pace
}

func newExchange(b *route) *exchange {
	x := &exchange{route: b, places: make(chan struct{}, atOnce+issuer.MaxWaiting*len(b.issuers))}
	for _, each := range b.Keys.Each() {
		x.digests = append(x.digests, each.Digest("jti"))
	}
	// Marks are set in one order by all replicas, also by those with another first key.
	slices.SortFunc(x.digests, func(a, b func(string) string) int { return strings.Compare(a(""), b("")) })
	return x
}

func (x *exchange) mount(mux *http.ServeMux) {
	mux.HandleFunc("POST "+x.TokenPath, x.serveToken)
	mux.HandleFunc("POST "+x.revocationPath(), x.serveRevocation)
	mux.HandleFunc("GET "+serverMetadata, x.serveServerMetadata)
	mux.HandleFunc("GET "+resourceMetadata, x.serveResourceMetadata)
}

// oauthError is an answer of RFC 6749, section 5.2.
type oauthError struct {
	status      int
	code        string
	description string
	retry       time.Duration // Retry-After; zero for none
	said        bool          // the log has it already
}

func (e oauthError) Error() string { return e.code + ": " + e.description }

// tooMany sends a client away for a moment.
func tooMany() error {
	return oauthError{status: http.StatusTooManyRequests, code: "slow_down", description: "Too many token requests at once.", retry: time.Second}
}

func invalidRequest(description string) error {
	return oauthError{status: http.StatusBadRequest, code: "invalid_request", description: description}
}

// serveToken answers a token request. Its client is known by the JWT alone: an
// Authorization header, which some clients take from ~/.netrc, counts for nothing.
func (x *exchange) serveToken(w http.ResponseWriter, r *http.Request) {
	form, err := readForm(r)
	if err != nil {
		x.refuse(w, r, err)
		return
	}
	request, err := x.parse(form)
	if err != nil {
		x.refuse(w, r, err)
		return
	}
	select {
	case x.places <- struct{}{}:
		defer func() { <-x.places }()
	default:
		x.refuse(w, r, tooMany())
		return
	}
	log := x.logOf(r)
	token, id, err := x.trade(r.Context(), log, request.assertion, session.ClientOf(r))
	x.Signed.Tell(authn.OutcomeOf(err))
	if err != nil {
		x.refuse(w, r, request.refusal(err))
		return
	}
	log.Info("access token given", "subject", id.Subject, "issuer", id.Issuer, "kind", id.Kind, "account", id.Account.Name)
	answer := map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": int64(x.settings.Exchange.Lifetime.Std() / time.Second)}
	if request.grant == grantExchange {
		answer["issued_token_type"] = typeAccessToken
	}
	writeJSON(w, http.StatusOK, answer)
}

// trade verifies a JWT and gives an access token for it, by the same rules as a
// request that carries the JWT itself.
func (x *exchange) trade(ctx context.Context, log *slog.Logger, assertion string, from session.Client) (string, authn.Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, verifyTime)
	defer cancel()
	if !isJWT(assertion) {
		return "", authn.Identity{}, x.refused(ctx, log, nil, refusal{check: "format", sentence: "The assertion is not a signed JWT in compact form."})
	}
	id, v, err := x.proveJWT(ctx, log, assertion)
	if errors.Is(err, authn.ErrNoCredential) {
		return "", authn.Identity{}, x.refused(ctx, log, nil, x.notTrusted(assertion))
	}
	if err != nil {
		return "", authn.Identity{}, err
	}
	if err := x.allow(id); err != nil {
		return "", authn.Identity{}, err
	}
	if !x.pace.allow(id) {
		return "", authn.Identity{}, tooMany()
	}
	// From here on it does not matter whether the client waits: what is begun is
	// ended, so that a mark is left only where a token was given.
	ctx, end := context.WithTimeout(context.WithoutCancel(ctx), verifyTime)
	defer end()
	token, err := x.issued.Issue(ctx, id, v.sub, from, x.settings.Exchange.Lifetime.Std()+slack)
	if err != nil {
		return "", authn.Identity{}, err
	}
	// The mark comes last, so that who got no token for want of the store can come again.
	if err := x.once(ctx, log, v); err != nil {
		return "", authn.Identity{}, errors.Join(err, x.issued.End(ctx, token)) // nobody has seen it
	}
	return token, id, nil
}

// once refuses a JWT that was exchanged before, on any replica, if the settings
// say so (RFC 7523, section 3, point 7). The mark stands under each key of the
// ring, so that replicas with an older ring see it too. If it can't be set, what
// was set of it is taken back.
func (x *exchange) once(ctx context.Context, log *slog.Logger, v verified) error {
	if x.settings.Exchange.Replay != "refuse" {
		return nil
	}
	iss, issErr := v.Text("iss")
	jti, err := v.Text("jti")
	if err = errors.Join(err, issErr); err != nil || jti == "" {
		return x.refused(ctx, log, nil, refusal{check: "jti", sentence: "The token has no id (jti), so it can’t be told whether it was used before."})
	}
	mark, lifetime := []byte(rand.Text()), min(time.Until(v.expires), longestMark)+session.MaxSkew
	for _, digest := range x.digests {
		added, err := x.Store.Add(ctx, jtiKey(digest, iss, jti), mark, lifetime)
		if err == nil && !added {
			err = x.refused(ctx, log, nil, refusal{check: "jti", sentence: "The token was exchanged before (jti).", seen: jti})
		}
		if err != nil {
			return errors.Join(err, x.unmark(ctx, iss, jti, mark))
		}
	}
	return nil
}

func (x *exchange) unmark(ctx context.Context, iss, jti string, mark []byte) error {
	var err error
	for _, digest := range x.digests {
		_, failed := x.Store.Swap(ctx, jtiKey(digest, iss, jti), mark, nil, 0)
		err = errors.Join(err, failed)
	}
	return err
}

func jtiKey(digest func(string) string, iss, jti string) string {
	return "jti:" + digest(iss+"\n"+jti)
}

// tokenRequest is what a token request asks for.
type tokenRequest struct{ grant, assertion string }

// refusal is what came of the request as OAuth says it: a JWT that is not good is
// an invalid grant, or an invalid request where it is the subject of an exchange
// (RFC 8693, section 2.2.2). What could not be found out stays what it is.
func (t tokenRequest) refusal(err error) error {
	code := "invalid_grant"
	if t.grant == grantExchange {
		code = "invalid_request"
	}
	var not *authn.NotAllowed
	var rejected *authn.Rejected
	switch {
	case errors.As(err, &not):
		return oauthError{status: http.StatusBadRequest, code: code, description: not.Missing}
	case errors.As(err, &rejected):
		return oauthError{status: http.StatusBadRequest, code: code, description: rejected.Sentence, said: true}
	case errors.Is(err, authn.ErrRejected):
		return oauthError{status: http.StatusBadRequest, code: code, description: "The token is not good here."}
	}
	return err
}

// parse reads a token request.
func (x *exchange) parse(form url.Values) (tokenRequest, error) {
	t := tokenRequest{grant: form.Get("grant_type")}
	switch t.grant {
	case "":
		return t, invalidRequest("grant_type is missing.")
	case grantJWT:
		t.assertion = form.Get("assertion")
	case grantExchange:
		if err := x.checkExchange(form); err != nil {
			return t, err
		}
		t.assertion = form.Get("subject_token")
	default:
		return t, oauthError{status: http.StatusBadRequest, code: "unsupported_grant_type", description: "The grant must be jwt-bearer or token-exchange."}
	}
	// The file that a client reads its token from may end in a line break.
	if t.assertion = strings.TrimSpace(t.assertion); t.assertion == "" {
		return t, invalidRequest("The JWT is missing.")
	}
	if strings.TrimSpace(form.Get("scope")) != "" {
		return t, oauthError{status: http.StatusBadRequest, code: "invalid_scope", description: "There are no scopes here; leave scope out."}
	}
	return t, nil
}

// checkExchange checks what RFC 8693, section 2.1 has beside the token.
func (x *exchange) checkExchange(form url.Values) error {
	jwts := []string{typePrefix + "jwt", typeAccessToken, typePrefix + "id_token"}
	switch {
	case !slices.Contains(jwts, form.Get("subject_token_type")):
		return invalidRequest("subject_token_type must be that of a JWT: " + strings.Join(jwts, " "))
	case form.Get("actor_token") != "" || form.Get("actor_token_type") != "":
		return invalidRequest("Acting for somebody else is not supported; leave actor_token out.")
	case form.Get("requested_token_type") != "" && form.Get("requested_token_type") != typeAccessToken:
		return invalidRequest("requested_token_type must be " + typeAccessToken + ", or left out.")
	}
	for _, name := range []string{"audience", "resource"} {
		if slices.ContainsFunc(form[name], func(v string) bool { return v != "" && strings.TrimSuffix(v, "/") != x.origin() }) {
			return oauthError{status: http.StatusBadRequest, code: "invalid_target", description: "The token is good at " + x.origin() + " alone; leave " + name + " out."}
		}
	}
	return nil
}

// readForm reads the parameters of a request, each at most once and in the body
// alone (RFC 6749, section 3.2).
func readForm(r *http.Request) (url.Values, error) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" {
		return nil, invalidRequest("The request must be a form: application/x-www-form-urlencoded.")
	}
	if r.URL.RawQuery != "" {
		return nil, invalidRequest("Parameters belong in the body and not in the address.")
	}
	text, err := io.ReadAll(io.LimitReader(r.Body, maxForm+1))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, oauthError{status: http.StatusRequestTimeout, code: "invalid_request", description: "The request took too long to arrive."}
	case err != nil:
		return nil, invalidRequest("The request could not be read.")
	case len(text) > maxForm:
		return nil, oauthError{status: http.StatusRequestEntityTooLarge, code: "invalid_request", description: "The request is too large."}
	}
	form, err := url.ParseQuery(string(text))
	if err != nil {
		return nil, invalidRequest("The form can’t be read.")
	}
	for name, values := range form {
		if len(values) > 1 && name != "audience" && name != "resource" {
			return nil, invalidRequest("A parameter appears twice.")
		}
		if slices.ContainsFunc(values, func(v string) bool { return strings.ContainsRune(v, 0) }) {
			return nil, invalidRequest("A parameter holds a NUL.")
		}
	}
	return form, nil
}

// refuse answers an error. What a client can do nothing about is 503, so that it
// tries again and loses nothing.
func (x *exchange) refuse(w http.ResponseWriter, r *http.Request, err error) {
	log := x.logOf(r)
	var e oauthError
	if !errors.As(err, &e) {
		e = oauthError{status: http.StatusServiceUnavailable, code: "temporarily_unavailable", description: "It can't be checked right now whether the token is good.", retry: retryAfter}
		if x.refusals.Allow() {
			log.Error("token request failed", "err", err)
		}
	} else {
		told := audit.Of(r, audit.TokenIssue, audit.Refused)
		told.Reason = e.description
		_ = audit.Or(x.Audit).Record(told) // it is refused all the same
		if !e.said && x.refusals.Allow() {
			log.Info("token request refused", "status", e.status, "code", e.code, "description", e.description)
		}
	}
	if e.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(e.retry/time.Second)))
	}
	writeJSON(w, e.status, map[string]any{"error": e.code, "error_description": ascii(e.description), "request_id": r.Header.Get("X-Request-Id")})
}

// ascii spells a sentence in what an error_description may have (RFC 6749, section 5.2).
func ascii(sentence string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '’' || r == '"':
			return '\''
		case r < ' ' || r > '~' || r == '\\':
			return '?'
		}
		return r
	}, sentence)
}

// serveRevocation ends an access token of the gateway (RFC 7009). Who holds it may
// do that; to all others the answer is the same.
func (x *exchange) serveRevocation(w http.ResponseWriter, r *http.Request) {
	form, err := readForm(r)
	if err == nil && form.Get("token") == "" {
		err = invalidRequest("token is missing.")
	}
	if err == nil {
		token := strings.TrimSpace(form.Get("token"))
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), verifyTime) // it ends, though nobody waits
		defer cancel()
		if err = x.issued.End(ctx, token); err == nil && strings.HasPrefix(token, authn.TokenPrefix) && x.refusals.Allow() {
			x.logOf(r).Info("access token revoked")
		}
		x.memory.Forget(token)
	}
	if err != nil {
		x.refuse(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{})
}

// writeJSON answers with a document that nobody may keep (RFC 6749, section 5.1).
func writeJSON(w http.ResponseWriter, status int, doc map[string]any) {
	text, err := json.Marshal(doc, json.Deterministic(true))
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{"error":"server_error"}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(text) // the client may have gone
}
