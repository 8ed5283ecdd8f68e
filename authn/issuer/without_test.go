package issuer

import "testing"

func TestWithout(t *testing.T) {
	const jwt = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJodHRwczovL2lkcCJ9.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
	for name, tt := range map[string]struct {
		text, want string
		secrets    []string
	}{
		"a code":               {"Invalid authorization code: a1b2", "Invalid authorization code: [secret]", []string{"a1b2"}},
		"twice":                {"a1b2 a1b2", "[secret] [secret]", []string{"a1b2"}},
		"as in a form":         {"no 4%2F0A%2Bb here", "no [secret] here", []string{"4/0A+b"}},
		"a part of a JWT":      {"bad signature c2lnbmF0dXJlLXNpZ25hdHVyZQ", "bad signature [secret]", []string{jwt}},
		"a JWT that is unsent": {"bad assertion " + jwt + "!", "bad assertion [secret]!", nil},
		"a JWT that is cut":    {"bad assertion eyJhbGciOiJFUzI1NiJ9.eyJp…", "bad assertion [secret]…", nil},
		"nothing sent":         {"as it was", "as it was", []string{""}},
		"not a part of a word": {"the client is not allowed to", "the client is not allowed to", []string{"a.client.id"}},
	} {
		if got := Without(tt.text, tt.secrets...); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
