// Command bench compares the gateway with a bare reverse proxy under load, on
// loopback, in one run. It prints CPU time as ratios, since those hold from
// machine to machine where requests a second do not.
//
// Each contender is a process of its own, so that only its own CPU time is
// counted. They take short turns, so that what the machine does meanwhile falls
// on all of them: each round's CPU time is compared with the bare proxy's in that
// round, and the median of those ratios counts. It needs redis-server.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"iter"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
)

func main() {
	signal.Ignore(syscall.SIGPIPE) // whoever stops reading still has the processes ended
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "role" {
		return play(args[1:])
	}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	o := options{}
	fs.StringVar(&o.gatehouse, "gatehouse", "bin/gatehouse", "the program to measure")
	fs.IntVar(&o.requests, "requests", 2000, "requests of a contender in a round")
	fs.IntVar(&o.clients, "clients", 32, "clients at once")
	fs.IntVar(&o.rounds, "rounds", 31, "rounds of requests; the median counts")
	fs.IntVar(&o.streams, "streams", 3, "rounds of streams; the median counts")
	fs.Int64Var(&o.stream, "stream", 1<<30, "bytes in a stream")
	fs.StringVar(&o.only, "only", "", "measure only the requests with this in their name, and nothing else")
	if err := fs.Parse(args); err != nil {
		return err
	}
	return compare(ctx, o)
}

type options struct {
	gatehouse                 string
	requests, clients, rounds int
	streams                   int
	stream                    int64
	only                      string
}

// contender is one way through to the application.
type contender struct {
	name    string
	process *process
	load    load
	goal    string
	// limit is the goal as a number: a ratio to the bare proxy, or CPU seconds a GiB. 0 means none.
	limit float64
}

