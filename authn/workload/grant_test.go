package workload

import (
	"encoding/json/jsontext"
	"net/url"
	"reflect"
	"testing"
	"time"
)

func TestRequestCheck(t *testing.T) {
	for name, tt := range map[string]struct {
		request Request
		err     string
	}{
		"nothing":                 {Request{}, ""},
		"all":                     {Request{Scope: "a b", Audience: "x", Resources: []string{"https://a/", "urn:b"}, Take: IDToken}, ""},
		"another token":           {Request{Take: "refresh_token"}, "neither access_token nor id_token"},
		"a resource that is none": {Request{Resources: []string{"https://a/", "wandb"}}, "absolute URI"},
		"one with a fragment":     {Request{Resources: []string{"https://a/#b"}}, "fragment"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tt.request.Check(); tt.err != "" {
				assertError(t, err, tt.err)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	public := Credentials{Issuer: Issuer{URL: peerURL}, Party: Party{ID: "ci"}}
	assertError(t, public.Check(), "nobody gives a token to a mere name")
	assertError(t, Credentials{}.Check(), "a client id")
}

func TestRequestIsSent(t *testing.T) {
	p := newPeer(t)
	p.answer(tokenPath, ok(`{"access_token":"`+lasting(t, "ci", time.Hour)+`","token_type":"Bearer"}`))
	c := Credentials{p.issuer(), Party{ID: "ci", Secret: "s"}, Request{Scope: "a b", Audience: "aud", Resources: []string{"https://a/", "https://b/"}}}
	if _, err := c.Fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := url.Values{"grant_type": {"client_credentials"}, "scope": {"a b"}, "audience": {"aud"}, "resource": {"https://a/", "https://b/"}}
	if got := p.asked(tokenPath)[0]; !reflect.DeepEqual(got.form, want) || got.user != "ci" || got.pass != "s" {
		t.Errorf("asked %+v, want %v", got, want)
	}
}

func TestTake(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	ends := jwt(`{"iat":1800000000,"exp":1800000060}`)
	endless := jwt(`{"sub":"x"}`)
	in := func(s time.Duration) time.Time { return now.Add(s * time.Second) }
	for name, tt := range map[string]struct {
		request Request
		grant   grant
		want    string
		expires time.Time
		err     string
	}{
		"the access token":             {Request{}, grant{Access: ends, ID: "x", Type: "bearer", Expires: jsontext.Value("3600")}, ends, in(60), ""},
		"the ID token":                 {Request{Take: IDToken}, grant{Access: "x", ID: ends, Type: "N_A"}, ends, in(60), ""},
		"no ID token":                  {Request{Take: IDToken}, grant{Access: ends, Type: "Bearer"}, "", time.Time{}, "no id_token; the scope must hold openid"},
		"no access token":              {Request{}, grant{ID: ends, Type: "Bearer"}, "", time.Time{}, "no access_token"},
		"no type":                      {Request{}, grant{Access: ends}, "", time.Time{}, "not Bearer"},
		"an end beside it":             {Request{}, grant{Access: endless, Type: "Bearer", Expires: jsontext.Value("120")}, endless, in(120), ""},
		"an end in text":               {Request{}, grant{Access: endless, Type: "Bearer", Expires: jsontext.Value(`"120"`)}, endless, in(120), ""},
		"an end that is none":          {Request{}, grant{Access: endless, Type: "Bearer", Expires: jsontext.Value(`"soon"`)}, endless, time.Time{}, ""},
		"a negative one":               {Request{}, grant{Access: endless, Type: "Bearer", Expires: jsontext.Value(`-1`)}, endless, time.Time{}, ""},
		"one that is of another token": {Request{Take: IDToken}, grant{ID: endless, Expires: jsontext.Value("120")}, endless, time.Time{}, ""},
		"opaque":                       {Request{Rules: Rules{AllowOpaque: true}}, grant{Access: "opaque", Type: "Bearer", Expires: jsontext.Value("60")}, "opaque", in(60), ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := tt.request.token(tt.grant, now)
			if tt.err != "" {
				assertError(t, err, tt.err)
				if !Final(err) {
					t.Error("that would pass")
				}
				return
			}
			if err != nil || string(got.Secret) != tt.want || !got.Expires.Equal(tt.expires) {
				t.Errorf("%q until %v, %v; want %q until %v", string(got.Secret), got.Expires, err, tt.want, tt.expires)
			}
		})
	}
}

// An end that is counted from now must be one by the clock, which goes on while the
// machine is suspended.
func TestTakeByTheClock(t *testing.T) {
	g := grant{Access: "opaque", Type: "Bearer", Expires: jsontext.Value("120")}
	token, err := Request{Rules: Rules{AllowOpaque: true}}.token(g, time.Now())
	if err != nil || token.Expires != token.Expires.Round(0) || token.Issued != token.Issued.Round(0) {
		t.Errorf("from %v to %v, %v", token.Issued, token.Expires, err)
	}
}
