package e2e

import (
	"net"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

// redisServer is a real redis-server that keeps its data through a restart.
type redisServer struct {
	*process
	port int
	dir  string
}

func startRedis(t *testing.T) *redisServer {
	t.Helper()
	r := &redisServer{port: freePort(t), dir: t.TempDir()}
	r.start(t)
	return r
}

func (r *redisServer) url() string { return "redis://" + loopback(r.port) + "/0" }

func (r *redisServer) start(t *testing.T) {
	t.Helper()
	cmd := exec.Command("redis-server", "--bind", "127.0.0.1", "--port", strconv.Itoa(r.port),
		"--dir", r.dir, "--save", "", "--appendonly", "yes", "--appendfsync", "always")
	r.process = start(t, cmd, func(*process) bool {
		conn, err := net.DialTimeout("tcp", loopback(r.port), time.Second)
		if err != nil {
			return false
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		reply := make([]byte, 5)
		_, err = conn.Write([]byte("PING\r\n"))
		if err == nil {
			_, err = conn.Read(reply)
		}
		return err == nil && string(reply) == "+PONG"
	})
}
