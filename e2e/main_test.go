// Package e2e tests the gateway as people meet it: the real program with a real
// Redis behind it, in front of an application that knows nothing of it, signed
// in to through a real browser at OpenID providers that others wrote. The peers
// are what setup.sh installs; one that is missing fails the tests.
package e2e

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
)

// machine is what all tests of a run share, made when the first one needs it.
type machine struct {
	// browser starts the browser.
	browser func() (*chromium, error)
	// gatehouse builds the program and returns its path.
	gatehouse func() (string, error)
	// port is the latest that was given away, counted from firstPort.
	port atomic.Uint32
}

var shared = &machine{}

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
	closeBrowser := func() {}
	defer func() { closeBrowser() }()
	shared.port.Store(rand.Uint32N(portCount))
	shared.gatehouse = sync.OnceValues(func() (string, error) { return buildGateway(dir) })
	shared.browser = sync.OnceValues(func() (*chromium, error) {
		c, err := startChromium(dir)
		if err == nil {
			closeBrowser = c.close
		}
		return c, err
	})
	// Most of a test's time is waiting, and not for a processor.
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	return m.Run()
}
