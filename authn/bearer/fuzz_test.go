package bearer

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gatehouse/authn/authntest"
)

// FuzzToken: whatever comes as a token, nobody is let in by what the rig did not
// make, and nothing panics.
func FuzzToken(f *testing.F) {
	r := newRig(f, everyKey, asks)
	r.asked.says(`{"active":false}`)
	access := r.issue(good())
	signed := map[string]bool{access: true}
	for _, key := range []authntest.Key{es256(), rs256(), eddsa()} {
		token := authntest.JWT(key, nil, claims(nil))
		signed[token] = true
		f.Add(token)
	}
	f.Add(access)
	for _, list := range [][]bad{badAlgorithms(), badHeaders(), badSignatures(), badShapes()} {
		for _, c := range list {
			if len(c.token) < 4<<10 {
				f.Add(c.token)
			}
		}
	}
	f.Fuzz(func(t *testing.T, token string) {
		for _, authorization := range []string{"Bearer " + token, token} {
			id, err := judgeBy(r.route, request(authorization))
			word := strings.TrimLeft(strings.Trim(authorization, " \t"), " ")
			if _, rest, ok := strings.Cut(word, " "); ok {
				word = strings.TrimLeft(rest, " ")
			}
			if err == nil && !signed[word] {
				t.Errorf("%q is %s", authorization, id.Subject)
			}
			if err != nil && id.Subject != "" {
				t.Errorf("%q: an identity with %v", authorization, err)
			}
		}
		w := r.exchange(token)
		if (w.Code == http.StatusOK) && !signed[strings.TrimSpace(token)] {
			t.Errorf("%q was exchanged", token)
		}
		if w.Code != http.StatusOK && w.Code/100 != 4 && w.Code != http.StatusServiceUnavailable {
			t.Errorf("%q: %d", token, w.Code)
		}
	})
}

// FuzzForm: whatever form comes, the endpoint answers as RFC 6749 says and gives a
// token for a JWT of the rig alone.
func FuzzForm(f *testing.F) {
	r := newRig(f)
	token := good()
	for _, form := range []string{
		"", "grant_type=" + grantJWT + "&assertion=" + token, "grant_type=" + grantJWT + "&assertion=" + token + "%0A&x=1",
		"grant_type=" + grantExchange + "&subject_token_type=" + typeAccessToken + "&audience=a&audience=b&subject_token=" + token,
		"a=1&a=2", "%", "a=%00", ";", "=&=", "grant_type=password", strings.Repeat("a=1&", 100),
	} {
		f.Add(form)
	}
	f.Fuzz(func(t *testing.T, form string) {
		w := r.post(tokenPath, form)
		doc := answerOf(t, w)
		switch {
		case w.Code == http.StatusOK:
			if !strings.Contains(form, token[:20]) && !strings.Contains(form, "%") || doc["token_type"] != "Bearer" {
				t.Errorf("%q: %s", form, w.Body)
			}
		case w.Code/100 != 4 && w.Code != http.StatusServiceUnavailable || doc["error"] == nil:
			t.Errorf("%q: %d %s", form, w.Code, w.Body)
		}
		req := httptest.NewRequest(http.MethodPost, tokenPath, strings.NewReader(form))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		values, err := readForm(req)
		for name, list := range values {
			if err == nil && len(list) != 1 && name != "audience" && name != "resource" {
				t.Errorf("%q: %q is there %d times", form, name, len(list))
			}
		}
	})
}
