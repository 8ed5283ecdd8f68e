package main

import (
	"bytes"
	"encoding/json/v2"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"gatehouse/authn/apikey"
	"gatehouse/authn/audit"
	"gatehouse/config"
)

// keySettings are a directory for people and keys for programs.
const keySettings = `
publicURL: https://example.com
sharedEmails: true
upstreams:
  - url: $UPSTREAM
authn:
  - name: people
    ldap:
      address: [$DIRECTORY]
      baseDN: dc=example,dc=com
      subjectPrefix: "ldap:"
      accept: [basic]
  - name: programs
    apiKey:
      application: refuse
teams:
  - name: research
    members: [ada]
  - name: ops
serviceAccounts:
  - name: ci
    team: research
  - name: nightly
    team: ops
    scope: organization
    role: admin
`

// keyFile writes the settings of a gateway whose keys are in a store that is there.
func keyFile(t *testing.T, more string) (file, redisAddr string) {
	t.Helper()
	redisAddr = startRedis(t)
	text := strings.NewReplacer("$UPSTREAM", "http://127.0.0.1:9", "$DIRECTORY", "ldap://127.0.0.1:9").Replace(keySettings)
	return writeFile(t, "keys.yaml", text+sharedKey+fmt.Sprintf("store: {redis: {url: \"redis://%s\"}}\n", redisAddr)+more), redisAddr
}

var shownID = regexp.MustCompile(`^Key ([0-9A-Za-z]{8}) of account ([a-z]+), shown once\. It is good until (\S+) `)

// keyNew runs "gatehouse key new" and returns what it shows.
func keyNew(t *testing.T, args ...string) (key, id, until string) {
	t.Helper()
	code, out, errs := command(t, nil, append([]string{"key", "new", "-c"}, args...)...)
	m := shownID.FindStringSubmatch(errs)
	key = strings.TrimSuffix(out, "\n")
	got, ok := apikey.ID(key)
	if code != 0 || m == nil || !ok || got != m[1] {
		t.Fatalf("exit %d\nout: %s\nerr: %s", code, out, errs)
	}
	if strings.Contains(errs, key) {
		t.Errorf("standard error has the key too: %s", errs)
	}
	return key, got, m[3]
}

// TestHalfDone: what a command has done in part is in the audit trail.
func TestHalfDone(t *testing.T) {
	trail := filepath.Join(t.TempDir(), "audit.log")
	file, addr := keyFile(t, fmt.Sprintf("audit: {output: file, file: %q}\n", trail)) // its directory is down
	has := func(name, object string) {
		t.Helper()
		text, err := os.ReadFile(trail)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		last := lines[len(lines)-1]
		if !strings.Contains(last, `"`+name+`"`) || !strings.Contains(last, object) || !strings.Contains(last, `"failed"`) {
			t.Errorf("the trail's last line is %s", last)
		}
	}
	_, id, _ := keyNew(t, file, "ci")
	if code, out, errs := command(t, nil, "unban", "-c", file, "--address", "192.0.2.7", "alice"); code != 1 || !strings.Contains(out, "192.0.2.7") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	has(audit.Unban, "192.0.2.7")
	raw := redis.NewClient(&redis.Options{Addr: addr})
	defer raw.Close()
	if err := raw.Do(t.Context(), "ACL", "SETUSER", "default", "-publish").Err(); err != nil {
		t.Fatal(err)
	}
	code, out, errs := command(t, nil, "key", "revoke", "-c", file, id)
	if code != 1 || out != "" || !strings.Contains(errs, "key "+id+" has ended, but running gateways could not be told") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	has(audit.KeyChange, id)
}

