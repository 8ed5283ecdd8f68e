package workload

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestReadToken(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	good := `{"iss":"https://idp.example.com","sub":"ci","aud":["wandb","x"],"iat":1799999990,"exp":1800000100.5}`
	header := encode(`{"alg":"RS256"}`)
	tests := map[string]struct {
		text   string
		opaque bool
		err    string
	}{
		"a JWT":                          {text: jwt(good)},
		"white space around it":          {text: "\n " + jwt(good) + "\r\n"},
		"without exp":                    {text: jwt(`{"sub":"x"}`)},
		"with allow-opaque":              {text: jwt(good), opaque: true},
		"opaque":                         {text: "wb_at_1234", err: "no JWT: not a signed JWT in compact form"},
		"opaque, allowed":                {text: "wb_at_1234", opaque: true},
		"a page":                         {text: "<html>please sign in</html>", opaque: true, err: "not one word"},
		"two lines":                      {text: jwt(good) + "\n" + jwt(good), err: "not one word"},
		"nothing":                        {text: " \n", opaque: true, err: "is empty"},
		"a letter beyond ASCII":          {text: jwt(good) + "é", opaque: true, err: "not one word"},
		"too long":                       {text: jwt(`{"a":"` + strings.Repeat("a", maxToken) + `"}`), err: "longer than 65536"},
		"ended":                          {text: jwt(`{"exp":1799999999}`), err: "ended at 2027-01-15T07:59:59Z, and now it is 2027-01-15T08:00:00Z"},
		"ends now":                       {text: jwt(`{"exp":1800000000}`), err: "ended at"},
		"ended, opaque allowed":          {text: jwt(`{"exp":1}`), opaque: true, err: "ended at"},
		"no signature":                   {text: header + "." + encode(good) + ".", err: "not base64url"},
		"a signature that is none":       {text: header + "." + encode(good) + ".=", err: "not base64url"},
		"encrypted":                      {text: "a.b.c.d.e", err: "compact form"},
		"a header without alg":           {text: encode(`{}`) + "." + encode(good) + "." + signature, err: "header"},
		"a header that is no object":     {text: encode(`null`) + "." + encode(good) + "." + signature, err: "header"},
		"claims that are no object":      {text: header + "." + encode(`null`) + "." + signature, err: "claims: not a JSON object"},
		"claims that are no base64":      {text: header + ".?." + signature, err: "not base64url"},
		"a claim twice":                  {text: jwt(`{"exp":1800000100,"exp":1900000000}`), err: "claims"},
		"exp in text":                    {text: jwt(`{"exp":"1800000100"}`), err: `claim "exp" is not a time`},
		"exp beyond all time":            {text: jwt(`{"exp":1e300}`), err: `claim "exp" is not a time`},
		"iat before all time":            {text: jwt(`{"iat":-1,"exp":1800000100}`), err: `claim "iat" is not a time`},
		"exp before all time":            {text: jwt(`{"exp":0}`), err: `claim "exp" is not a time`},
		"a sub that is a number":         {text: jwt(`{"sub":7,"exp":1800000100}`), err: `claim "sub" is not a string`},
		"an iss that is a list":          {text: jwt(`{"iss":["a"],"exp":1800000100}`), err: `claim "iss" is not a string`},
		"claims that are null":           {text: jwt(`{"iss":null,"sub":null,"aud":null,"iat":null,"exp":null}`)},
		"base64 in another spelling":     {text: jwt(good) + "=", err: "not base64url"},
		"a header that asks for more":    {text: encode(`{"alg":"RS256","crit":["x"]}`) + "." + encode(good) + "." + signature, err: `"crit" is not supported`},
		"two JSON values in the claims":  {text: jwt(good + good), err: "claims"},
		"text that is no UTF-8 in there": {text: jwt("{\"sub\":\"\xff\"}"), err: "claims"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			token, err := Rules{AllowOpaque: tt.opaque}.read(tt.text, now)
			if tt.err != "" {
				assertError(t, err, tt.err, signature)
				return
			}
			if err != nil || string(token.Secret) != strings.TrimSpace(tt.text) {
				t.Errorf("%q, %v", string(token.Secret), err)
			}
		})
	}
	token, err := Rules{}.read(jwt(good), now)
	want := Token{Secret(jwt(good)), time.Unix(1799999990, 0), time.Unix(1800000100, 5e8), Claims{"https://idp.example.com", "ci", `["wandb","x"]`}}
	if err != nil || token != want {
		t.Errorf("%+v, %v; want %+v", token, err, want)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(verb, token); strings.Contains(s, signature) {
			t.Errorf("%s prints the token: %s", verb, s)
		}
	}
}

// FuzzReadToken keeps what gets into the file to one word in ASCII that has not ended.
func FuzzReadToken(f *testing.F) {
	f.Add(jwt(`{"exp":1800000100}`), true)
	f.Add(jwt(`{"iat":0,"exp":1e10,"sub":"\u001b[2J"}`), false)
	f.Add("a.b.c", false)
	f.Fuzz(func(t *testing.T, text string, opaque bool) {
		now := time.Unix(1_800_000_000, 0)
		token, err := Rules{AllowOpaque: opaque}.read(text, now)
		if err != nil {
			if len(text) > 200 && strings.Contains(err.Error(), text) {
				t.Errorf("the error quotes the token: %v", err)
			}
			return
		}
		s := string(token.Secret)
		if s == "" || s != strings.TrimSpace(text) || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Errorf("%q was taken", s)
		}
		if !token.Expires.IsZero() && !token.Expires.After(now) {
			t.Errorf("%q has ended", s)
		}
		if !opaque && strings.Count(s, ".") != 2 {
			t.Errorf("%q is no JWT", s)
		}
		k := &Keeper{}
		if wait := k.next(token, now); wait < leastWait {
			t.Errorf("the next one in %s", wait)
		}
	})
}
