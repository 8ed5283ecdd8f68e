package session_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"gatehouse/session"
)

// fake is a server, Sentinel and node of a Cluster that names itself, or another
// one, and otherwise says what it is told to.
type fake struct {
	address string
	// named is who has the keys.
	named string
	// role is what it says that it is.
	role string
	// commands counts those that are about keys.
	commands atomic.Int64
	answer   func(command string) string
}

// startFake answers commands about keys by answer, where "" hangs up.
func startFake(t testing.TB, answer func(command string) string) *fake {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{address: l.Addr().String(), named: l.Addr().String(), role: "master", answer: answer}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go f.serve(c)
		}
	})
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
	})
	return f
}

func (f *fake) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		words, err := readCommand(r)
		if err != nil {
			return
		}
		reply := f.reply(words)
		if reply == "" {
			return
		}
		io.WriteString(c, reply)
	}
}

func (f *fake) reply(words []string) string {
	host, port, _ := net.SplitHostPort(f.named)
	switch words[0] {
	case "hello":
		return "-ERR unknown command\r\n"
	case "AUTH", "auth", "asking":
		return "+OK\r\n"
	case "ping":
		return "+PONG\r\n"
	case "role":
		return bulks(f.role)
	case "sentinel":
		return bulks(host, port)
	case "subscribe":
		out := ""
		for i, channel := range words[1:] {
			out += fmt.Sprintf("*3\r\n$9\r\nsubscribe\r\n$%d\r\n%s\r\n:%d\r\n", len(channel), channel, i+1)
		}
		return out
	case "cluster":
		return fmt.Sprintf("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$%d\r\n%s\r\n:%s\r\n", len(host), host, port)
	}
	f.commands.Add(1)
	return f.answer(words[0])
}

func bulks(words ...string) string {
	out := fmt.Sprintf("*%d\r\n", len(words))
	for _, w := range words {
		out += fmt.Sprintf("$%d\r\n%s\r\n", len(w), w)
	}
	return out
}

func readCommand(r *bufio.Reader) ([]string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	var n int
	if _, err := fmt.Sscanf(line, "*%d", &n); err != nil {
		return nil, err
	}
	words := make([]string, n)
	for i := range words {
		line, err := r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		var size int
		if _, err := fmt.Sscanf(strings.TrimSpace(line), "$%d", &size); err != nil {
			return nil, err
		}
		b := make([]byte, size+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, err
		}
		words[i] = string(b[:size])
	}
	return words, nil
}

// modes are the ways to a fake.
func modes() map[string]func(f *fake) session.RedisOptions {
	return map[string]func(f *fake) session.RedisOptions{
		"one server": func(f *fake) session.RedisOptions {
			return session.RedisOptions{URL: "redis://" + f.address}
		},
		"Sentinel": func(f *fake) session.RedisOptions {
			return session.RedisOptions{Sentinel: &session.RedisSentinel{Master: master, Addresses: []string{"redis://" + f.address}}}
		},
		"Cluster": func(f *fake) session.RedisOptions {
			return session.RedisOptions{Cluster: []string{"redis://" + f.address}}
		},
	}
}
