// Package e2e tests the gateway as people meet it: the real program with a real
// Redis behind it, in front of an application that knows nothing of it, signed
// in to through a real browser at OpenID providers that others wrote. The peers
// are what setup.sh installs; one that is missing fails the tests.
package e2e

import (
	"fmt"
	"os"
	"testing"
)

// machine is what all tests of a run share.
type machine struct {
	browsers
}

var shared machine

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "gatehouse-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	shared.browsers.dir = dir
	defer shared.browsers.close()
	return m.Run()
}
