package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"gatehouse/authn/audit"
)

var secret, former = bytes.Repeat([]byte("k"), 64), bytes.Repeat([]byte("o"), 64)

func open(t *testing.T, o audit.Options) *audit.Writer {
	t.Helper()
	w, err := audit.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func event(n int) audit.Event {
	return audit.Event{Name: audit.SignIn, Outcome: audit.Allowed, Subject: fmt.Sprint("person ", n), Reason: `<script>"`}
}

func record(t *testing.T, w *audit.Writer, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		if err := w.Record(event(n)); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, files ...string) string {
	t.Helper()
	var all strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	return all.String()
}

// parts is a trail in one part.
func parts(text string) []audit.Part {
	return []audit.Part{{Name: "a", Reader: strings.NewReader(text)}}
}

func verify(t *testing.T, text string, secrets ...[]byte) (int, string) {
	t.Helper()
	v, err := audit.Verify(parts(text), secrets)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range v.Flaws {
		out = append(out, fmt.Sprint(f.Line, ": ", f.What))
	}
	return v.Lines, strings.Join(out, "\n")
}

func TestRecord(t *testing.T) {
	var out bytes.Buffer
	w := open(t, audit.Options{To: &out})
	r := httptest.NewRequest("POST", "https://wandb.example.com/oidc/token?secret=x", nil)
	r.RemoteAddr = "192.0.2.7:4711"
	r.Header.Set("X-Request-Id", "abc")
	r.Header.Set("User-Agent", strings.Repeat("x", 5000))
	e := audit.Of(r, audit.TokenIssue, audit.Refused)
	e.Reason = "the signature is wrong"
	if err := w.Record(e); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || !strings.HasSuffix(out.String(), "}\n") {
		t.Fatalf("%v: %s", err, out.String())
	}
	for name, want := range map[string]string{
		"event": "token-issue", "outcome": "refused", "reason": "the signature is wrong", "address": "192.0.2.7",
		"request_id": "abc", "host": "wandb.example.com", "method": "POST", "path": "/oidc/token",
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %s", name, got[name], want)
		}
	}
	at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(got["time"]))
	if err != nil || time.Since(at) > time.Minute || len(out.String()) > 2000 {
		t.Errorf("%v, %d bytes: %s", err, out.Len(), out.String())
	}
}

// TestOneLine: whatever a client writes, an event is one line to every reader, and nothing
// that a terminal acts upon.
func TestOneLine(t *testing.T) {
	var out bytes.Buffer
	w := open(t, audit.Options{To: &out, Secrets: [][]byte{former}})
	r := httptest.NewRequest("GET", "/x", nil)
	r.Header.Set("User-Agent", "a\u2028b\u2029c\u0085d\u009b31me\x1b[31mf\x7f\xc2g")
	if err := w.Record(audit.Of(r, audit.SignIn, audit.Refused)); err != nil {
		t.Fatal(err)
	}
	text := strings.TrimSuffix(out.String(), "\n")
	if strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != 0x7f || r == 0x2028 || r == 0x2029 }) {
		t.Errorf("%q", text)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(text), &got); err != nil || got["user_agent"] != "a\u2028b\u2029c\u0085d\u009b31me\x1b[31mf\x7f\uFFFDg" {
		t.Errorf("%v: %q", err, got)
	}
	if n, flaws := verify(t, text+"\n", former); n != 1 || flaws != "" {
		t.Errorf("%d lines, %s", n, flaws)
	}
}

// TestVerify: OPS, whatever is done to a chained trail but to cut off its end is found.
func TestVerify(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	w := open(t, audit.Options{File: file, Secrets: [][]byte{former}})
	record(t, w, 0, 3)
	w.Close()
	w = open(t, audit.Options{File: file, Secrets: [][]byte{secret, former}})
	record(t, w, 3, 6)
	text := read(t, file)
	if n, flaws := verify(t, text, secret, former); n != 6 || flaws != "" {
		t.Fatalf("%d lines, %s\n%s", n, flaws, text)
	}
	lines := strings.SplitAfter(text, "\n")
	without := func(i int) string { return strings.Join(append(append([]string{}, lines[:i]...), lines[i+1:]...), "") }
	for text, goesOn := range map[string]bool{text: false, without(0): true} {
		if found, err := audit.Verify(parts(text), [][]byte{secret, former}); err != nil || found.GoesOn != goesOn || len(found.Flaws) > 0 {
			t.Errorf("%+v %v\n%s", found, err, text)
		}
	}
	for name, tt := range map[string]struct{ text, where string }{
		"changed":              {strings.Replace(text, "person 1", "person 9", 1), "2:"},
		"a member added":       {strings.Replace(text, `"outcome":`, `"extra":1,"outcome":`, 1), "1:"},
		"left out":             {without(2), "3:"},
		"put in":               {lines[0] + lines[1] + lines[1] + strings.Join(lines[2:], ""), "3:"},
		"in another order":     {lines[0] + lines[2] + lines[1] + strings.Join(lines[3:], ""), "2:"},
		"without a code":       {lines[0] + `{"event":"sign-in"}` + "\n" + lines[1], "2:"},
		"no JSON":              {lines[0] + "hello\n" + lines[1], "2:"},
		"after the code":       {strings.Replace(text, "\"}\n", "\",\"subject\":\"x\"}\n", 1), "1:"},
		"a code of another":    {strings.Replace(text, lines[4], strings.Replace(lines[5], "person 5", "person 4", 1), 1), "5:"},
		"under the former key": {text, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, flaws := verify(t, tt.text, secret, former)
			if (flaws == "") != (tt.where == "") || !strings.HasPrefix(flaws, tt.where) {
				t.Errorf("flaws: %q, want at %s", flaws, tt.where)
			}
		})
	}
	if _, flaws := verify(t, text, secret); !strings.HasPrefix(flaws, "1:") {
		t.Errorf("under a key that is retired: %q", flaws)
	}
	if _, err := audit.Verify(parts(strings.Repeat("x", 1<<20)), nil); err == nil {
		t.Error("a line of 1 MiB is no error")
	}
}

