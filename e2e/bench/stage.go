package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"gatehouse/authn/authntest"
)

// stage is every process of the comparison.
type stage struct {
	options                   options
	dir                       string
	processes                 []*process
	provider                  *http.Server
	directory                 *authntest.Directory
	directoryURL              string
	bare, memory, redis       *process
	answer                    *process // answers as asked does, and is no gateway
	forgetful                 *process // the gateway that remembers no token
	asked                     *process // the gateway that only answers other proxies
	asking                    *process // the gateway that asks Redis for each request
	redisAddress              string
	signer                    signer
	memoryCookie, redisCookie string
	askedCookie, askingCookie string
}

// gateway is what is particular about the settings of one.
type gateway struct {
	place   string // upstreams and store
	session string
	bearer  string
}

// newStage starts the application, the bare proxy, a provider, Redis and two
// gateways, and signs somebody in at each.
func newStage(ctx context.Context, o options) (s *stage, err error) {
	s = &stage{options: o}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.dir, err = os.MkdirTemp("", "gatehouse-bench-"); err != nil {
		return s, err
	}
	s.directory, s.directoryURL, err = authntest.StartDirectory(authntest.DirectoryOptions{
		BaseDN: baseDN, AnonymousRead: true, Entries: authntest.DirectoryOf(people(), baseDN, password),
	})
	if err != nil {
		return s, err
	}
	self, err := os.Executable()
	if err != nil {
		return s, err
	}
	if s.signer, err = newSigner(s.dir); err != nil {
		return s, err
	}
	app, err := s.start(ctx, self, "role", "app")
	if err != nil {
		return s, err
	}
	if s.bare, err = s.start(ctx, self, "role", "bare", app.url); err != nil {
		return s, err
	}
	if s.answer, err = s.start(ctx, self, "role", "answer"); err != nil {
		return s, err
	}
	redisPort, err := s.startRedis(ctx)
	if err != nil {
		return s, err
	}
	s.redisAddress = fmt.Sprintf("127.0.0.1:%d", redisPort)
	return s, s.startGateways(ctx, fmt.Sprintf("upstreams: [{url: %q}]\n", app.url))
}

func (s *stage) startGateways(ctx context.Context, upstream string) error {
	shared := upstream + "store: {redis: {url: redis://" + s.redisAddress + "}}\n"
	var forgotten string
	for _, g := range []struct {
		process  **process
		cookie   *string
		settings gateway
	}{
		{&s.memory, &s.memoryCookie, gateway{place: upstream}},
		{&s.asked, &s.askedCookie, gateway{place: "trustedProxies: [127.0.0.1]\nforwardAuth: {hosts: [localhost]}\n"}},
		{&s.forgetful, &forgotten, gateway{place: upstream, bearer: "cache: {lifetime: 0s, rejectedLifetime: 0s}"}},
		{&s.redis, &s.redisCookie, gateway{place: shared}},
		{&s.asking, &s.askingCookie, gateway{place: shared, session: "cache: {lifetime: 0s}, "}},
	} {
		var err error
		if *g.process, *g.cookie, err = s.startGateway(ctx, g.settings); err != nil {
			return err
		}
	}
	return nil
}

// start runs a role and reads its address.
func (s *stage) start(ctx context.Context, name string, args ...string) (*process, error) {
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // our own roles
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, in: in}
	s.processes = append(s.processes, p)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("%s did not start: %w", strings.Join(args, " "), err)
	}
	p.url = strings.TrimSpace(line)
	return p, nil
}

func (s *stage) startRedis(ctx context.Context) (int, error) {
	port, err := freePort()
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, "redis-server", "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", s.dir) //nolint:gosec // our own arguments
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("redis-server: %w (make setup installs it)", err)
	}
	s.processes = append(s.processes, &process{cmd: cmd})
	return port, waitFor(ctx, func() error {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)) //nolint:noctx // loopback
		if err == nil {
			err = conn.Close()
		}
		return err
	})
}

// redisCommands is how many commands Redis has carried out, but for those that ask for
// that.
func (s *stage) redisCommands(ctx context.Context) (int, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.redisAddress)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "INFO stats\r\nQUIT\r\n"); err != nil {
		return 0, err
	}
	text, err := io.ReadAll(conn)
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(text), "total_commands_processed:")
	line, _, _ := strings.Cut(after, "\r\n")
	return strconv.Atoi(line)
}

