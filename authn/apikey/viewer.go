package apikey

import (
	"context"
	"encoding/base64"
	"encoding/json/jsontext"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"gatehouse/authn"
	"gatehouse/authn/meter"
	"gatehouse/config"
	"gatehouse/session"
)

const (
	// askTime bounds one question to the application, its answer and all. W&B
	// clients wait for 10 s when they log in.
	askTime = 5 * time.Second
	// storeTime bounds one look into the store for what another replica has found
	// out. Without it the application is asked.
	storeTime = time.Second
	// maxAnswer bounds an answer, in bytes.
	maxAnswer = 1 << 20
	question  = `{"query":"query Viewer{viewer{id username email teams{edges{node{name}}}}}"}`
)

// errNotAsked is said of nothing but a failure to find out.
var errNotAsked = errors.New("apikey: can't find out whose key it is")

// viewer is whose a key is, as the application says it.
type viewer struct {
	ID, Username, Email string
	Teams               []string
}

// viewers asks the application whose its keys are.
type viewers struct {
	client   *http.Client
	url      string
	host     string // what the Host header says
	public   *url.URL
	route    string
	prefix   string
	reserved []string        // what no subject of the application's may begin with
	results  session.Results // of somebody alone, so that no number of wrong keys fills the store
	lifetime time.Duration
	log      *slog.Logger
}

func newViewers(name string, c config.APIKey, d Deps) (*viewers, error) {
	target, err := url.Parse(d.Upstream.URL)
	if err != nil {
		return nil, fmt.Errorf("upstream: %w", err)
	}
	dialer := &net.Dialer{Timeout: askTime}
	t := &http.Transport{
		DialContext: dialer.DialContext, TLSHandshakeTimeout: askTime, ResponseHeaderTimeout: askTime,
		MaxResponseHeaderBytes: 64 << 10, MaxIdleConnsPerHost: askAtOnce, IdleConnTimeout: time.Minute,
	}
	switch target.Scheme {
	case "unix":
		socket := target.Path
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		}
		target = &url.URL{Scheme: "http", Host: "localhost"}
	case "https":
		if t.TLSClientConfig, err = d.Upstream.TLS.Load(); err != nil {
			return nil, err
		}
		t.ForceAttemptHTTP2 = true
	}
	v := &viewers{
		url: target.Scheme + "://" + target.Host + "/graphql", host: d.PublicURL.Host,
		public: d.PublicURL, route: name, prefix: c.SubjectPrefix, reserved: append(slices.Clone(d.ForeignPrefixes), config.AccountPrefix),
		client: &http.Client{
			Timeout: askTime, Transport: meter.Transport(d.Calls, t),
			// A key goes nowhere but where it was sent.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		lifetime: c.Cache.Lifetime.Std(), log: d.Log,
	}
	if len(d.Upstream.Hosts) > 0 {
		v.host = d.Upstream.Hosts[0]
	}
	if d.Upstream.HostHeader == "upstream" {
		v.host = target.Host
	}
	// All that an answer and what is made of it depend on.
	purpose := fmt.Sprintf("API keys %q %s", append([]string{name, d.Upstream.URL, v.host, v.prefix}, v.reserved...), v.lifetime)
	v.results = session.NewResults(d.Store, d.Keys, purpose)
	return v, nil
}

func (v *viewers) close() { v.client.CloseIdleConnections() }

// owner finds out whose a key of the application is. The identity ends with the
// answer, which another replica may have got some time ago.
func (v *viewers) owner(ctx context.Context, key string) (authn.Identity, error) {
	if id, ok := v.recall(ctx, key); ok {
		return id, nil
	}
	who, err := v.ask(ctx, key)
	if err != nil {
		return authn.Identity{}, silent(err, key)
	}
	id, err := v.identity(who)
	if err != nil {
		v.log.Warn("API key refused, though the application knows it", "err", err)
		return authn.Identity{}, err
	}
	if v.lifetime > 0 {
		id.Expires = time.Now().Add(v.lifetime)
		v.share(ctx, key, id)
	}
	return id, nil
}

