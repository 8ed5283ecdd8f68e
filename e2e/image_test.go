package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/json/v2"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	imageVersion = "v9.8.7"
	imageCreated = "1767225600" // seconds since 1970: what stands in for the commit's time
	imageUser    = "65532"
)

// TestImage builds the Dockerfile with buildah, from bases made here of what the machine
// has, and runs what comes out of it as a runtime would.
func TestImage(t *testing.T) {
	t.Parallel()
	b := newBuildah(t)
	b.makeBases(t)
	b.build(t, "docker")
	t.Run("the same twice", func(t *testing.T) { b.assertSame(t) })
	container := b.do(t, "from", "--pull-never", "localhost/gatehouse:docker")
	root := b.do(t, "mount", container)
	t.Run("nothing but what is needed", func(t *testing.T) { assertImageFiles(t, root) })
	t.Run("the archives' program", func(t *testing.T) { assertSameProgram(t, filepath.Join(root, "usr/local/bin/gatehouse")) })
	t.Run("what it says of itself", func(t *testing.T) { b.assertConfig(t, container) })
	t.Run("it runs", func(t *testing.T) { b.assertRuns(t, container) })
}

// buildah is the program with a store of its own.
type buildah struct{ program, dir string }

func newBuildah(t *testing.T) buildah {
	t.Helper()
	program, err := find("buildah")
	if err != nil {
		t.Fatal(err)
	}
	if os.Getuid() != 0 {
		t.Fatal("images are built and run without namespaces here (--isolation chroot), which needs root")
	}
	return buildah{program, t.TempDir()}
}

func (b buildah) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	store := []string{"--root", filepath.Join(b.dir, "root"), "--runroot", filepath.Join(b.dir, "run"), "--storage-driver", "vfs"}
	cmd := exec.CommandContext(t.Context(), b.program, append(store, args...)...)
	cmd.Dir = ".." // where the Dockerfile is
	return cmd
}

// do runs one command and returns what it prints.
func (b buildah) do(t *testing.T, args ...string) string {
	t.Helper()
	cmd := b.command(t, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("buildah %v: %v\n%s%s", args, err, &out, &errs)
	}
	return strings.TrimSpace(out.String())
}

// makeBases makes the two images that the Dockerfile begins with: a shell, beside which
// the build has this machine's Go; and, as distroless is, a user and certificates.
func (b buildah) makeBases(t *testing.T) {
	t.Helper()
	b.makeBase(t, "golang", func(root string) {
		copyInto(t, root, "/bin/sh", "/bin/sh")
		if err := os.Mkdir(filepath.Join(root, "tmp"), 0o777); err != nil {
			t.Fatal(err)
		}
		libraries, err := exec.CommandContext(t.Context(), "ldd", "/bin/sh").Output()
		if err != nil {
			t.Fatal(err)
		}
		for word := range strings.FieldsSeq(string(libraries)) {
			if strings.HasPrefix(word, "/") {
				copyInto(t, root, word, word)
			}
		}
	}, "--env", "PATH=/usr/local/go/bin:/bin", "--env", "GOPATH=/go", "--env", "GOTOOLCHAIN=local", "--env", "HOME=/root")
	b.makeBase(t, "static", func(root string) {
		copyInto(t, root, "/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs/ca-certificates.crt")
		user := "nonroot:x:" + imageUser + ":" + imageUser + ":nonroot:/home/nonroot:/sbin/nologin\n"
		if err := os.WriteFile(filepath.Join(root, "etc/passwd"), []byte(user), 0o644); err != nil {
			t.Fatal(err)
		}
	})
}

func (b buildah) makeBase(t *testing.T, name string, fill func(root string), config ...string) {
	t.Helper()
	container := b.do(t, "from", "scratch")
	fill(b.do(t, "mount", container))
	if len(config) > 0 {
		b.do(t, append(append([]string{"config"}, config...), container)...)
	}
	b.do(t, "commit", "--quiet", container, "localhost/"+name+"-base:test")
	b.do(t, "rm", container)
}

