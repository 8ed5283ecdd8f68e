package workload

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/authn"
)

func TestNext(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	in := func(d time.Duration) time.Time { return now.Add(d) }
	for name, tt := range map[string]struct {
		token       Token
		every, poll time.Duration
		want        time.Duration
	}{
		"an hour":                       {Token{Issued: now, Expires: in(time.Hour)}, 0, 0, 40 * time.Minute},
		"an hour, half of it gone":      {Token{Issued: in(-30 * time.Minute), Expires: in(30 * time.Minute)}, 0, 0, 10 * time.Minute},
		"the same again, late":          {Token{Issued: in(-54 * time.Minute), Expires: in(6 * time.Minute)}, 0, 0, 2 * time.Minute},
		"no iat":                        {Token{Expires: in(30 * time.Minute)}, 0, 0, 20 * time.Minute},
		"an iat in the future":          {Token{Issued: in(2 * time.Minute), Expires: in(30 * time.Minute)}, 0, 0, 20 * time.Minute},
		"two minutes":                   {Token{Issued: now, Expires: in(2 * time.Minute)}, 0, 0, time.Minute},
		"a minute":                      {Token{Issued: now, Expires: in(time.Minute)}, 0, 0, 5 * time.Second},
		"a second":                      {Token{Issued: now, Expires: in(time.Second)}, 0, 0, 5 * time.Second},
		"for ever":                      {Token{}, 0, 0, 15 * time.Minute},
		"for ever, every hour":          {Token{}, time.Hour, 0, time.Hour},
		"an hour, every 5 minutes":      {Token{Issued: now, Expires: in(time.Hour)}, 5 * time.Minute, 0, 5 * time.Minute},
		"an hour, every 2 hours":        {Token{Issued: now, Expires: in(time.Hour)}, 2 * time.Hour, 0, 40 * time.Minute},
		"every second":                  {Token{}, time.Second, 0, 5 * time.Second},
		"polled":                        {Token{Issued: now, Expires: in(time.Hour)}, 0, 5 * time.Second, 5 * time.Second},
		"since 1970, for another hour":  {Token{Issued: time.Unix(0, 0), Expires: in(time.Hour)}, 0, 0, 20 * time.Minute},
		"until 9999, which adds up too": {Token{Issued: now, Expires: time.Unix(253402300799, 0)}, 0, 0, 365 * 16 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			k := &Keeper{Every: tt.every, Poll: tt.poll}
			if got := k.next(tt.token, now); got != tt.want {
				t.Errorf("in %s, want %s", got, tt.want)
			}
		})
	}
}

// script is a source that gives what it is told to, and remembers when.
type script struct {
	mu    sync.Mutex
	began time.Time
	when  []time.Duration
	steps []func() (Token, error)
}

func plan(steps ...func() (Token, error)) *script { return &script{steps: steps} }

func (s *script) Fetch(context.Context) (Token, error) { return s.next()() }

func (s *script) next() func() (Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.when = append(s.when, time.Since(s.began))
	if len(s.steps) == 0 {
		return fails(errors.New("the script has ended"))
	}
	step := s.steps[0]
	s.steps = s.steps[1:]
	return step
}

// then adds further steps.
func (s *script) then(steps ...func() (Token, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps = append(s.steps, steps...)
}

// asked is when it was asked, from the beginning of the run.
func (s *script) asked() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.when)
}

// gives is a step that gives a new token of that life.
func gives(t *testing.T, sub string, life time.Duration) func() (Token, error) {
	return func() (Token, error) { return Rules{}.read(lasting(t, sub, life), time.Now()) }
}

func fails(err error) func() (Token, error) { return func() (Token, error) { return Token{}, err } }

// run keeps a file by a script for a while of made-up time, in a bubble.
func run(t *testing.T, during time.Duration, k *Keeper, s *script, look func(f File, l *log)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &log{}
		ctx, stop := context.WithCancel(t.Context())
		s.began = time.Now()
		k.Source, k.Log = s, l.logger()
		if k.File == "" {
			k.File = tempFile(t)
		}
		done := make(chan error, 1)
		go func() { done <- k.Run(ctx) }()
		time.Sleep(during)
		synctest.Wait()
		look(k.File, l)
		stop()
		if err := <-done; err != nil {
			t.Errorf("told to end, it failed: %v", err)
		}
		if strings.Contains(l.String(), signature) {
			t.Errorf("the log holds a token:\n%s", l)
		}
	})
}

// subject is whose token the file holds; empty without a file.
func subject(t *testing.T, f File) string {
	t.Helper()
	text, there, err := f.Read()
	if err != nil || !there {
		return ""
	}
	token, err := parseJWT(string(text))
	if err != nil {
		t.Errorf("the file holds %q: %v", string(text), err)
	}
	return token.Claims.Subject
}

