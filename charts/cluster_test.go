//go:build kubernetes

package charts

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

// cluster is a real API server with etcd behind it. It has no nodes and no controllers, so
// objects are judged and kept, and no pod runs.
type cluster struct {
	t          *testing.T
	url, token string
	kubeconfig string
	client     *http.Client
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	dir := t.TempDir()
	c := &cluster{t: t, token: rand.Text(), kubeconfig: filepath.Join(dir, "kubeconfig")}
	c.client = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // the server makes its certificate itself
	}}
	t.Cleanup(c.client.CloseIdleConnections)
	store, peer, port := freePort(t), freePort(t), freePort(t)
	c.url = "https://127.0.0.1:" + port
	etcd := "http://127.0.0.1:" + store
	start(t, exec.Command("etcd", "--data-dir", filepath.Join(dir, "etcd"), "--unsafe-no-fsync",
		"--listen-client-urls", etcd, "--advertise-client-urls", etcd, "--listen-peer-urls", "http://127.0.0.1:"+peer,
		"--initial-advertise-peer-urls", "http://127.0.0.1:"+peer, "--initial-cluster", "default=http://127.0.0.1:"+peer),
		func() bool { return listens(store) })

	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	keyFile, tokens := filepath.Join(dir, "sa.key"), filepath.Join(dir, "tokens.csv")
	write(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))
	write(t, tokens, c.token+`,admin,1,"system:masters"`+"\n")
	write(t, c.kubeconfig, fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q, insecure-skip-tls-verify: true}}]
