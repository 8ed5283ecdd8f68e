package charts

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestWiring is what the chart makes for other proxies that ask the gateway.
func TestWiring(t *testing.T) {
	const asked = smallest + "  trustedProxies: [10.0.0.0/8]\n  paths: {oauth2Proxy: true}\n  forwardAuth: {hosts: [wiki.example.com], grpcAddress: \":9001\"}\nforwardAuth:\n"
	const gateway = "gatewayRef: {name: public}"
	tests := map[string]struct {
		values, kind, name string
		want               map[string]string
	}{
		"a middleware for Traefik": {"  traefik: {enabled: true}\n", "Middleware", "gw-gatehouse", map[string]string{
			"spec.chain.middlewares": "[map[name:gw-gatehouse-ask] map[name:gw-gatehouse-alone]]",
		}},
		"what it takes off": {"  traefik: {enabled: true}\n", "Middleware", "gw-gatehouse-alone", map[string]string{
			"spec.headers.customRequestHeaders": "map[Proxy-Authorization: X-Gatehouse-Authorization:]",
		}},
		"whom it asks": {"  traefik: {enabled: true}\n", "Middleware", "gw-gatehouse-ask", map[string]string{
			"spec.forwardAuth.address":                  "http://gw-gatehouse.auth.svc:8080/.gatehouse/auth/traefik",
			"spec.forwardAuth.authResponseHeadersRegex": "^X-(Gatehouse-|Forwarded-(User|Email|Groups|Preferred-Username)$)",
		}},
		"own pages for Traefik": {"  traefik: {enabled: true, entryPoints: [websecure]}\n", "IngressRoute", "gw-gatehouse", map[string]string{
			"spec.entryPoints": "[websecure]", "spec.routes.0.services": "[map[name:gw-gatehouse port:8080]]", "spec.routes.1": "<nil>",
			"spec.routes.0.match": "Host(`wiki.example.com`) && !PathPrefix(`/.gatehouse/auth/`) && (PathPrefix(`/.gatehouse/`) || Path(`/oidc/callback`) || PathPrefix(`/oidc/callback/`) || Path(`/logout`))",
		}},
		"a policy for Envoy Gateway": {"  envoyGateway: {enabled: true, namespace: apps, targetRefs: [{kind: HTTPRoute, name: wiki}]}\n", "SecurityPolicy", "gw-gatehouse", map[string]string{
			"metadata.namespace": "apps", "spec.targetRefs": "[map[kind:HTTPRoute name:wiki]]", "spec.extAuth.failOpen": "false",
			"spec.extAuth.grpc.backendRefs": "[map[name:gw-gatehouse namespace:auth port:9001]]",
		}},
		"own pages at its Gateway": {"  envoyGateway: {enabled: true, targetRefs: [{name: wiki}], ownPages: true, " + gateway + "}\n", "HTTPRoute", "gw-gatehouse-own", map[string]string{
			"spec.parentRefs": "[map[name:public]]", "spec.hostnames": "[wiki.example.com]",
			"spec.rules.0": "map[matches:[map[path:map[type:PathPrefix value:/.gatehouse/auth]]]]", "spec.rules.1.backendRefs": "[map[name:gw-gatehouse port:8080]]",
		}},
		"a filter of the Gateway API": {"  externalAuth: {enabled: true, " + gateway + ", backendRefs: [{name: wiki, port: 80}]}\n", "HTTPRoute", "gw-gatehouse-app", map[string]string{
			"spec.hostnames": "[wiki.example.com]", "spec.rules.0.backendRefs": "[map[name:wiki port:80]]",
			"spec.rules.0.filters": "[map[externalAuth:map[backendRef:map[name:gw-gatehouse port:9001] grpc:map[] protocol:GRPC] type:ExternalAuth]]",
		}},
		"one over HTTP": {"  externalAuth: {enabled: true, protocol: HTTP, " + gateway + ", backendRefs: [{name: wiki, port: 80}]}\n", "HTTPRoute", "gw-gatehouse-app", map[string]string{
			"spec.rules.0.filters.0.externalAuth.backendRef": "map[name:gw-gatehouse port:8080]",
			"spec.rules.0.filters.0.externalAuth.http.path":  "/.gatehouse/auth/envoy", "spec.rules.0.filters.0.externalAuth.protocol": "HTTP",
		}},
	}
	bothHelms(t, func(t *testing.T, helm string) {
		for name, tt := range tests {
			o := rendered(t, helm, asked+tt.values).get(t, tt.kind, tt.name)
			for path, want := range tt.want {
				if got := fmt.Sprint(o.at(path)); got != want {
					t.Errorf("%s: %s is %s, want %s", name, path, got, want)
				}
			}
		}
	})
}

