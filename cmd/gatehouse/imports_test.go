package main

import (
	"bytes"
	"encoding/json/jsontext"
	"encoding/json/v2"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// mayImport is who may see whom within the module: a star. A new arrow is
// argued for in the commit that adds it.
var mayImport = map[string][]string{
	"gatehouse/authn/meter":           {}, // how rooms count without knowing who reads it
	"gatehouse/authn":                 {"gatehouse/authn/meter"},
	"gatehouse/config":                {},
	"gatehouse/authn/page":            {"gatehouse/authn"},
	"gatehouse/authn/authntest":       {"gatehouse/authn"},
	"gatehouse/session":               {"gatehouse/authn", "gatehouse/authn/audit", "gatehouse/authn/meter"},
	"gatehouse/session/sessiontest":   {"gatehouse/session"},
	"gatehouse/authn/issuer":          {"gatehouse/authn", "gatehouse/authn/meter"},
	"gatehouse/authn/audit":           {"gatehouse/authn"},
	"gatehouse/authn/oidc":            {"gatehouse/authn", "gatehouse/authn/audit", "gatehouse/authn/issuer", "gatehouse/authn/page", "gatehouse/config", "gatehouse/authn/meter", "gatehouse/session"},
	"gatehouse/authn/bearer":          {"gatehouse/authn", "gatehouse/authn/audit", "gatehouse/authn/issuer", "gatehouse/config", "gatehouse/authn/meter", "gatehouse/session"},
	"gatehouse/authn/ldap":            {"gatehouse/authn", "gatehouse/authn/audit", "gatehouse/authn/page", "gatehouse/config", "gatehouse/authn/meter", "gatehouse/session"},
	"gatehouse/authn/apikey":          {"gatehouse/authn", "gatehouse/config", "gatehouse/authn/meter", "gatehouse/session"},
	"gatehouse/authn/workload":        {"gatehouse/authn", "gatehouse/authn/issuer"},
	"gatehouse/proxy":                 {"gatehouse/authn", "gatehouse/authn/audit", "gatehouse/authn/page", "gatehouse/config", "gatehouse/proxy/assertion", "gatehouse/proxy/policy", "gatehouse/session"},
	"gatehouse/proxy/assertion":       {},
	"gatehouse/proxy/exchange":        {"gatehouse/authn", "gatehouse/authn/issuer", "gatehouse/config", "gatehouse/authn/meter", "gatehouse/proxy/assertion", "gatehouse/session"},
	"gatehouse/proxy/extauthz":        {},
	"gatehouse/proxy/policy":          {"gatehouse/authn", "gatehouse/config"},
	"gatehouse/cmd/gatehouse/metrics": {"gatehouse/authn", "gatehouse/authn/meter", "gatehouse/proxy", "gatehouse/session"}, // hides Prometheus; reads what the rooms count
	"gatehouse/cmd/gatehouse/traces":  {"gatehouse/authn", "gatehouse/authn/meter", "gatehouse/proxy"},                      // hides OpenTelemetry
	"gatehouse/charts":                {},
	"gatehouse/e2e":                   {},
	"gatehouse/e2e/bench":             {"gatehouse/authn/authntest"},
	"gatehouse/e2e/directory":         {},
	"gatehouse/e2e/wandb":             {},
	"gatehouse/cmd/gatehouse/migrate": {"gatehouse/config"},
	"gatehouse/cmd/gatehouse": {"gatehouse/authn", "gatehouse/authn/apikey", "gatehouse/authn/audit", "gatehouse/authn/authntest", "gatehouse/authn/bearer", "gatehouse/authn/ldap", "gatehouse/authn/oidc", "gatehouse/authn/page",
		"gatehouse/authn/workload", "gatehouse/cmd/gatehouse/migrate", "gatehouse/config", "gatehouse/authn/meter", "gatehouse/cmd/gatehouse/metrics", "gatehouse/proxy", "gatehouse/proxy/assertion", "gatehouse/proxy/exchange", "gatehouse/proxy/extauthz", "gatehouse/session", "gatehouse/cmd/gatehouse/traces"},
}

// onlyIn is which package may import a library.
var onlyIn = map[string][]string{
	"github.com/coreos/go-oidc/":            {"gatehouse/authn/oidc", "gatehouse/e2e/wandb"},
	"golang.org/x/oauth2":                   {"gatehouse/authn/oidc"},
	"golang.org/x/crypto/acme":              {"gatehouse/cmd/gatehouse"},
	"github.com/go-jose/":                   {"gatehouse/authn/issuer", "gatehouse/authn/authntest"},
	"github.com/golang-jwt/":                {"gatehouse/authn/bearer", "gatehouse/proxy/assertion"},
	"github.com/MicahParks/":                {"gatehouse/authn/bearer"},
	"github.com/redis/":                     {"gatehouse/session"},
	"github.com/gorilla/securecookie":       {"gatehouse/session"},
	"github.com/go-ldap/":                   {"gatehouse/authn/ldap", "gatehouse/authn/authntest", "gatehouse/config", "gatehouse/e2e/directory"},
	"github.com/go-asn1-ber/":               {"gatehouse/authn/ldap", "gatehouse/authn/authntest"},
	"github.com/goccy/go-yaml":              {"gatehouse/config", "gatehouse/cmd/gatehouse/migrate"}, // the latter reads another gateway's file
	"github.com/pelletier/go-toml":          {"gatehouse/cmd/gatehouse/migrate"},
	"github.com/a8m/envsubst":               {"gatehouse/cmd/gatehouse/migrate"},
	"github.com/invopop/jsonschema":         {"gatehouse/config"},
	"github.com/santhosh-tekuri/jsonschema": {"gatehouse/config"},
	"github.com/spf13/":                     {"gatehouse/cmd/gatehouse", "gatehouse/cmd/gatehouse/migrate"},
	"github.com/gorilla/websocket":          {"gatehouse/cmd/gatehouse"}, // the demo's application
	"github.com/maypok86/otter/":            {"gatehouse/authn", "gatehouse/proxy", "gatehouse/proxy/exchange", "gatehouse/session"},
	"github.com/pires/go-proxyproto":        {"gatehouse/proxy"},
	"github.com/envoyproxy/":                {"gatehouse/proxy/extauthz"},
	"google.golang.org/":                    {"gatehouse/proxy/extauthz"},
	"github.com/KimMachineGun/automemlimit": {"gatehouse/cmd/gatehouse"},
	"go.opentelemetry.io/":                  {"gatehouse/cmd/gatehouse/traces"},
	"github.com/prometheus/":                {"gatehouse/cmd/gatehouse/metrics"},
	"github.com/chromedp/":                  {}, // tests only
	"testing":                               {"gatehouse/session/sessiontest", "gatehouse/e2e/directory"},
	"math/rand":                             {},
}

type goPackage struct {
	ImportPath, Dir, Doc string
	GoFiles, Imports     []string
}

func modulePackages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,Doc,GoFiles,Imports", "gatehouse/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []goPackage
	dec := jsontext.NewDecoder(bytes.NewReader(out))
	for {
		var p goPackage
		err := json.UnmarshalDecode(dec, &p)
		if errors.Is(err, io.EOF) {
			return pkgs
		}
		if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

func TestImports(t *testing.T) {
	for _, p := range modulePackages(t) {
		allowed, known := mayImport[p.ImportPath]
		if !known {
			t.Errorf("%s is not in the table: what is it for, and who may see it?", p.ImportPath)
		}
		for _, i := range p.Imports {
			if strings.HasPrefix(i, "gatehouse/") && !slices.Contains(allowed, i) {
				t.Errorf("%s imports %s, which is not in the table", p.ImportPath, i)
			}
			for library, who := range onlyIn {
				inside := i == library || strings.HasPrefix(i, strings.TrimSuffix(library, "/")+"/")
				if inside && !slices.Contains(who, p.ImportPath) {
					t.Errorf("%s imports %s, which belongs to %v", p.ImportPath, i, who)
				}
			}
		}
	}
}

// TestRooms: the tour of the architecture names every package.
func TestRooms(t *testing.T) {
	text, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range modulePackages(t) {
		if room := strings.TrimPrefix(p.ImportPath, "gatehouse/"); !strings.Contains(string(text), "`"+room+"`") {
			t.Errorf("docs/architecture.md says nothing of %s", room)
		}
	}
}

// TestShape keeps the rules that no linter knows.
func TestShape(t *testing.T) {
	for _, p := range modulePackages(t) {
		if len(p.GoFiles) > 0 && !strings.HasPrefix(p.Doc, "Package ") && !strings.HasPrefix(p.Doc, "Command ") {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
		for _, name := range p.GoFiles {
			checkFile(t, filepath.Join(p.Dir, name))
		}
	}
}

func checkFile(t *testing.T, path string) {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	if n := fset.File(f.Pos()).LineCount(); n > 500 {
		t.Errorf("%s has %d lines; would two files be easier to live in?", path, n)
	}
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		if fn.Recv == nil && fn.Name.Name == "init" {
			t.Errorf("%s: no init; wire it", fset.Position(fn.Pos()))
		}
		if n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line; n > 80 && fn.Name.Name != "build" {
			t.Errorf("%s: %s has %d lines", fset.Position(fn.Pos()), fn.Name.Name, n)
		}
	}
}
