package directory

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// network joins this machine, by a pair of virtual interfaces, to the network
// namespace that a program gets. This machine is all that the program reaches.
type network struct {
	ip           string // the program
	name, peer   string
	ours, theirs netip.Prefix
}

// newNetwork makes a pair of interfaces and addresses that nobody else has,
// neither this process nor another. They are gone when the test ends.
func newNetwork(t testing.TB) *network {
	t.Helper()
	ip := find(t, "ip", "iproute2")
	for attempt := 0; ; attempt++ {
		n := randomNetwork()
		n.ip = ip
		out, err := exec.CommandContext(t.Context(), ip, "link", "add", n.name, "type", "veth", "peer", "name", n.peer).CombinedOutput()
		if err != nil {
			if attempt < 10 && strings.Contains(string(out), "File exists") {
				continue // the name stands for the addresses, so they are taken too
			}
			t.Fatalf("no pair of network interfaces: %v: %s", err, out)
		}
		ctx := context.WithoutCancel(t.Context())
		t.Cleanup(func() {
			// The kernel takes its time to end a namespace with what is in it. An error says that it was faster.
			_ = exec.CommandContext(ctx, ip, "link", "delete", n.name).Run()
		})
		run(t, ip, "address", "add", n.ours.String(), "dev", n.name)
		run(t, ip, "link", "set", n.name, "up")
		return n
	}
}

// randomNetwork takes one of the 16,384 networks of four addresses in
// 10.213.0.0/16.
func randomNetwork() *network {
	var b [2]byte
	_, _ = rand.Read(b[:]) // never fails
	first := binary.BigEndian.Uint16(b[:]) &^ 3
	address := func(host uint16) netip.Prefix {
		b := binary.BigEndian.AppendUint16([]byte{10, 213}, first|host)
		return netip.PrefixFrom(netip.AddrFrom4([4]byte(b)), 30)
	}
	return &network{name: fmt.Sprintf("dir%da", first), peer: fmt.Sprintf("dir%db", first), ours: address(1), theirs: address(2)}
}

// address is where the program is.
func (n *network) address() string { return n.theirs.Addr().String() }

// start runs a program in the namespace. The namespace has no name and ends
// with the program, and this program ends when its input does: so both are gone
// even if the test crashes.
func (n *network) start(t testing.TB, name, log, program string, args ...string) *process {
	t.Helper()
	const inside = `echo && read go && ip link set lo up && ip address add "$1" dev "$2" && ip link set "$2" up && shift 2 && exec "$@" >&2`
	p := command(t, name, log, find(t, "unshare", "util-linux"), append([]string{
		"--net", "sh", "-c", inside, "sh", n.theirs.String(), n.peer, program}, args...)...)
	in, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.start(t)
	_, err = bufio.NewReader(out).ReadString('\n') // it is in its namespace
	if err == nil {
		err = exec.CommandContext(t.Context(), n.ip, "link", "set", n.peer, "netns", strconv.Itoa(p.cmd.Process.Pid)).Run()
	}
	if err == nil {
		_, err = io.WriteString(in, "go\n")
	}
	if err != nil {
		p.stop()
		t.Fatalf("no network namespace: %v\n%s", err, p.said())
	}
	return p
}
