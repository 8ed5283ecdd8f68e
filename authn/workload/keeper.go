package workload

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"sync"
	"time"

	"gatehouse/authn"
)

const (
	// leastWait is the shortest time between two questions, whatever for.
	leastWait = 5 * time.Second
	// margin is how long before a token's end there should be a new one.
	margin = time.Minute
	// maxRetry bounds the growing waits between failures, but for what spreads
	// them; a refusal that does not pass by itself waits for so long at once.
	maxRetry = 5 * time.Minute
	// sayAgain is how often a failure that stays the same is logged.
	sayAgain = time.Minute
)

// Keeper keeps a file fresh.
type Keeper struct {
	Source Source
	File   File
	// Every is the longest time between two tokens; needed where a token does not
	// say how long it lasts. Zero leaves it to the token.
	Every time.Duration
	// Poll asks the source so often, whatever the token's life is: for one that
	// costs nothing. Zero goes by the token's life.
	Poll time.Duration
	Log  *slog.Logger

	mu   sync.Mutex       // held while the file is looked at and changed
	last Token            // what the file was last given
	long bool             // said that a token was too long
	wall func() time.Time // for tests; nil is the system's clock
}

// Once writes one token. Whatever goes wrong, a token that is in the file and has
// not ended stays there.
func (k *Keeper) Once(ctx context.Context) error {
	_, err := k.renew(ctx)
	return err
}

// Run keeps the file fresh until ctx ends. On failures it tries again with
// growing waits; a token that ends meanwhile is removed, so that the file is
// there exactly as long as it is worth something.
func (k *Keeper) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	fresh := make(chan struct{}, 1)
	var beside sync.WaitGroup // a source may take long
	beside.Go(func() { k.watch(ctx, fresh) })
	defer beside.Wait()
	defer stop()
	var f failures
	var until time.Time
	for {
		t, err := k.renew(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was told to end; what was under way failed for that
		}
		var wait time.Duration
		if err == nil {
			f, until = failures{}, t.Expires
			wait = k.next(t, k.now())
			select {
			case fresh <- struct{}{}:
			default: // it has not heard of the one before, and will look anyway
			}
		} else {
			wait = f.wait(err, k.Poll)
			k.tell(&f, err, until, wait)
		}
		if !k.rest(ctx, wait) {
			return nil
		}
	}
}

// renew gets a token and writes it, unless it is there already.
func (k *Keeper) renew(ctx context.Context) (Token, error) {
	if _, err := k.File.stat(); err != nil { // before anybody is asked, or any refresh token spent
		return Token{}, fmt.Errorf("write %s: %w", string(k.File), cause(err))
	}
	t, err := k.Source.Fetch(ctx)
	if err != nil {
		return Token{}, err
	}
	if changed, err := k.write(t); !changed || err != nil {
		return t, err
	}
	k.warnOfLength(len(t.Secret))
	attrs := []any{"file", string(k.File), "bytes", len(t.Secret)}
	if c := t.Claims; c != (Claims{}) {
		attrs = append(attrs, "iss", c.Issuer, "sub", c.Subject, "aud", c.Audience)
	}
	if t.Expires.IsZero() {
		k.Log.Info("token written", attrs...)
		return t, nil
	}
	k.Log.Info("token written", append(attrs, "expires", stamp(t.Expires))...)
	return t, nil
}

// warnOfLength says once what nobody would guess from the gateway's 401.
func (k *Keeper) warnOfLength(n int) {
	if n > authn.MaxToken && !k.long {
		k.long = true
		k.Log.Warn("the token is too long for a gatehouse; have the issuer put less into it, such as fewer groups", "bytes", n, "most", authn.MaxToken)
	}
}

func (k *Keeper) write(t Token) (changed bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	is, err := k.File.holds(t.Secret)
	if !is && err == nil {
		err = k.File.Write(t.Secret)
	}
	if err == nil {
		k.last = t // also if the text is the same: it may last longer by now
	}
	return !is, err
}

// tell logs a failure, and says the same thing once a minute at most.
func (k *Keeper) tell(f *failures, err error, until time.Time, wait time.Duration) {
	if now := time.Now(); err.Error() != f.said || now.Sub(f.at) >= sayAgain {
		f.said, f.at = err.Error(), now
		attrs := []any{"err", err, "failed", f.n, "again_in", wait.Round(time.Second).String()}
		if k.now().Before(until) {
			attrs = append(attrs, "old_token_until", stamp(until))
		}
		if Final(err) {
			k.Log.Error("no token, and somebody has to mend it", attrs...)
			return
		}
		k.Log.Warn("no token", attrs...)
	}
}

// failures counts those in a row.
type failures struct {
	n    int
	said string
	at   time.Time
}

// wait is how long to wait after one more: growing, and spread so that many
// programs that failed together don't come back together.
func (f *failures) wait(err error, poll time.Duration) time.Duration {
	f.n++
	if poll > 0 {
		return poll
	}
	wait := min(leastWait<<min(f.n-1, 10), maxRetry)
	if Final(err) {
		wait = maxRetry
	}
	var no *Refusal
	if errors.As(err, &no) {
		wait = max(wait, min(no.After, maxRetry))
	}
	return wait + jitter(wait/4)
}

// jitter is random, below d.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	n, err := rand.Int(rand.Reader, big.NewInt(int64(d)))
	if err != nil {
		return 0
	}
	return time.Duration(n.Int64())
}

// unknownLife is how long a token counts as fresh that does not say when it ends.
const unknownLife = 15 * time.Minute

// longLife is how long a token may seem to last, so that times can be added up.
const longLife = 365 * 24 * time.Hour

// next is how long to wait for the token after t: two thirds of its life, at
// least a minute before its end, and never less than five seconds. One that is
// older already, because the source gives the same again, is asked about after a
// third of what is left.
func (k *Keeper) next(t Token, now time.Time) time.Duration {
	wait := unknownLife
	if k.Every > 0 {
		wait = k.Every
	}
	if left := min(t.Expires.Sub(now), longLife); !t.Expires.IsZero() {
		age := time.Duration(0)
		if !t.Issued.IsZero() {
			age = max(0, now.Sub(t.Issued))
		}
		byLife := max((left+age)*2/3-age, left/3)
		byLife = min(byLife, left-margin)
		if k.Every == 0 {
			wait = byLife
		}
		wait = min(wait, byLife)
	}
	if k.Poll > 0 {
		wait = k.Poll
	}
	return max(wait, leastWait)
}
