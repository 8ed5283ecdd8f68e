package bearer

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
	"gatehouse/session"
)

// once makes a JWT good for one token.
func once(s *setup) { s.settings.Exchange.Replay = "refuse" }

// TestReplay: TOK-06.
func TestReplay(t *testing.T) {
	bubble(t, "TOK-06 again, and on another replica", func(t *testing.T, r *rig) {
		token := with(m{"jti": "1"})
		first := r.issue(token)
		second := r.replica()
		mux := http.NewServeMux()
		second.route().Mount(mux)
		form := url.Values{"grant_type": {grantJWT}, "assertion": {token}}.Encode()
		for name, w := range map[string]*httptest.ResponseRecorder{"again": r.exchange(token), "elsewhere": post(mux, tokenPath, form)} {
			if w.Code != 400 || !strings.Contains(w.Body.String(), "exchanged before") {
				t.Errorf("%s: %d %s", name, w.Code, w.Body)
			}
		}
		r.logged(`"check":"jti"`)
		r.accepted(first)
		r.accepted(token) // as a credential it is good many times
		r.issue(with(m{"jti": "2"}))
		r.issue(authntest.JWT(es256b(), nil, claims(m{"iss": otherURL, "jti": "1"})))
		if n := len(r.store.keys("token:")); n != 3 {
			t.Errorf("%d tokens are in the store", n)
		}
		if strings.Contains(r.store.dump(), idpURL) {
			t.Error("the store shows an issuer")
		}
		time.Sleep(time.Hour + time.Minute - time.Second)
		if w := r.exchange(token); w.Code != 400 {
			t.Errorf("at the last moment: %d", w.Code)
		}
		time.Sleep(session.MaxSkew) // and at the last moment by another replica's clock
		for _, mark := range r.store.keys("jti:") {
			if _, found, err := r.store.Store.Get(t.Context(), mark); !found || err != nil {
				t.Errorf("a mark is gone, %v", err)
			}
		}
	}, once)
	t.Run("TOK-06 fifty at once", func(t *testing.T) {
		r := newRig(t, once)
		token := with(m{"jti": "1"})
		var given atomic.Int32
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				switch w := r.exchange(token); w.Code {
				case 200:
					given.Add(1)
				case 400:
				default:
					t.Errorf("%d %s", w.Code, w.Body)
				}
			})
		}
		all.Wait()
		if n := given.Load(); n != 1 {
			t.Errorf("%d tokens were given", n)
		}
		if n := len(r.store.keys("token:")); n != 1 {
			t.Errorf("%d tokens are in the store", n)
		}
	})
	for name, jti := range map[string]any{"absent": nil, "empty": "", "number": 7} {
		t.Run("TOK-06 jti "+name, func(t *testing.T) {
			r := newRig(t, once)
			r.noToken(t, r.exchange(with(m{"jti": jti})), 400, "invalid_grant")
		})
	}
	t.Run("allowed, as clients need", func(t *testing.T) {
		r := newRig(t)
		token := good()
		if first, second := r.issue(token), r.issue(token); first == second {
			t.Error("one token twice")
		}
	})
}

// TestRevocation: RFC 7009 and TOK-29.
func TestRevocation(t *testing.T) {
	const path = "/.gatehouse/revoke"
	bubble(t, "TOK-29 on both replicas, within what is remembered", func(t *testing.T, r *rig) {
		token, other := r.issue(good()), r.replica()
		r.accepted(token)
		if _, err := judge(other, request("Bearer "+token)); err != nil {
			t.Errorf("%v", err)
		}
		w := r.post(path, "token="+token+"%0A&token_type_hint=access_token")
		if doc := answerOf(t, w); w.Code != 200 || len(doc) != 0 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if len(r.store.keys("token:")) != 0 {
			t.Error("it is still in the store")
		}
		time.Sleep(time.Minute)
		r.rejected(token, "")
		if _, err := judge(other, request("Bearer "+token)); !isRejected(err) {
			t.Errorf("the other replica: %v", err)
		}
		if again := r.post(path, "token="+token); again.Code != 200 {
			t.Errorf("again: %d", again.Code)
		}
	})
	r := newRig(t)
	token := r.issue(good())
	for name, other := range map[string]string{"nobody's": "abc", "cut": token[:len(token)-1], "a JWT": good()} {
		if w := r.post(path, "token="+other); w.Code != 200 || len(r.store.keys("token:")) != 1 {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	for name, w := range map[string]*httptest.ResponseRecorder{
		"no token": r.post(path, ""), "in the query": r.post(path+"?token="+token, "token="+token), "twice": r.post(path, "token="+token+"&token="+token),
		"JSON": r.post(path, object(m{"token": token}), "Content-Type", "application/json"),
	} {
		if doc := answerOf(t, w); w.Code != 400 || doc["error"] != "invalid_request" {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	r.store.breaks("delete")
	if w := r.post(path, "token="+token); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("the store is down: %d", w.Code)
	}
	r.store.breaks("")
	r.accepted(token)
	if strings.Contains(r.log.String(), token) {
		t.Error("TOK-30 the log has the token")
	}
}

// TestDeactivated: TOK-31, the rules are asked when the token is made.
func TestDeactivated(t *testing.T) {
	r := newRig(t, func(s *setup) { s.first().AllowedGroups = []string{"research"} })
	token := with(m{"groups": []string{"guests"}})
	if _, err := r.judge(token); !isNotAllowed(err) {
		t.Errorf("%v", err)
	}
	w := r.exchange(token)
	r.noToken(t, w, 400, "invalid_grant")
	if !strings.Contains(w.Body.String(), "group research") {
		t.Errorf("%s", w.Body)
	}
}

func isNotAllowed(err error) bool {
	var not *authn.NotAllowed
	return errors.As(err, &not)
}