func TestKeyCommand(t *testing.T) {
	file, addr := keyFile(t, "")
	key, id, until := keyNew(t, file, "ci", "--expires", "90d", "--note", "runner 7")
	if want := time.Now().UTC().Add(90 * 24 * time.Hour).Format(time.DateOnly); until != want {
		t.Errorf("good until %s, want %s", until, want)
	}
	other, otherID, _ := keyNew(t, file, "nightly")
	list := func(args ...string) string {
		t.Helper()
		code, out, errs := command(t, nil, append([]string{"key", "list", "-c", file}, args...)...)
		if code != 0 || strings.Contains(out, key[20:]) || strings.Contains(out, other[20:]) {
			t.Errorf("exit %d\n%s%s", code, out, errs)
		}
		return out + errs
	}
	if out := list(); !strings.Contains(out, id) || !strings.Contains(out, otherID) || !strings.Contains(out, "runner 7") || !strings.Contains(out, "never") {
		t.Errorf("the list:\n%s", out)
	}
	if out := list("ci"); !strings.Contains(out, id) || strings.Contains(out, otherID) {
		t.Errorf("of one account:\n%s", out)
	}
	var told []apikey.Key
	if err := json.Unmarshal([]byte(list("--json", "ci")), &told); err != nil || len(told) != 1 || told[0].ID != id || told[0].Note != "runner 7" {
		t.Errorf("%+v %v", told, err)
	}

	t.Run("the store shows nothing that a key could be made of", func(t *testing.T) {
		for k, v := range dump(t, addr) {
			if strings.Contains(k+v, key[20:]) || strings.Contains(v, "runner") || strings.Contains(v, apikey.Hash(key)[7:]) {
				t.Errorf("%s: %s", k, v)
			}
		}
	})
	t.Run("rotate", func(t *testing.T) {
		code, out, errs := command(t, nil, "key", "rotate", "-c", file, id, "--grace", "7d")
		next, ok := apikey.ID(strings.TrimSuffix(out, "\n"))
		end := time.Now().UTC().Add(7 * 24 * time.Hour).Format(time.DateOnly)
		if code != 0 || !ok || next == id || !strings.Contains(errs, "The old one, "+id+", ends at "+end) || !strings.Contains(errs, "notice at once, or within 1m (apiKey.cache.lifetime) if word of it does not reach them") {
			t.Errorf("exit %d\nout: %s\nerr: %s", code, out, errs)
		}
		if out := list("ci"); !strings.Contains(out, next) || strings.Count(out, "runner 7") != 2 {
			t.Errorf("the list:\n%s", out)
		}
	})
	t.Run("reseal", func(t *testing.T) {
		before := dump(t, addr)
		if code, out, errs := command(t, nil, "key", "reseal", "-c", file); code != 0 || out != "3 key(s) of 2 account(s) are sealed with the newest of session.keys.\n" || !strings.Contains(errs, "name one that is not there") {
			t.Errorf("exit %d\n%s%s", code, out, errs)
		}
		for k, v := range dump(t, addr) {
			if strings.HasPrefix(k, "gatehouse:apikey:") == (before[k] == v) {
				t.Errorf("%s was %s, is %s", k, before[k], v)
			}
		}
	})
	t.Run("revoke", func(t *testing.T) {
		code, out, errs := command(t, nil, "key", "revoke", "-c", file, other) // whoever has leaked a key has it at hand
		if code != 0 || out != "Key "+otherID+" of account nightly is revoked; running gateways notice at once, or within 1m (apiKey.cache.lifetime) if word of it does not reach them.\n" {
			t.Errorf("exit %d\nout: %s\nerr: %s", code, out, errs)
		}
		if out := list("nightly"); out != "No keys in the store for nightly.\n" {
			t.Errorf("the list: %s", out)
		}
		if out := list("nightly", "--json"); strings.TrimSpace(out) != "[]" {
			t.Errorf("the list: %s", out)
		}
	})
	t.Run("one that does not open any more", func(t *testing.T) {
		client := redis.NewClient(&redis.Options{Addr: addr})
		defer client.Close()
		client.Set(t.Context(), "gatehouse:apikey:"+id, "x", time.Hour)
		if out := list("ci"); !strings.Contains(out, id) || !strings.Contains(out, "session.keys") {
			t.Errorf("the list:\n%s", out)
		}
		if code, out, errs := command(t, nil, "key", "rotate", "-c", file, id); code != 1 || out != "" || !strings.Contains(errs, "gatehouse key new") {
			t.Errorf("rotated: exit %d\n%s%s", code, out, errs)
		}
		if code, out, _ := command(t, nil, "key", "revoke", "-c", file, id); code != 0 || !strings.HasPrefix(out, "Key "+id+" is revoked") {
			t.Errorf("revoked: exit %d\n%s", code, out)
		}
	})
	dump(t, addr) // everything ends
}

