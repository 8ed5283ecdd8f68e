package main

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"gatehouse/config"
)

// anyAddress is where explained requests come from: an address of no network (RFC
// 5737).
const anyAddress = "192.0.2.1"

// newRequest reads a request as a server does, from the bytes that a client would
// send. Its errors quote no header, which may be a secret, and no query.
func newRequest(c config.Config, q question) (*http.Request, error) {
	host, target, err := splitURL(c.Origin().Host, q.url)
	if err != nil {
		return nil, err
	}
	if !isToken(q.method) {
		return nil, fmt.Errorf("%q is no method: write it like GET or POST", q.method)
	}
	headers := q.headers
	if q.browser {
		headers = append([][2]string{
			{"Accept", "text/html,application/xhtml+xml,*/*;q=0.8"}, {"Sec-Fetch-Mode", "navigate"}, {"Sec-Fetch-Dest", "document"},
		}, headers...)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", q.method, target, host)
	for _, h := range headers {
		switch name, value := h[0], h[1]; {
		case !isToken(name):
			return nil, errors.New("that is not a header's name: write letters, digits and -")
		case strings.EqualFold(name, "Host"):
			return nil, errors.New("the header Host: write the host in the URL")
		case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
			return nil, fmt.Errorf("the header %s has a line break or another control character in it", name)
		default:
			fmt.Fprintf(&b, "%s: %s\r\n", name, value)
		}
	}
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(b.String() + "\r\n")))
	if err != nil {
		return nil, errors.New("that is no request that HTTP knows: look at the URL's host and at each % in its path, and at Content-Length and Transfer-Encoding")
	}
	r.Body, r.RemoteAddr = http.NoBody, anyAddress+":0"
	return r, nil
}

// splitURL takes a URL apart as it is spelled: what a client sends as the host and
// as the target.
func splitURL(public, raw string) (host, target string, err error) {
	target = raw
	if scheme, rest, ok := strings.Cut(raw, "://"); ok && (strings.EqualFold(scheme, "https") || strings.EqualFold(scheme, "http")) {
		end := strings.IndexAny(rest+"/", "/?#")
		if host, target = rest[:end], rest[end:]; !strings.HasPrefix(target, "/") {
			target = "/" + target
		}
	} else {
		host = public
	}
	switch {
	case !strings.HasPrefix(target, "/"):
		return "", "", errors.New("that is not a URL: write a whole one, like https://wandb.example.com/graphql, or a path of the public URL, like /graphql")
	case host == "" || strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return "", "", errors.New("the URL has no host that can be sent")
	case strings.Contains(host, "@"):
		return "", "", errors.New("the URL has a name or a password before its host: send them in a header")
	case strings.Contains(target, "#"):
		return "", "", errors.New("the URL has a fragment, which no client sends: leave out what begins with #")
	case strings.ContainsFunc(target, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return "", "", errors.New("the URL has a space or a control character in it: write it as %20, as clients do")
	}
	return host, target, nil
}

func isToken(s string) bool {
	return regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$").MatchString(s)
}

// shownURL is a request's URL without its query, which may hold secrets.
func shownURL(r *http.Request) string {
	path, _, query := strings.Cut(r.RequestURI, "?")
	if query {
		path += "?…"
	}
	return r.Host + path
}
