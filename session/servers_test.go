package session_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"gatehouse/session"
)

// server is a redis-server of our own and a way around the store under test.
type server struct {
	address string
	raw     *redis.Client
	args    []string
	process *exec.Cmd
	exited  chan struct{}
}

// startRedis runs a server until the test ends.
func startRedis(t testing.TB, args ...string) *server {
	t.Helper()
	return launch(t, nil, append([]string{"--save", "", "--appendonly", "no", "--dir", t.TempDir()}, args...)...)
}

// launch runs redis-server as args say, with TLS alone if conf is not nil.
func launch(t testing.TB, conf *tls.Config, args ...string) *server {
	t.Helper()
	for range 5 {
		s := &server{address: freeAddress(t)}
		_, port, _ := net.SplitHostPort(s.address)
		ports := []string{"--port", port}
		if conf != nil {
			ports = []string{"--port", "0", "--tls-port", port}
		}
		s.args = append(append(slices.Clone(args), "--bind", "127.0.0.1"), ports...)
		s.raw = redis.NewClient(&redis.Options{Addr: s.address, Protocol: 2, DisableIdentity: true, TLSConfig: conf, MaxRetries: -1})
		t.Cleanup(func() {
			s.raw.Close()
			s.stop()
		})
		if s.start(t) {
			return s
		}
	}
	t.Fatal("redis-server does not come up")
	return nil
}

func freeAddress(t testing.TB) string {
	t.Helper()
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		// A Cluster's node listens at 10000 above its port too.
		if address := l.Addr().(*net.TCPAddr); address.Port < 55000 {
			return address.String()
		}
	}
}

// start says whether the server came up. Somebody else may have its port by now.
func (s *server) start(t testing.TB) bool {
	t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal("redis-server is missing; install it with: apt-get install redis-server")
	}
	s.process, s.exited = exec.Command(binary, s.args...), make(chan struct{})
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.exited)
		s.process.Wait()
	}()
	own := fmt.Sprintf("process_id:%d\r\n", s.process.Process.Pid)
	up := false
	eventually(t, "redis-server neither comes up nor ends", func() bool {
		info, _ := s.raw.Info(t.Context(), "server").Result()
		up = strings.Contains(info, own)
		return up || s.ended()
	})
	return up
}

func (s *server) ended() bool {
	select {
	case <-s.exited:
		return true
	default:
		return false
	}
}

func (s *server) stop() {
	s.process.Process.Kill()
	<-s.exited
}

// freeze makes the server say nothing until thaw.
func (s *server) freeze() { s.process.Process.Signal(syscall.SIGSTOP) }

func (s *server) thaw() { s.process.Process.Signal(syscall.SIGCONT) }

// hangUp ends the connections of all clients.
func (s *server) hangUp(t testing.TB) {
	t.Helper()
	s.do(t, "client kill type normal skipme yes")
	s.do(t, "client kill type pubsub")
}

// deniedNothing wants nobody to have tried what they have no right to.
func (s *server) deniedNothing(t testing.TB) {
	t.Helper()
	if log := s.do(t, "acl log").([]any); len(log) > 0 {
		t.Errorf("more was tried than the rights allow: %v", log)
	}
}

// do sends one command.
func (s *server) do(t testing.TB, words string) any {
	t.Helper()
	var args []any
	for _, w := range strings.Fields(words) {
		args = append(args, w)
	}
	out, err := s.raw.Do(t.Context(), args...).Result()
	if err != nil {
		t.Fatalf("%s: %v", words, err)
	}
	return out
}

func (s *server) url() string { return "redis://" + s.address }

func (s *server) open(t testing.TB) *session.Redis {
	t.Helper()
	return open(t, session.RedisOptions{URL: s.url()})
}

