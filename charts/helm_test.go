package charts

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"gatehouse/authn/authntest"
)

// kubernetes is the version that templates are made for.
const kubernetes = "1.36.3"

// tool is a program that the set-up has built.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := authntest.Tool(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// run runs a program and returns what it printed, together with what it complained about.
func run(t *testing.T, stdin string, name string, args ...string) (out, errs string, err error) {
	t.Helper()
	var o, e bytes.Buffer
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &o, &e
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", name, err)
	}
	return o.String(), e.String(), err
}

// bothHelms runs a test with Helm 3 and with Helm 4.
func bothHelms(t *testing.T, test func(t *testing.T, helm string)) {
	for _, name := range []string{"helm3", "helm4"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, tool(t, name))
		})
	}
}

// template is what helm makes of values, as text. The values are YAML.
func template(t *testing.T, helm, values string, flags ...string) (string, error) {
	t.Helper()
	args := append([]string{"template", "gw", chart, "--namespace", "auth", "--kube-version", kubernetes, "--values", "-"}, flags...)
	out, errs, err := run(t, values, helm, args...)
	if err != nil {
		return "", errors.New(errs)
	}
	return out, nil
}

// object is what the tests look at of a Kubernetes object.
type object struct {
	APIVersion string   `yaml:"apiVersion"`
	Kind       string   `yaml:"kind"`
	Metadata   metadata `yaml:"metadata"`
	Spec       spec     `yaml:"spec"`
	// Of ConfigMaps and Secrets.
	Data       map[string]string `yaml:"data"`
	StringData map[string]string `yaml:"stringData"`
	// The same object as it is.
	all map[string]any
}

type metadata struct {
	Name, Namespace     string
	Labels, Annotations map[string]string
}

// spec is of a workload or a pod; what other kinds have is in object.all.
type spec struct {
	Replicas *int `yaml:"replicas"`
	Strategy struct{ Type string }
	Template struct {
		Metadata metadata `yaml:"metadata"`
		Spec     PodSpec  `yaml:"spec"`
	} `yaml:"template"`
	PodSpec `yaml:",inline"`
}

// PodSpec is what the tests look at of a pod.
type PodSpec struct {
	AutomountServiceAccountToken *bool           `yaml:"automountServiceAccountToken"`
	EnableServiceLinks           *bool           `yaml:"enableServiceLinks"`
	SecurityContext              securityContext `yaml:"securityContext"`
	InitContainers               []container     `yaml:"initContainers"`
	Containers                   []container     `yaml:"containers"`
}

type container struct {
	Name            string
	Command, Args   []string
	SecurityContext securityContext `yaml:"securityContext"`
	VolumeMounts    []struct {
		Name      string `yaml:"name"`
		MountPath string `yaml:"mountPath"`
		ReadOnly  bool   `yaml:"readOnly"`
	} `yaml:"volumeMounts"`
}

type securityContext struct {
	RunAsNonRoot             *bool `yaml:"runAsNonRoot"`
	RunAsUser                *int  `yaml:"runAsUser"`
	AllowPrivilegeEscalation *bool `yaml:"allowPrivilegeEscalation"`
	ReadOnlyRootFilesystem   *bool `yaml:"readOnlyRootFilesystem"`
	Capabilities             struct{ Add, Drop []string }
	SeccompProfile           struct{ Type string } `yaml:"seccompProfile"`
}

// manifest is the objects that helm makes.
type manifest []object

// rendered is what helm makes of values that the chart takes.
func rendered(t *testing.T, helm, values string, flags ...string) manifest {
	t.Helper()
	text, err := template(t, helm, values, flags...)
	if err != nil {
		t.Fatalf("%v\nvalues:\n%s", err, values)
	}
	return objects(t, text)
}

func objects(t *testing.T, text string) manifest {
	t.Helper()
	var all manifest
	for _, document := range strings.Split("\n"+text, "\n---") {
		var o object
		if err := yaml.Unmarshal([]byte(document), &o.all); err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		if len(o.all) == 0 {
			continue
		}
		if err := yaml.Unmarshal([]byte(document), &o); err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		all = append(all, o)
	}
	return all
}

// get is the object of a kind and name; without a name, the only one of the kind.
func (m manifest) get(t *testing.T, kind, name string) object {
	t.Helper()
	found := m.ofKind(kind)
	if name != "" {
		found = slices.DeleteFunc(found, func(o object) bool { return o.Metadata.Name != name })
	}
	if len(found) != 1 {
		t.Fatalf("there are %d objects of kind %s and name %q, not one", len(found), kind, name)
	}
	return found[0]
}

func (m manifest) ofKind(kind string) (found manifest) {
	for _, o := range m {
		if o.Kind == kind {
			found = append(found, o)
		}
	}
	return found
}

// settings is the settings file that the pods get.
func (m manifest) settings(t *testing.T) string {
	t.Helper()
	text := m.get(t, "ConfigMap", "gw-gatehouse").Data["gatehouse.yaml"]
	if text == "" {
		t.Fatal("there are no settings")
	}
	return text
}

// secret is what a secret says under a key.
func (m manifest) secret(t *testing.T, name, key string) string {
	t.Helper()
	text, err := base64.StdEncoding.DecodeString(m.get(t, "Secret", name).Data[key])
	if err != nil || len(text) == 0 {
		t.Fatalf("secret %s says nothing under %s: %v", name, key, err)
	}
	return string(text)
}

// at follows a path through an object: keys and places in lists, with dots between.
func (o object) at(path string) any {
	var here any = o.all
	for step := range strings.SplitSeq(path, ".") {
		switch v := here.(type) {
		case map[string]any:
			here = v[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(v) {
				return nil
			}
			here = v[i]
		default:
			return nil
		}
	}
	return here
}

// text is an object as YAML.
func (o object) text(t *testing.T) string {
	t.Helper()
	b, err := yaml.Marshal(o.all)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
