package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/spf13/cobra"

	"gatehouse/authn/audit"
	"gatehouse/authn/ldap"
	"gatehouse/cmd/gatehouse/traces"
	"gatehouse/config"
	"gatehouse/proxy"
	"gatehouse/proxy/extauthz"
)

// lastSpansTime bounds how long spans are sent after the end.
const lastSpansTime = 3 * time.Second

func serveCommand(sh shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the gateway",
		Long: `Runs the gateway until it is told to stop (SIGTERM or Ctrl-C), then lets open
requests finish.

Wrong settings are all reported at once and nothing is started (exit code 2).
A provider, directory, store or application that is down does not keep the gateway from
starting: /readyz on the operations listener says what is missing.`,
		Example: `  gatehouse serve --config gatehouse.yaml
  OIDC_ISSUER=… OIDC_CLIENT_ID=… GATEHOUSE_PUBLIC_URL=… GATEHOUSE_UPSTREAM=… gatehouse serve`,
		Args: noArgs,
	}
	file := settingsFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		r := &reloader{
			file: *file, read: func() (config.Config, error) { return config.Load(*file, sh.env) }, wait: readyWait, rest: refusedRest,
		}
		c, err := r.settings(config.Config{})
		if err != nil {
			return err
		}
		go spareCollector(cmd.Context(), sh.env)
		l := &lines{to: sh.err}
		defer l.flush()
		log := func(c config.Log) *slog.Logger { return slog.New(newPrompt(c, l)) }
		limitMemory(cmd.Context(), memlimit.FromCgroup, log(c.Log))
		o := onlyMetrics()
		o.out = sh.out
		if o.traces, err = traces.New(cmd.Context(), sh.env, version(), log(c.Log)); err != nil {
			return err
		}
		defer lastSpans(cmd.Context(), o.traces, log(c.Log))
		r.log, r.observe = log, o
		return serve(cmd.Context(), c, r)
	}
	return cmd
}

// serve runs a gateway until ctx ends or a listener fails. Its settings are c, until
// others are loaded.
func serve(ctx context.Context, c config.Config, r *reloader) error {
	log := r.log(c.Log)
	g, err := build(c, log, r.observe)
	if err != nil {
		return err
	}
	l := newLive(newGeneration(c, g, log))
	d, err := openListeners(ctx, c, l, log)
	if err != nil {
		return errors.Join(err, l.close())
	}
	ops, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Operations.Address)
	if err != nil {
		return errors.Join(fmt.Errorf("operations.address: %w", taken(err)), d.close(), l.close())
	}
	questions, err := listenForQuestions(ctx, c.ForwardAuth, d.crowd)
	if err != nil {
		return errors.Join(fmt.Errorf("forwardAuth.grpcAddress: %w", taken(err)), d.close(), ops.Close(), l.close())
	}
	log.Info("started", "version", version(), "public_url", c.PublicURL, "listen", d.public.Addr().String(),
		"operations", ops.Addr().String(), "store", storeName(c.Store))
	for _, warning := range c.Warnings() {
		log.Warn("settings", "warning", warning)
	}
	r.observe.issued = d.issued
	r.observe.follow(c, g)
	g.news.Start()
	looking := tryOut(ctx, c, log)
	watching := d.watch(ctx)
	r.live = l
	servers := append(d.servers(c.Listen, l, log), server{opsServer(d.look(r.look), func() config.Config { return l.now.Load().settings }, r.observe.metrics.Handler(log), log), ops})
	if questions != nil {
		servers = append(servers, server{extauthz.New(extauthz.Options{
			Handler: l.questions(), RemoveHeader: proxy.RemoveHeader,
		}), questions})
	}
	record(l.now.Load(), audit.Event{Name: audit.Lifecycle, Outcome: audit.Allowed, Reason: "started, version " + version()})
	reloading := r.start(ctx)
	err = runServers(ctx, func() {
		l.stopping.Store(true)
		time.Sleep(l.now.Load().settings.Listen.DrainDelay.Std())
	}, func() time.Duration { return l.now.Load().settings.Listen.DrainTimeout.Std() }, log, servers...)
	reloading()
	looking()
	watching()
	record(l.now.Load(), audit.Event{Name: audit.Lifecycle, Outcome: audit.Allowed, Reason: "stopped"})
	log.Info("stopped")
	return errors.Join(err, l.close())
}

// drainer is what a [proxy.Handler] is to its server.
type drainer interface {
	http.Handler
	Drain()
}

// lastSpans sends the spans that wait. A collector that does not answer is not waited for
// long.
func lastSpans(ctx context.Context, t *traces.Traces, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastSpansTime)
	defer cancel()
	if err := t.Close(ctx); err != nil {
		log.Warn("the last traces are lost", "err", err)
	}
}

// publicServer is the server that people come to. It knows nothing of WebSockets, so
// the handler ends them on shutdown.
func publicServer(c config.Listen, h drainer, log *slog.Logger) *http.Server {
	s := proxy.Server(c, h, log)
	s.RegisterOnShutdown(h.Drain)
	return s
}

// tryOut looks at every directory as gatehouse check does and logs the faults, and
// all that it finds if the directory is only being tested. It goes on beside the
// gateway; what it returns ends it.
func tryOut(ctx context.Context, c config.Config, log *slog.Logger) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	for _, r := range c.Authn {
		if r.LDAP == nil {
			continue
		}
		running.Go(func() { tryDirectory(ctx, *r.LDAP, c.Regulation, log.With("route", r.Name)) })
	}
	return func() { cancel(); running.Wait() }
}

func tryDirectory(ctx context.Context, c config.LDAP, limits config.Regulation, log *slog.Logger) {
	limited, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	findings := ldap.Check(limited, c, limits)
	if ctx.Err() != nil { // the gateway ends, which is no fault of the directory's
		return
	}
	faults := 0
	for _, f := range findings {
		switch {
		case !f.OK:
			faults++
			log.Warn("directory test", "what", f.What, "fault", f.Detail, "fix", f.Fix)
		case c.TestOnly:
			log.Info("directory test", "what", f.What, "seen", f.Detail)
		}
	}
	log.Info("directory tested", "faults", faults)
}

func storeName(s config.Store) string {
	if s.Redis == nil {
		return "memory"
	}
	return "redis"
}

// listenForQuestions opens the listener that Envoy asks at over gRPC; nil for none.
func listenForQuestions(ctx context.Context, f *config.ForwardAuth, crowd *proxy.Crowd) (net.Listener, error) {
	if f == nil || f.GRPCAddress == "" {
		return nil, nil //nolint:nilnil // no listener is no fault
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", f.GRPCAddress)
	if err != nil {
		return nil, err
	}
	return crowd.Around(ln), nil
}

// server is a server and where it listens.
type server struct {
	serving
	ln net.Listener
}

// serving is what an http.Server does.
type serving interface {
	Serve(ln net.Listener) error
	Shutdown(ctx context.Context) error
	Close() error
}

// runServers serves until ctx ends or one of the servers fails. In the first case it calls
// leaving and serves on until that is done. Then open requests have the drain time to
// finish.
func runServers(ctx context.Context, leaving func(), drain func() time.Duration, log *slog.Logger, servers ...server) error {
	failed := make(chan error, len(servers))
	for _, s := range servers {
		go func() { failed <- s.Serve(s.ln) }()
	}
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
		log.Info("stopping", "drain", drain().String())
		leaving()
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain())
	defer cancel()
	for _, s := range servers {
		if e := s.Shutdown(last); e != nil {
			log.Warn("requests were cut off", "err", e)
			err = errors.Join(err, s.Close())
		}
	}
	return err
}
