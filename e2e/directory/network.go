package directory

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// enclosed is a program in a network namespace of its own, where it can have
// ports that others on this machine have too. No interface joins the two: what
// comes and goes among this machine's would disturb others, a browser for one,
// which ends what it is loading. A port inside is reached through a relay.
type enclosed struct {
	*process
	namespace *os.File
}

// enclose runs a program in a namespace that has no name and ends with it. The
// program ends when its input does: so both are gone even if the test crashes.
func enclose(t testing.TB, name, log, program string, args ...string) *enclosed {
	t.Helper()
	const inside = `ip link set lo up && echo && exec "$@" >&2`
	find(t, "ip", "iproute2")
	p := command(t, name, log, find(t, "unshare", "util-linux"), append([]string{"--net", "sh", "-c", inside, "sh", program}, args...)...)
	if _, err := p.cmd.StdinPipe(); err != nil { // os/exec closes it with the program
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.start(t)
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		p.stop()
		t.Fatalf("no network namespace: %v\n%s", err, p.said())
	}
	// It is in its namespace from before the line that it wrote.
	namespace, err := os.Open("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/ns/net")
	if err != nil {
		p.stop()
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = namespace.Close() })
	return &enclosed{p, namespace}
}

// relay makes a port of the program reachable and returns the address. It
// ends with the test.
func (e *enclosed) relay(t testing.TB, port int) string {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var open sync.WaitGroup
	open.Go(func() {
		for {
			outer, err := listener.Accept()
			if err != nil {
				return
			}
			open.Go(func() { e.carry(ctx, outer, port) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		cancel()
		open.Wait()
	})
	return listener.Addr().String()
}

// carry joins a connection to one inside. If there is none to be had, the outer
// one is reset: what relies on a refused connection sees the next best thing.
func (e *enclosed) carry(ctx context.Context, outer net.Conn, port int) {
	defer outer.Close()
	inner, err := e.dial(ctx, port)
	if err != nil {
		if tcp, ok := outer.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		return
	}
	defer inner.Close()
	stop := context.AfterFunc(ctx, func() { _, _ = outer.Close(), inner.Close() })
	defer stop()
	// The end of either side ends both: an LDAP connection has no half.
	var one sync.WaitGroup
	one.Go(func() {
		_, _ = io.Copy(inner, outer)
		_, _ = inner.Close(), outer.Close()
	})
	_, _ = io.Copy(outer, inner)
	_, _ = inner.Close(), outer.Close()
	one.Wait()
}

// dial connects to a port inside. A socket stays in the namespace that its
// thread was in when it was made. The thread comes back: one that ended would take
// with it whatever it had started before, since slapd ends with its parent.
func (e *enclosed) dial(ctx context.Context, port int) (net.Conn, error) {
	runtime.LockOSThread()
	outside, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	defer outside.Close()
	if err := unix.Setns(int(e.namespace.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("network namespace: %w", err)
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(port))
	if back := unix.Setns(int(outside.Fd()), unix.CLONE_NEWNET); back != nil {
		panic("directory: a thread can't leave a network namespace: " + back.Error())
	}
	runtime.UnlockOSThread()
	return conn, err
}
