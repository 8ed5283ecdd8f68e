package charts

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/config"
)

// TestSecretsStayInSecrets looks for secrets of every kind in everything but Secrets.
func TestSecretsStayInSecrets(t *testing.T) {
	bothHelms(t, func(t *testing.T, helm string) {
		m := rendered(t, helm, smallest+"redis: {enabled: true}\nsecretValues: {client-secret: hush-hush}\n")
		made := m.get(t, "Secret", "gw-gatehouse-redis")
		secrets := []string{"hush-hush", made.Data["redis-password"], m.secret(t, "gw-gatehouse-redis", "redis-password"), made.Data["session-keys"], made.Data["tls.key"]}
		for _, o := range m {
			for _, secret := range secrets {
				if o.Kind != "Secret" && strings.Contains(o.text(t), secret) {
					t.Errorf("%s %s tells a secret", o.Kind, o.Metadata.Name)
				}
			}
		}
		if got := m.get(t, "Secret", "gw-gatehouse").StringData["client-secret"]; got != "hush-hush" {
			t.Errorf("the secret for trying says %q", got)
		}
	})
}

// TestChecksums looks whether pods are replaced when, and only when, what they read is another.
func TestChecksums(t *testing.T) {
	helm := tool(t, "helm4")
	sums := func(values string) string {
		a := rendered(t, helm, values).get(t, "Deployment", "").Spec.Template.Metadata.Annotations
		return a["checksum/config"] + " " + a["checksum/secret"]
	}
	before := sums(smallest + "secretValues: {a: b}\n")
	for name, tt := range map[string]struct {
		values string
		same   bool
	}{
		"the same":         {smallest + "secretValues: {a: b}\n", true},
		"another service":  {smallest + "secretValues: {a: b}\nservice: {port: 80}\n", true},
		"other settings":   {smallest + "  log: {level: warn}\nsecretValues: {a: b}\n", false},
		"another secret":   {smallest + "secretValues: {a: c}\n", false},
		"a secret renamed": {smallest + "secretValues: {b: b}\n", false},
	} {
		if got := sums(tt.values); (got == before) != tt.same {
			t.Errorf("%s: before %s, now %s", name, before, got)
		}
	}
	if free := smallest + "rollOnChange: false\n"; sums(free) != " " || sums(free+"commonLabels: {a: b}\n") != " " {
		t.Errorf("pods that read settings again are replaced: %s", sums(free))
	}
	first, again := sums(smallest+"redis: {enabled: true}\n"), sums(smallest+"redis: {enabled: true}\n")
	if first != again {
		t.Error("a password that is made anew replaces pods")
	}
}

// TestWholeNumbers holds numbers to what was written: Helm reads them as floating-point ones.
func TestWholeNumbers(t *testing.T) {
	bothHelms(t, func(t *testing.T, helm string) {
		m := rendered(t, helm, strings.Replace(smallest, `8080"`, `8080", maxBodySize: 123456789012`, 1)+"  session: {cache: {maxSize: 67108864}}\n")
		c, err := config.Decode("gatehouse.yaml", []byte(m.settings(t)), nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.Upstreams[0].MaxBodySize != 123456789012 || c.Session.Cache.MaxSize != 67108864 {
			t.Errorf("%d and %d", c.Upstreams[0].MaxBodySize, c.Session.Cache.MaxSize)
		}
	})
}

// TestBundledRedis starts a real Redis with the file, users and certificates that the chart makes,
// and lets the gateway look at it with the settings that the chart makes.
func TestBundledRedis(t *testing.T) {
	m := rendered(t, tool(t, "helm4"), smallest+"redis: {enabled: true}\n")
	dir := t.TempDir()
	for _, key := range []string{"redis-password", "users.acl", "session-keys", "ca.crt", "tls.crt", "tls.key"} {
		write(t, filepath.Join(dir, key), m.secret(t, "gw-gatehouse-redis", key))
	}
	port := freePort(t)
	conf := strings.NewReplacer("/run/secrets/redis", dir, "dir /data", "dir "+dir, "tls-port 6379", "tls-port "+port+"\nbind 127.0.0.1").
		Replace(m.get(t, "ConfigMap", "gw-gatehouse-redis").Data["redis.conf"])
	write(t, filepath.Join(dir, "redis.conf"), conf)
	start(t, exec.Command("redis-server", filepath.Join(dir, "redis.conf")), func() bool { return listens(port) })

	settings := strings.NewReplacer(
		"/run/secrets/gatehouse/redis-ca.crt", dir+"/ca.crt\n      serverName: gw-gatehouse-redis.auth.svc",
		"/run/secrets/gatehouse", dir, "gw-gatehouse-redis.auth.svc:6379", "127.0.0.1:"+port,
	).Replace(m.settings(t))
	file := filepath.Join(dir, "gatehouse.yaml")
	write(t, file, settings)
	out, errs, _ := run(t, "", gatehouse(t), "check", "--config", file) // the provider is not there
	if !strings.Contains(out, "a value could be written, replaced, read and deleted") {
		t.Errorf("check says\n%s%s\nof\n%s", out, errs, settings)
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
