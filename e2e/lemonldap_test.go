package e2e

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// lemonProvider is LemonLDAP::NG with its demonstration accounts, whose password
// is the login. It knows one confidential client, keeps claims out of the ID
// token and does not rotate refresh tokens. All its files are below dir.
type lemonProvider struct {
	*process
	t    *testing.T
	port int
	dir  string
}

func startLemonProvider(t *testing.T, paths clientPaths, accessTokenLife time.Duration) *lemonProvider {
	t.Helper()
	l := &lemonProvider{t: t, port: freePort(t), dir: t.TempDir()}
	for _, sub := range []string{"conf", "cache", "sessions/lock", "psessions/lock"} {
		l.check(os.MkdirAll(filepath.Join(l.dir, sub), 0o755))
	}
	conf, err := json.Marshal(l.conf(paths, accessTokenLife))
	l.check(err)
	l.write("conf/lmConf-1.json", conf)
	l.write("lemonldap-ng.ini", []byte(fmt.Sprintf(`[all]
logLevel = notice
[configuration]
type = File
dirName = %[1]s/conf
localStorage = Cache::FileCache
localStorageOptions = { namespace => 'config', cache_root => '%[1]s/cache', default_expires_in => 600 }
[portal]
staticPrefix = /static
templateDir = /usr/share/lemonldap-ng/portal/templates
languages = en
`, l.dir)))
	psgi, err := os.ReadFile("lemonldap/portal.psgi")
	l.check(err)
	l.write("portal.psgi", psgi)
	l.restart()
	return l
}

func (l *lemonProvider) check(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal("set up LemonLDAP::NG: ", err)
	}
}

func (l *lemonProvider) write(name string, b []byte) {
	l.t.Helper()
	l.check(os.WriteFile(filepath.Join(l.dir, name), b, 0o644))
}

// restart starts it with the people's sessions still there. Root hands it over
// to nobody, the portal has no use for rights.
func (l *lemonProvider) restart() {
	l.t.Helper()
	cmd := exec.Command("starman", "--listen", loopback(l.port), "--workers", "3", "--env", "deployment",
		"--disable-keepalive", filepath.Join(l.dir, "portal.psgi"))
	cmd.Dir = l.dir
	cmd.Env = append(os.Environ(), "LLNG_DEFAULTCONFFILE="+filepath.Join(l.dir, "lemonldap-ng.ini"))
	if os.Getuid() == 0 {
		l.handOver(cmd)
	}
	l.process = start(l.t, cmd, answers(l.issuer()+"/.well-known/openid-configuration"))
}

// handOver makes nobody run cmd and own the files.
func (l *lemonProvider) handOver(cmd *exec.Cmd) {
	l.t.Helper()
	nobody, err := user.Lookup("nobody")
	l.check(err)
	uid, err := strconv.ParseUint(nobody.Uid, 10, 32)
	l.check(err)
	gid, err := strconv.ParseUint(nobody.Gid, 10, 32)
	l.check(err)
	l.check(filepath.WalkDir(l.dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, int(uid), int(gid))
	}))
	// The parents of a test's directory may be for root alone to pass.
	l.check(os.Chmod(filepath.Dir(l.dir), 0o755))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

// conf is what the manager would have written.
func (l *lemonProvider) conf(paths clientPaths, accessTokenLife time.Duration) map[string]any {
	l.t.Helper()
	private, public := l.keys()
	files := func(name string) map[string]any {
		dir := filepath.Join(l.dir, name)
		return map[string]any{"Directory": dir, "LockDirectory": filepath.Join(dir, "lock"),
			"generateModule": "Lemonldap::NG::Common::Apache::Session::Generate::SHA256"}
	}
	rp := map[string]any{
		"ClientID": l.client().id, "ClientSecret": l.client().secret,
		"RedirectUris": paths.redirect, "PostLogoutRedirectUris": paths.signedOut,
		"BypassConsent": 1, "RequirePKCE": 1, "RefreshToken": 1, "IDTokenSignAlg": "RS256",
	}
	if accessTokenLife > 0 {
		rp["AccessTokenExpiration"] = int(accessTokenLife.Seconds())
	}
	options := map[string]any{}
	for k, v := range rp {
		options["oidcRPMetaDataOptions"+k] = v
	}
	return map[string]any{
		"cfgNum": 1, "cfgVersion": "2.16.1", "cfgAuthor": "e2e", "cfgDate": "1",
		"portal": l.issuer() + "/", "portalSkin": "bootstrap", "domain": "127.0.0.1", "cookieName": "lemonldap", "securedCookie": 0,
		"authentication": "Demo", "userDB": "Same", "passwordDB": "Null", "registerDB": "Null",
		"portalDisplayResetPassword": 0, "portalDisplayRegister": 0, "portalCheckLogins": 0,
		"demoExportedVars": map[string]any{"cn": "cn", "mail": "mail", "uid": "uid"}, "whatToTrace": "uid",
		"globalStorage": "Apache::Session::File", "globalStorageOptions": files("sessions"),
		"persistentStorage": "Apache::Session::File", "persistentStorageOptions": files("psessions"),
		"localSessionStorage": "Cache::FileCache",
		"localSessionStorageOptions": map[string]any{"namespace": "sessions",
			"cache_root": filepath.Join(l.dir, "cache"), "default_expires_in": 600},
		"locationRules":                   map[string]any{loopback(l.port): map[string]any{"default": "accept"}},
		"issuerDBOpenIDConnectActivation": 1, "oidcServiceIgnoreScopeForClaims": 1,
		"oidcServiceMetaDataIssuer": l.issuer(),
		"oidcServicePrivateKeySig":  private,
		"oidcServicePublicKeySig":   public,
		"oidcServiceKeyIdSig":       "e2e",
		"oidcRPMetaDataOptions":     map[string]any{"gatehouse": options},
		"oidcRPMetaDataExportedVars": map[string]any{"gatehouse": map[string]any{
			"email": "mail", "name": "cn", "preferred_username": "uid", "groups": "groups;string;always"}},
	}
}

func (l *lemonProvider) keys() (private, public string) {
	l.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	l.check(err)
	pub, err := x509.MarshalPKIXPublicKey(key.Public())
	l.check(err)
	private = string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	return private, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub}))
}

func (l *lemonProvider) issuer() string { return "http://" + loopback(l.port) }
func (l *lemonProvider) client() client {
	return client{"gatehouse", "a secret of the end-to-end tests"}
}
func (l *lemonProvider) someone() person {
	return person{"dwho", "Doctor Who", "dwho@badwolf.org", []string{"timelords", "users"}}
}

func (l *lemonProvider) signIn(b *tab, login string) {
	b.t.Helper()
	b.await(l.issuer() + "/")
	b.fill("input[name=user]", login)
	b.fill("input[name=password]", login)
	b.press("form button[type=submit]")
}

func (l *lemonProvider) signOut(b *tab) {
	b.t.Helper()
	b.await(l.issuer() + "/oauth2/logout")
	b.press("form button[type=submit]")
}

// grants counts all grant types alike: the portal does not log which it was.
func (l *lemonProvider) grants(string) int { return l.out.count("POST /oauth2/token 200\n") }