// copyInto copies one file into a root.
func copyInto(t *testing.T, root, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	to = filepath.Join(root, to)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o755); err != nil {
		t.Fatal(err)
	}
}

// build builds the Dockerfile, from its first line on, and returns the image's id.
// The format is docker, which has health checks, or oci.
func (b buildah) build(t *testing.T, format string) string {
	t.Helper()
	args := []string{"bud", "--quiet", "--isolation", "chroot", "--pull-never", "--no-cache", "--format", format, "--timestamp", imageCreated,
		"--volume", "/etc/ssl/certs:/etc/ssl/certs:ro"}
	for name, at := range map[string]string{"GOROOT": "/usr/local/go:ro", "GOMODCACHE": "/go/pkg/mod", "GOCACHE": "/root/.cache/go-build"} {
		args = append(args, "--volume", goEnv(t, name)+":"+at)
	}
	return b.do(t, append(args, "--build-arg", "GO_IMAGE=localhost/golang-base:test", "--build-arg", "BASE_IMAGE=localhost/static-base:test",
		"--build-arg", "VERSION="+imageVersion, "--build-arg", "REVISION=0123456789ab", "--tag", "localhost/gatehouse:"+format, ".")...)
}

// assertSame builds the image twice more. In the format docker buildah writes the name of
// the container down that it built in, so that only the layers are the same.
func (b buildah) assertSame(t *testing.T) {
	t.Helper()
	one := b.build(t, "oci")
	if two := b.build(t, "oci"); one != two {
		t.Errorf("built twice, the image is %s and %s", one, two)
	}
	const layers = "{{.OCIv1.RootFS.DiffIDs}}"
	oci := b.do(t, "inspect", "--type", "image", "--format", layers, "localhost/gatehouse:oci")
	docker := b.do(t, "inspect", "--type", "image", "--format", layers, "localhost/gatehouse:docker")
	if oci != docker || strings.Count(oci, "sha256:") != 2 {
		t.Errorf("the layers are %s and %s", oci, docker)
	}
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// assertImageFiles: beside the base's files there are three.
func assertImageFiles(t *testing.T, root string) {
	t.Helper()
	var files []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files = append(files, strings.TrimPrefix(path, root))
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o022 != 0 {
			t.Errorf("%s can be written to: %s", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"/etc/passwd", "/etc/ssl/certs/ca-certificates.crt",
		"/usr/local/bin/gatehouse", "/usr/share/doc/gatehouse/LICENSE", "/usr/share/doc/gatehouse/THIRD-PARTY-LICENSES",
	}
	if !slices.Equal(files, want) {
		t.Errorf("the image has %v, want %v", files, want)
	}
}

// assertSameProgram builds the program as a release does and compares.
func assertSameProgram(t *testing.T, inImage string) {
	t.Helper()
	release := filepath.Join(t.TempDir(), "gatehouse")
	cmd := exec.CommandContext(t.Context(), "go", "-C", "../.ci/release", "run", ".", "program", "-version", imageVersion, "-o", release)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if a, b := sum(t, inImage), sum(t, release); a != b {
		t.Errorf("the image's program is %s, the archives' %s", a, b)
	}
}

func sum(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(content))
}

// imageConfig is what of an image's configuration is promised.
type imageConfig struct {
	User        string            `json:"User"`
	Entrypoint  []string          `json:"Entrypoint"`
	Cmd         []string          `json:"Cmd"`
	Labels      map[string]string `json:"Labels"`
	Healthcheck struct {
		Test []string `json:"Test"`
	} `json:"Healthcheck"`
}

func (b buildah) config(t *testing.T, container string) imageConfig {
	t.Helper()
	var all struct {
		Docker struct {
			Config imageConfig `json:"config"`
		} `json:"Docker"`
	}
	if err := json.Unmarshal([]byte(b.do(t, "inspect", container)), &all); err != nil {
		t.Fatal(err)
	}
	return all.Docker.Config
}

func (b buildah) assertConfig(t *testing.T, container string) {
	t.Helper()
	c := b.config(t, container)
	if c.User != imageUser+":"+imageUser {
		t.Errorf("it runs as %q", c.User)
	}
	if !slices.Equal(c.Entrypoint, []string{"/usr/local/bin/gatehouse"}) || !slices.Equal(c.Cmd, []string{"serve"}) {
		t.Errorf("it runs %v %v", c.Entrypoint, c.Cmd)
	}
	const label = "org.opencontainers.image."
	if c.Labels[label+"version"] != imageVersion || c.Labels[label+"revision"] != "0123456789ab" || c.Labels[label+"licenses"] != "Apache-2.0" {
		t.Errorf("its labels are %v", c.Labels)
	}
}

// assertRuns runs the image's program in it, as the image's user, and the health check
// before, while and after it serves.
func (b buildah) assertRuns(t *testing.T, container string) {
	t.Helper()
	run := []string{"run", "--isolation", "chroot", container, "--"}
	if got := b.do(t, append(run, "gatehouse", "version")...); !strings.HasPrefix(got, "gatehouse "+imageVersion+" ") {
		t.Errorf("it says that it is %q", got)
	}
	public, ops := loopback(freePort(t)), loopback(freePort(t))
	b.do(t, "config", "--env", "GATEHOUSE_PUBLIC_URL=http://localhost:1", "--env", "GATEHOUSE_UPSTREAM=http://127.0.0.1:1",
		"--env", "OIDC_ISSUER=http://127.0.0.1:1", "--env", "OIDC_CLIENT_ID=it", "--env", "GATEHOUSE_LISTEN_ADDRESS="+public,
		"--env", "GATEHOUSE_OPERATIONS_ADDRESS="+ops, container)
	check := b.config(t, container).Healthcheck.Test
	if len(check) == 0 || check[0] != "CMD" {
		t.Fatalf("the health check is %v", check)
	}
	healthy := func() error { return b.command(t, append(run, check[1:]...)...).Run() }
	if healthy() == nil {
		t.Error("it is healthy before it runs")
	}
	c := b.config(t, container)
	serving := start(t, b.command(t, append(append(run, c.Entrypoint...), c.Cmd...)...), answers("http://"+ops+"/livez"))
	if err := healthy(); err != nil {
		t.Errorf("it serves and is not healthy: %v", err)
	}
	if users := usersOf(t, ops); !slices.Equal(users, []string{imageUser}) {
		t.Errorf("it serves as user %v", users)
	}
	serving.stop()
	if healthy() == nil {
		t.Error("it is healthy after its end")
	}
}

// usersOf are the numbers of the users that run the program that listens at ops.
func usersOf(t *testing.T, ops string) []string {
	t.Helper()
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var users []string
	for _, p := range processes {
		environ, _ := os.ReadFile(p + "/environ") // processes come and go
		cmdline, _ := os.ReadFile(p + "/cmdline")
		status, err := os.ReadFile(p + "/status")
		if err != nil || !strings.HasPrefix(string(cmdline), "/usr/local/bin/gatehouse\x00") || !bytes.Contains(environ, []byte("="+ops+"\x00")) {
			continue
		}
		_, line, _ := strings.Cut(string(status), "\nUid:")
		users = append(users, strings.Fields(line)[1]) // the effective one
	}
	return users
}

// TestImageBases: the images that a build begins with are named to the last digit, and
// the one with Go is of the version that go.mod asks for.
func TestImageBases(t *testing.T) {
	t.Parallel()
	dockerfile, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^go ([0-9.]+)$`).FindStringSubmatch(string(mod))
	if version == nil || !strings.Contains(string(dockerfile), "\nARG GO_IMAGE=docker.io/library/golang:"+version[1]+"-") {
		t.Errorf("GO_IMAGE is not of go.mod's version, %v", version)
	}
	if !regexp.MustCompile(`(?m)^ARG BASE_IMAGE=gcr\.io/distroless/static-[a-z0-9]+:nonroot@sha256:[0-9a-f]{64}$`).Match(dockerfile) {
		t.Error("BASE_IMAGE has no digest")
	}
}