// fullDisk takes nothing.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

// TestKeyNotShown: a key that standard output does not take is none, and takes no
// other with it.
func TestKeyNotShown(t *testing.T) {
	file, addr := keyFile(t, "")
	_, id, _ := keyNew(t, file, "ci")
	records := func() (n int) {
		for k := range dump(t, addr) {
			if strings.HasPrefix(k, "gatehouse:apikey:") {
				n++
			}
		}
		return n
	}
	for _, args := range [][]string{{"new", "ci"}, {"new", "--print", "ci"}, {"rotate", "--grace", "0", id}} {
		var errs bytes.Buffer
		code := run(t.Context(), shell{args: append([]string{"key", args[0], "-c", file}, args[1:]...), out: fullDisk{}, err: &errs})
		if text := errs.String(); code != 1 || !strings.Contains(text, "standard output did not take the new key") || !strings.Contains(text, "no space left") || strings.Contains(text, "shown once") {
			t.Errorf("%v: exit %d\n%s", args, code, text)
		}
	}
	if code, out, _ := command(t, nil, "key", "list", "-c", file, "ci"); code != 0 || !strings.Contains(out, id) || records() != 1 {
		t.Errorf("exit %d, %d records\n%s", code, records(), out)
	}
}

func TestKeyPrint(t *testing.T) {
	text := strings.NewReplacer("$UPSTREAM", "http://127.0.0.1:9", "$DIRECTORY", "ldap://127.0.0.1:9").Replace(keySettings)
	file := writeFile(t, "memory.yaml", text)
	code, out, errs := command(t, nil, "key", "new", "-c", file, "--print", "ci")
	key := strings.TrimSuffix(out, "\n")
	if _, ok := apikey.ID(key); code != 0 || !ok || !strings.Contains(errs, "keyHashes:\n      - "+apikey.Hash(key)) || strings.Contains(errs, key) {
		t.Errorf("exit %d\nout: %s\nerr: %s", code, out, errs)
	}
	c, err := config.Decode("x", []byte(strings.Replace(text, "    team: research\n", "    team: research\n    keyHashes: ["+apikey.Hash(key)+"]\n", 1)), nil)
	if err != nil {
		t.Fatalf("what is shown is not taken: %v", err)
	}
	if len(c.ServiceAccounts[0].KeyHashes) != 1 {
		t.Error("the hash is lost")
	}
}

