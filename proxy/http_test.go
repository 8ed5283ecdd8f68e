package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

const head = "Host: gw.test\r\n" + aliceOnly

func TestRequestFraming(t *testing.T) {
	g := newRig(t, nil)
	// Each request is followed by a second one, of nobody. However the first is
	// taken, it must not change what the second is.
	const second = "GET /second HTTP/1.1\r\nHost: gw.test\r\n\r\n"
	rows := []struct {
		id, request string
		status      []int // of the first
		body        string
	}{
		{"HTTP-01 CL.TE", "POST /x HTTP/1.1\r\n" + head + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", []int{200, 400}, ""},
		{"HTTP-02 TE.CL", "POST /x HTTP/1.1\r\n" + head + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" +
			"1e\r\nPOST /admin HTTP/1.1\r\nX: y\r\n\r\n\r\n0\r\n\r\n", []int{200, 400}, "POST /admin HTTP/1.1\r\nX: y\r\n\r\n"},
		{"HTTP-03 xchunked", "POST /x HTTP/1.1\r\n" + head + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", []int{400, 501}, ""},
		{"HTTP-03 two codings", "POST /x HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", []int{400, 501}, ""},
		{"HTTP-03 two lines", "POST /x HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", []int{400, 501}, ""},
		{"HTTP-03 vertical tab", "POST /x HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\x0b\r\n\r\n0\r\n\r\n", []int{400, 501}, ""},
		{"HTTP-03 quoted", "POST /x HTTP/1.1\r\n" + head + "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", []int{400, 501}, ""},
		{"HTTP-03 space before colon", "POST /x HTTP/1.1\r\n" + head + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", []int{400}, ""},
		{"HTTP-04 GET with a body", "GET /x HTTP/1.1\r\n" + head + "Content-Length: 24\r\n\r\nGET /admin HTTP/1.1\r\n\r\n ", []int{200}, "GET /admin HTTP/1.1\r\n\r\n "},
		{"HTTP-05 unknown expectation", "POST /x HTTP/1.1\r\n" + head + "Expect: y\r\nContent-Length: 2\r\n\r\nhi", []int{417}, ""},
		{"HTTP-05 length behind a space", "POST /x HTTP/1.1\r\n" + head + "X: y\r\n Content-Length: 2\r\n\r\n", []int{200, 400}, ""},
		{"HTTP-06 two lengths", "POST /x HTTP/1.1\r\n" + head + "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd", []int{400}, ""},
		{"HTTP-06 a list of lengths", "POST /x HTTP/1.1\r\n" + head + "Content-Length: 4, 4\r\n\r\nabcd", []int{400}, ""},
		{"HTTP-06 a signed length", "POST /x HTTP/1.1\r\n" + head + "Content-Length: +4\r\n\r\nabcd", []int{400}, ""},
		{"HTTP-06 a hexadecimal length", "POST /x HTTP/1.1\r\n" + head + "Content-Length: 0x4\r\n\r\nabcd", []int{400}, ""},
		{"HTTP-06 a negative length", "POST /x HTTP/1.1\r\n" + head + "Content-Length: -1\r\n\r\nabcd", []int{400}, ""},
		{"HTTP-06 twenty digits", "POST /x HTTP/1.1\r\n" + head + "Content-Length: 99999999999999999999\r\n\r\nabcd", []int{400}, ""},
		{"HTTP-06 the same twice", "POST /x HTTP/1.1\r\n" + head + "Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd", []int{200, 400}, "abcd"},
		{"HTTP-08 chunk extensions", "POST /x HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\n\r\n2;a=b\r\nhi\r\n0;x=y\r\n\r\n", []int{200, 400}, "hi"},
		{"HTTP-10 chunked in HTTP/1.0", "POST /x HTTP/1.0\r\nConnection: keep-alive\r\n" + head + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", []int{200, 400}, ""},
		{"HTTP-11 HTTP/1.2", "GET /x HTTP/1.2\r\n" + head + "\r\n", []int{200, 400, 505}, ""},
		{"HTTP-11 HTTP/2.0 over HTTP/1", "GET /x HTTP/2.0\r\n" + head + "\r\n", []int{400, 505}, ""},
		{"HTTP-11 lower case", "GET /x http/1.1\r\n" + head + "\r\n", []int{400}, ""},
		{"HTTP-11 HTTP/0.9", "GET /x\r\n" + head + "\r\n", []int{400}, ""},
		{"HTTP-12 two hosts", "GET /x HTTP/1.1\r\nHost: gw.test\r\nHost: evil.test\r\n" + aliceOnly + "\r\n", []int{400}, ""},
		{"HTTP-12 no host", "GET /x HTTP/1.1\r\n" + aliceOnly + "\r\n", []int{400}, ""},
		{"HTTP-12 user in host", "GET /x HTTP/1.1\r\nHost: gw.test@evil.test/x\r\n" + aliceOnly + "\r\n", []int{400, 421}, ""},
		{"HTTP-12 space before colon", "GET /x HTTP/1.1\r\nHost : gw.test\r\n" + aliceOnly + "\r\n", []int{400}, ""},
		{"HTTP-12 folded host", "GET /x HTTP/1.1\r\nHost: gw.test\r\n .evil.test\r\n" + aliceOnly + "\r\n", []int{400, 421}, ""},
		{"HDR-31 folded header", "GET /x HTTP/1.1\r\n" + head + "X-Foo: a\r\n X-Forwarded-User: eve\r\n\r\n", []int{200, 400}, ""},
		{"HDR-32 space before colon", "GET /x HTTP/1.1\r\n" + head + "X-Forwarded-User : eve\r\n\r\n", []int{400}, ""},
		{"HDR-32 control in a name", "GET /x HTTP/1.1\r\n" + head + "X-Forwarded-User\x0b: eve\r\n\r\n", []int{400}, ""},
		{"HDR-32 NUL in a name", "GET /x HTTP/1.1\r\n" + head + "X-Forwarded-User\x00: eve\r\n\r\n", []int{400}, ""},
		{"HDR-32 space before the first line", "GET /x HTTP/1.1\r\n X-Forwarded-User: eve\r\n" + head + "\r\n", []int{400}, ""},
		{"HTTP-36 lines that end in LF", "GET /x HTTP/1.1\nHost: gw.test\nX-A: b\nCookie: " + cookieName + "=alice\n\n", []int{200, 400}, ""},
		{"HTTP-36 bare CR in a value", "GET /x HTTP/1.1\r\n" + head + "X-A: b\rX-Forwarded-User: eve\r\n\r\n", []int{400}, ""},
	}
	for _, row := range rows {
		g.sub(row.id, func(t *testing.T, g *rig) {
			c := g.dial()
			if _, err := io.WriteString(c, row.request+second); err != nil {
				t.Fatal(err)
			}
			br := bufio.NewReader(c)
			method, _, _ := strings.Cut(row.request, " ")
			first := g.read(br, method)
			ok := false
			for _, s := range row.status {
				ok = ok || first.StatusCode == s
			}
			if !ok {
				t.Fatalf("status %s, want one of %v", first.Status, row.status)
			}
			all := g.up.all()
			if first.StatusCode != 200 {
				want(t, "requests at the upstream", len(all), 0)
				return
			}
			if len(all) != 1 || all[0].Target != "/x" || all[0].Body != row.body || all[0].Proto != "HTTP/1.1" {
				t.Fatalf("the upstream got %+v, want one request with body %q", all, row.body)
			}
			alice := person("alice")
			onlyOurs(t, all[0], &alice)
			_, hasLength := all[0].Header["Content-Length"]
			_, isChunked := all[0].Header["Transfer-Encoding"]
			want(t, "both framings", hasLength && isChunked, false)
			if next := g.read(br, "GET"); next.StatusCode != 401 && next.StatusCode != 400 && next.StatusCode != 0 {
				t.Errorf("the second request was answered with %s", next.Status)
			}
			want(t, "requests at the upstream after both", len(g.up.all()), 1)
		})
	}
}

func TestBrokenBodies(t *testing.T) {
	g := newRig(t, nil)
	chunked := "POST /x HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\n\r\n"
	for _, row := range []struct{ id, body string }{
		{"HTTP-07 bare LF after the size", "2\nhi\r\n0\r\n\r\n"},
		{"HTTP-08 endless extension", "1;" + strings.Repeat("x", 20<<10) + "\r\na\r\n0\r\n\r\n"},
		{"HTTP-08 LF in an extension", "1;a\nb\r\na\r\n0\r\n\r\n"},
		{"HTTP-08 LF after the last size", "0;x\n\r\n"},
		{"HTTP-09 negative size", "-1\r\na\r\n0\r\n\r\n"},
		{"HTTP-09 0x", "0x2\r\nhi\r\n0\r\n\r\n"},
		{"HTTP-09 too many digits", "FFFFFFFFFFFFFFFFF\r\nhi\r\n0\r\n\r\n"},
		{"HTTP-09 no CRLF after the data", "2\r\nhiX\r\n0\r\n\r\n"},
	} {
		g.sub(row.id, func(t *testing.T, g *rig) {
			a := g.raw(chunked + row.body)
			want(t, "status", a.StatusCode, 400)
			want(t, "closed", a.Close, true)
			for _, s := range g.up.all() {
				if s.Err == nil {
					t.Errorf("the upstream took %q for a whole body", s.Body)
				}
			}
		})
	}
	g.sub("a client that goes away in its body", func(t *testing.T, _ *rig) {
		started, ended := make(chan struct{}), make(chan error, 1)
		g := newRig(t, nil)
		g.up.then = func(_ http.ResponseWriter, r *http.Request) {
			close(started)
			_, err := io.ReadAll(r.Body)
			ended <- err
		}
		c := g.dial()
		fmt.Fprint(c, "POST /x HTTP/1.1\r\n"+head+"Content-Length: 10\r\n\r\nhal")
		<-started
		c.Close()
		if err := <-ended; err == nil {
			t.Error("the upstream took half a body for a whole one")
		}
	})
}

func TestPipelining(t *testing.T) {
	g := newRig(t, nil)
	g.sub("HTTP-13 pipelining across identities", func(t *testing.T, g *rig) {
		c := g.dial()
		var all strings.Builder
		cookies := []string{"", aliceOnly, "", "Cookie: " + cookieName + "=bob\r\n", "Cookie: " + cookieName + "=stale\r\n", aliceOnly}
		for i, cookie := range cookies {
			fmt.Fprintf(&all, "GET /%d HTTP/1.1\r\nHost: gw.test\r\n%s\r\n", i, cookie)
		}
		if _, err := io.WriteString(c, all.String()); err != nil {
			t.Fatal(err)
		}
		br := bufio.NewReader(c)
		for i, status := range []int{401, 200, 401, 200, 401, 200} {
			want(t, fmt.Sprint("answer ", i), g.read(br, "GET").StatusCode, status)
		}
		for i, who := range []string{"sub-alice", "sub-bob", "sub-alice"} {
			s := g.up.all()[i]
			want(t, s.Target, s.Header.Get("X-Forwarded-User"), who)
		}
	})
}

func TestConnect(t *testing.T) {
	g := newRig(t, nil)
	for _, row := range []struct{ id, request string }{
		{"HTTP-14 CONNECT with a body", "CONNECT gw.test:80 HTTP/1.1\r\n" + head + "Content-Length: 38\r\n\r\nGET /admin HTTP/1.1\r\nHost: gw.test\r\n\r\n"},
		{"HTTP-14 CONNECT of a path", "CONNECT /public/x HTTP/1.1\r\n" + head + "\r\nGET /public/x HTTP/1.1\r\nHost: gw.test\r\n\r\n"},
		{"HTTP-15 CONNECT of our own", "CONNECT /.gatehouse/userinfo HTTP/1.1\r\n" + head + "\r\nGET /public/x HTTP/1.1\r\nHost: gw.test\r\n\r\n"},
	} {
		g.sub(row.id, func(t *testing.T, g *rig) {
			c := g.dial()
			fmt.Fprint(c, row.request)
			br := bufio.NewReader(c)
			g.denied(g.read(br, "CONNECT"), 405)
			if rest, err := io.ReadAll(br); len(rest) != 0 && strings.Contains(string(rest), "HTTP/1.1 2") {
				t.Errorf("went on after CONNECT: %q %v", rest, err)
			}
			g.untouched()
		})
	}
}

func TestPanics(t *testing.T) {
	g := newRig(t, func(o *Options) {
		o.Routes[0].Allow = nil
		mount := o.Routes[0].Mount
		o.Routes[0].Mount = func(mux *http.ServeMux) {
			mount(mux)
			mux.HandleFunc("/.gatehouse/boom", func(http.ResponseWriter, *http.Request) { panic("boom") })
			mux.HandleFunc("/.gatehouse/late", func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprint(w, "half")
				panic(errors.New("late boom"))
			})
			mux.HandleFunc("/.gatehouse/abort", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		}
	})
	defer g.log.Reset() // the rig fails on panics it does not expect
	t.Run("DOS-17 panic containment", func(t *testing.T) {
		a := g.get("/.gatehouse/boom", "")
		want(t, "status", a.StatusCode, 500)
		if strings.Contains(a.body, "boom") {
			t.Errorf("the answer tells the cause: %s", a.body)
		}
		want(t, "logged", strings.Contains(g.log.String(), "boom"), true)
		late := g.get("/.gatehouse/late", "")
		if !strings.Contains(late.body+late.Status, "EOF") {
			t.Errorf("an answer that broke off looks whole: %s %q", late.Status, late.body)
		}
		want(t, "abort", g.get("/.gatehouse/abort", "").StatusCode, 0)
		want(t, "the gateway goes on", g.get("/public/x", "").StatusCode, 200)
		want(t, "upstream", len(g.up.all()), 1)
	})
}
