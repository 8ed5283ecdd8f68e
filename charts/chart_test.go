package charts

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gatehouse/config"
)

// smallest is values that the chart takes.
const smallest = `
config:
  publicURL: https://app.example.com
  upstreams: [{url: "http://app:8080"}]
  authn:
    - name: okta
      oidc: {issuer: "https://example.okta.com", clientID: 0oa1b2c3d4, allowedEmailDomains: [example.com]}
`

// examples are the values files that the chart comes with, each with the flags that name it.
func examples(t *testing.T) map[string][]string {
	t.Helper()
	files, err := filepath.Glob(chart + "/ci/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	wandb, operator := chart+"/values-wandb.yaml", chart+"/values-wandb-operator.yaml"
	all := map[string][]string{
		"wandb":    {"--values", wandb},
		"operator": {"--values", wandb, "--values", operator},
	}
	for _, f := range files {
		all[filepath.Base(f)] = []string{"--values", f}
	}
	if len(all) < 4 {
		t.Fatalf("only %d examples were found", len(all))
	}
	return all
}

// TestExamples lints and renders every values file that the chart comes with, and holds
// what comes out to what must be true of it whatever the values.
func TestExamples(t *testing.T) {
	bothHelms(t, func(t *testing.T, helm string) {
		for name, flags := range examples(t) {
			t.Run(name, func(t *testing.T) {
				out, _, err := run(t, "", helm, append([]string{"lint", "--strict", chart, "--kube-version", kubernetes}, flags...)...)
				if err != nil {
					t.Errorf("lint: %s", out)
				}
				text, err := template(t, helm, "{}", flags...)
				if err != nil {
					t.Fatal(err)
				}
				if out, errs, err := run(t, text, tool(t, "objects")); err != nil {
					t.Errorf("Kubernetes would not take them: %s%s", out, errs)
				}
				m := objects(t, text)
				checkPods(t, m)
				checkSettings(t, m)
				checkPlaces(t, m)
				checkPolicies(t, m)
			})
		}
	})
}

// checkPods holds every pod to what the level "restricted" asks for, and to more.
func checkPods(t *testing.T, m manifest) {
	t.Helper()
	seen := 0
	for _, o := range m {
		pod := o.Spec.Template.Spec
		if o.Kind == "Pod" {
			pod = o.Spec.PodSpec
		}
		if len(pod.Containers) == 0 {
			continue
		}
		seen++
		what := o.Kind + " " + o.Metadata.Name
		if is(pod.AutomountServiceAccountToken, true) || pod.AutomountServiceAccountToken == nil {
			t.Errorf("%s has the token of its service account", what)
		}
		if !is(pod.EnableServiceLinks, false) {
			t.Errorf("%s takes the variables of services for settings", what)
		}
		if s := pod.SecurityContext; !is(s.RunAsNonRoot, true) || s.RunAsUser == nil || *s.RunAsUser == 0 || s.SeccompProfile.Type != "RuntimeDefault" {
			t.Errorf("%s is not restricted: %+v", what, s)
		}
		for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
			s := c.SecurityContext
			if !is(s.AllowPrivilegeEscalation, false) || !is(s.ReadOnlyRootFilesystem, true) || len(s.Capabilities.Add) > 0 || !slices.Equal(s.Capabilities.Drop, []string{"ALL"}) {
				t.Errorf("%s: container %s is not restricted: %+v", what, c.Name, s)
			}
			for _, mount := range c.VolumeMounts {
				if !mount.ReadOnly && mount.Name != "data" {
					t.Errorf("%s: container %s can write to %s", what, c.Name, mount.MountPath)
				}
			}
		}
	}
	if seen < 2 {
		t.Errorf("only %d pods were found", seen)
	}
}

func is(b *bool, want bool) bool { return b != nil && *b == want }

// checkSettings takes the settings of the pods for what "gatehouse check" makes of them.
func checkSettings(t *testing.T, m manifest) {
	t.Helper()
	text := withFiles(t, m)
	if _, err := config.Decode("gatehouse.yaml", []byte(text), nil); err != nil {
		t.Errorf("gatehouse refuses its settings: %v\n%s", err, text)
	}
}

var secretPath = regexp.MustCompile(`/run/secrets/gatehouse/([a-z.-]+)`)

