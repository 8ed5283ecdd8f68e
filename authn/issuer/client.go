package issuer

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/meter"
)

const (
	// CallTime bounds one call to the provider, body and all.
	CallTime = 10 * time.Second
	// maxAnswer bounds what the provider may answer, after decompression.
	maxAnswer = 1 << 20
)

// NewClient makes the client for everything that is asked of an issuer. Calls is told of
// that.
func NewClient(t *tls.Config, calls meter.Calls) *http.Client {
	c := Guarded(&http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSClientConfig:        t,
		TLSHandshakeTimeout:    5 * time.Second,
		ResponseHeaderTimeout:  CallTime,
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConnsPerHost:    4,
		IdleConnTimeout:        time.Minute,
		ForceAttemptHTTP2:      true,
	})
	c.Transport = meter.Transport(calls, c.Transport)
	return c
}

// Guarded is a client with this package's bounds over any transport. It follows
// no redirect, so that a code, a secret or a token goes nowhere but where it was
// sent (RFC 9700, section 4.12).
func Guarded(t http.RoundTripper) *http.Client {
	return &http.Client{
		Timeout:       CallTime,
		Transport:     strict{t},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// strict reads each answer whole, within bounds, and lets a success through
// only if it is a JWT or a sound JSON document. The libraries above it may then
// parse as leniently as they like.
type strict struct{ http.RoundTripper }

var errTooBig = fmt.Errorf("answer is larger than %d bytes", maxAnswer)

// RoundTrip sends the request and checks the answer.
func (s strict) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := s.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if len(body) > maxAnswer {
		return nil, BadAnswer{errTooBig}
	}
	if resp.StatusCode/100 == 2 && !isJWT(resp) {
		if err := checkDocument(body); err != nil {
			return nil, BadAnswer{fmt.Errorf("answer is %w%s", err, looks(body))}
		}
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	resp.ContentLength = int64(len(body))
	return resp, nil
}

// BadAnswer is an answer that arrived and makes no sense. Its text may quote the
// answer, so it is bounded.
type BadAnswer struct{ error }

func (b BadAnswer) Error() string { return authn.Bounded(b.error.Error()) }
func (b BadAnswer) Unwrap() error { return b.error }

// looks tells the usual mistake.
func looks(body []byte) string {
	if bytes.HasPrefix(bytes.TrimSpace(body), []byte("<")) {
		return ", but a page for people; is the URL right, and is there a proxy in between?"
	}
	return ""
}

func isJWT(resp *http.Response) bool {
	media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return err == nil && media == "application/jwt"
}

// Transient tells an answer that may be another one later.
func Transient(status int) bool {
	return status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout
}

// CallError sorts the error of a call that got no usable answer: one that
// arrived and makes no sense stays as it is, anything else could not be found out.
func CallError(err error) error {
	if bad := (BadAnswer{}); errors.As(err, &bad) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
