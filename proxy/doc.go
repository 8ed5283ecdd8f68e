// Package proxy is what happens to a request: it is understood in one way only
// or refused, everything that no client may say is taken out, it is decided
// whom it comes from and whether they may come in, and it is sent on with
// verified identity headers. It also serves the gateway's own paths.
//
// It relies on the chain for whom a request comes from, on the routes for who
// may come in, on authn.Landings for every redirect that a request can
// influence, and on page for what people and programs read. Behind it is
// httputil.ReverseProxy, with Rewrite: what a client names in Connection is gone
// before anything is put in. Behind that is a transport of its own for upstreams
// without TLS, and net/http's for all others. It buffers nothing, changes no body,
// repeats nothing but what may be sent twice, and sets no cookie while it proxies.
//
// # The header contract
//
// An upstream may believe these headers, because nobody else can set them.
// Without settings of their own they are:
//
//	X-Forwarded-User                the subject
//	X-Forwarded-Email               the e-mail address that the provider vouches for
//	X-Forwarded-Preferred-Username  the name that people type
//	X-Forwarded-Groups              the groups
//	X-Gatehouse-Subject             the subject
//	X-Gatehouse-Issuer              who vouched for it
//	X-Gatehouse-Route               by which route it came
//	X-Gatehouse-Teams               the teams, a service account's own first
//	X-Gatehouse-Roles               the role in each, in the same order
//
// A header comes once, in one line, or, with nothing to say, not at all; empty
// groups are left out. All of them come from one proof. Values are printable
// ASCII: every other byte, "%", a space at either end and, within a group, the
// separator are percent-encoded (RFC 3986, section 2.1). Split groups first,
// then decode: JavaScript's decodeURIComponent and Go's url.PathUnescape give
// back what the provider said. Who has more groups than fit into
// headers.maxSize is refused and never shown with fewer.
//
// On every path, public ones too, the gateway removes from what clients send,
// headers and trailers alike: these names, those of headers.scrub, the names
// that other programs of its kind vouch for people with, and those that say
// where a request has been (X-Forwarded-*, Forwarded, X-Real-Ip and the like).
// Names are compared in lower case with "-" for every byte that is neither
// letter nor digit, since X_Forwarded_User is X-Forwarded-User to many servers.
// On public paths the headers that override a method go too. The gateway sets
// X-Forwarded-For, from trusted proxies' word only, X-Forwarded-Host,
// X-Forwarded-Proto and X-Request-Id itself. Trusted proxies say the client's
// address in X-Forwarded-For or in Forwarded, whichever the settings name; the
// other is not read. A load balancer may say it with the PROXY protocol.
//
// The gateway's cookies never reach an upstream; all others pass byte for byte
// and in order. X-Gatehouse-Authorization and Proxy-Authorization hold a
// credential for the gateway alone, at most one. Where there is one the chain
// sees nothing else, and a refusal is 401 whatever else came along. It never goes
// on.
//
// Authorization, Wandb-Api-Key and X-Wandb-Api-Key go on beside such a
// credential, when they are the application's own to judge, and where the
// upstream's identity is passthrough; on a public path never. Where it is exchange,
// and nothing of the application's own goes on, Authorization holds an access token
// that the application has given for the person, alone.
//
// X-Wandb-Username and X-Wandb-User-Email, by which a program says for whom it
// works, go on if they name the person that the request comes from, or somebody
// in the service account's team; headers.attribution may say otherwise.
//
// An upstream's answer can't set the gateway's cookies, a header of the
// contract, Alt-Svc or another request id. An answer that is not from a public
// path becomes "Cache-Control: private" unless it is private or not stored
// already.
//
// # Targets
//
// What was decided on is what is sent. Refused with 400 are control bytes,
// backslashes and bytes that are not UTF-8, raw or encoded, a raw "#" or space,
// and segments "." and "..", raw, encoded or with parameters. A path with an
// encoded slash, an empty segment or a "%" that is left after decoding is
// legal but may read differently to an upstream: it matches no public path and
// no path of the gateway, and passes, unchanged, only with an identity or a
// credential of the application's own.
//
// # Upgrades
//
// Of all protocols that HTTP/1.1 can switch to, only "websocket" passes, alone.
// On a path that is not public it must come from one of the gateway's own origins,
// or from a program that has no session cookie. On a public path anybody may open one; the
// tunnel leads to that path of the upstream and carries no identity.
//
// # Open requests
//
// A request of somebody that lasts is asked again whom it comes from, with the
// credential that it came with: every fifteen seconds, when its identity expires,
// and soon after [Handler.Recheck]. It ends when a new one would be refused or be
// somebody else's. A WebSocket is then closed with 1008, at the end of a frame, and
// any other answer is broken off, so that it does not pass for a whole one. What can't
// be found out ends nothing for ten minutes, but for an identity that has expired.
// WebSockets are closed with 1001 by [Handler.Drain] and [Handler.Close].
package proxy
