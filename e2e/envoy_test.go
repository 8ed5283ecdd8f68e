package e2e

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"

	extauthz "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/goccy/go-yaml"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// envoy stands for Envoy, which can't be had as a package: its filter ext_authz over
// HTTP, by the settings of the documentation, and as Envoy's documentation of the filter
// says what it does. It says nothing of what Envoy really does.
type envoy struct {
	*extauthz.ExtAuthz
	app, gateway *httputil.ReverseProxy
	asks         *http.Client
	question     *url.URL
}

// envoy reads the settings by Envoy's own schema.
func (h *edgeHouse) envoy() {
	h.t.Helper()
	_, section, _ := strings.Cut(h.page, "## Envoy\n")
	raw, err := yaml.YAMLToJSON([]byte(h.adapt(snippet(h.t, section, "yml"))))
	if err != nil {
		h.t.Fatal(err)
	}
	var page struct {
		Filters []json.RawMessage `json:"http_filters"`
	}
	if err := json.Unmarshal(raw, &page); err != nil || len(page.Filters) != 1 {
		h.t.Fatalf("%v, and %d filters", err, len(page.Filters))
	}
	filter, e := &hcm.HttpFilter{}, &envoy{ExtAuthz: &extauthz.ExtAuthz{}}
	if err := protojson.Unmarshal(page.Filters[0], filter); err != nil {
		h.t.Fatal(err)
	}
	if err := filter.GetTypedConfig().UnmarshalTo(e.ExtAuthz); err != nil {
		h.t.Fatal(err)
	}
	if err := e.ValidateAll(); err != nil {
		h.t.Fatal(err)
	}
	undeprecated(h.t, e.ExtAuthz)
	e.question, _ = url.Parse(e.GetHttpService().GetServerUri().GetUri())
	e.asks = &http.Client{
		Timeout:       e.GetHttpService().GetServerUri().GetTimeout().AsDuration(),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	e.app, e.gateway = to(h.t, h.app.URL), to(h.t, "http://"+h.gateway)
	ln, err := net.Listen("tcp", loopback(h.port))
	if err != nil {
		h.t.Fatal(err)
	}
	s := &httptest.Server{Listener: ln, Config: &http.Server{Handler: e}}
	s.Start()
	h.t.Cleanup(s.Close)
}

// to passes a request on with the client's address, as Envoy does with
// use_remote_address, and without another word.
func to(t *testing.T, address string) *httputil.ReverseProxy {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.Out.URL.Scheme, p.Out.URL.Host = u.Scheme, u.Host
		p.Out.Header["X-Forwarded-For"] = []string{"127.0.0.1"}
		for name, values := range p.In.Header {
			if strings.HasPrefix(name, "X-Forwarded-") && name != "X-Forwarded-For" {
				p.Out.Header[name] = values // which httputil takes away
			}
		}
	}}
}

// undeprecated refuses fields that Envoy warns of, and then no longer takes.
func undeprecated(t *testing.T, m proto.Message) {
	t.Helper()
	m.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if o, ok := field.Options().(*descriptorpb.FieldOptions); ok && o.GetDeprecated() {
			t.Errorf("%s is deprecated", field.FullName())
		}
		if field.Message() != nil && !field.IsList() && !field.IsMap() {
			undeprecated(t, v.Message().Interface())
		}
		return true
	})
}

func matches(l *matcher.ListStringMatcher, name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc(l.GetPatterns(), func(p *matcher.StringMatcher) bool {
		return p.GetExact() == name || p.GetPrefix() != "" && strings.HasPrefix(name, p.GetPrefix())
	})
}

// ServeHTTP has the routes that the documentation asks for, and the filter before the
// application's.
func (e *envoy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	switch {
	case strings.HasPrefix(path, "/.gatehouse/auth/"):
		w.WriteHeader(http.StatusNotFound)
	case strings.HasPrefix(path, "/.gatehouse/"), path == "/oidc/callback", path == "/logout":
		e.gateway.ServeHTTP(w, r)
	case e.check(w, r):
		e.app.ServeHTTP(w, r)
	}
}

// check asks about a request. If it may not pass, it has answered.
func (e *envoy) check(w http.ResponseWriter, r *http.Request) bool {
	q, err := http.NewRequestWithContext(r.Context(), r.Method, e.question.String(), nil)
	if err != nil {
		panic(err)
	}
	q.URL.Opaque = e.GetHttpService().GetPathPrefix() + r.RequestURI
	q.Host = r.Host
	r.Header["X-Forwarded-For"] = []string{"127.0.0.1"}
	for name, values := range r.Header {
		if matches(e.GetAllowedHeaders(), name) || name == "Authorization" {
			q.Header[name] = values
		}
	}
	res, err := e.asks.Do(q)
	if err != nil || res.StatusCode >= 500 {
		w.WriteHeader(int(e.GetStatusOnError().GetCode()))
		return false
	}
	defer res.Body.Close()
	said := e.GetHttpService().GetAuthorizationResponse()
	if res.StatusCode != http.StatusOK {
		for name, values := range res.Header {
			if matches(said.GetAllowedClientHeaders(), name) || name == "Location" || name == "Www-Authenticate" {
				w.Header()[name] = values
			}
		}
		w.WriteHeader(res.StatusCode)
		return false
	}
	for name, values := range res.Header {
		if matches(said.GetAllowedUpstreamHeaders(), name) {
			r.Header[name] = values
		}
	}
	for name := range strings.SplitSeq(res.Header.Get("X-Envoy-Auth-Headers-To-Remove"), ",") {
		for sent := range r.Header {
			if strings.EqualFold(sent, strings.TrimSpace(name)) {
				delete(r.Header, sent)
			}
		}
	}
	return true
}