users: [{name: u, user: {token: %q}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`, c.url, c.token))
	start(t, exec.Command(tool(t, "kube-apiserver"), "--etcd-servers="+etcd, "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1",
		"--secure-port="+port, "--cert-dir="+dir, "--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+keyFile,
		"--service-account-signing-key-file="+keyFile, "--token-auth-file="+tokens, "--authorization-mode=RBAC",
		"--service-cluster-ip-range=10.0.0.0/24", "--disable-admission-plugins=ServiceAccount", "--endpoint-reconciler-type=none"),
		func() bool {
			status, _ := c.ask(http.MethodGet, "/readyz", "")
			return status == http.StatusOK
		})
	return c
}

// ask sends YAML, if any, and returns the answer. A server that is not there is status 0.
func (c *cluster) ask(method, path, body string) (status int, answer string) {
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	r.Header.Set("Content-Type", "application/yaml")
	r.Header.Set("Accept", "application/json")
	w, err := c.client.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer w.Body.Close()
	b, err := io.ReadAll(w.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, warning := range w.Header.Values("Warning") {
		b = append(b, "\nWarning: "+warning...)
	}
	return w.StatusCode, string(b)
}

// make makes an object.
func (c *cluster) make(path, body string) {
	c.t.Helper()
	if status, answer := c.ask(http.MethodPost, path, body); status != http.StatusCreated {
		c.t.Fatalf("%s: %d %s", path, status, answer)
	}
}

// get is an object of the cluster, as Kubernetes keeps it.
func (c *cluster) get(path string) object {
	c.t.Helper()
	status, answer := c.ask(http.MethodGet, path, "")
	if status != http.StatusOK {
		c.t.Fatalf("%s: %d %s", path, status, answer)
	}
	return objects(c.t, answer)[0]
}

// definitions are where the kinds are defined that are not Kubernetes' own: modules, and
// their files.
var definitions = map[string]string{
	"sigs.k8s.io/gateway-api@v1.7.0":                             "config/crd/experimental/gateway.networking.k8s.io_httproutes.yaml",
	"github.com/prometheus-operator/prometheus-operator@v0.85.0": "example/prometheus-operator-crd/monitoring.coreos.com_*.yaml",
	"github.com/traefik/traefik/v3@v3.7.13":                      "docs/content/reference/dynamic-configuration/traefik.io_*.yaml",
	"github.com/envoyproxy/gateway@v1.9.1":                       "charts/gateway-helm/charts/crds/crds/generated/gateway.envoyproxy.io_securitypolicies.yaml",
}

// define teaches the cluster the kinds that the chart has besides Kubernetes' own.
func (c *cluster) define() {
	c.t.Helper()
	want := []string{"httproutes.gateway.networking.k8s.io", "servicemonitors.monitoring.coreos.com", "prometheusrules.monitoring.coreos.com",
		"middlewares.traefik.io", "ingressroutes.traefik.io", "securitypolicies.gateway.envoyproxy.io"}
	for module, pattern := range definitions {
		cmd := exec.CommandContext(c.t.Context(), "go", "mod", "download", "-json", module)
		cmd.Dir = c.t.TempDir()
		out, err := cmd.Output()
		if err != nil {
			c.t.Fatalf("%s: %v", module, err)
		}
		var found struct{ Dir string }
		if err := json.Unmarshal(out, &found); err != nil {
			c.t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(found.Dir, pattern))
		if err != nil || len(files) == 0 {
			c.t.Fatalf("%s has no %s: %v", module, pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				c.t.Fatal(err)
			}
			for _, name := range want {
				if bytes.Contains(text, []byte("\n  name: "+name+"\n")) {
					c.make("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", string(text))
				}
			}
		}
	}
	for _, name := range want {
		for deadline := time.Now().Add(startTime); ; time.Sleep(100 * time.Millisecond) {
			status, answer := c.ask(http.MethodGet, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"+name, "")
			if status == http.StatusOK && strings.Contains(answer, `"type":"Established","status":"True"`) || strings.Contains(answer, `"status":"True","lastTransitionTime"`) {
				break
			}
			if time.Now().After(deadline) {
				c.t.Fatalf("%s is not defined: %s", name, answer)
			}
		}
	}
}

// helm runs a helm command that must succeed, and returns what it said.
func (c *cluster) helm(helm string, args ...string) string {
	c.t.Helper()
	out, err := c.tryHelm(helm, args...)
	if err != nil {
		c.t.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (c *cluster) tryHelm(helm string, args ...string) (string, error) {
	c.t.Helper()
	out, errs, err := run(c.t, "", helm, append([]string{"--kubeconfig", c.kubeconfig}, args...)...)
	return out + errs, err
}

// places is where objects of a kind are.
func places(namespace, apiVersion, kind string) string {
	group := "/apis/" + apiVersion
	if apiVersion == "v1" {
		group = "/api/v1"
	}
	plural := strings.ToLower(kind) + "s"
	if strings.HasSuffix(kind, "y") {
		plural = strings.TrimSuffix(plural, "ys") + "ies"
	}
	if kind == "Ingress" {
		plural = "ingresses"
	}
	return group + "/namespaces/" + namespace + "/" + plural
}

// TestCluster installs, upgrades, rolls back and uninstalls the chart at a real API server, in a
// namespace that takes no pod that is not restricted.
func TestCluster(t *testing.T) {
	c := startCluster(t)
	c.define()
	for _, name := range []string{"helm3", "helm4"} {
		t.Run(name, func(t *testing.T) {
			inTest := *c
			inTest.t = t
			inTest.life(tool(t, name), name)
		})
	}
}

func (c *cluster) life(helm, namespace string) {
	t := c.t
	c.make("/api/v1/namespaces", "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+namespace+", labels: {pod-security.kubernetes.io/enforce: restricted, pod-security.kubernetes.io/warn: restricted}}")
	const everything, simple = chart + "/ci/everything-values.yaml", chart + "/ci/oidc-values.yaml"
	deployment := places(namespace, "apps/v1", "Deployment") + "/gw-gatehouse"
	secret := places(namespace, "v1", "Secret") + "/gw-gatehouse-redis"
	sum := func() string {
		return c.get(deployment).Spec.Template.Metadata.Annotations["checksum/config"]
	}

	c.strictly(helm, namespace, everything)

	said := c.helm(helm, "install", "gw", chart, "--namespace", namespace, "--values", everything)
	if strings.Contains(strings.ToLower(said), "warning") {
		t.Errorf("install warns:\n%s", said)
	}
	first, password := sum(), c.get(secret).Data["redis-password"]
	c.podsAreLetIn(namespace, helm, everything)

	c.helm(helm, "upgrade", "gw", chart, "--namespace", namespace, "--values", everything, "--set", "config.log.level=warn")
	if second := sum(); second == first || second == "" {
		t.Errorf("other settings replace no pod: checksum %q, then %q", first, second)
	}
	if got := c.get(secret).Data["redis-password"]; got != password || got == "" {
		t.Error("an upgrade has made another password for the bundled Redis")
	}

	if said, err := c.tryHelm(helm, "upgrade", "gw", chart, "--namespace", namespace, "--values", everything, "--set", "config.log.levle=warn"); err == nil || !strings.Contains(said, "'levle' not allowed") {
		t.Errorf("a bad upgrade: %v\n%s", err, said)
	}

	c.helm(helm, "upgrade", "gw", chart, "--namespace", namespace, "--values", simple)
	if d := c.get(deployment); d.Spec.Strategy.Type != "Recreate" || d.Spec.Replicas == nil {
		t.Errorf("without Redis the strategy is %s, and replicas %v", d.Spec.Strategy.Type, d.Spec.Replicas)
	}
	if status, _ := c.ask(http.MethodGet, secret, ""); status != http.StatusNotFound {
		t.Errorf("the bundled Redis' secret is there without it: %d", status)
	}

	c.helm(helm, "rollback", "gw", "1", "--namespace", namespace)
	if d := c.get(deployment); sum() != first || d.Spec.Strategy.Type != "RollingUpdate" || c.get(secret).Data["redis-password"] != password {
		t.Errorf("rolled back to checksum %q, want %q; strategy %s", sum(), first, d.Spec.Strategy.Type)
	}
	if history := c.helm(helm, "history", "gw", "--namespace", namespace); strings.Count(history, "\n") != 5 {
		t.Errorf("a refused upgrade counts:\n%s", history)
	}

	c.helm(helm, "uninstall", "gw", "--namespace", namespace)
	text, err := template(t, helm, "{}", "--namespace", namespace, "--values", everything)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects(t, text) {
		at := places(namespace, o.APIVersion, o.Kind) + "/" + o.Metadata.Name
		if status, _ := c.ask(http.MethodGet, at, ""); status != http.StatusNotFound {
			t.Errorf("%s outlives the release: %d", at, status)
		}
	}
}

// strictly shows every object to the API server, which refuses fields that a kind has not.
func (c *cluster) strictly(helm, namespace, values string) {
	c.t.Helper()
	text, err := template(c.t, helm, "{}", "--namespace", namespace, "--values", values)
	if err != nil {
		c.t.Fatal(err)
	}
	kinds := map[string]bool{}
	for _, o := range objects(c.t, text) {
		at := places(namespace, o.APIVersion, o.Kind)
		kinds[o.Kind] = true
		if status, answer := c.ask(http.MethodPost, at+"?dryRun=All&fieldValidation=Strict", o.text(c.t)); status != http.StatusCreated || strings.Contains(answer, "\nWarning: ") {
			c.t.Errorf("%s %s: %d %s", o.Kind, o.Metadata.Name, status, answer)
		}
	}
	if len(kinds) < 15 {
		c.t.Errorf("only %d kinds of objects were shown", len(kinds))
	}
}

// podsAreLetIn makes the pods that controllers would make, which the level "restricted" judges,
// and one that it must refuse.
func (c *cluster) podsAreLetIn(namespace, helm, values string) {
	c.t.Helper()
	text, err := template(c.t, helm, "{}", "--namespace", namespace, "--values", values)
	if err != nil {
		c.t.Fatal(err)
	}
	at := places(namespace, "v1", "Pod")
	made := 0
	for _, o := range objects(c.t, text) {
		pod := o.all
		if o.Kind != "Pod" {
			template, ok := o.at("spec.template").(map[string]any)
			if !ok {
				continue
			}
			pod = map[string]any{"spec": template["spec"]}
		}
		made++
		spec := pod["spec"].(map[string]any)
		delete(spec, "priorityClassName") // this cluster has none
		volumes, _ := spec["volumes"].([]any)
		for _, claim := range claims(o) {
			volumes = append(volumes, map[string]any{"name": claim, "emptyDir": map[string]any{}})
		}
		spec["volumes"] = volumes
		pod["apiVersion"], pod["kind"], pod["metadata"] = "v1", "Pod", map[string]any{"name": fmt.Sprint("pod-", made)}
		body, err := yaml.Marshal(pod)
		if err != nil {
			c.t.Fatal(err)
		}
		if status, answer := c.ask(http.MethodPost, at, string(body)); status != http.StatusCreated {
			c.t.Errorf("a pod of %s %s: %d %s\n%s", o.Kind, o.Metadata.Name, status, answer, body)
		}
	}
	if made != 3 {
		c.t.Errorf("%d pods, want 3: gateway, Redis, test", made)
	}
	if status, answer := c.ask(http.MethodPost, at, "apiVersion: v1\nkind: Pod\nmetadata: {name: root}\nspec: {containers: [{name: a, image: a}]}"); status != http.StatusForbidden || !strings.Contains(answer, "PodSecurity") {
		c.t.Errorf("an unrestricted pod: %d %s", status, answer)
	}
}

// claims are the names of a workload's own volumes.
func claims(o object) (names []string) {
	templates, _ := o.at("spec.volumeClaimTemplates").([]any)
	for _, claim := range templates {
		names = append(names, fmt.Sprint(claim.(map[string]any)["metadata"].(map[string]any)["name"]))
	}
	return names
}
