package wandb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// attempts is how often to try, and how long to wait between.
type attempts struct {
	// retries is how many follow the first; none that counts if negative.
	retries int
	// first and most are waits in seconds. Each is twice the one before.
	first, most float64
	// timeout is how long one attempt may take; none if zero.
	timeout time.Duration
	// again tells whether a status is worth another attempt.
	again func(status int) bool
}

func retryGraphQL(status int) bool {
	final := []int{400, 401, 403, 404, 409, 410, 413, 422, 501}
	return status >= 400 && !slices.Contains(final, status)
}

func retryUpsert(status int) bool { return status == http.StatusConflict || retryGraphQL(status) }

func retryTransfer(status int) bool {
	return status == http.StatusTooManyRequests || status >= 500 && status != http.StatusNotImplemented
}

func retryExchange(status int) bool { return status == http.StatusTooManyRequests || status >= 500 }

// call is a request that can be made more than once.
type call struct {
	method, url string
	header      http.Header
	body        []byte
	// authorize is set for paths of the server itself. Storage gets no credential.
	authorize bool
}

// answer is what came of it, after redirects: 301, 302 and 303 are followed by
// GET, without the body.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// rejection is an exchange that there is no use in repeating.
type rejection struct{ error }

// send makes a call until it is answered for good. The error is that of the last
// attempt; whatever the answer says is for the caller.
func (c *Client) send(ctx context.Context, n attempts, what call) (answer, error) {
	for attempt := 0; ; attempt++ {
		a, err := c.once(ctx, n.timeout, what)
		switch {
		case err == nil && !n.again(a.status):
			return a, nil
		case errors.As(err, new(rejection)) || ctx.Err() != nil:
			return answer{}, err
		case err == nil && attempt == n.retries:
			return answer{}, fmt.Errorf("giving up after %d attempts: %w", attempt+1, refusal(a))
		case attempt == n.retries:
			return answer{}, fmt.Errorf("giving up after %d attempts: %w", attempt+1, err)
		}
		if err := c.wait(ctx, n.pause(attempt, a.header)); err != nil {
			return answer{}, err
		}
	}
}

// pause is how long to wait after an attempt, in seconds: what Retry-After says,
// however long that is.
func (n attempts) pause(attempt int, header http.Header) float64 {
	if v := header.Values("Retry-After"); len(v) == 1 {
		if seconds, err := strconv.ParseFloat(v[0], 64); err == nil {
			return seconds
		}
		if at, err := time.Parse(time.RFC1123, v[0]); err == nil {
			return max(0, time.Until(at).Seconds())
		}
	}
	seconds := n.first
	for range attempt {
		seconds = min(2*seconds, n.most)
	}
	return seconds
}

func (c *Client) wait(ctx context.Context, seconds float64) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Duration(seconds * float64(c.settings.Second))):
		return nil
	}
}

func (c *Client) once(ctx context.Context, timeout time.Duration, what call) (answer, error) {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	r, err := http.NewRequestWithContext(ctx, what.method, what.url, bytes.NewReader(what.body))
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("User-Agent", "wandb-core")
	maps.Copy(r.Header, what.header)
	maps.Copy(r.Header, c.settings.Header) // to storage too
	if what.authorize {
		if err := c.authorize(ctx, r); err != nil {
			return answer{}, err
		}
	}
	res, err := c.http.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return answer{}, err
	}
	return answer{res.StatusCode, res.Header, body}, nil
}
