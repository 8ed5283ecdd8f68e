package apikey

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
	"gatehouse/config"
)

func verifying(s *setup) { s.settings.Application = "verify" }

func TestApplicationsKeys(t *testing.T) {
	for application, want := range map[string]error{"refuse": authn.ErrRejected, "pass": authn.ErrApplication} {
		r := started(t, func(s *setup) { s.settings.Application = application })
		id, err := r.ask(hexKey(1))
		if !errors.Is(err, want) || id.Subject != "" || r.app.count() != 0 {
			t.Errorf("%s: %+v %v", application, id, err)
		}
		if application == "pass" && errors.Is(err, authn.ErrRejected) {
			t.Error("pass: refused too")
		}
		r.refused(mine) // the gateway's own are never the application's
	}
}

func TestVerify(t *testing.T) {
	r := started(t, verifying)
	key := hexKey(1)
	for name, h := range map[string]http.Header{
		"SDK": basic("api", key), "USERNAME:KEY": basic("somebody", key), "weave": {"Wandb-Api-Key": {key}}, "Bearer": {"Authorization": {"Bearer " + key}},
	} {
		id, err := r.route.Authenticator.Authenticate(carrying(h))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if id.Subject != "wandb:VXNlcjox" || id.Issuer != "https://gatehouse.test/graphql" || id.Kind != authn.Person || id.Username != "ada" ||
			id.Email != "ada@example.com" || !slices.Equal(id.Groups, []string{"research", "ops"}) || id.Route != "keys" || !id.Onward || id.Account.Name != "" {
			t.Errorf("%s: %+v", name, id)
		}
		if !id.Expires.IsZero() {
			t.Errorf("%s: ends at %v, and so would what it opened", name, id.Expires)
		}
	}
	if n := r.app.count(); n != 1 {
		t.Fatalf("the application was asked %d times", n)
	}
	asked, question := r.app.asked[0], r.app.questions[0]
	name, password, _ := asked.BasicAuth()
	if asked.Method != http.MethodPost || asked.URL.Path != "/graphql" || name != "api" || password != key || asked.Host != "gatehouse.test" ||
		asked.Header.Get("Content-Type") != "application/json" || asked.Header.Get("X-Forwarded-Proto") != "https" {
		t.Errorf("asked %s %s of %s with %v", asked.Method, asked.URL, asked.Host, asked.Header)
	}
	if question != `{"query":"query Viewer{viewer{id username email teams{edges{node{name}}}}}"}` {
		t.Errorf("asked %s", question)
	}
	r.discreet(key)
}

// failed is a viewer that is null beside errors.
func failed(errs string) string { return `{"errors":[` + errs + `],"data":{"viewer":null}}` }

func viewerOf(fields string) string { return `{"data":{"viewer":{` + fields + `}}}` }

