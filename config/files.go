package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxSecretFile bounds a file that holds a secret, in bytes.
const maxSecretFile = 64 << 10

const readable = "name a file that exists and that this user may read"

// files reads the secrets that live in files.
func (k *checks) files() {
	for i, r := range k.c.Authn {
		if r.OIDC != nil {
			k.secret(&r.OIDC.ClientSecret, r.OIDC.ClientSecretFile, joined(indexed("authn", i), "oidc.clientSecret"))
		}
		if r.LDAP != nil {
			k.secret(&r.LDAP.BindPassword, r.LDAP.BindPasswordFile, joined(indexed("authn", i), "ldap.bindPassword"))
		}
		if r.Bearer != nil {
			for n, issuer := range r.Bearer.Issuers {
				if in := issuer.Introspection; in != nil {
					k.secret(&in.ClientSecret, in.ClientSecretFile, indexed(indexed("authn", i)+".bearer.issuers", n)+".introspection.clientSecret")
				}
			}
		}
	}
	if a := k.c.Listen.TLS.ACME; a != nil {
		k.secret(&a.AccountKey, a.AccountKeyFile, "listen.tls.acme.accountKey")
	}
	if r := k.c.Store.Redis; r != nil {
		k.secret(&r.Password, r.PasswordFile, "store.redis.password")
		if r.Sentinel != nil {
			k.secret(&r.Sentinel.Password, r.Sentinel.PasswordFile, "store.redis.sentinel.password")
		}
	}
	k.keyFile(&k.c.Session)
}

// secret reads the file twin of the secret at path.
func (k *checks) secret(s *Secret, file, path string) {
	if file == "" {
		return
	}
	twin := path + "File"
	if *s != "" {
		k.fault(twin, "set together with "+last(path), "keep one of the two")
		return
	}
	if text, ok := k.secretText(file, twin); ok {
		*s = Secret(text)
	}
}

// keyFile reads session.keysFile, one key a line.
func (k *checks) keyFile(s *Session) {
	const path = "session.keysFile"
	if s.KeysFile == "" {
		return
	}
	if s.Keys != nil {
		k.fault(path, "set together with keys", "keep one of the two")
		return
	}
	text, ok := k.secretText(s.KeysFile, path)
	if !ok {
		return
	}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			s.Keys = append(s.Keys, Secret(line))
		}
	}
	if s.Keys == nil {
		k.fault(path, "the file holds no key", "make one with: openssl rand -base64 32")
	}
}

// secretText is what [secretOf] reads, or a fault of the setting at path.
func (k *checks) secretText(file, path string) (string, bool) {
	text, err := secretOf(file)
	switch {
	case errors.Is(err, errEmpty):
		k.fault(path, err.Error(), "put the secret in it")
	case err != nil:
		k.fault(path, err.Error(), readable)
	}
	return text, err == nil
}

var errEmpty = errors.New("the file is empty")

// secretOf is the text of a secret's file without a byte order mark and
// without the one line break at its end that editors and echo leave. All else
// is the secret's own.
func secretOf(file string) (string, error) {
	b, err := readFile(file, maxSecretFile)
	if err != nil {
		return "", errors.New("can't be read: " + reason(err))
	}
	text := withoutLineBreak(string(bytes.TrimPrefix(b, []byte("\ufeff"))))
	if strings.TrimSpace(text) == "" {
		return "", errEmpty
	}
	return text, nil
}

// withoutLineBreak is text without the one line break at its end.
func withoutLineBreak(text string) string {
	if rest, ok := strings.CutSuffix(text, "\r\n"); ok {
		return rest
	}
	return strings.TrimSuffix(text, "\n")
}

// readFile reads a regular file of at most most bytes.
func readFile(file string, most int64) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file") // a pipe would block, a device never end
	}
	f, err := os.Open(file) //nolint:gosec // naming it is the operator's right
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("larger than %s", Size(most))
	}
	return b, err
}

// last is the last step of a path.
func last(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }
