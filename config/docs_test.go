package config

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// secretFile is how the documentation names files that hold secrets.
var secretFile = regexp.MustCompile(`/run/secrets/([a-z0-9-]+)`)

// TestDocumentation decodes every settings file that the documentation shows,
// so that nobody copies one that does not work.
func TestDocumentation(t *testing.T) {
	const key = "bWFkZSBmb3IgdGhpcyB0ZXN0IGFuZCBub3RoaW5nIGVsc2U="
	secrets, shown := t.TempDir(), 0
	all := documents(t)
	for i, file := range all {
		var err error
		if all[i], err = filepath.Abs(file); err != nil {
			t.Fatal(err)
		}
	}
	putFiles(t)
	pems := map[string]string{"tls-cert": "cert.pem", "tls-key": "key.pem", "ca-cert": "cert.pem"}
	for _, file := range all {
		for _, block := range yamlBlocks(t, file) {
			shown++
			for _, name := range secretFile.FindAllStringSubmatch(block, -1) {
				text := key
				if file := pems[name[1]]; file != "" {
					b, err := os.ReadFile(file) // of putFiles
					if err != nil {
						t.Fatal(err)
					}
					text = string(b)
				}
				if err := os.WriteFile(filepath.Join(secrets, name[1]), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if strings.HasPrefix(block, "cases:\n") {
				if _, err := DecodeCases(file, []byte(block)); err != nil {
					t.Errorf("%s shows cases that are wrong:\n%v\n%s", file, err, block)
				}
				continue
			}
			block = secretFile.ReplaceAllString(block, filepath.ToSlash(secrets)+"/$1")
			if _, err := Decode(file, []byte(block), nil); err != nil {
				t.Errorf("%s shows settings that are wrong:\n%v\n%s", file, err, block)
			}
		}
	}
	if shown < 10 {
		t.Errorf("only %d settings files were found in the documentation", shown)
	}
}

// documents are the Markdown files that people read.
func documents(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../*.md")
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir("../docs", func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".md" {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// yamlBlocks are the fenced blocks of a file that are marked as yaml.
func yamlBlocks(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, rest := range strings.Split(string(text), "```yaml\n")[1:] {
		block, _, closed := strings.Cut(rest, "\n```")
		if !closed {
			t.Errorf("%s: a yaml block does not end", file)
		}
		blocks = append(blocks, block)
	}
	return blocks
}