// TestAnswers: only a whole, sound answer is one.
func TestAnswers(t *testing.T) {
	const yes, no, unsure = "yes", "no", "unsure"
	json := "application/json"
	plain := func(body string) http.HandlerFunc { return says(200, json, body) }
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"somebody":                       {plain(ada), yes},
		"somebody, with a charset":       {says(200, "application/json; charset=utf-8", ada), yes},
		"somebody without teams":         {plain(viewerOf(`"id":"1","username":"ada"`)), yes},
		"teams null":                     {plain(viewerOf(`"id":"1","teams":null`)), yes},
		"errors null":                    {plain(`{"errors":null,"data":{"viewer":{"id":"1"}}}`), yes},
		"nobody":                         {plain(`{"data":{"viewer":null}}`), no},
		"nobody, and no errors":          {plain(`{"errors":[],"data":{"viewer":null}}`), no},
		"permission denied":              {plain(failed(`{"message":"permission denied"}`)), no},
		"PERMISSION_ERROR":               {plain(failed(`{"message":"no","path":["viewer"],"extensions":{"code":"PERMISSION_ERROR"}}`)), no},
		"UNAUTHENTICATED":                {plain(failed(`{"extensions":{"code":"UNAUTHENTICATED"}}`)), no},
		"one of several is a no":         {plain(failed(`{"message":"slow"},{"message":"permission denied"}`)), no},
		"a no without data":              {plain(`{"errors":[{"message":"permission denied"}],"data":null}`), no},
		"401":                            {says(401, json, `{}`), no},
		"401 in HTML":                    {says(401, "text/html", "<p>no"), no},
		"403 in JSON":                    {says(403, json, `{}`), no},
		"TOK-24 403 in HTML":             {says(403, "text/html", "<p>blocked"), unsure},
		"TOK-24 403 that says JSON":      {says(403, json, "<p>blocked"), unsure},
		"TOK-24 403 of nothing":          {says(403, json, ""), unsure},
		"TOK-24 a resolver that fails":   {plain(failed(`{"message":"internal error","path":["viewer"]}`)), unsure},
		"TOK-24 a limit":                 {plain(failed(`{"message":"rate limit exceeded","extensions":{"code":"RATE_LIMITED"}}`)), unsure},
		"TOK-24 a timeout":               {plain(failed(`{"message":"context deadline exceeded","extensions":{"code":"INTERNAL_SERVER_ERROR"}}`)), unsure},
		"TOK-24 more than a denial":      {plain(failed(`{"message":"permission denied: the database is away"}`)), unsure},
		"TOK-24 a code in another case":  {plain(failed(`{"extensions":{"code":"unauthenticated"}}`)), unsure},
		"TOK-24 an error that is null":   {plain(failed(`null`)), unsure},
		"TOK-24 a person and a denial":   {plain(`{"errors":[{"message":"permission denied"}],"data":{"viewer":{"id":"1"}}}`), unsure},
		"an id with a line break":        {plain(viewerOf(`"id":"a\nb"`)), no},
		"an id with nothing visible":     {plain(viewerOf(`"id":"a\u200bb"`)), no},
		"an id with space after it":      {plain(viewerOf(`"id":"a "`)), no},
		"an id without end":              {plain(viewerOf(`"id":"` + strings.Repeat("a", 256) + `"`)), no},
		"a name that is another's":       {plain(viewerOf(`"id":"1","username":"ad\u200da"`)), no},
		"a team with a line break":       {plain(viewerOf(`"id":"1","teams":{"edges":[{"node":{"name":"a\nb"}}]}`)), no},
		"TOK-24 404":                     {says(404, json, `{}`), unsure},
		"TOK-24 429":                     {says(429, json, `{}`), unsure},
		"TOK-24 500":                     {says(500, json, `{"data":{"viewer":null}}`), unsure},
		"TOK-24 503":                     {says(503, "text/html", "<p>later"), unsure},
		"TOK-24 HTML":                    {says(200, "text/html", "<p>hello"), unsure},
		"TOK-24 HTML that says JSON":     {plain("<p>hello"), unsure},
		"TOK-24 JSON that says HTML":     {says(200, "text/html", ada), unsure},
		"TOK-24 no type":                 {func(w http.ResponseWriter, _ *http.Request) { w.Header()["Content-Type"] = nil; fmt.Fprint(w, ada) }, unsure},
		"TOK-24 204":                     {says(204, json, ""), unsure},
		"TOK-24 201":                     {says(201, json, ada), unsure},
		"TOK-24 nothing":                 {plain(""), unsure},
		"TOK-24 cut short":               {plain(ada[:len(ada)-1]), unsure},
		"TOK-24 more behind it":          {plain(ada + ada), unsure},
		"TOK-24 too long":                {plain(`{"x":"` + strings.Repeat("a", maxAnswer) + `",` + ada[1:]), unsure},
		"TOK-24 no data":                 {plain(`{}`), unsure},
		"TOK-24 data null":               {plain(`{"errors":[{"message":"timeout"}],"data":null}`), unsure},
		"TOK-24 no viewer":               {plain(`{"data":{}}`), unsure},
		"TOK-24 a viewer with errors":    {plain(`{"errors":[{"message":"teams"}],"data":{"viewer":{"id":"1"}}}`), unsure},
		"TOK-24 no id":                   {plain(viewerOf(`"username":"ada"`)), unsure},
		"TOK-24 id null":                 {plain(viewerOf(`"id":null,"username":"ada"`)), unsure},
		"TOK-24 an id that is a number":  {plain(viewerOf(`"id":1`)), unsure},
		"TOK-24 a viewer that is true":   {plain(`{"data":{"viewer":true}}`), unsure},
		"TOK-24 a viewer that is a list": {plain(`{"data":{"viewer":[]}}`), unsure},
		"TOK-24 a list":                  {plain(`[` + ada + `]`), unsure},
		"TOK-24 null":                    {plain(`null`), unsure},
		"TOK-22 two ids":                 {plain(viewerOf(`"id":"1","id":"2"`)), unsure},
		"TOK-22 two viewers":             {plain(`{"data":{"viewer":null,"viewer":{"id":"1"}}}`), unsure},
		"TOK-22 Viewer":                  {plain(`{"data":{"Viewer":{"id":"1"}}}`), unsure},
		"TOK-22 not UTF-8":               {plain(viewerOf("\"id\":\"a\xff\"")), unsure},
		"a team without a name":          {plain(viewerOf(`"id":"1","teams":{"edges":[{"node":null}]}`)), unsure},
	} {
		t.Run(name, func(t *testing.T) {
			r := started(t, verifying)
			r.app.answer = c.answer
			switch c.want {
			case yes:
				r.accepted(hexKey(1))
			case no:
				r.refused(hexKey(1))
			case unsure:
				r.unsure(hexKey(1))
			}
			r.discreet(hexKey(1))
		})
	}
}

