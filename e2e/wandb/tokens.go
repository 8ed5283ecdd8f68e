package wandb

import (
	"cmp"
	"context"
	"crypto/rand"
	"net/http"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

// Trusted is the issuer of an organization's identity federation, and whom it may
// speak for.
type Trusted struct {
	// Issuer is as its discovery document spells it. The document is asked for at the
	// first exchange, and the keys are when a JWT names one that is not known.
	Issuer string
	// Audience is whom JWTs must be made for, "wandb" if empty.
	Audience string
	// Members are the people and service accounts, by the sub of their JWTs.
	Members map[string]Viewer
	// Lifetime is how long an access token is good, an hour if zero.
	Lifetime time.Duration
}

// given is an access token of the server.
type given struct {
	to   Viewer
	ends time.Time
}

// exchange is the token endpoint (RFC 7523). It says no as the library does that the
// real one is made with.
func (s *Server) exchange(w http.ResponseWriter, r *http.Request) {
	refuse := func(code, why string) {
		reply(w, http.StatusBadRequest, object{"error": code, "error_description": why})
	}
	f := s.options.Federation
	switch {
	case f.Issuer == "":
		reply(w, http.StatusNotFound, object{"error": "no such path"})
		return
	case r.ParseForm() != nil, r.PostForm.Get("assertion") == "":
		refuse("invalid_request", "the assertion is missing")
		return
	case r.PostForm.Get("grant_type") != jwtBearer:
		refuse("unsupported_grant_type", "no such grant")
		return
	}
	who, err := s.verify(r.Context(), strings.TrimSpace(r.PostForm.Get("assertion")))
	if err != nil {
		refuse("invalid_grant", err.Error())
		return
	}
	member, ok := f.Members[who]
	if !ok {
		refuse("invalid_grant", "nobody here is "+who)
		return
	}
	life := cmp.Or(f.Lifetime, time.Hour)
	token := "wb_at_" + rand.Text()
	s.mu.Lock()
	s.tokens[token] = given{member, time.Now().Add(life)}
	s.mu.Unlock()
	reply(w, http.StatusOK, object{"access_token": token, "expires_in": int(life / time.Second)})
}

// verify finds out whom a JWT names, by what its issuer publishes.
func (s *Server) verify(ctx context.Context, assertion string) (string, error) {
	f := s.options.Federation
	s.mu.Lock()
	issuer := s.issuer
	s.mu.Unlock()
	if issuer == nil {
		// The keys are asked for again long after this request.
		p, err := oidc.NewProvider(context.WithoutCancel(ctx), f.Issuer)
		if err != nil {
			return "", err
		}
		s.mu.Lock()
		s.issuer, issuer = p, p
		s.mu.Unlock()
	}
	token, err := issuer.Verifier(&oidc.Config{ClientID: cmp.Or(f.Audience, "wandb")}).Verify(ctx, assertion)
	if err != nil {
		return "", err
	}
	return token.Subject, nil
}

// holder is whom a token was given to.
func (s *Server) holder(token string) (Viewer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.tokens[token]
	return g.to, ok && time.Now().Before(g.ends)
}

// Revoke ends all access tokens that there are.
func (s *Server) Revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}
