package config

import (
	"crypto/tls"
	"crypto/x509"
)

// Listen is the listener that people and programs use.
type Listen struct {
	// Address to listen on, host:port or :port.
	Address string `json:"address" jsonschema:"default=:8080"`
	// How to serve https there. Without it, plain http, for use behind something
	// that ends TLS. docs/tls.md says how, case by case.
	TLS ListenTLS `json:"tls,omitempty"`
	// Where to listen for plain http beside tls, most often :80. A browser is sent on to
	// https, a program is refused: what it sent has been read by anyone on the way.
	// A CA that asks for proof over http (HTTP-01) is answered there.
	HTTPAddress string `json:"httpAddress,omitempty"`
	// Serves HTTP/2 without TLS too (prior knowledge), for load balancers that speak it.
	H2C bool `json:"h2c,omitempty"`
	// Takes the client's address from the PROXY header (version 1 or 2) that a
	// load balancer sends at the beginning of each connection, before TLS. Only
	// trustedProxies may connect then, and only with that header; every other
	// connection is closed unanswered.
	ProxyProtocol bool `json:"proxyProtocol,omitempty"`
	// How long a client may take to send its request's header, and before that to
	// agree on TLS.
	HeaderTimeout Duration `json:"headerTimeout" jsonschema:"default=10s"`
	// How long a connection may wait for its next request.
	IdleTimeout Duration `json:"idleTimeout" jsonschema:"default=2m"`
	// How long a transfer may stand still because of the client before it is
	// given up. One that moves by some 10 KiB a second is never cut.
	StallTimeout Duration `json:"stallTimeout" jsonschema:"default=5m"`
	// The most that a request's header may hold.
	MaxHeaderSize Size `json:"maxHeaderSize" jsonschema:"default=64KiB"`
	// The most that a request's address (its path and query) may hold of that.
	MaxURLSize Size `json:"maxURLSize" jsonschema:"default=16KiB"`
	// How many requests one HTTP/2 connection may have open at once.
	MaxStreams int `json:"maxStreams" jsonschema:"minimum=1,maximum=10000,default=250"`
	// How long open requests may take to finish when the gateway is told to stop.
	DrainTimeout Duration `json:"drainTimeout" jsonschema:"default=30s"`
	// How long the gateway goes on taking requests when it is told to stop, while
	// /readyz says 503: longer than whoever shares out requests among replicas
	// takes to see that. Otherwise requests that are just coming are cut off.
	DrainDelay Duration `json:"drainDelay" jsonschema:"default=0s"`
}

// ListenTLS is how the gateway itself ends TLS. The files it names are looked at every
// few seconds, and what has changed is served from then on.
type ListenTLS struct {
	// The certificates. A client gets the first that fits the name it asks for, or
	// else the first of all.
	Certificates []Certificate `json:"certificates,omitempty" jsonschema:"minItems=1"`
	// Gets certificates from a CA by itself, and renews them. Giving this accepts the
	// CA's terms of service.
	ACME *ACME `json:"acme,omitempty"`
	// The oldest version of TLS that is spoken.
	MinVersion string `json:"minVersion" jsonschema:"enum=1.2,enum=1.3,default=1.2"`
	// Lets only those connect who show a certificate of these CAs, in PEM, whatever
	// else they prove afterwards. It makes nobody anybody.
	ClientCAFile string `json:"clientCAFile,omitempty"`
}

// Certificate is a certificate and its private key.
type Certificate struct {
	// The certificate and those between it and its CA, in PEM, its own first.
	CertFile string `json:"certFile" jsonschema:"required"`
	// The certificate's private key, in PEM.
	KeyFile string `json:"keyFile" jsonschema:"required"`
}