func compare(ctx context.Context, o options) (err error) {
	s, err := newStage(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.requests(ctx); err != nil || o.only != "" {
		return err
	}
	if err := s.sessions(ctx); err != nil {
		return err
	}
	if err := s.tokens(ctx); err != nil {
		return err
	}
	return s.streams(ctx)
}

// sessions counts the commands that Redis carries out for a session that is in use, and
// whatever the gateways ask besides.
func (s *stage) sessions(ctx context.Context) error {
	const requests = 50_000
	hot := load{requests: requests, clients: s.options.clients}.to(s.redis.url).with(s.redisCookie)
	before, err := s.redisCommands(ctx)
	if err != nil {
		return err
	}
	if _, err := hot.run(ctx, s.redis); err != nil {
		return fmt.Errorf("sessions: %w", err)
	}
	after, err := s.redisCommands(ctx)
	if err != nil {
		return err
	}
	each := float64(after-before) / requests
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\n%d requests of a session, Redis store\tcommands each\tgoal\n", requests)
	fmt.Fprintf(w, "remembered\t%.5f\t%s\n", each, verdict(contender{goal: "<= 0.01", limit: 0.01}, each))
	return w.Flush()
}

// tokens measures what is done with tokens beside requests: exchanges, and a
// flood of tokens that are all wrong and all different.
func (s *stage) tokens(ctx context.Context) error {
	const exchanges, flood = 2000, 100_000
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	exchange := load{requests: exchanges, clients: s.options.clients, exchange: true}.to(s.redis.url).bearing(s.signer.good(200))
	spent, err := exchange.run(ctx, s.redis)
	if err != nil {
		return fmt.Errorf("exchange: %w", err)
	}
	each := spent.Seconds() * 1000 / exchanges
	fmt.Fprintf(w, "\nToken endpoint, Redis\tCPU-ms each\tgoal\n")
	fmt.Fprintf(w, "exchange of a JWT\t%.2f\t%s\n", each, verdict(contender{goal: "< 5", limit: 5}, each))
	before := s.memory.resident()
	bad := load{requests: flood, clients: s.options.clients}.to(s.memory.url).bearing(s.signer.bad()).expecting(401)
	if spent, err = bad.run(ctx, s.memory); err != nil {
		return fmt.Errorf("flood: %w", err)
	}
	fmt.Fprintf(w, "\n%d distinct bad JWTs\tCPU-s/10k\tmemory before and after\n", flood)
	fmt.Fprintf(w, "signature wrong: 401\t%.3f\t%.0f and %.0f MiB\n", spent.Seconds()*10000/flood, float64(before)/(1<<20), float64(s.memory.resident())/(1<<20))
	return w.Flush()
}

// requests measures small requests.
func (s *stage) requests(ctx context.Context) error {
	get := load{requests: s.options.requests, clients: s.options.clients}
	post := get
	post.up = 2 << 10 // as a W&B client's mostly are
	return errors.Join(s.rounds(ctx, "GET", []contender{
		{"bare reverse proxy", s.bare, get.to(s.bare.url), "", 0},
		{"no credential: 401", s.redis, get.to(s.redis.url).expecting(401), "<= 0.5", 0.5},
		{"directory password, remembered", s.memory, get.to(s.memory.url).basic(password), "<= 1.2", 1.2},
		{"JWT, remembered", s.memory, get.to(s.memory.url).bearing(s.signer.good(20)), "<= 1.25", 1.25},
		{"JWT RS256, not remembered", s.forgetful, get.to(s.forgetful.url).bearing(s.signer.good(500)), "<= 2.6", 2.6},
		{"session, memory store", s.memory, get.to(s.memory.url).with(s.memoryCookie), "", 0},
		{"session, remembered, Redis store", s.redis, get.to(s.redis.url).with(s.redisCookie), "<= 1.15", 1.15},
		{"session, asked of Redis", s.asking, get.to(s.asking.url).with(s.askingCookie), "<= 2.0", 2.0},
		{"forward-auth, session, memory store", s.asked, get.to(s.asked.url).with(s.askedCookie).asking(), "<= 0.35", 0.35},
		{"forward-auth, the same answer without a gateway", s.answer, get.to(s.answer.url).with(s.askedCookie).asking(), "", 0},
		{"forward-auth, JWT, remembered", s.asked, get.to(s.asked.url).bearing(s.signer.good(20)).asking(), "", 0},
	}), s.rounds(ctx, "POST of 2 KiB", []contender{
		{"bare reverse proxy", s.bare, post.to(s.bare.url), "", 0},
		{"JWT, remembered", s.memory, post.to(s.memory.url).bearing(s.signer.good(20)), "<= 1.25", 1.25},
	}))
}

// rounds lets the contenders take turns, and compares them with the first.
func (s *stage) rounds(ctx context.Context, title string, all []contender) error {
	rest := slices.DeleteFunc(slices.Clone(all[1:]), func(c contender) bool { return !strings.Contains(c.name, s.options.only) })
	if len(rest) == 0 {
		return nil
	}
	all = append(all[:1:1], rest...)
	cost := make([][]float64, len(all))
	clients := make([]*http.Client, len(all))
	for i, c := range all {
		clients[i] = c.load.client()
		defer clients[i].CloseIdleConnections()
	}
	for round := range s.options.rounds + 1 {
		for i, c := range all {
			spent, err := c.load.by(ctx, clients[i], c.process)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if round > 0 { // the first is to warm up
				cost[i] = append(cost[i], spent.Seconds()*10000/float64(s.options.requests))
			}
		}
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\n%s, %d clients\tCPU-s/10k\tx bare\tmiddle half\tgoal\n", title, s.options.clients)
	for i, c := range all {
		ratio := slices.Sorted(ratios(cost[i], cost[0]))
		middle := ratio[len(ratio)/2]
		fmt.Fprintf(w, "%s\t%.3f\t%.2f\t%.2f-%.2f\t%s\n", c.name, median(cost[i]), middle, ratio[len(ratio)/4], ratio[len(ratio)*3/4], verdict(c, middle))
	}
	return w.Flush()
}

// ratios compares what was measured in the same rounds.
func ratios(of, to []float64) iter.Seq[float64] {
	return func(yield func(float64) bool) {
		for i := range of {
			if !yield(of[i] / to[i]) {
				return
			}
		}
	}
}

// streams measures one big transfer each way.
func (s *stage) streams(ctx context.Context) error {
	size := s.options.stream
	down := func(url, cookie string) load { return load{down: size}.to(url).with(cookie) }
	up := func(url, cookie string) load { return load{up: size}.to(url).with(cookie) }
	all := []contender{
		{"down, bare reverse proxy", s.bare, down(s.bare.url, ""), "", 0},
		{"down, gateway", s.redis, down(s.redis.url, s.redisCookie), "<= 0.70", 0.70},
		{"up, bare reverse proxy", s.bare, up(s.bare.url, ""), "", 0},
		{"up, gateway", s.redis, up(s.redis.url, s.redisCookie), "<= 0.70", 0.70},
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\nOne stream of %d MiB\tCPU-s/GiB\tmin-max\tpeak memory grew by\tgoal\n", size>>20)
	for _, c := range all {
		var cost []float64
		before := c.process.peak()
		for range s.options.streams {
			spent, err := c.load.run(ctx, c.process)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			cost = append(cost, spent.Seconds()*(1<<30)/float64(size))
		}
		fmt.Fprintf(w, "%s\t%.2f\t%.2f-%.2f\t%.1f MiB\t%s\n", c.name, median(cost), slices.Min(cost), slices.Max(cost),
			float64(c.process.peak()-before)/(1<<20), verdict(c, median(cost)))
	}
	return w.Flush()
}

func verdict(c contender, got float64) string {
	switch {
	case c.limit == 0:
		return ""
	case got <= c.limit:
		return c.goal + " reached"
	}
	return c.goal + " MISSED"
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}