// TestTOK24NoRedirect: a key goes nowhere but where it was sent.
func TestTOK24NoRedirect(t *testing.T) {
	evil := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	defer evil.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		app := httptest.NewServer(http.RedirectHandler(evil.URL, status))
		r := started(t, verifying, func(s *setup) { s.deps.Upstream.URL = app.URL })
		r.unsure(hexKey(1))
		app.Close()
	}
}

// TestTOK30Echo: a server that sends back what it gets puts no key into an error.
func TestTOK30Echo(t *testing.T) {
	key := hexKey(1)
	secret := encoded("api:" + key)
	for name, said := range map[string]string{
		"no HTTP": "Basic " + secret + "\r\n\r\n", "no HTTP, plain": key + "\r\n\r\n", "a header that is none": "HTTP/1.1 200 OK\r\nBasic " + secret + "\r\n\r\n",
		"a member of that name": "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + `{"data":{"` + key + `":1,"` + key + `":2}}`,
		"an error":              "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + `{"errors":["` + key + `"]}`,
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			go func() {
				c, err := listener.Accept()
				if err != nil {
					return
				}
				_, _ = c.Read(make([]byte, 4096))
				_, _ = io.WriteString(c, said)
				c.Close()
			}()
			r := started(t, verifying, func(s *setup) { s.deps.Upstream.URL = "http://" + listener.Addr().String() })
			_, err = r.ask(key)
			if err == nil || errors.Is(err, authn.ErrRejected) || strings.Contains(err.Error(), key) || strings.Contains(err.Error(), secret) {
				t.Errorf("%v", err)
			}
			r.discreet(key)
		})
	}
}

func TestVerifyEmail(t *testing.T) {
	for email, want := range map[string]string{
		"ada@example.com": "ada@example.com", "ada@EXAMPLE.com": "ada@EXAMPLE.com", "ada": "", "ada@a@b": "", `"ada"@example.com`: "", "ada@exa_mple.com": "", "ad\u200da@example.com": "",
		strings.Repeat("a", 250) + "@example.com": "",
	} {
		r := started(t, verifying)
		r.app.answer = says(200, "application/json", viewerOf(fmt.Sprintf(`"id":"1","email":"%s"`, strings.ReplaceAll(email, `"`, `\"`))))
		if got := r.accepted(hexKey(1)).Email; got != want {
			t.Errorf("%q became %q", email, got)
		}
	}
}