// recall returns what another replica has found out.
func (v *viewers) recall(ctx context.Context, key string) (authn.Identity, bool) {
	if v.lifetime <= 0 {
		return authn.Identity{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	id, _, ok := v.results.Get(ctx, key)
	id.Onward = ok // it is not stored
	return id, ok
}

// share lets other replicas know.
func (v *viewers) share(ctx context.Context, key string, id authn.Identity) {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	if err := v.results.Put(ctx, key, id, "", v.lifetime); err != nil {
		v.log.Debug("whose a key is, is not shared with other replicas", "err", err)
	}
}

// silent is an error without the key. The text of one may quote what the server
// said, and that may be what it was sent.
func silent(err error, key string) error {
	text := err.Error()
	if strings.Contains(text, key) || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte("api:"+key))) {
		return fmt.Errorf("%w: what answers there sends the key back", errNotAsked)
	}
	return err
}

// ask asks the application. A viewer that is null is its no, and so are 401, and 403
// in JSON: a page that says 403 is of something that stands before it.
func (v *viewers) ask(ctx context.Context, key string) (viewer, error) {
	req, err := v.request(ctx, key)
	if err != nil {
		return viewer{}, fmt.Errorf("%w: %w", errNotAsked, err)
	}
	res, err := v.client.Do(req)
	if err != nil {
		return viewer{}, fmt.Errorf("%w: %w", errNotAsked, authn.Foreign{Err: err})
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusUnauthorized:
		return viewer{}, reject("the application refuses the key")
	case http.StatusOK, http.StatusForbidden:
	default:
		return viewer{}, fmt.Errorf("%w: the application answers %d", errNotAsked, res.StatusCode)
	}
	body, err := readJSON(res)
	switch {
	case err != nil:
		return viewer{}, fmt.Errorf("%w: the application answers %d, %w", errNotAsked, res.StatusCode, err)
	case res.StatusCode == http.StatusForbidden:
		return viewer{}, reject("the application refuses the key")
	}
	return readAnswer(body)
}

// request is the question about a key.
func (v *viewers) request(ctx context.Context, key string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(meter.Asking(ctx, "viewer"), http.MethodPost, v.url, strings.NewReader(question))
	if err != nil {
		return nil, err
	}
	req.Host = v.host
	req.SetBasicAuth("api", key)
	if authn.ApplicationToken(key) {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "gatehouse")
	req.Header.Set("X-Forwarded-Host", v.public.Host)
	req.Header.Set("X-Forwarded-Proto", v.public.Scheme)
	return req, nil
}

// readJSON reads a body that is JSON by its type and in fact.
func readJSON(res *http.Response) ([]byte, error) {
	if media, _, err := mime.ParseMediaType(res.Header.Get("Content-Type")); err != nil || media != "application/json" && media != "application/graphql-response+json" {
		return nil, errors.New("but not with JSON")
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, authn.Foreign{Err: err}
	case len(body) > maxAnswer:
		return nil, fmt.Errorf("with more than %d bytes", maxAnswer)
	case !jsontext.Value(body).IsValid():
		return nil, errors.New("but not with sound JSON")
	}
	return body, nil
}

// identity is a viewer as the gateway knows people. One who could be taken for
// somebody else is refused.
func (v *viewers) identity(who viewer) (authn.Identity, error) {
	subject := v.prefix + who.ID
	switch {
	case len(who.ID) > authn.MaxID || !authn.CleanID(who.ID):
		return authn.Identity{}, reject("the application's viewer has an id that can't name anybody")
	case who.Username != "" && (len(who.Username) > authn.MaxID || !authn.CleanID(who.Username)):
		return authn.Identity{}, reject("the application's viewer has a name that can't name anybody")
	case slices.ContainsFunc(who.Teams, func(t string) bool { return strings.ContainsFunc(t, unicode.IsControl) }):
		return authn.Identity{}, reject("the application's viewer has a team with a control character")
	case slices.ContainsFunc(v.reserved, func(p string) bool { return len(p) > len(v.prefix) && strings.HasPrefix(subject, p) }):
		return authn.Identity{}, reject("the application's viewer has a subject that looks like one of another route")
	}
	if _, ok := authn.EmailDomain(who.Email); !ok || len(who.Email) > authn.MaxID || !authn.CleanID(who.Email) {
		who.Email = "" // as good as none
	}
	return authn.Identity{
		// The application is one issuer behind one public URL, wherever it listens.
		Issuer: v.public.String() + "/graphql", Subject: subject, Kind: authn.Person,
		Username: who.Username, Email: who.Email, Groups: who.Teams, Route: v.route,
		AuthTime: time.Now().UTC().Truncate(time.Second), Onward: true,
	}, nil
}
