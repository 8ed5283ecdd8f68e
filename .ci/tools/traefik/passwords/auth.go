// Package auth stands for Traefik's own version of go-http-auth, of which there is no
// release. Its middlewares for passwords, which no test has, refuse everybody.
package auth

import "net/http"

// SecretProvider finds somebody's secret.
type SecretProvider func(user, realm string) string

// CheckSecret refuses every password.
func CheckSecret(string, string) bool { return false }

// BasicAuth is RFC 7617.
type BasicAuth struct {
	Realm   string
	Secrets SecretProvider
}

// RequireAuth refuses.
func (*BasicAuth) RequireAuth(w http.ResponseWriter, _ *http.Request) { refuse(w) }

// DigestAuth is RFC 7616.
type DigestAuth struct{}

// NewDigestAuthenticator has no use for either.
func NewDigestAuthenticator(string, SecretProvider) *DigestAuth { return &DigestAuth{} }

// CheckAuth finds nobody.
func (*DigestAuth) CheckAuth(*http.Request) (string, *string) { return "", nil }

// RequireAuth refuses.
func (*DigestAuth) RequireAuth(w http.ResponseWriter, _ *http.Request) { refuse(w) }

// RequireAuthStale refuses.
func (*DigestAuth) RequireAuthStale(w http.ResponseWriter, _ *http.Request) { refuse(w) }

// DigestAuthParams reads nothing.
func DigestAuthParams(string) map[string]string { return nil }

func refuse(w http.ResponseWriter) { w.WriteHeader(http.StatusUnauthorized) }