// TestOwnPaths leads every path of the gateway's own to it, with a bearer route and other paths too.
func TestOwnPaths(t *testing.T) {
	values := strings.Replace(smallest, "    - name: okta", "    - name: jobs\n      bearer: {issuers: [{issuer: \"https://t.example.com\", audiences: [a], subjectPrefix: \"j:\"}]}\n    - name: okta", 1) +
		"  paths: {prefix: /.sso, signOut: /bye}\n  forwardAuth: {hosts: [wiki.example.com]}\nforwardAuth: {traefik: {enabled: true}}\n"
	match := fmt.Sprint(rendered(t, tool(t, "helm4"), values).get(t, "IngressRoute", "").at("spec.routes.0.match"))
	for _, want := range []string{"!PathPrefix(`/.sso/auth/`)", "PathPrefix(`/.sso/`)", "Path(`/bye`)", "Path(`/oidc/token`)", "Path(`/.well-known/oauth-protected-resource`)"} {
		if !strings.Contains(match, want) {
			t.Errorf("%s is not in %s", want, match)
		}
	}
}

// TestNotes is what people are told after install.
func TestNotes(t *testing.T) {
	notes := func(values string, flags ...string) string {
		args := append([]string{"install", "gw", chart, "--dry-run=client", "--namespace", "auth", "--values", "-"}, flags...)
		out, errs, err := run(t, values, tool(t, "helm4"), args...)
		if err != nil {
			t.Fatal(errs)
		}
		_, after, _ := strings.Cut(out, "\nNOTES:\n")
		return after
	}
	two := strings.Replace(smallest, "    - name: okta", "    - name: first\n      oidc: {issuer: \"https://first.example.com\", clientID: x}\n    - name: okta", 1)
	for name, tt := range map[string]struct {
		notes string
		want  []string
		not   []string
	}{
		"the next step":  {notes(smallest), []string{"redirect URI   https://app.example.com/oidc/callback\n", "Nobody can reach it", "port-forward service/gw-gatehouse 8080:8080", "Sessions are in memory", "helm --namespace auth test gw --logs"}, []string{"bundled Redis", "nginx"}},
		"two providers":  {notes(two), []string{"for the route first:\n  redirect URI   https://app.example.com/oidc/callback\n", "redirect URI   https://app.example.com/oidc/callback/okta\n"}, nil},
		"behind ingress": {notes(smallest + "ingress: {enabled: true}\n"), []string{"config.trustedProxies is empty"}, []string{"Nobody can reach it"}},
		"everything": {notes("{}", "--values", chart+"/ci/everything-values.yaml"), []string{"bundled Redis is one pod", "secretValues stand in", "auth-gw-gatehouse@kubernetescrd",
			`auth-url: "http://gw-gatehouse.auth.svc.cluster.local:8080/oauth2/auth"`}, []string{"in memory", "for trying\n\n"}},
	} {
		for _, want := range tt.want {
			if !strings.Contains(tt.notes, want) {
				t.Errorf("%s: %q is not in\n%s", name, want, tt.notes)
			}
		}
		for _, not := range tt.not {
			if strings.Contains(tt.notes, not) {
				t.Errorf("%s: %q is in\n%s", name, not, tt.notes)
			}
		}
	}
}

// shown are the values files that a document shows.
func shown(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, rest := range strings.Split(string(text), "```yml\n")[1:] {
		block, _, _ := strings.Cut(rest, "\n```")
		if strings.HasPrefix(block, "# values.yaml\n") {
			out = append(out, block)
		}
	}
	return out
}

// TestDocuments renders the values that documents show, so that nobody copies some that don't work.
// What is shown alone, without config, is on top of the smallest ones.
func TestDocuments(t *testing.T) {
	for file, least := range map[string]int{"../docs/kubernetes.md": 5, chart + "/README.md": 1} {
		blocks := shown(t, file)
		if len(blocks) < least {
			t.Errorf("%s shows only %d values files", file, len(blocks))
		}
		for _, block := range blocks {
			values := block
			if !strings.Contains(block, "\nconfig:") {
				values = smallest + block
			}
			m := rendered(t, tool(t, "helm4"), values)
			checkSettings(t, m)
			checkPods(t, m)
		}
	}
}