// open makes a store that the test closes.
func open(t testing.TB, o session.RedisOptions) *session.Redis {
	t.Helper()
	if o.KeyPrefix == "" {
		o.KeyPrefix = "gatehouse:"
	}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	store, err := session.NewRedis(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// fixed is a password that stays.
func fixed(password string) func() (string, error) {
	return func() (string, error) { return password, nil }
}

// advance takes d off every key's time to live.
func (s *server) advance(t testing.TB, d time.Duration) {
	t.Helper()
	for _, key := range s.keys(t) {
		left := s.raw.PTTL(t.Context(), key).Val()
		if left < 0 {
			t.Errorf("RDS-17 the key %s has no time to live", key)
		}
		if s.raw.Type(t.Context(), key).Val() == "hash" {
			for member, value := range s.raw.HGetAll(t.Context(), key).Val() {
				end, err := strconv.ParseInt(value[:13], 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				s.raw.HSet(t.Context(), key, member, fmt.Sprintf("%013d", end-d.Milliseconds())+value[13:])
			}
		}
		if err := s.raw.PExpire(t.Context(), key, left-d).Err(); err != nil { // deletes when below zero
			t.Fatal(err)
		}
	}
}

// keysLike are the keys that begin so.
func (s *server) keysLike(t testing.TB, prefix string) []string {
	t.Helper()
	return slices.DeleteFunc(s.keys(t), func(key string) bool { return !strings.HasPrefix(key, prefix) })
}

func (s *server) keys(t testing.TB) []string {
	t.Helper()
	keys, err := s.raw.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// eventually waits until something is true, for 20 seconds at most.
func eventually(t testing.TB, otherwise string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(otherwise)
		}
	}
}

// replicated is a primary with a replica, and three Sentinels.
type replicated struct {
	primary, replica *server
	sentinels        []*server
	scheme           string
}

const (
	master            = "gatehouse-store"
	userRule          = "on >hunter2 ~gatehouse:* resetchannels &gatehouse:news -@all +getrange +get +set +del +pexpire +pttl +hset +hget +hdel +hgetall +hrandfield +time +scan +publish +subscribe +eval +evalsha +ping +hello +select"
	underSentinelRule = "+role"
	inClusterRule     = "+cluster|slots +asking"
	watcherRule       = "on >hunter3 resetchannels &+switch-master &+replica-reconf-done -@all " +
		"+sentinel|get-master-addr-by-name +sentinel|sentinels +subscribe +ping +hello +role"
)

// user are the arguments for a user who may do what rule says.
func user(rule string) []string {
	return append([]string{"--user", "gatehouse"}, strings.Fields(rule)...)
}

// startReplicated waits until a failover would work. The store's users may do
// what the comment of Redis says, and no more.
func startReplicated(t testing.TB, m *mutual) *replicated {
	t.Helper()
	r := &replicated{scheme: "redis"}
	var conf *tls.Config
	extra := append(user(userRule+" "+underSentinelRule), "--repl-diskless-sync-delay", "0")
	var forSentinels string
	if m != nil {
		r.scheme, conf = "rediss", m.client()
		extra = append(extra, m.args()...)
		forSentinels = strings.NewReplacer("--", "").Replace(strings.Join(pairs(m.args()), "\n"))
	}
	start := func(more ...string) *server {
		args := append([]string{"--save", "", "--appendonly", "no", "--dir", t.TempDir()}, extra...)
		return launch(t, conf, append(args, more...)...)
	}
	r.primary = start()
	r.replica = start("--replicaof", strings.Replace(r.primary.address, ":", " ", 1))
	eventually(t, "the replica does not follow", func() bool {
		return strings.Contains(fmt.Sprint(r.replica.do(t, "info replication")), "master_link_status:up")
	})
	for range 3 {
		dir := t.TempDir()
		file := filepath.Join(dir, "sentinel.conf")
		text := fmt.Sprintf("dir %s\nuser gatehouse %s\nsentinel monitor %s %s 2\nsentinel down-after-milliseconds %s 500\nsentinel failover-timeout %s 5000\n%s\n",
			dir, watcherRule, master, strings.Replace(r.primary.address, ":", " ", 1), master, master, forSentinels)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r.sentinels = append(r.sentinels, launch(t, conf, file, "--sentinel"))
	}
	for _, s := range r.sentinels {
		eventually(t, "the Sentinels do not find each other", func() bool {
			known := fmt.Sprint(s.do(t, "sentinel master "+master))
			return strings.Contains(known, "num-slaves 1") && strings.Contains(known, "num-other-sentinels 2")
		})
	}
	return r
}

// pairs joins each name with its value.
func pairs(args []string) []string {
	var out []string
	for i := 0; i+1 < len(args); i += 2 {
		out = append(out, args[i]+" "+args[i+1])
	}
	return out
}

func (r *replicated) options() session.RedisOptions {
	o := session.RedisOptions{
		Sentinel: &session.RedisSentinel{Master: master, Username: "gatehouse", Password: fixed("hunter3")},
		Username: "gatehouse", Password: fixed("hunter2"),
	}
	for _, s := range r.sentinels {
		o.Sentinel.Addresses = append(o.Sentinel.Addresses, r.scheme+"://"+s.address)
	}
	return o
}

// startCluster runs nodes that share the slots, and spares that are replicas of
// the first.
func startCluster(t testing.TB, m *mutual, nodes, spares int) []*server {
	t.Helper()
	var all []*server
	var conf *tls.Config
	extra := append(user(userRule+" "+inClusterRule),
		"--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--repl-diskless-sync-delay", "0")
	if m != nil {
		conf = m.client()
		extra = append(append(extra, m.args()...), "--tls-cluster", "yes")
	}
	for range nodes + spares {
		args := append([]string{"--save", "", "--appendonly", "no", "--dir", t.TempDir()}, extra...)
		all = append(all, launch(t, conf, args...))
	}
	for i, s := range all[:nodes] {
		s.do(t, fmt.Sprintf("cluster addslotsrange %d %d", i*16384/nodes, (i+1)*16384/nodes-1))
	}
	for i, s := range all {
		s.do(t, fmt.Sprintf("cluster set-config-epoch %d", i+1))
		s.do(t, "cluster meet "+strings.Replace(all[0].address, ":", " ", 1))
	}
	first := fmt.Sprint(all[0].do(t, "cluster myid"))
	for _, s := range all[nodes:] {
		eventually(t, "the first node is not met", func() bool {
			return strings.Contains(fmt.Sprint(s.do(t, "cluster nodes")), first)
		})
		s.do(t, "cluster replicate "+first)
	}
	for _, s := range all {
		eventually(t, "the Cluster does not come up", func() bool {
			info := fmt.Sprint(s.do(t, "cluster info"))
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", len(all))) &&
				strings.Count(fmt.Sprint(s.do(t, "cluster nodes")), "slave") == spares
		})
	}
	return all
}

// clusterOptions name all nodes but the last, which these have to name.
func clusterOptions(scheme string, nodes []*server) session.RedisOptions {
	o := session.RedisOptions{Username: "gatehouse", Password: fixed("hunter2")}
	for _, s := range nodes[:len(nodes)-1] {
		o.Cluster = append(o.Cluster, scheme+"://"+s.address)
	}
	return o
}

// mutual is a certificate for servers and one for clients, each trusted by the
// other side.
type mutual struct{ servers, clients certificate }

func newMutual(t testing.TB) *mutual {
	t.Helper()
	return &mutual{newCertificate(t, "127.0.0.1"), newCertificate(t, "127.0.0.2")}
}

// args are those of a server. It trusts its own certificate too, for replicas and
// Sentinels show it.
func (m *mutual) args() []string {
	both := m.servers.certFile + ".both"
	one, _ := os.ReadFile(m.servers.certFile)
	other, _ := os.ReadFile(m.clients.certFile)
	if err := os.WriteFile(both, append(one, other...), 0o600); err != nil {
		panic(err)
	}
	return []string{"--tls-cert-file", m.servers.certFile, "--tls-key-file", m.servers.keyFile, "--tls-ca-cert-file", both,
		"--tls-auth-clients", "yes", "--tls-replication", "yes"}
}

func (m *mutual) client() *tls.Config {
	pair, err := tls.LoadX509KeyPair(m.clients.certFile, m.clients.keyFile)
	if err != nil {
		panic(err)
	}
	return &tls.Config{RootCAs: m.servers.pool, Certificates: []tls.Certificate{pair}}
}

// memory is what the server uses for data, in bytes.
func (s *server) memory(t testing.TB) int64 {
	t.Helper()
	_, after, _ := strings.Cut(s.raw.Info(t.Context(), "memory").Val(), "used_memory_dataset:")
	line, _, _ := strings.Cut(after, "\r\n")
	n, err := strconv.ParseInt(line, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