func TestRunRenewsInTime(t *testing.T) {
	s := plan(gives(t, "first", time.Hour), gives(t, "second", time.Hour), gives(t, "third", time.Hour))
	run(t, 81*time.Minute, &Keeper{}, s, func(f File, l *log) {
		want := []time.Duration{0, 40 * time.Minute, 80 * time.Minute}
		if asked := s.asked(); !slices.Equal(asked, want) {
			t.Errorf("asked at %v, want %v", asked, want)
		}
		if got := subject(t, f); got != "third" {
			t.Errorf("the file holds the token of %q", got)
		}
		if l.count("token written", "sub=second", "iss=https://idp.example.com", "aud=wandb", "expires=2000-01-01T01:40:00Z") != 1 {
			t.Errorf("the log is\n%s", l)
		}
	})
}

func TestRunKeepsTheOldTokenWhileItIsGood(t *testing.T) {
	s := plan(gives(t, "first", time.Hour))
	run(t, 59*time.Minute, &Keeper{}, s, func(f File, l *log) {
		if got := subject(t, f); got != "first" {
			t.Errorf("after 59 minutes the file holds the token of %q", got)
		}
		if l.count("level=WARN", "no token", "the script has ended", "old_token_until=2000-01-01T01:00:00Z") == 0 {
			t.Errorf("the log is\n%s", l)
		}
		time.Sleep(time.Minute + time.Second)
		if _, err := os.Stat(string(f)); err == nil {
			t.Error("after its end the token is still there")
		}
		if l.count("level=ERROR", "has ended and is removed") != 1 {
			t.Errorf("the log is\n%s", l)
		}
		s.then(gives(t, "second", time.Hour))
		time.Sleep(2 * maxRetry)
		if got := subject(t, f); got != "second" {
			t.Errorf("after the outage the file holds the token of %q", got)
		}
	})
}

// A source may wait for a person, and the old token ends meanwhile.
func TestRunRemovesBesideASlowSource(t *testing.T) {
	s := plan(gives(t, "first", time.Hour), func() (Token, error) {
		time.Sleep(30 * time.Minute)
		return gives(t, "second", time.Hour)()
	})
	run(t, 61*time.Minute, &Keeper{}, s, func(f File, _ *log) {
		if got := subject(t, f); got != "" {
			t.Errorf("the ended token of %q is still there", got)
		}
		time.Sleep(10 * time.Minute) // to 01:11, when it has come at 01:10
		if got := subject(t, f); got != "second" {
			t.Errorf("the file holds the token of %q", got)
		}
	})
}

func TestRunWaitsLongerAndLonger(t *testing.T) {
	s := plan()
	run(t, 2*time.Hour, &Keeper{}, s, func(_ File, l *log) {
		for i, least := range []time.Duration{5, 10, 20, 40, 80, 160, 300, 300, 300} {
			least *= time.Second
			wait := s.asked()[i+1] - s.asked()[i]
			if wait < least || wait > least*5/4 {
				t.Errorf("wait %d is %s, want %s to a quarter more", i+1, wait, least)
			}
		}
		if s.asked()[9] == 1215*time.Second {
			t.Error("the waits are not spread: programs that failed together come back together")
		}
		if n := len(s.asked()); n > 40 {
			t.Errorf("asked %d times in two hours", n)
		}
		if l.count("no token", "failed=1 ") != 1 {
			t.Errorf("the log is\n%s", l)
		}
	})
}

func TestRunIsPatientWithARefusal(t *testing.T) {
	refusal := &Refusal{Status: 401, Code: "invalid_client"}
	for name, tt := range map[string]struct {
		err         error
		least, most time.Duration
		says        string
	}{
		"one that stays":           {refusal, 300 * time.Second, 375 * time.Second, "level=ERROR"},
		"an unusable answer":       {final{errors.New("no JWT")}, 300 * time.Second, 375 * time.Second, "somebody has to mend it"},
		"an outage":                {&Refusal{Status: 503}, 5 * time.Second, 6250 * time.Millisecond, "level=WARN"},
		"one with Retry-After":     {&Refusal{Status: 429, After: 100 * time.Second}, 100 * time.Second, 125 * time.Second, "level=WARN"},
		"one with a silly one":     {&Refusal{Status: 503, After: 3000 * time.Second}, 300 * time.Second, 375 * time.Second, "level=WARN"},
		"the network is not there": {errors.New("connection refused"), 5 * time.Second, 6250 * time.Millisecond, "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			s := plan(fails(tt.err))
			run(t, 376*time.Second, &Keeper{}, s, func(_ File, l *log) {
				if asked := s.asked(); len(asked) < 2 || asked[1] < tt.least || asked[1] > tt.most {
					t.Errorf("asked at %v", asked)
				}
				if l.count(tt.says, "failed=1 ") != 1 {
					t.Errorf("the log is\n%s", l)
				}
			})
		})
	}
}