// withFiles is the settings, with the files that they name made here: of the secrets that
// the chart makes, or else of anything that could be one.
func withFiles(t *testing.T, m manifest) string {
	t.Helper()
	dir := t.TempDir()
	settings := m.settings(t)
	for _, name := range secretPath.FindAllStringSubmatch(settings, -1) {
		text := "bWFkZSBmb3IgdGhpcyB0ZXN0IGFuZCBub3RoaW5nIGVsc2U="
		if name[1] == "redis-ca.crt" {
			text = m.secret(t, "gw-gatehouse-redis", "ca.crt")
		}
		if err := os.WriteFile(filepath.Join(dir, name[1]), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return secretPath.ReplaceAllString(settings, dir+"/$1")
}

// checkPlaces looks whether everything is in the release's namespace and labelled as its own.
func checkPlaces(t *testing.T, m manifest) {
	t.Helper()
	for _, o := range m {
		if o.Metadata.Name == "gw-extra" {
			continue // is not the chart's
		}
		if o.Metadata.Namespace != "auth" || o.Metadata.Labels["app.kubernetes.io/instance"] != "gw" || o.Metadata.Labels["app.kubernetes.io/managed-by"] != "Helm" {
			t.Errorf("%s %s is in the namespace %q and has the labels %v", o.Kind, o.Metadata.Name, o.Metadata.Namespace, o.Metadata.Labels)
		}
	}
}

// checkPolicies looks whether every workload has a network policy for both directions.
func checkPolicies(t *testing.T, m manifest) {
	t.Helper()
	policies := m.ofKind("NetworkPolicy")
	workloads := len(m.ofKind("Deployment")) + len(m.ofKind("StatefulSet"))
	if len(policies) != workloads {
		t.Errorf("%d network policies for %d workloads", len(policies), workloads)
	}
	for _, p := range policies {
		if got := fmt.Sprint(p.at("spec.policyTypes")); got != "[Ingress Egress]" {
			t.Errorf("%s is for %s", p.Metadata.Name, got)
		}
	}
}

// TestRefused is what the chart does not take, and what it says then.
func TestRefused(t *testing.T) {
	tests := map[string]struct {
		values string
		want   []string // parts of the message
	}{
		"no settings":              {`{}`, []string{"config", "publicURL"}},
		"an unknown setting":       {smallest + "  upstream: x\n", []string{"/config", "'upstream' not allowed"}},
		"one further down":         {strings.Replace(smallest, "clientID:", "clientld: x, clientID:", 1), []string{"/config/authn/0/oidc", "'clientld' not allowed"}},
		"a value of another type":  {smallest + "  trustedProxies: 10.0.0.0/8\n", []string{"/config/trustedProxies", "want array"}},
		"a wrong duration":         {smallest + "  listen: {idleTimeout: 10 minutes}\n", []string{"/config/listen/idleTimeout", "does not match pattern"}},
		"a word that is no choice": {smallest + "  log: {level: loud}\n", []string{"/config/log/level", "'debug'"}},
		"a secret in config":       {strings.Replace(smallest, "clientID:", "clientSecret: hush, clientID:", 1), []string{"/config/authn/0/oidc", "'clientSecret' not allowed"}},
		"session keys in config":   {smallest + "  session: {keys: [x]}\n", []string{"/config/session", "'keys' not allowed"}},
		"an unknown value":         {smallest + "replicas: 2\n", []string{"'replicas' not allowed"}},
		"one within a group":       {smallest + "ingress: {host: x}\n", []string{"/ingress", "'host' not allowed"}},
		"a port that is a text":    {smallest + "service: {port: http}\n", []string{"/service/port"}},
		"nobody may come in":       {"config: {publicURL: \"https://a.example.com\"}", []string{"config.authn is missing"}},
		"replicas without Redis":   {smallest + "replicaCount: 2\n", []string{"2 replicas need Redis", "config.store.redis", "redis.enabled"}},
		"scaling without Redis":    {smallest + "autoscaling: {enabled: true}\n", []string{"6 replicas need Redis"}},
		"two kinds of Redis":       {smallest + "  store: {redis: {url: \"rediss://r:6379\"}}\nredis: {enabled: true}\n", []string{"set together"}},
		"Redis without keys":       {smallest + "  store: {redis: {url: \"rediss://r:6379\"}}\n", []string{"config.session.keysFile is missing", "openssl rand"}},
		"only for the pod itself":  {smallest + "  listen: {address: \"127.0.0.1:8080\"}\n", []string{"config.listen.address is 127.0.0.1:8080"}},
		"probes can't reach it":    {smallest + "  operations: {address: \"localhost:8081\"}\n", []string{"config.operations.address"}},
		"wiring for nothing":       {smallest + "forwardAuth: {traefik: {enabled: true}}\n", []string{"config.forwardAuth is missing"}},
		"wiring without gRPC":      {smallest + "  forwardAuth: {hosts: [a.example.com]}\nforwardAuth: {envoyGateway: {enabled: true}}\n", []string{"config.forwardAuth.grpcAddress"}},
		"a route to no gateway":    {smallest + "gatewayApi: {enabled: true}\n", []string{"gatewayApi.gatewayRef is missing"}},
		"wiring of no application": {smallest + "  forwardAuth: {hosts: [a.example.com]}\nforwardAuth: {externalAuth: {enabled: true, protocol: HTTP}}\n", []string{"backendRefs"}},
		"wiring of no route":       {smallest + "  forwardAuth: {hosts: [a.example.com], grpcAddress: \":9001\"}\nforwardAuth: {envoyGateway: {enabled: true}}\n", []string{"targetRefs is missing"}},
	}
	bothHelms(t, func(t *testing.T, helm string) {
		for name, tt := range tests {
			_, err := template(t, helm, tt.values)
			if err == nil {
				t.Errorf("%s: taken", name)
				continue
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%s: %q is not in\n%v", name, want, err)
				}
			}
		}
	})
}

// TestTemplates is what becomes of values: for each, an object and what stands where in it.
func TestTemplates(t *testing.T) {
	const redis = "  session: {keysFile: /run/secrets/gatehouse/session-keys}\n  store: {redis: {url: \"rediss://redis.example.com:6380\"}}\n"
	tests := map[string]struct {
		values, kind, name string
		want               map[string]string
	}{
		"one pod": {smallest, "Deployment", "", map[string]string{
			"spec.replicas": "1", "spec.strategy.type": "Recreate",
			"spec.template.spec.terminationGracePeriodSeconds":              "45",
			"spec.template.spec.containers.0.args":                          "[serve --config=/etc/gatehouse/gatehouse.yaml]",
			"spec.template.spec.containers.0.livenessProbe.httpGet":         "map[path:/livez port:operations]",
			"spec.template.spec.containers.0.readinessProbe.httpGet":        "map[path:/readyz port:operations]",
			"spec.template.spec.containers.0.image":                         "ghcr.io/gatehouse/gatehouse:0.1.0",
			"spec.template.spec.topologySpreadConstraints.0.topologyKey":    "kubernetes.io/hostname",
			"spec.template.spec.volumes.1":                                  "<nil>",
			"spec.template.spec.containers.0.resources.limits.memory":       "512Mi",
			"spec.template.spec.containers.0.ports.0.containerPort":         "8080",
			"spec.template.spec.containers.0.ports.1.containerPort":         "8081",
			"spec.template.spec.containers.0.securityContext.capabilities":  "map[drop:[ALL]]",
			"spec.template.spec.automountServiceAccountToken":               "false",
			"spec.template.metadata.annotations.checksum/secret":            "<nil>",
			"spec.template.spec.containers.0.startupProbe.failureThreshold": "30",
			"spec.template.spec.containers.0.readinessProbe.timeoutSeconds": "4",
			"spec.template.spec.containers.0.volumeMounts.0.mountPath":      "/etc/gatehouse/gatehouse.yaml",
			"spec.template.spec.containers.0.volumeMounts.0.subPath":        "gatehouse.yaml",
			"spec.template.spec.containers.0.envFrom":                       "<nil>",
			"spec.template.spec.securityContext.seccompProfile.type":        "RuntimeDefault",
			"spec.template.spec.containers.0.securityContext.runAsNonRoot":  "<nil>",
			"spec.template.spec.securityContext.runAsUser":                  "65532",
			"spec.template.spec.serviceAccountName":                         "gw-gatehouse",
			"spec.selector.matchLabels":                                     "map[app.kubernetes.io/component:gateway app.kubernetes.io/instance:gw app.kubernetes.io/name:gatehouse]",
		}},
		"several": {smallest + redis + "replicaCount: 3\n", "Deployment", "", map[string]string{
			"spec.replicas": "3", "spec.strategy.type": "RollingUpdate", "spec.strategy.rollingUpdate.maxUnavailable": "0",
		}},
		"settings that running pods read again": {smallest + "rollOnChange: false\n", "Deployment", "", map[string]string{
			"spec.template.spec.containers.0.volumeMounts.0": "map[mountPath:/etc/gatehouse name:config readOnly:true]",
		}},
		"as many as there is work": {smallest + redis + "autoscaling: {enabled: true}\n", "Deployment", "", map[string]string{"spec.replicas": "<nil>"}},
		"Redis in the environment": {smallest + "extraEnv: [{name: GATEHOUSE_STORE_REDIS_URL, value: \"rediss://r:6379\"}]\nreplicaCount: 2\n", "Deployment", "", map[string]string{
			"spec.replicas": "2", "spec.template.spec.containers.0.env.0.name": "GATEHOUSE_STORE_REDIS_URL",
		}},
		"an image by its digest": {smallest + "image: {digest: \"sha256:" + strings.Repeat("ab", 32) + "\"}\n", "Deployment", "", map[string]string{
			"spec.template.spec.containers.0.image": "ghcr.io/gatehouse/gatehouse@sha256:" + strings.Repeat("ab", 32),
		}},
		"a grace period of one's own": {smallest + "terminationGracePeriodSeconds: 600\n", "Deployment", "", map[string]string{"spec.template.spec.terminationGracePeriodSeconds": "600"}},
		"long drains":                 {smallest + "  listen: {drainDelay: 1m30.5s, drainTimeout: 1h}\n", "Deployment", "", map[string]string{"spec.template.spec.terminationGracePeriodSeconds": "3696"}},
		"TLS in the gateway": {smallest + "  listen: {address: \":8443\", tls: {certificates: [{certFile: /c, keyFile: /k}]}}\n", "Service", "gw-gatehouse", map[string]string{
			"spec.ports.0.name": "https", "spec.ports.0.appProtocol": "https", "spec.ports.0.port": "8080", "spec.ports.1": "<nil>",
		}},
		"plain http sent on": {smallest + "  listen: {address: \":8443\", httpAddress: \":8088\", tls: {acme: {email: ops@example.com}}}\n", "Service", "gw-gatehouse", map[string]string{
			"spec.ports.0.name": "https", "spec.ports.1.name": "http-plain", "spec.ports.1.port": "80", "spec.ports.1.targetPort": "http-plain",
		}},
		"plain http in the pod": {smallest + "  listen: {address: \":8443\", httpAddress: \":8088\", tls: {acme: {email: ops@example.com}}}\n", "Deployment", "", map[string]string{
			"spec.template.spec.containers.0.ports.2.name": "http-plain", "spec.template.spec.containers.0.ports.2.containerPort": "8088",
		}},
		"questions over gRPC": {smallest + "  forwardAuth: {hosts: [a.example.com], grpcAddress: \":9001\"}\n", "Service", "gw-gatehouse", map[string]string{
			"spec.ports.1": "map[appProtocol:kubernetes.io/h2c name:grpc port:9001 protocol:TCP targetPort:grpc]",
		}},
		"operations apart": {smallest + "service: {type: LoadBalancer}\n", "Service", "gw-gatehouse-operations", map[string]string{
			"spec.type": "<nil>", "spec.clusterIP": "None", "spec.ports.0.port": "8081", "spec.publishNotReadyAddresses": "true",
		}},
		"an ingress": {smallest + "ingress: {enabled: true, className: nginx}\n", "Ingress", "", map[string]string{
			"spec.ingressClassName": "nginx", "spec.rules.0.host": "app.example.com", "spec.rules.1": "<nil>",
			"spec.rules.0.http.paths.0.backend.service": "map[name:gw-gatehouse port:map[name:http]]",
		}},
		"an ingress for all hosts": {strings.Replace(smallest, "8080\"", "8080\", hosts: [app.example.com, wiki.example.com]", 1) + "ingress: {enabled: true}\n", "Ingress", "", map[string]string{
			"spec.rules.0.host": "app.example.com", "spec.rules.1.host": "wiki.example.com", "spec.rules.2": "<nil>", "spec.ingressClassName": "<nil>",
		}},
		"a route": {smallest + "gatewayApi: {enabled: true, gatewayRef: {name: public, sectionName: https}}\n", "HTTPRoute", "", map[string]string{
			"spec.parentRefs": "[map[name:public sectionName:https]]", "spec.hostnames": "[app.example.com]",
			"spec.rules.0.backendRefs": "[map[name:gw-gatehouse port:8080]]", "spec.rules.0.timeouts.request": "0s",
		}},
		"scaling": {smallest + redis + "autoscaling: {enabled: true, maxReplicas: 9}\n", "HorizontalPodAutoscaler", "", map[string]string{
			"spec.minReplicas": "2", "spec.maxReplicas": "9", "spec.metrics.0.resource.target.averageUtilization": "70", "spec.scaleTargetRef.name": "gw-gatehouse",
		}},
		"disruptions": {smallest, "PodDisruptionBudget", "", map[string]string{"spec.maxUnavailable": "1", "spec.minAvailable": "<nil>"}},
		"disruptions by what must stay": {smallest + "podDisruptionBudget: {minAvailable: 50%}\n", "PodDisruptionBudget", "", map[string]string{
			"spec.maxUnavailable": "<nil>", "spec.minAvailable": "50%",
		}},
		"a network policy": {smallest + redis, "NetworkPolicy", "", map[string]string{
			"spec.ingress.0.ports": "[map[port:http protocol:TCP]]", "spec.ingress.0.from": "<nil>",
			"spec.egress.0.ports.0.port":                       "53",
			"spec.egress.2.to.0.namespaceSelector.matchLabels": "map[kubernetes.io/metadata.name:auth]",
			"spec.egress.3.ports":                              "[map[port:443 protocol:TCP] map[port:6380 protocol:TCP]]", "spec.egress.4": "<nil>",
		}},
		"ways out to other namespaces": {strings.Replace(smallest, "app:8080", "app.apps.svc.cluster.local:8080", 1), "NetworkPolicy", "", map[string]string{
			"spec.egress.2.to.0.namespaceSelector.matchLabels": "map[kubernetes.io/metadata.name:apps]",
		}},
		"ways out to the cluster's API": {strings.Replace(smallest, "example.okta.com\"", "kubernetes.default.svc\"", 1), "NetworkPolicy", "", map[string]string{
			"spec.egress.4.ports": "[map[port:443 protocol:TCP] map[port:6443 protocol:TCP]]",
		}},
		"ways out to Sentinel's servers": {smallest + "  session: {keysFile: /k}\n  store: {redis: {sentinel: {master: m, addresses: [\"rediss://s.example.com:26379\"]}}}\n", "NetworkPolicy", "", map[string]string{
			"spec.egress.3.ports": "[map[port:443 protocol:TCP] map[port:26379 protocol:TCP] map[port:6379 protocol:TCP]]",
		}},
		"ways out of the environment": {smallest + "extraEnv: [{name: HTTPS_PROXY, value: \"http://proxy.example.com:3128\"}, {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: \"http://collector.tracing:4318\"}, {name: X, value: \"udp://syslog.example.com\"}]\n", "NetworkPolicy", "", map[string]string{
			"spec.egress.3.to.0.namespaceSelector.matchLabels": "map[kubernetes.io/metadata.name:tracing]",
			"spec.egress.4.ports":                              "[map[port:443 protocol:TCP] map[port:3128 protocol:TCP] map[port:4318 protocol:TCP] map[port:514 protocol:UDP]]",
		}},
		"no other ways out": {smallest + "networkPolicy: {egress: [{ports: [{port: 1}]}]}\n", "NetworkPolicy", "", map[string]string{"spec.egress": "[map[ports:[map[port:1]]]]"}},
		"an object as text": {smallest + "extraObjects: [\"apiVersion: v1\\nkind: Secret\\nmetadata: {name: {{ .Release.Name }}-extra}\"]\n", "Secret", "", map[string]string{"metadata.name": "gw-extra"}},
		"one's own service account": {smallest + "serviceAccount: {create: false, name: mine, automount: true}\n", "Deployment", "", map[string]string{
			"spec.template.spec.serviceAccountName": "mine", "spec.template.spec.automountServiceAccountToken": "true",
		}},
	}
	bothHelms(t, func(t *testing.T, helm string) {
		for name, tt := range tests {
			t.Run(name, func(t *testing.T) {
				o := rendered(t, helm, tt.values).get(t, tt.kind, tt.name)
				for path, want := range tt.want {
					if got := fmt.Sprint(o.at(path)); got != want {
						t.Errorf("%s is %s, want %s", path, got, want)
					}
				}
				if t.Failed() {
					t.Log(o.text(t))
				}
			})
		}
	})
}
