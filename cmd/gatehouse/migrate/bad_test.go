package migrate

import (
	"errors"
	"os"
	"strings"
	"testing"

	"gatehouse/config"
)

// TestRefused checks what oauth2-proxy would not take: where it is, and what is meant.
func TestRefused(t *testing.T) {
	t.Chdir(t.TempDir())
	files := map[string]string{
		"unknown.cfg": "emial_domains = [\"x\"]\nclient_id = \"app\"\n",
		"kind.cfg":    "cookie_refresh = [\"1h\"]\n",
		"broken.cfg":  "client_id = app\n",
		"tables.cfg":  "[upstreams]\nx = 1\n",
		"beside.cfg":  "upstreams = [\"http://x\"]\n",
		"good.yaml":   "providers: [{provider: oidc, clientID: x}]\n",
		"key.yaml":    "providers: [{oidcConfig: {issuerUrls: x}}]\n",
		"group.yaml":  "injectRequestHeader: []\n",
		"kind.yaml":   "providers: [{clientID: [a]}]\n",
		"list.yaml":   "upstreamConfig: {upstreams: {a: b}}\n",
		"item.yaml":   "upstreamConfig: {upstreams: [{url: http://x}]}\n",
		"unset.yaml":  "providers: [{clientSecret: \"${NOT_SET}\"}]\n",
		"broken.yaml": "providers: [\n",
	}
	for name, text := range files {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		args, env string
		says      []string // of each fault, place and a part
	}{
		{"--emial-domain=x --cleint-id x", "", []string{"--emial-domain: oauth2-proxy has no such option", "did you mean --email-domain?", "did you mean --client-id?"}},
		{"-cookie-secret=hidden", "", []string{"command line: unknown shorthand", "names begin with --"}},
		{"--cookie-refresh=soon-hidden", "", []string{"--cookie-refresh: is no length of time"}},
		{"--reverse-proxy=hidden", "", []string{"--reverse-proxy: is neither true nor false"}},
		{"--redis-cluster-connection-urls=a\"hidden", "", []string{"--redis-cluster-connection-urls: is no list"}},
		{"--client-id", "", []string{"command line: flag needs an argument"}},
		{"--help", "", []string{"--help: stands behind --"}},
		{"--provider=okta", "", []string{"--provider: oauth2-proxy has no such provider", "Okta, Auth0, Dex and the like are oidc"}},
		{"--redirect-url=http://[x", "", []string{"--redirect-url: is no URL"}},
		{"--upstream=127.0.0.1:3000", "", []string{"--upstream: is no URL"}},
		{"--session-store-type=redis --redis-connection-url=redis.example.com", "", []string{"--redis-connection-url: is no URL"}},
		{"--skip-jwt-bearer-tokens --extra-jwt-issuers=https://x", "", []string{"is not ISSUER=AUDIENCE"}},
		{"", "OAUTH2_PROXY_COOKIE_SECURE=hidden", []string{"OAUTH2_PROXY_COOKIE_SECURE: is neither true nor false"}},
		{"--config=/nowhere/x.cfg", "", []string{"/nowhere/x.cfg: can't be read: no such file"}},
		{"--config=unknown.cfg", "", []string{"emial_domains in unknown.cfg: oauth2-proxy has no such option", "did you mean email_domains?"}},
		{"--config=kind.cfg", "", []string{"cookie_refresh in kind.cfg: is no value"}},
		{"--config=broken.cfg", "", []string{"broken.cfg:1:", "it is no TOML"}},
		{"--config=tables.cfg", "", []string{"upstreams in tables.cfg: is no value"}},
		{"--alpha-config=good.yaml --config=beside.cfg", "", []string{"upstreams in beside.cfg: can't stand beside"}},
		{"--alpha-config=good.yaml --upstream=http://x", "", []string{"--upstream: can't stand beside"}},
		{"--alpha-config=key.yaml", "", []string{"providers[0].oidcConfig.issuerUrls in key.yaml", "did you mean providers.oidcConfig.issuerURL?"}},
		{"--alpha-config=group.yaml", "", []string{"did you mean injectRequestHeaders?"}},
		{"--alpha-config=kind.yaml", "", []string{"providers[0].clientID in kind.yaml: is no value"}},
		{"--alpha-config=list.yaml", "", []string{"upstreamConfig.upstreams in list.yaml: is no list"}},
		{"--alpha-config=item.yaml", "", []string{`no setting "url" here`, "rewriteTarget"}},
		{"--alpha-config=unset.yaml", "", []string{"NOT_SET"}},
		{"--alpha-config=broken.yaml", "", []string{"broken.yaml: it is no YAML"}},
	}
	for _, tt := range tests {
		made, err := OAuth2Proxy(Input{Args: strings.Fields(tt.args), Env: strings.Fields(tt.env)})
		var faults config.Faults
		if !errors.As(err, &faults) || made.Settings != nil {
			t.Errorf("%s %s: %v, with settings %q; want faults and none", tt.args, tt.env, err, made.Settings)
			continue
		}
		for _, part := range tt.says {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s %s: nothing says %q:\n%v", tt.args, tt.env, part, err)
			}
		}
		if strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s %s: a value that may be secret is shown: %v", tt.args, tt.env, err)
		}
	}
}

// FuzzRead gives the readers anything. They must not fall, and what they take must come
// out as settings of which every fault is said.
func FuzzRead(f *testing.F) {
	f.Add("--client-id=x\n--upstream=http://a/b", "OAUTH2_PROXY_UPSTREAMS=http://a", "client_id = \"x\"\nskip_auth_routes = [\"^/a\"]", "")
	f.Add("--provider=github", "", "", "providers: [{provider: oidc, clientID: x, caFiles: [a]}]\ninjectRequestHeaders: [{name: X, values: [{claimSource: {claim: email, prefix: \"a: \"}}]}]")
	f.Add("--redirect-url=https://a.example.com/x\n--cookie-domain=.example.com", "X=${Y:-z}", "", "upstreamConfig: {upstreams: [{id: \"-\", path: /a, uri: \"unix:///x\"}]}\n# ${X}")
	f.Add("--session-store-type=redis\n--redis-connection-url=redis://u:p@h/1?x=y\n--email-domain=*", "", "", "")
	f.Fuzz(func(t *testing.T, args, env, toml, yaml string) {
		t.Chdir(t.TempDir())
		in := Input{Secrets: "/run/secrets", Env: strings.Split(env, "\n"), Args: strings.Split(args, "\n")}
		for name, text := range map[string]string{"config": toml, "alpha-config": yaml} {
			if text != "" {
				if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				in.Args = append([]string{"--" + name + "=" + name}, in.Args...)
			}
		}
		made, err := OAuth2Proxy(in)
		if err != nil {
			var faults config.Faults
			if !errors.As(err, &faults) {
				t.Errorf("no faults, but %v", err)
			}
			return
		}
		for _, h := range made.Holes {
			if line := strings.Split(string(made.Settings), "\n")[h.Line-1]; !strings.Contains(line, "FILL IN") {
				t.Errorf("%v: the line is %q", h, line)
			}
		}
		for _, fault := range made.Faults {
			if strings.Contains(fault.Problem, "not YAML") || strings.Contains(fault.Problem, "set twice") || strings.Contains(fault.Problem, "not a setting") {
				t.Errorf("what was written can't be read: %v\n%s", fault, made.Settings)
			}
		}
	})
}
