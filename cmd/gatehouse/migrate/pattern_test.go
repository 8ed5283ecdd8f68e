package migrate

import (
	"regexp"
	"strings"
	"testing"
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

// matches says whether a path pattern of the policy matches a path.
func matches(pattern, path string) bool {
	e := regexp.QuoteMeta(pattern)
	e = strings.ReplaceAll(e, `/\*\*/`, `/(?:[^/]+/)*`)
	e = "^" + strings.ReplaceAll(e, `\*`, `[^/]*`)
	if strings.HasSuffix(pattern, "/") {
		return regexp.MustCompile(e).MatchString(path)
	}
	return regexp.MustCompile(e + "$").MatchString(path)
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
				if !strings.Contains(c, "//") && !strings.Contains(c, "*") && !strings.HasSuffix(c, "/") && matches(p, c) && !before.MatchString(c) {
					t.Errorf("%q lets %q in by %q, which it did not", expression, c, p)
				}
			}
		}
	})
}