// TestVerifyForeign: no id makes somebody of another route.
func TestVerifyForeign(t *testing.T) {
	for name, c := range map[string]struct {
		prefix, id string
		ok         bool
	}{
		"IDT-08 another route":         {"", "ldap:ada", false},
		"IDT-08 a longer prefix":       {"wandb:", "lab:1", false},
		"IDT-08 a service account":     {"", "account:ci", false},
		"IDT-08 the beginning of one":  {"acc", "ount:ci", false},
		"behind the route's own":       {"wandb:", "ldap:ada", true},
		"the route's own is no other":  {"wandb:", "wandb:1", true},
		"what an account is not quite": {"", "accountant", true},
	} {
		t.Run(name, func(t *testing.T) {
			r := started(t, verifying, func(s *setup) {
				s.settings.SubjectPrefix, s.deps.ForeignPrefixes = c.prefix, []string{"ldap:", "wandb:lab:", "wan"}
			})
			r.app.answer = says(200, "application/json", viewerOf(fmt.Sprintf(`"id":%q`, c.id)))
			if id, err := r.ask(hexKey(1)); c.ok != (err == nil) || err != nil && !errors.Is(err, authn.ErrRejected) {
				t.Errorf("%+v %v", id, err)
			}
		})
	}
}

func TestVerifyContract(t *testing.T) {
	r := started(t, verifying)
	r.app.answer = func(w http.ResponseWriter, q *http.Request) {
		switch _, key, _ := q.BasicAuth(); key {
		case hexKey(1):
			says(200, "application/json", ada)(w, q)
		case hexKey(2):
			says(200, "application/json", `{"data":{"viewer":null}}`)(w, q)
		default:
			says(502, "text/html", "<p>later")(w, q)
		}
	}
	send := func(key string) func() *http.Request {
		return func() *http.Request { return carrying(basic("api", key)) }
	}
	authntest.Contract(t, r.route.Authenticator, authntest.Cases{
		Good:   send(hexKey(1)),
		Want:   authn.Identity{Issuer: "https://gatehouse.test/graphql", Subject: "wandb:VXNlcjox", Kind: authn.Person, Route: "keys"},
		Bad:    map[string]func() *http.Request{"nobody's": send(hexKey(2))},
		Unsure: map[string]func() *http.Request{"an outage": send(hexKey(3))},
	})
}

// TestStampede: many first uses of one key at once are one question, and who gives
// up takes nobody along (TOK-26).
func TestStampede(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, verifying)
		defer r.end()
		r.app.answer = func(w http.ResponseWriter, q *http.Request) {
			time.Sleep(2 * time.Second)
			says(200, "application/json", ada)(w, q)
		}
		var all sync.WaitGroup
		for i := range 1000 {
			all.Go(func() {
				q := carrying(basic("api", hexKey(1)))
				if i%2 == 0 { // the first caller may be one of these
					ctx, cancel := context.WithTimeout(q.Context(), time.Second)
					defer cancel()
					if _, err := r.k.authenticate(q.WithContext(ctx)); !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("one who gives up: %v", err)
					}
				} else if _, err := r.k.authenticate(q); err != nil {
					t.Errorf("one who waits: %v", err)
				}
			})
		}
		all.Wait()
		if n := r.app.count(); n != 1 {
			t.Errorf("the application was asked %d times", n)
		}
	})
}

// TestFloodOfForeignKeys: however many wrong keys come at once, the application is
// asked a bounded number of questions, nothing is written, and the gateway's own
// keys go on (TOK-27).
func TestFloodOfForeignKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, verifying)
		defer r.end()
		r.app.answer = func(w http.ResponseWriter, q *http.Request) {
			time.Sleep(time.Second)
			says(200, "application/json", `{"data":{"viewer":null}}`)(w, q)
		}
		key, _ := r.made("ci")
		writes := r.store.writes.Load()
		var all sync.WaitGroup
		for i := range 5000 {
			all.Go(func() {
				if id, err := r.ask(hexKey(i)); err == nil || id.Subject != "" {
					t.Errorf("%+v", id)
				}
			})
		}
		time.Sleep(time.Millisecond)
		r.accepted(key)
		all.Wait()
		if r.app.most > askAtOnce {
			t.Errorf("%d questions at once", r.app.most)
		}
		if n := r.store.writes.Load() - writes; n > 1 { // the use of the good one
			t.Errorf("%d writes", n)
		}
	})
}

