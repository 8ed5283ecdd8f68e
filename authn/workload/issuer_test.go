package workload

import (
	"net/http"
	"testing"

	"gatehouse/authn/issuer"
)

func TestIssuerCheck(t *testing.T) {
	for name, tt := range map[string]struct {
		issuer Issuer
		device bool
		err    string
	}{
		"an issuer":                      {Issuer{URL: "https://idp.example.com/a"}, true, ""},
		"with a slash at its end":        {Issuer{URL: "https://example.eu.auth0.com/"}, false, ""},
		"a token URL":                    {Issuer{TokenURL: "https://idp.example.com/token?v=2"}, false, ""},
		"on this machine":                {Issuer{URL: "http://127.0.0.1:9000"}, false, ""},
		"on this machine, by name":       {Issuer{URL: "http://localhost:9000"}, false, ""},
		"nothing":                        {Issuer{}, false, "an issuer or a token URL"},
		"a device URL too":               {Issuer{TokenURL: "https://idp.example.com/token", DeviceURL: "https://idp.example.com/device"}, true, ""},
		"no device URL":                  {Issuer{TokenURL: "https://idp.example.com/token"}, true, "a token URL and a device URL"},
		"plain http":                     {Issuer{URL: "http://idp.example.com"}, false, "issuer: \"http://idp.example.com\" must be https"},
		"plain http at the endpoint":     {Issuer{TokenURL: "http://idp.example.com/token"}, false, "token URL: "},
		"plain http at the other":        {Issuer{URL: "https://idp.example.com", DeviceURL: "http://idp.example.com/device"}, true, "device URL: "},
		"what only looks like loopback":  {Issuer{URL: "http://127.0.0.1.example.com"}, false, "must be https"},
		"a user in it":                   {Issuer{URL: "https://u:p@idp.example.com"}, false, "no user"},
		"a fragment":                     {Issuer{TokenURL: "https://idp.example.com/token#x"}, false, "no fragment"},
		"a query in the issuer":          {Issuer{URL: "https://idp.example.com/?tenant=1"}, false, "no query"},
		"another scheme":                 {Issuer{URL: "file:///etc/passwd"}, false, "is not a URL"},
		"no URL at all":                  {Issuer{URL: "idp.example.com"}, false, "is not a URL"},
		"a scheme that is like a scheme": {Issuer{URL: "ftp://idp.example.com"}, false, "must be https"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.issuer.Check(tt.device)
			if tt.err != "" {
				assertError(t, err, tt.err, "u:p")
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// documents is an issuer whose discovery document is this one.
func documents(document string) *http.Client {
	return issuer.Guarded(roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.URL.Path != "/t"+wellKnown || r.Method != http.MethodGet {
			return write(reply{status: http.StatusNotFound, body: r.URL.String()}), nil
		}
		return write(ok(document)), nil
	}))
}

func TestDiscovery(t *testing.T) {
	const known = "https://idp.example.com/t"
	for name, tt := range map[string]struct {
		url, document, err string
		device             bool
	}{
		"sound":                        {known, `{"issuer":"https://idp.example.com/t","token_endpoint":"https://login.example.com/token"}`, "", false},
		"with a slash at its end":      {known + "/", `{"issuer":"https://idp.example.com/t/","token_endpoint":"https://login.example.com/token"}`, "", false},
		"of another issuer":            {known, `{"issuer":"https://idp.example.com/t/","token_endpoint":"https://login.example.com/token"}`, `is of the issuer "https://idp.example.com/t/", and not of`, false},
		"of nobody":                    {known, `{"token_endpoint":"https://login.example.com/token"}`, "is of the issuer", false},
		"in another spelling":          {known, `{"Issuer":"https://idp.example.com/t","token_endpoint":"https://login.example.com/token"}`, "is of the issuer", false},
		"of two issuers":               {known, `{"issuer":"https://idp.example.com/t","issuer":"https://evil.example.com","token_endpoint":"https://login.example.com/token"}`, "a duplicate name", false},
		"a plain endpoint":             {known, `{"issuer":"https://idp.example.com/t","token_endpoint":"http://login.example.com/token"}`, "token_endpoint: ", false},
		"a plain endpoint here":        {known, `{"issuer":"https://idp.example.com/t","token_endpoint":"http://127.0.0.1/token"}`, "must be https", false},
		"no endpoint":                  {known, `{"issuer":"https://idp.example.com/t"}`, "has no token_endpoint", false},
		"no device endpoint":           {known, `{"issuer":"https://idp.example.com/t","token_endpoint":"https://login.example.com/token"}`, "has no device_authorization_endpoint", true},
		"a plain device endpoint":      {known, `{"issuer":"https://idp.example.com/t","token_endpoint":"https://login.example.com/token","device_authorization_endpoint":"http://x/"}`, "device_authorization_endpoint: ", true},
		"a page":                       {known, `<html>`, "discovery: ask idp.example.com: answer is not a JSON document: no sense after byte 0, but a page for people", false},
		"nothing there":                {"https://idp.example.com/elsewhere", `{}`, "discovery: the issuer answered 404", false},
		"plain for plain, on loopback": {"http://127.0.0.1/t", `{"issuer":"http://127.0.0.1/t","token_endpoint":"http://127.0.0.1/token"}`, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := Issuer{URL: tt.url, Client: documents(tt.document)}.discover(t.Context(), tt.device)
			if tt.err != "" {
				assertError(t, err, tt.err)
				return
			}
			if err != nil || e.Token == "" || e.Issuer != tt.url {
				t.Errorf("%+v, %v", e, err)
			}
		})
	}
	t.Run("what is set beats it", func(t *testing.T) {
		document := `{"issuer":"https://idp.example.com/t","token_endpoint":"https://a/","device_authorization_endpoint":"https://b/"}`
		e, err := Issuer{URL: known, TokenURL: "https://c/", Client: documents(document)}.discover(t.Context(), true)
		if err != nil || e.Token != "https://c/" || e.Device != "https://b/" {
			t.Errorf("%+v, %v", e, err)
		}
		e, err = Issuer{URL: known, TokenURL: "https://c/", Client: documents("nothing to be asked")}.discover(t.Context(), false)
		if err != nil || e.Token != "https://c/" || e.Issuer != known {
			t.Errorf("%+v, %v", e, err)
		}
	})
}
