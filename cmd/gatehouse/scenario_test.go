package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write the golden files again")

// TestScenarios runs testdata/*.txt. Each file holds settings, who has signed
// in (if anybody), and one request as it goes over the wire; it is compared
// whole with what the application saw and what the client got. A bug report
// becomes a file.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			runScenario(t, file)
		})
	}
}

func runScenario(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	part := map[string]string{}
	for _, f := range archive.Files {
		part[f.Name] = string(f.Data)
	}
	w := newWorld(t, part["settings.yaml"])
	if a := part["application"]; a != "" {
		w.app.answers(func(rw http.ResponseWriter, _ *http.Request) { answerRaw(t, rw, a) })
	}
	cookie := ""
	if who := strings.TrimSpace(part["signed-in"]); who != "" {
		cookie = sessionCookie(t, w.signIn(who))
		w.app.mu.Lock()
		w.app.seen = nil
		w.app.mu.Unlock()
	}
	request := strings.NewReplacer("$SESSION", cookie, "$JWT", w.jwt(w.issuer.Keys()[0], nil), "\n", "\r\n").Replace(part["request"])
	if _, body, ok := strings.Cut(request, "\r\n\r\n"); ok {
		request = strings.ReplaceAll(request, "$LENGTH", fmt.Sprint(len(body)))
	}
	got := map[string]string{"response": w.raw(t, request), "upstream": w.upstreamSaw()}
	for i, f := range archive.Files {
		if f.Name == "response" || f.Name == "upstream" {
			if want := string(f.Data); got[f.Name] != want && !*update {
				t.Errorf("%s:\n%s\nwant:\n%s", f.Name, got[f.Name], want)
			}
			archive.Files[i].Data = []byte(got[f.Name])
		}
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(archive), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// answerRaw answers with "status\nheaders\n\nbody".
func answerRaw(t *testing.T, w http.ResponseWriter, text string) {
	res, err := http.ReadResponse(bufio.NewReader(strings.NewReader("HTTP/1.1 "+strings.ReplaceAll(text, "\n", "\r\n"))), nil)
	if err != nil {
		t.Errorf("the scenario's application: %v", err)
		return
	}
	defer res.Body.Close()
	maps.Copy(w.Header(), res.Header)
	w.WriteHeader(res.StatusCode)
	io.Copy(w, res.Body)
}

func sessionCookie(t *testing.T, c *http.Client) string {
	t.Helper()
	u := &url.URL{Scheme: "https", Host: publicHost, Path: "/"}
	for _, k := range c.Jar.Cookies(u) {
		if k.Name == "__Host-gatehouse" {
			return k.Name + "=" + k.Value
		}
	}
	t.Fatal("there is no session cookie")
	return ""
}

// raw sends bytes over TLS and returns the answer in a form that does not change.
func (w *world) raw(t *testing.T, request string) string {
	t.Helper()
	conf := w.transport().TLSClientConfig.Clone()
	conf.NextProtos = []string{"http/1.1"}
	conn, err := tls.Dial("tcp", w.server.Listener.Addr().String(), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%v\nlog:\n%s", err, w.log)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	fmt.Fprintln(&b, res.Status)
	if strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
		body = []byte(title(body) + "\n")
		res.Header.Del("Content-Length")
	}
	writeHeader(&b, res.Header)
	if res.Close {
		fmt.Fprintln(&b, "(and the connection ends)")
	}
	fmt.Fprintf(&b, "\n%s", body)
	if !bytes.HasSuffix(b.Bytes(), []byte("\n")) {
		b.WriteByte('\n')
	}
	return w.steady(b.String())
}

// title is the page's title; the pages themselves have golden files of their own.
func title(body []byte) string {
	m := regexp.MustCompile(`(?s)<title>(.*?)</title>`).FindSubmatch(body)
	if m == nil {
		return "(a page without a title)"
	}
	return "(page: " + strings.TrimSpace(string(m[1])) + ")"
}

func (w *world) upstreamSaw() string {
	w.app.mu.Lock()
	defer w.app.mu.Unlock()
	if len(w.app.seen) == 0 {
		return "(nothing)\n"
	}
	var b bytes.Buffer
	for _, r := range w.app.seen {
		fmt.Fprintf(&b, "%s %s\nHost: %s\n", r.Method, r.RequestURI, r.Host)
		writeHeader(&b, r.Header)
	}
	return w.steady(b.String())
}

func writeHeader(b *bytes.Buffer, h http.Header) {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, v := range h[name] {
			fmt.Fprintf(b, "%s: %s\n", name, v)
		}
	}
}

// steady masks what differs from run to run.
func (w *world) steady(s string) string {
	s = regexp.MustCompile(`(?m)^(X-Gatehouse-Jwt-Assertion: )[\w-]+\.([\w-]+)\.[\w-]+$`).ReplaceAllStringFunc(s, func(line string) string {
		name, token, _ := strings.Cut(line, ": ")
		return name + ": " + regexp.MustCompile(`"(iat|nbf|exp|jti|auth_time)":("[^"]*"|\d+),?`).ReplaceAllString(string(payloadOf(token)), "")
	})
	upstream := regexp.MustCompile(`127\.0\.0\.1:\d+`)
	s = strings.ReplaceAll(s, w.provider.URL, "$ISSUER")
	for re, with := range map[*regexp.Regexp]string{
		regexp.MustCompile(`(?m)^Date: .*$`):                             "Date: $$DATE",
		regexp.MustCompile(`gh_at_[\w-]{20,}`):                           "gh_at_$$TOKEN",
		regexp.MustCompile(`"auth_time":"[^"]*"`):                        `"auth_time":"$$TIME"`,
		regexp.MustCompile(`\b[0-9a-f]{32}\b`):                           "$$REQUEST_ID",
		regexp.MustCompile(`(gatehouse(?:_attempt_[^=]*)?=)[^;\s]{20,}`): "${1}$$SEALED",
		regexp.MustCompile(`(?m)^(X-Forwarded-For): .*$`):                "$1: $$CLIENT",
	} {
		s = re.ReplaceAllString(s, with)
	}
	return upstream.ReplaceAllString(s, "$$ADDRESS")
}
