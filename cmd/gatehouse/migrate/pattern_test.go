package migrate

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"gatehouse/config"
	"gatehouse/proxy/policy"
)

func TestPaths(t *testing.T) {
	tests := []struct {
		expression, want string // the patterns, with spaces between; "-" for none
		narrower         bool
	}{
		{"^/healthz$", "/healthz", false},
		{"^/static/", "/static/", false},
		{"^/static/.*", "/static/", false},
		{"^/static/.*$", "/static/", false},
		{"^/static/(.*)$", "/static/", false},
		{"^/api/v1", "/api/v1 /api/v1/", true},
		{"^/api.*$", "/api /api/", true},
		{"/healthz", "/healthz /healthz/", true},
		{"/healthz$", "/healthz", true},
		{"^/(health|ready)z?$", "/health /healthz /ready /readyz", false},
		{`^/favicon\.ico$`, "/favicon.ico", false},
		{`\.(css|js)$`, "/**/*.css /**/*.js", false},
		{`^/.*\.png$`, "/**/*.png", false},
		{"^/hooks/[^/]+/push$", "/hooks/*/push", false},
		{"^/hooks/[^/]+$", "/hooks/*", false},
		{"^/a/.*/b$", "/a/*/**/b", false},
		{"^/webhook/?$", "/webhook", true},
		{"^/v[12]/public/", "/v1/public/ /v2/public/", false},
		{"^/assets(/.*)?$", "/assets /assets/", false},
		{"^/static/.+", "/static/", false},
		{"^/s3.+", "/s3/", true},
		{"^/x[^/]+$", "-", false},
		{"^/.*/x$", "-", false},
		{"^/x/$", "-", false},
		{"^/$", "-", false},
		{"^/", "-", false},
		{".*", "-", false},
		{"^/user/[0-9]+$", "-", false},
		{"^/a.*b$", "-", false},
		{"(?i)^/health$", "-", false},
		{"^/a{1000}", "-", false},
		{"^/x/../admin", "-", false},
		{"[", "-", false},
		{"^healthz", "-", false},
		{"^(/a|/b)/(c|d)/(e|f)/(g|h)/(i|j)/(k|l)$", "-", false},
	}
	for _, tt := range tests {
		got, narrower, err := paths(tt.expression)
		if err != nil {
			got = []string{"-"}
		}
		if strings.Join(got, " ") != tt.want || narrower != tt.narrower {
			t.Errorf("%s: %q, narrower %t (%v), want %q, %t", tt.expression, got, narrower, err, tt.want, tt.narrower)
		}
	}
}

// public says whether the policy lets everybody go to a path by a pattern.
func public(pattern, path string) bool {
	p := policy.New(nil, []config.Rule{{Paths: []string{pattern}, Access: "public"}})
	rule, err := p.Find(policy.Place{Method: "GET", Host: "example.com", Paths: []string{path}})
	return err == nil && rule.Public
}

// FuzzPaths makes paths from expressions and asks both: what is public here was so before.
func FuzzPaths(f *testing.F) {
	for _, e := range []string{"^/a$", "^/a/", `\.css$`, "^/(a|b)/[^/]+", "/x", "^/a/.*/b$", "^/a(/.*)?$", "^/[ab]?/c"} {
		f.Add(e, "/a/b/c.css")
	}
	f.Fuzz(func(t *testing.T, expression, path string) {
		patterns, _, err := paths(expression)
		if err != nil || !strings.HasPrefix(path, "/") || strings.Contains(path, "//") || strings.ContainsAny(path, "\n\x00") {
			return
		}
		before, err := regexp.Compile(expression)
		if err != nil {
			t.Fatalf("%q was read, but is no regular expression", expression)
		}
		for _, p := range patterns {
			candidates := []string{path, p, strings.TrimSuffix(p, "/") + path, p + strings.TrimPrefix(path, "/"), strings.ReplaceAll(strings.ReplaceAll(p, "/**/", "/"), "*", "x")}
			for _, c := range candidates {
				if !strings.Contains(c, "//") && !strings.Contains(c, "*") && !strings.HasSuffix(c, "/") && public(p, c) && !before.MatchString(c) {
					t.Errorf("%q lets %q in by %q, which it did not", expression, c, p)
				}
			}
		}
	})
}

// TestPathsOpen goes to paths by the policy itself: what was meant is open, what was not
// is closed.
func TestPathsOpen(t *testing.T) {
	tests := []struct {
		expression   string
		open, closed string // with spaces between
	}{
		{"^/static/", "/static/a /static/a/b.css", "/static /statics/a /x/static/a"},
		{`\.(css|js)$`, "/a.css /a/b/c.js", "/a.css.php /a.cssx /css"},
		{"^/hooks/[^/]+/push$", "/hooks/app/push", "/hooks/a/b/push /hooks/app/push/x /hooks/push"},
		{"^/api", "/api /api/x", "/apikeys /x/api"},
		{"^/a/.*/b$", "/a/x/b /a/x/y/b", "/a/b /a/x/b/c"},
		{"^/(health|ready)z?$", "/health /healthz /ready /readyz", "/health/x /healthzz"},
	}
	for _, tt := range tests {
		patterns, _, err := paths(tt.expression)
		if err != nil {
			t.Errorf("%s: %v", tt.expression, err)
		}
		anyOf := func(path string) bool {
			return slices.ContainsFunc(patterns, func(p string) bool { return public(p, path) })
		}
		for path := range strings.FieldsSeq(tt.open) {
			if !anyOf(path) {
				t.Errorf("%s: %s is closed by %v", tt.expression, path, patterns)
			}
		}
		for path := range strings.FieldsSeq(tt.closed) {
			if anyOf(path) {
				t.Errorf("%s: %s is open by %v", tt.expression, path, patterns)
			}
		}
	}
}