// TestRotation: a file that is renamed goes on in a new one, chained to it.
func TestRotation(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	w := open(t, audit.Options{File: file, Secrets: [][]byte{secret}})
	record(t, w, 0, 2)
	if err := os.Rename(file, file+".1"); err != nil {
		t.Fatal(err)
	}
	record(t, w, 2, 4)
	if n, flaws := verify(t, read(t, file+".1", file), secret); n != 4 || flaws != "" {
		t.Errorf("%d lines, %s", n, flaws)
	}
	if n, flaws := verify(t, read(t, file), secret); n != 2 || flaws != "" {
		t.Errorf("the new file alone: %d lines, %s", n, flaws)
	}
	for names, want := range map[string]bool{file + ".1 " + file: false, file: true} {
		if v, err := audit.Verify(parts(read(t, strings.Fields(names)...)), [][]byte{secret}); err != nil || v.GoesOn != want {
			t.Errorf("%s: it goes on from lines that were not read: %v, %v", names, v.GoesOn, err)
		}
	}
	w.Close()
	if err := os.Rename(file, file+".0"); err != nil {
		t.Fatal(err)
	}
	record(t, open(t, audit.Options{File: file, Secrets: [][]byte{secret}}), 4, 6)
	var trail []audit.Part
	for _, name := range []string{file + ".1", file + ".0", file} {
		trail = append(trail, audit.Part{Name: filepath.Base(name), Reader: strings.NewReader(read(t, name))})
	}
	if v, err := audit.Verify(trail, [][]byte{secret}); err != nil || v.Lines != 6 || len(v.Flaws) != 1 || v.Flaws[0].Part != "audit.log" || v.Flaws[0].Line != 1 || !strings.HasPrefix(v.Flaws[0].What, "A trail begins anew") {
		t.Errorf("renamed while the gateway was stopped: %+v, %v", v, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// TestTogether: several that write to one file at once make one chain.
func TestTogether(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	var all sync.WaitGroup
	for range 4 {
		w := open(t, audit.Options{File: file, Secrets: [][]byte{secret}})
		for range 2 {
			all.Go(func() {
				for n := range 25 {
					if err := w.Record(event(n)); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	all.Wait()
	if n, flaws := verify(t, read(t, file), secret); n != 200 || flaws != "" {
		t.Errorf("%d lines, %s", n, flaws)
	}
}

// TestUnwritten: what can't be written down is an error, unless it may be lost; and
// when it can be again, it goes on.
func TestUnwritten(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "later", "audit.log")
	if _, err := audit.New(audit.Options{File: missing}); !errors.Is(err, audit.ErrUnwritten) {
		t.Errorf("a directory that is not there: %v", err)
	}
	lossy := open(t, audit.Options{File: missing, Lossy: true})
	if err := lossy.Record(event(0)); err != nil {
		t.Errorf("what may be lost: %v", err)
	}
	if err := os.Mkdir(filepath.Dir(missing), 0o700); err != nil {
		t.Fatal(err)
	}
	record(t, lossy, 1, 2)
	if text := read(t, missing); !strings.Contains(text, "person 1") {
		t.Errorf("it does not go on: %s", text)
	}

	full := open(t, audit.Options{File: "/dev/full", Lossy: false})
	if err := full.Record(event(0)); !errors.Is(err, audit.ErrUnwritten) {
		t.Errorf("a full disk: %v", err)
	}
	broken := open(t, audit.Options{To: halfWriter{}})
	if err := broken.Record(event(0)); !errors.Is(err, audit.ErrUnwritten) {
		t.Errorf("half a line: %v", err)
	}
}

type halfWriter struct{}

func (halfWriter) Write(p []byte) (int, error) { return len(p) / 2, nil }

// TestSyslog: a server is told, and told again when it comes back.
func TestSyslog(t *testing.T) {
	address := filepath.Join(t.TempDir(), "log")
	listen := func() *net.UnixConn {
		t.Helper()
		c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	hear := func(c *net.UnixConn) string {
		t.Helper()
		b := make([]byte, 4096)
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	w := open(t, audit.Options{Syslog: "unixgram://" + address, Secrets: [][]byte{secret}})
	if err := w.Record(event(0)); !errors.Is(err, audit.ErrUnwritten) {
		t.Errorf("no server: %v", err)
	}
	c := listen()
	record(t, w, 1, 3)
	text := ""
	for range 2 {
		said := hear(c)
		if !strings.HasPrefix(said, "<86>") {
			t.Errorf("it is no authpriv.info: %s", said)
		}
		text += said[strings.IndexByte(said, '{'):]
	}
	if n, flaws := verify(t, text, secret); n != 2 || flaws != "" {
		t.Errorf("%d lines, %s\n%s", n, flaws, text)
	}
	c.Close()
	_ = os.Remove(address)
	c = listen()
	if err := w.Record(event(3)); err != nil {
		t.Errorf("a server that came back: %v", err)
	}
	if said := hear(c); !strings.Contains(said, "person 3") {
		t.Errorf("it heard %s", said)
	}
}