// ACME is a CA that gives certificates by itself (RFC 8555).
type ACME struct {
	// The CA's directory.
	DirectoryURL string `json:"directoryURL" jsonschema:"default=https://acme-v02.api.letsencrypt.org/directory"`
	// Whom the CA may write to. Some want it.
	Email string `json:"email,omitempty"`
	// The names to get a certificate for, each one of its own. Without any, the host of
	// publicURL and those of upstreams and forwardAuth.
	Hosts []string `json:"hosts,omitempty" jsonschema:"uniqueItems=true"`
	// A directory for the keys and certificates, which only this user may read. Without
	// it they are in the store, sealed with session.keys, for all replicas.
	CacheDir string `json:"cacheDir,omitempty"`
	// Certificates to trust at the directory instead of the system's, in PEM, for a CA of
	// one's own.
	CAFile string `json:"caFile,omitempty"`
	// The account that is known to the CA otherwise (external account binding), if it
	// wants one: the id that it calls it by.
	AccountID string `json:"accountID,omitempty"`
	// The key that proves that account, in base64url as the CA gives it.
	AccountKey Secret `json:"accountKey,omitempty"`
	// A file that holds it.
	AccountKeyFile string `json:"accountKeyFile,omitempty"`
}

// HSTS is the header Strict-Transport-Security. It is sent if publicURL is https at the
// usual port and no loopback host, and the application says nothing of it itself.
type HSTS struct {
	// How long browsers remember it. 0s sends none.
	MaxAge Duration `json:"maxAge" jsonschema:"default=8760h"`
	// Makes it count for every host below those of the gateway too. All of them must have
	// https.
	IncludeSubdomains bool `json:"includeSubdomains,omitempty"`
	// Lets browsers' makers put the host on their list. It is hard to get off that again.
	Preload bool `json:"preload,omitempty"`
}

// Limits is what one address, and all of them together, may take of the gateway. Of IPv6
// addresses the first 64 bits count. An address of trustedProxies has no limit of its
// own, for it speaks for many. The defaults are far above what a cluster of training
// machines behind one address does.
type Limits struct {
	// How many connections may be open at once. A further one is closed unanswered. 0
	// means no limit.
	Connections int `json:"connections" jsonschema:"minimum=0,default=32768"`
	// How many of them may be from one address. 0 means no limit.
	ConnectionsPerAddress int `json:"connectionsPerAddress" jsonschema:"minimum=0,default=16384"`
	// How many requests a second may come from one address over time; for a while,
	// five times as many. Then the answer is 429. 0 means no limit.
	RequestsPerSecond int `json:"requestsPerSecond" jsonschema:"minimum=0,default=5000"`
	// How many sign-ins a minute may begin at one address, whether or not they are
	// finished. A form takes two: to be shown, and to be sent. 0 means no limit.
	SignInsPerMinute int `json:"signInsPerMinute" jsonschema:"minimum=0,default=600"`
}

// Enabled says whether the gateway itself ends TLS.
func (t ListenTLS) Enabled() bool { return len(t.Certificates) > 0 || t.ACME != nil }

// Version is the oldest version of TLS, as crypto/tls numbers it.
func (t ListenTLS) Version() uint16 {
	if t.MinVersion == "1.3" {
		return tls.VersionTLS13
	}
	return tls.VersionTLS12
}

// Files are the names of the files that TLS is made from.
func (t ListenTLS) Files() []string {
	var out []string
	for _, c := range t.Certificates {
		out = append(out, c.CertFile, c.KeyFile)
	}
	if t.ClientCAFile != "" {
		out = append(out, t.ClientCAFile)
	}
	return out
}

// Load reads the certificate and its key, which must belong together.
func (c Certificate) Load() (tls.Certificate, error) { return loadPair(c.CertFile, c.KeyFile) }

// ClientCAs reads ClientCAFile; nil if there is none.
func (t ListenTLS) ClientCAs() (*x509.CertPool, error) { return caPool(t.ClientCAFile) }

// Roots reads CAFile; nil, for the system's, if there is none.
func (a ACME) Roots() (*x509.CertPool, error) { return caPool(a.CAFile) }

func caPool(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil //nolint:nilnil // none is no fault
	}
	return loadPool(file)
}

// ACMEHosts are the names that the CA is asked for.
func (c Config) ACMEHosts() []string {
	switch a := c.Listen.TLS.ACME; {
	case a == nil:
		return nil
	case len(a.Hosts) > 0:
		return a.Hosts
	}
	return c.hostNames()
}