// Waits after an outage are not counted on from the outage before.
func TestRunForgetsFailures(t *testing.T) {
	down := errors.New("down")
	s := plan(fails(down), fails(down), fails(down), gives(t, "first", time.Hour), fails(down), gives(t, "second", time.Hour))
	run(t, 45*time.Minute, &Keeper{}, s, func(f File, _ *log) {
		if asked := s.asked(); len(asked) != 6 || asked[5]-asked[4] > 7*time.Second {
			t.Errorf("asked at %v", s.asked())
		}
		if got := subject(t, f); got != "second" {
			t.Errorf("the file holds the token of %q", got)
		}
	})
}

func TestRunPolls(t *testing.T) {
	token := lasting(t, "first", 1000*365*time.Hour)
	gives := func() (Token, error) { return Rules{}.read(token, time.Now()) }
	down := fails(errors.New("down"))
	s := plan(gives, gives, gives, gives)
	run(t, 11*time.Second, &Keeper{Poll: ProjectedPoll}, s, func(f File, l *log) {
		if len(s.asked()) != 3 || l.count("token written") != 1 {
			t.Errorf("asked %d times\n%s", len(s.asked()), l)
		}
		if err := os.Remove(string(f)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		assertHolds(t, f, token) // somebody has cleaned up, and it is there again
		s.then(down, down, down, down, down, down, down, down, down, down, down, down, down, down, down, down)
		time.Sleep(71 * time.Second)
		if n := l.count("no token"); n != 2 {
			t.Errorf("a failure of 71 seconds is logged %d times\n%s", n, l)
		}
	})
}

func TestRunBeginsWithAFormerFile(t *testing.T) {
	for name, tt := range map[string]struct{ former, stays string }{
		"a token that has ended": {jwt(`{"sub":"former","exp":1}`), ""},
		"one that is good":       {jwt(`{"sub":"former","exp":253402300799}`), "former"},
	} {
		t.Run(name, func(t *testing.T) {
			f := tempFile(t)
			if err := f.Write(Secret(tt.former)); err != nil {
				t.Fatal(err)
			}
			run(t, time.Second, &Keeper{File: f}, plan(), func(f File, _ *log) {
				if got := subject(t, f); got != tt.stays {
					t.Errorf("the file holds the token of %q, want %q", got, tt.stays)
				}
			})
		})
	}
}

// A file that can't be written costs no token, and above all no refresh token.
func TestRunAsksForNothingItCanNotWrite(t *testing.T) {
	s := plan(gives(t, "first", time.Hour))
	f := tempFile(t)
	if err := os.Symlink("elsewhere", string(f)); err != nil {
		t.Fatal(err)
	}
	run(t, 10*time.Minute, &Keeper{File: f}, s, func(f File, l *log) {
		if len(s.asked()) != 0 || l.count("somebody has to mend it", "is a symbolic link") == 0 {
			t.Errorf("asked at %v\n%s", s.asked(), l)
		}
		if err := os.Remove(string(f)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * maxRetry)
		if got := subject(t, f); got != "first" {
			t.Errorf("the file holds the token of %q", got)
		}
	})
}

// TestRunWarnsOfLengthOnce: a token that no gateway takes is written, since it may
// be for another server.
func TestRunWarnsOfLengthOnce(t *testing.T) {
	long := func(n int) func() (Token, error) {
		return func() (Token, error) {
			return Rules{AllowOpaque: true}.read(strings.Repeat("a", n-1)+string(rune('a'+n%26)), time.Now())
		}
	}
	for name, c := range map[string]struct {
		bytes []int
		warn  int
	}{
		"as long as may be": {[]int{authn.MaxToken, authn.MaxToken - 1}, 0},
		"longer":            {[]int{authn.MaxToken + 1}, 1},
		"longer each time":  {[]int{1, authn.MaxToken + 1, authn.MaxToken + 2, authn.MaxToken + 3}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := plan()
			for _, n := range c.bytes {
				s.then(long(n))
			}
			run(t, time.Duration(len(c.bytes))*unknownLife-time.Second, &Keeper{}, s, func(_ File, l *log) {
				if l.count("level=WARN", "too long", "most=16384") != c.warn || l.count("token written") != len(c.bytes) {
					t.Errorf("the log is\n%s", l)
				}
			})
		})
	}
}

func TestOnce(t *testing.T) {
	f, l := tempFile(t), &log{}
	s := plan(gives(t, "first", time.Hour), fails(&Refusal{Status: 401, Code: "invalid_client"}))
	k := &Keeper{Source: s, File: f, Log: l.logger()}
	if err := k.Once(t.Context()); err != nil || subject(t, f) != "first" {
		t.Errorf("the file holds the token of %q, %v", subject(t, f), err)
	}
	err := k.Once(t.Context())
	assertError(t, err, "invalid_client")
	if !Final(err) || subject(t, f) != "first" || len(s.asked()) != 2 {
		t.Errorf("final %v; the file holds the token of %q", Final(err), subject(t, f))
	}
}