// TestRefusalIsRemembered: a failing login makes six requests.
func TestRefusalIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, verifying)
		defer r.end()
		r.app.answer = says(401, "application/json", "{}")
		for range 6 {
			r.refused(hexKey(1))
		}
		if n := r.app.count(); n != 1 {
			t.Errorf("asked %d times", n)
		}
		time.Sleep(5 * time.Second)
		r.app.answer = nil
		r.accepted(hexKey(1))
	})
}

func TestVerifyTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, verifying, func(s *setup) { s.here = nil })
		defer r.end()
		r.k.viewers.client.Transport = hanging{}
		began := time.Now()
		r.unsure(hexKey(1))
		if took := time.Since(began); took > askTime {
			t.Errorf("took %v", took)
		}
	})
}

type hanging struct{}

func (hanging) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestVerifyTransports(t *testing.T) {
	app := &application{}
	secure := httptest.NewUnstartedServer(app)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "app.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	local := &httptest.Server{Listener: listener, Config: &http.Server{Handler: app}}
	local.Start()
	defer local.Close()
	for name, c := range map[string]struct {
		upstream config.Upstream
		host     string // empty if it can't be reached
	}{
		"TLS":                {config.Upstream{URL: secure.URL, TLS: config.ClientTLS{CAFile: ca}}, "gatehouse.test"},
		"TLS, its own host":  {config.Upstream{URL: secure.URL, TLS: config.ClientTLS{CAFile: ca}, HostHeader: "upstream"}, strings.TrimPrefix(secure.URL, "https://")},
		"TLS, another CA":    {config.Upstream{URL: secure.URL}, ""},
		"TLS, another name":  {config.Upstream{URL: secure.URL, TLS: config.ClientTLS{CAFile: ca, ServerName: "other.test"}}, ""},
		"socket":             {config.Upstream{URL: "unix://" + socket, Hosts: []string{"wandb.test", "other.test"}, HostHeader: "keep"}, "wandb.test"},
		"socket of nobody":   {config.Upstream{URL: "unix://" + socket + "x"}, ""},
		"nobody there":       {config.Upstream{URL: "http://127.0.0.1:1"}, ""},
		"a CA that is no CA": {config.Upstream{URL: secure.URL, TLS: config.ClientTLS{CAFile: "/nowhere"}}, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.host == "none" {
				if _, err := New("keys", config.APIKey{Application: "verify"}, Deps{PublicURL: newRig(t).k.PublicURL, Upstream: c.upstream, Keys: ring(t, firstKey)}); err == nil {
					t.Error("settings that can't work are taken")
				}
				return
			}
			before := app.count()
			r := started(t, verifying, func(s *setup) { s.deps.Upstream = c.upstream })
			if c.host == "" {
				r.unsure(hexKey(1))
				return
			}
			r.accepted(hexKey(1))
			if app.count() != before+1 || app.asked[before].Host != c.host {
				t.Errorf("asked %d times, of %s", app.count()-before, app.asked[len(app.asked)-1].Host)
			}
		})
	}
}

// FuzzAnswer: an answer is somebody, nobody or nonsense, and somebody has an id.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{ada, `{"data":{"viewer":null}}`, `{"data":null}`, `{"errors":[{}],"data":{"viewer":{"id":"1"}}}`, failed(`{"message":"permission denied"}`), failed(`{"message":"slow"}`), viewerOf(`"id":"1","id":"2"`), "<p>"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		who, err := readAnswer(body)
		switch {
		case err == nil && who.ID == "", err != nil && (who.ID != "" || len(who.Teams) > 0):
			t.Errorf("%q: %+v %v", body, who, err)
		case err == nil && slices.Contains(who.Teams, ""):
			t.Errorf("%q: a team without a name", body)
		case err != nil && errors.Is(err, authn.ErrRejected) == errors.Is(err, errNotAsked):
			t.Errorf("%q: %v", body, err)
		}
	})
}