// startGateway runs the program under test with an access log to a file, and signs in.
func (s *stage) startGateway(ctx context.Context, g gateway) (*process, string, error) {
	port, err := freePort()
	if err != nil {
		return nil, "", err
	}
	ops, err := freePort()
	if err != nil {
		return nil, "", err
	}
	url := fmt.Sprintf("http://localhost:%d", port)
	issuer, err := s.startProvider(ctx, url)
	if err != nil {
		return nil, "", err
	}
	file := filepath.Join(s.dir, strconv.Itoa(port))
	settings := fmt.Sprintf(`publicURL: %s
listen: {address: "127.0.0.1:%d"}
operations: {address: "127.0.0.1:%d"}
limits: {requestsPerSecond: 10000000}   # all of the load is from one address
sharedEmails: true
authn:
  - {name: bench, oidc: {issuer: "%s", clientID: bench}}
  - {name: directory, ldap: {address: ["%s"], baseDN: "%s", accept: [basic], subjectPrefix: "dir:", basicCache: {lifetime: 1h}}}
  - name: tokens
    bearer:
      issuers: [{issuer: "%s", keyFile: "%s", audiences: [bench], subjectPrefix: "jwt:"}]
      %s
session: {%skeys: ["rT0bWvQ5yXk2mN8cJ4hF7gD1sA9pL3zE6uI0oKqVxYw="]}
%s`, url, port, ops, issuer, s.directoryURL, baseDN, tokenIssuer, s.signer.file, g.bearer, g.session, g.place)
	if err := os.WriteFile(file+".yaml", []byte(settings), 0o600); err != nil {
		return nil, "", err
	}
	log, err := os.Create(file + ".log") //nolint:gosec // in our own directory
	if err != nil {
		return nil, "", err
	}
	cmd := exec.CommandContext(ctx, s.options.gatehouse, "serve", "--config", file+".yaml") //nolint:gosec // the program under test
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	p := &process{cmd: cmd, url: url}
	s.processes = append(s.processes, p)
	var cookie string
	err = waitFor(ctx, func() (err error) { cookie, err = signIn(ctx, url); return err })
	if err != nil {
		text, _ := os.ReadFile(file + ".log") //nolint:gosec // in our own directory
		err = fmt.Errorf("%w\n%s", err, text)
	}
	return p, cookie, err
}

func (s *stage) startProvider(ctx context.Context, gateway string) (string, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	issuer := authntest.NewIssuer(authntest.IssuerOptions{
		URL: "http://" + ln.Addr().String(), HintSignsIn: true, Lifetime: 24 * time.Hour,
		People:  people(),
		Clients: []authntest.Client{{ID: "bench", RedirectURIs: []string{gateway + "/oidc/callback"}}},
	})
	s.provider = &http.Server{Handler: issuer, ReadHeaderTimeout: 10 * time.Second}
	go s.provider.Serve(ln) //nolint:errcheck // ends with the comparison
	return "http://" + ln.Addr().String(), nil
}

// Who signs in everywhere.
const (
	person   = "ada"
	password = "correct horse"
	baseDN   = "dc=example,dc=com"
)

func people() []authntest.Person {
	return []authntest.Person{{Subject: "1001", Username: person, Name: "Ada Lovelace", Email: "ada@example.com", EmailVerified: true,
		Groups: []string{"admins", "research", "vision", "on-call"}}}
}

// signIn walks the sign-in and returns the Cookie header of the session.
func signIn(ctx context.Context, gateway string) (string, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, gateway+"/.gatehouse/sign-in?login_hint=ada", nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Accept", "text/html")
	res, err := (&http.Client{Jar: jar, Timeout: 5 * time.Second}).Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	for _, c := range jar.Cookies(req.URL) {
		if c.Name == "gatehouse" {
			return c.Name + "=" + c.Value, nil
		}
	}
	body, _ := io.ReadAll(io.LimitReader(res.Body, 4096))
	return "", fmt.Errorf("sign-in ended at %s with %s and no session\n%s", res.Request.URL, res.Status, body)
}

func (s *stage) close() error {
	for _, p := range s.processes {
		p.stop()
	}
	if s.provider != nil {
		_ = s.provider.Close()
	}
	if s.directory != nil {
		_ = s.directory.Close()
	}
	return os.RemoveAll(s.dir)
}

func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // loopback
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(port)
}

// waitFor tries until it works, for at most 15 seconds.
func waitFor(ctx context.Context, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}
