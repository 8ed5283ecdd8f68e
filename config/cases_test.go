package config

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDecodeCases(t *testing.T) {
	got, err := DecodeCases("cases.yaml", []byte(`# what must hold
cases:
  - name: an engineer
    request: {url: /admin/, headers: {Accept: text/html}}
    who: {username: jo, groups: [eng], claims: {dept: [a, b]}}
    expect: {decision: allow, rule: admin, teams: [], headers: {X-Forwarded-User: jo}}

  - name: nobody
    request:
      method: POST
      url: https://wandb.example.com/graphql
    who: {anonymous: true}
    expect: {decision: 401, rule: ""}
`))
	if err != nil {
		t.Fatal(err)
	}
	text := func(s string) *string { return &s }
	want := []Case{
		{
			Name: "an engineer", Line: 3, Request: CaseRequest{URL: "/admin/", Headers: map[string]string{"Accept": "text/html"}},
			Who:    Somebody{Username: "jo", Groups: []string{"eng"}, Claims: map[string][]string{"dept": {"a", "b"}}},
			Expect: Expectation{Decision: "allow", Rule: text("admin"), Teams: []string{}, Headers: map[string]string{"X-Forwarded-User": "jo"}},
		},
		{
			Name: "nobody", Line: 8, Request: CaseRequest{Method: "POST", URL: "https://wandb.example.com/graphql"},
			Who: Somebody{Anonymous: true}, Expect: Expectation{Decision: "401", Rule: text("")},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestBadCases: testdata/cases.txt holds what is said about files that are wrong.
func TestBadCases(t *testing.T) {
	file := filepath.Join("testdata", "cases.txt")
	var out string
	for _, c := range readCases(t, file) {
		_, err := DecodeCases("cases.yaml", []byte(c.yaml))
		if err == nil {
			t.Errorf("%s: taken as sound", c.name)
			continue
		}
		c.faults = err.Error() + "\n"
		out += c.String() + "\n"
	}
	golden(t, file, []byte(out))
}