// TestKeyErrors: what goes wrong says what to do.
func TestKeyErrors(t *testing.T) {
	file, _ := keyFile(t, "")
	plain := strings.NewReplacer("$UPSTREAM", "http://127.0.0.1:9", "$DIRECTORY", "ldap://127.0.0.1:9", "$ISSUER", "https://idp.example.com")
	memory := writeFile(t, "memory.yaml", plain.Replace(keySettings))
	without := writeFile(t, "without.yaml", plain.Replace(smallest))
	down := writeFile(t, "down.yaml", plain.Replace(keySettings)+sharedKey+"store: {redis: {url: \"redis://127.0.0.1:1\"}}\n")
	secret := apikey.Generate()
	for name, tt := range map[string]struct {
		args []string
		code int
		errs string
	}{
		"no account":            {[]string{"new", "-c", file}, 2, "takes one argument, the name of a service account"},
		"an unknown account":    {[]string{"new", "-c", file, "night"}, 1, `there is no service account "night": there are ci, nightly;`},
		"no accounts":           {[]string{"new", "-c", without, "ci"}, 1, "the settings have none; add it to serviceAccounts"},
		"an end that is none":   {[]string{"new", "-c", file, "ci", "--expires", "soon"}, 2, "for instance 90d, 720h"},
		"no end":                {[]string{"new", "-c", file, "ci", "--expires", "0"}, 2, "a key always ends"},
		"an end far off":        {[]string{"new", "-c", file, "ci", "--expires", "3650d"}, 2, "five years"},
		"an end before":         {[]string{"new", "-c", file, "ci", "--expires", "-1h"}, 2, "is not a length of time"},
		"a note with a line":    {[]string{"new", "-c", file, "ci", "--note", "a\nb"}, 1, "one line of text"},
		"--print with an end":   {[]string{"new", "-c", file, "ci", "--print", "--expires", "1d"}, 2, "leave out --expires"},
		"memory":                {[]string{"new", "-c", memory, "ci"}, 1, "--print shows a key for the settings instead"},
		"memory, list":          {[]string{"list", "-c", memory}, 1, "have no store.redis"},
		"no route":              {[]string{"list", "-c", without}, 1, "apiKey: {application: refuse}"},
		"a store that is down":  {[]string{"new", "-c", down, "ci"}, 1, "connection refused"},
		"list, a typo":          {[]string{"list", "-c", file, "night"}, 1, "there are ci, nightly"},
		"list, two":             {[]string{"list", "-c", file, "ci", "nightly"}, 2, "takes one account"},
		"reseal, a typo":        {[]string{"reseal", "-c", file, "night"}, 1, "there are ci, nightly"},
		"reseal, two":           {[]string{"reseal", "-c", file, "ci", "nightly"}, 2, "key reseal takes one account"},
		"revoke, unknown":       {[]string{"revoke", "-c", file, "abcdEFGH"}, 1, `there is no key "abcdEFGH" in the store: see gatehouse key list`},
		"revoke, a whole key":   {[]string{"revoke", "-c", file, secret}, 1, "there is no key \"" + secret[10:18] + "\""},
		"revoke, half a key":    {[]string{"revoke", "-c", file, secret[:45]}, 1, "that is not the id of a key"},
		"rotate, unknown":       {[]string{"rotate", "-c", file, "abcdEFGH"}, 1, "see gatehouse key list"},
		"rotate, a grace":       {[]string{"rotate", "-c", file, "abcdEFGH", "--grace", "x"}, 2, "--grace"},
		"a command that is not": {[]string{"remove"}, 2, `there is no command "remove"; did you mean revoke?`},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := command(t, nil, append([]string{"key"}, tt.args...)...)
			if code != tt.code || out != "" || !strings.Contains(errs, tt.errs) || strings.Contains(errs, secret[20:45]) {
				t.Errorf("exit %d, want %d with %q\nout: %s\nerr: %s", code, tt.code, tt.errs, out, errs)
			}
		})
	}
}

// TestKeyOfAnAccountThatIsGone: it can be listed, sealed anew and revoked by name, not rotated.
func TestKeyOfAnAccountThatIsGone(t *testing.T) {
	file, addr := keyFile(t, "")
	_, id, _ := keyNew(t, file, "ci")
	text := strings.NewReplacer("$UPSTREAM", "http://127.0.0.1:9", "$DIRECTORY", "ldap://127.0.0.1:9", "  - name: ci\n    team: research\n", "").Replace(keySettings)
	later := writeFile(t, "later.yaml", text+sharedKey+fmt.Sprintf("store: {redis: {url: \"redis://%s\"}}\n", addr))
	if code, out, _ := command(t, nil, "key", "list", "-c", later, "ci"); code != 0 || !strings.Contains(out, id) {
		t.Errorf("exit %d\n%s", code, out)
	}
	for _, tt := range []struct{ args, out string }{{"", "0 key(s) of 1 account(s)"}, {"ci", "1 key(s) of 1 account(s)"}} {
		code, out, errs := command(t, nil, append([]string{"key", "reseal", "-c", later}, strings.Fields(tt.args)...)...)
		if code != 0 || !strings.HasPrefix(out, tt.out+" are sealed") {
			t.Errorf("reseal %s: exit %d\n%s%s", tt.args, code, out, errs)
		}
	}
	if code, out, errs := command(t, nil, "key", "rotate", "-c", later, id); code != 1 || out != "" || !strings.Contains(errs, "there is nightly;") && !strings.Contains(errs, "there are nightly;") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	if code, _, errs := command(t, nil, "key", "revoke", "-c", later, id); code != 0 {
		t.Errorf("exit %d\n%s", code, errs)
	}
}

