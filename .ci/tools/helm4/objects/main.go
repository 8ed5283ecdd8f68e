// Command objects reads Kubernetes objects, as YAML from standard input, as strictly as an
// API server does: a field that a kind has not, or a value of another type, is a fault. Objects
// of groups that Kubernetes itself does not have are passed over.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
)

func main() {
	if err := read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func read(in io.Reader) error {
	decoder := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme.Scheme, scheme.Scheme, json.SerializerOptions{Yaml: true, Strict: true})
	documents := yaml.NewYAMLReader(bufio.NewReader(in))
	var faults []error
	for n := 0; ; {
		text, err := documents.Read()
		if errors.Is(err, io.EOF) {
			fmt.Println(n, "objects")
			return errors.Join(faults...)
		}
		if err != nil {
			return err
		}
		_, kind, err := decoder.Decode(text, nil, nil)
		switch {
		case kind != nil && kind.Kind == "" || runtime.IsMissingKind(err): // nothing but comments
		case kind != nil && !scheme.Scheme.IsGroupRegistered(kind.Group):
		case err != nil:
			faults = append(faults, fmt.Errorf("%v: %w", kind, err))
		default:
			n++
		}
	}
}
