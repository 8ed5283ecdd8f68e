package charts

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/authn/authntest"
)

// TestSignInTest runs what "helm test" runs in a pod, against a real gateway with a directory
// behind it.
func TestSignInTest(t *testing.T) {
	people := []authntest.Person{{Subject: "ada", Username: "ada", Name: "Ada", Email: "ada@example.com", Groups: []string{"staff"}}}
	const password = `quote " and \ backslash`
	directory, url, err := authntest.StartDirectory(authntest.DirectoryOptions{
		BaseDN: "dc=example,dc=com", AnonymousRead: true, Entries: authntest.DirectoryOf(people, "dc=example,dc=com", password),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = directory.Close() }) // nothing is left to say
	g := startGateway(t, url)

	values := strings.Replace(smallest, "https://app.example.com", "http://localhost:"+g.port, 1)
	pod := rendered(t, tool(t, "helm4"), values+"test: {existingSecret: credential}\n").get(t, "Pod", "")
	c := pod.Spec.Containers[1]
	ask := func(env ...string) (string, error) {
		env = append(env, "PREFIX=/.gatehouse", "HOST=localhost:"+g.port, "PATH="+os.Getenv("PATH"))
		cmd := exec.CommandContext(t.Context(), c.Command[0], append(c.Command[1:], c.Args...)...)
		cmd.Env = env
		out, err := cmd.CombinedOutput()
		return string(out), err
	}

	credential := func(files map[string]string) string {
		dir := t.TempDir()
		for name, text := range files {
			write(t, filepath.Join(dir, name), text)
		}
		return "CREDENTIAL=" + dir
	}
	open := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer open.Close()
	here := []string{"GATEWAY=http://127.0.0.1:" + g.port, "OPERATIONS=http://127.0.0.1:" + g.operations}
	for name, tt := range map[string]struct {
		env  []string
		want string
		ok   bool
	}{
		"signs in":                {append(here, credential(map[string]string{"username": "ada", "password": password})), "ok     signed in", true},
		"has no credential":       {append(here, credential(nil)), "no credential to sign in with", true},
		"a wrong password":        {append(here, credential(map[string]string{"username": "ada", "password": "wrong"})), "FAULT  signing in with the credential got 401", false},
		"a wrong token":           {append(here, credential(map[string]string{"token": "wrong"})), "FAULT  signing in with the credential got 401", false},
		"a gateway that is open":  {[]string{"GATEWAY=" + open.URL, here[1]}, "FAULT  a program without a credential got 200", false},
		"one that is not ready":   {[]string{here[0], "OPERATIONS=" + open.URL + "0"}, "FAULT  /readyz says 000", false},
		"behind a load balancer ": {append(here, "PROXY_PROTOCOL=true"), "nothing more is asked", true},
	} {
		out, err := ask(tt.env...)
		if (err == nil) != tt.ok || !strings.Contains(out, tt.want) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		if strings.Contains(out, "backslash") {
			t.Errorf("%s: the password is told", name)
		}
	}
}

type gateway struct{ port, operations string }

// startGateway starts a gateway that lets in the people of a directory.
func startGateway(t *testing.T, directory string) gateway {
	t.Helper()
	app, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = app.Close() }) // takes connections, and that is all
	g := gateway{freePort(t), freePort(t)}
	file := filepath.Join(t.TempDir(), "gatehouse.yaml")
	write(t, file, `
publicURL: http://localhost:`+g.port+`
listen: {address: "127.0.0.1:`+g.port+`"}
operations: {address: "127.0.0.1:`+g.operations+`"}
upstreams: [{url: "http://`+app.Addr().String()+`"}]
authn:
  - name: directory
    ldap: {address: ["`+directory+`"], baseDN: "dc=example,dc=com", groups: {from: memberOf}, allowedGroups: [staff]}
`)
	start(t, exec.Command(gatehouse(t), "serve", "--config", file), func() bool {
		r, err := http.Get("http://127.0.0.1:" + g.operations + "/readyz")
		return err == nil && r.Body.Close() == nil && r.StatusCode == http.StatusOK
	})
	return g
}