func TestDays(t *testing.T) {
	for text, want := range map[string]time.Duration{"90d": 2160 * time.Hour, "1d": 24 * time.Hour, "0d": 0, "0": 0, "720h": 720 * time.Hour, "1h30m": 90 * time.Minute} {
		if got, err := days(text); err != nil || got != want {
			t.Errorf("%s is %v %v", text, got, err)
		}
	}
	for _, text := range []string{"", "d", "-1d", "1.5d", "+1d", "99999999d", "1w", "-1h", "d90", "90 d"} {
		if got, err := days(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func TestAccounts(t *testing.T) {
	c, err := config.Decode("x", []byte(strings.NewReplacer("$UPSTREAM", "http://127.0.0.1:9", "$DIRECTORY", "ldap://127.0.0.1:9",
		"teams:\n  - name: research", "  - name: tokens\n    bearer: {issuers: [{issuer: \"https://idp.example.com\", audiences: [gatehouse], subjectPrefix: \"jwt:\"}]}\nteams:\n  - name: research").Replace(keySettings)+`
  - name: partner
    team: ops
    scope: organization
    teams: [research, ops]
    role: viewer
    subject: repo:acme
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	a := accounts(c)
	for name, want := range map[string]struct {
		teams []string
		role  string
	}{"ci": {[]string{"research"}, "member"}, "nightly": {[]string{"ops", "research"}, "admin"}, "partner": {[]string{"ops", "research"}, "viewer"}} {
		got, ok := a.Named(name)
		if !ok || got.Team != want.teams[0] || !slices.Equal(got.Teams, want.teams) || got.Role != want.role {
			t.Errorf("%s is %+v", name, got)
		}
	}
	if got, ok := a.External("https://idp.example.com", "repo:acme"); !ok || got.Name != "partner" {
		t.Errorf("the external one is %+v", got)
	}
	if !a.Member("research", "Ada") || a.Member("ops", "ada") {
		t.Error("members")
	}
}

// TestPeopleAndPrograms: a directory and keys side by side, each with its own,
// whichever is asked first.
func TestPeopleAndPrograms(t *testing.T) {
	people, programs := keySettings[strings.Index(keySettings, "  - name: people"):strings.Index(keySettings, "  - name: programs")], "  - name: programs\n    apiKey:\n      application: refuse\n"
	t.Run("people first", func(t *testing.T) { peopleAndPrograms(t, keySettings) })
	t.Run("programs first", func(t *testing.T) {
		peopleAndPrograms(t, strings.Replace(keySettings, people+programs, programs+people, 1))
	})
}

func peopleAndPrograms(t *testing.T, settings string) {
	printed := apikey.Generate()
	addr := startRedis(t)
	store := sharedKey + fmt.Sprintf("store: {redis: {url: \"redis://%s\"}}\n", addr)
	settings = strings.Replace(settings, "    team: research\n", "    team: research\n    keyHashes: ["+apikey.Hash(printed)+"]\n", 1) + store
	w := newWorld(t, settings)
	if strings.Count(settings, apikey.Hash(printed)) != 1 {
		t.Fatal(settings)
	}
	file := writeFile(t, "keys.yaml", strings.NewReplacer("$UPSTREAM", "http://127.0.0.1:9", "$DIRECTORY", "ldap://127.0.0.1:9").Replace(settings))
	key, id, _ := keyNew(t, file, "nightly")

	basic := func(name, password string) http.Header {
		r := &http.Request{Header: http.Header{}}
		r.SetBasicAuth(name, password)
		return r.Header
	}
	hexKey := strings.Repeat("0a1b", 10)
	for name, tt := range map[string]struct {
		header http.Header
		who    string // what the subject begins with; empty: 401
	}{
		"a person":                        {basic("ada", demoPassword), "ldap:"},
		"a key as the SDK sends it":       {basic("api", key), "account:nightly"},
		"a key under a person's name":     {basic("ada", key), "account:nightly"},
		"a key without a name":            {basic("", key), "account:nightly"},
		"a key as Bearer":                 {http.Header{"Authorization": {"Bearer " + key}}, "account:nightly"},
		"a key in weave's header":         {http.Header{"Wandb-Api-Key": {key}}, "account:nightly"},
		"a key of the settings":           {basic("api", printed), "account:ci"},
		"nobody":                          {basic("ada", "wrong"), ""},
		"a key that nobody has":           {basic("api", apikey.Generate()), ""},
		"the application's key":           {basic("api", hexKey), ""},
		"the application's, under a name": {basic("ada", hexKey), ""},
		"two keys":                        {http.Header{"Wandb-Api-Key": {key}, "X-Wandb-Api-Key": {printed}}, ""},
		"nothing":                         {http.Header{"Authorization": {"Basic Og=="}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			before := w.app.count()
			got := w.get(w.program(), "/graphql", tt.header)
			if tt.who == "" {
				if got.status != http.StatusUnauthorized || w.app.count() != before {
					t.Errorf("%d: %s", got.status, got.body)
				}
				if c := got.header.Values("WWW-Authenticate"); slices.Index(c, `Basic realm="https://example.com", charset="UTF-8"`) != 0 || len(c) != 2 {
					t.Errorf("challenges %q", c)
				}
				return
			}
			if seen := w.app.last(t).Header.Get("X-Forwarded-User"); got.status != http.StatusOK || !strings.HasPrefix(seen, tt.who) {
				t.Errorf("%d as %q: %s", got.status, seen, got.body)
			}
		})
	}
	t.Run("TOK-30 the log has ids and no keys", func(t *testing.T) {
		text := w.log.String()
		if !strings.Contains(text, id) {
			t.Error("the log does not tell which key it was")
		}
		for _, s := range []string{key[18:], printed[18:], hexKey, demoPassword} {
			if strings.Contains(text, s) {
				t.Errorf("the log has %q", s)
			}
		}
	})
	t.Run("TOK-29 what is revoked is refused", func(t *testing.T) {
		if code, _, errs := command(t, nil, "key", "revoke", "-c", file, id); code != 0 {
			t.Fatal(errs)
		}
		other := newWorld(t, settings) // a replica that has not seen it yet
		if got := other.get(other.program(), "/graphql", basic("api", key)); got.status != http.StatusUnauthorized {
			t.Errorf("%d", got.status)
		}
	})
}

// TestKeyHalfRotated: a key that was made stands in the audit trail, though the one before
// it could not be ended.
func TestKeyHalfRotated(t *testing.T) {
	trail := filepath.Join(t.TempDir(), "audit.log")
	file, addr := keyFile(t, fmt.Sprintf("audit: {output: file, file: %q}\n", trail))
	_, id, _ := keyNew(t, file, "ci")
	raw := redis.NewClient(&redis.Options{Addr: addr})
	defer raw.Close()
	if err := raw.Do(t.Context(), "ACL", "SETUSER", "default", "-publish").Err(); err != nil {
		t.Fatal(err)
	}
	code, _, errs := command(t, nil, "key", "rotate", "-c", file, id)
	if code != 1 || !strings.Contains(errs, "could not be ended") {
		t.Fatalf("%d, %s", code, errs)
	}
	made := shownID.FindStringSubmatch(errs)
	if text, err := os.ReadFile(trail); err != nil || made == nil || !strings.Contains(string(text), made[1]) {
		t.Errorf("%v: the trail does not tell of key %q:\n%s", err, made, text)
	}
}
