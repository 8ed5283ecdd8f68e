package config

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	linkTo   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading  = regexp.MustCompile(`^#{1,6} (.+)$`)
	linkText = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	noSlug   = regexp.MustCompile(`[^\p{L}\p{N}\p{M}_ -]`)
	pageName = regexp.MustCompile(`docs/[a-z0-9/-]+\.(?:md|yaml|service|conf)`)
)

// TestLinks follows every link between the repository's documents, to the file and
// to the heading in it, and sees that the README leads to every page.
func TestLinks(t *testing.T) {
	files := append(documents(t), "../charts/gatehouse/README.md")
	linked := map[string]bool{}
	followed := 0
	for _, file := range files {
		for line, text := range prose(t, file) {
			for _, m := range linkTo.FindAllStringSubmatch(text, -1) {
				if strings.Contains(m[1], ":") {
					continue // to another site
				}
				followed++
				name, anchor, _ := strings.Cut(m[1], "#")
				target := file
				if name != "" {
					target = filepath.Join(filepath.Dir(file), name)
				}
				if file == "../README.md" {
					linked[target] = true
				}
				if _, err := os.Stat(target); err != nil {
					t.Errorf("%s:%d: the link %q leads to no file", file, line+1, m[1])
				} else if anchor != "" && !anchors(t, target)[anchor] {
					t.Errorf("%s:%d: the link %q leads to no heading", file, line+1, m[1])
				}
			}
		}
	}
	if followed < 100 {
		t.Errorf("only %d links were found", followed)
	}
	for _, file := range files {
		if in := filepath.Dir(file); (in == "../docs" || in == "..") && file != "../README.md" && !linked[file] && filepath.Base(file) != "THIRD-PARTY-LICENSES" {
			t.Errorf("%s: README.md does not lead to it", file)
		}
	}
}

// TestNamedPages looks for the documents that commands, messages and comments name.
func TestNamedPages(t *testing.T) {
	found := 0
	for _, pattern := range []string{"../cmd/gatehouse/*.go", "../config/*.go", "../authn/*/*.go", "../proxy/*.go", "../session/*.go", "../charts/gatehouse/*.yaml", "../charts/gatehouse/templates/*", "../docs/deploy/*", "../docs/deploy/*/*", "../CHANGELOG.md", "../Dockerfile"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no files (%v)", pattern, err)
		}
		for _, file := range files {
			if info, err := os.Stat(file); err != nil || info.IsDir() || file == "../config/links_test.go" {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range pageName.FindAllString(string(text), -1) {
				found++
				if _, err := os.Stat("../" + name); err != nil {
					t.Errorf("%s names %s, which is not there", file, name)
				}
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d names of documents were found", found)
	}
}

// prose are the lines of a Markdown file; those of fenced blocks are empty.
func prose(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines, fenced := strings.Split(string(text), "\n"), false
	for i, line := range lines {
		fence := strings.HasPrefix(strings.TrimSpace(line), "```")
		if fence || fenced {
			lines[i] = ""
		}
		fenced = fenced != fence
	}
	return lines
}

// anchors are what a link can name of a Markdown file, as GitHub makes it of headings:
// small letters, digits, hyphens for spaces, a number behind one that comes again.
func anchors(t *testing.T, file string) map[string]bool {
	t.Helper()
	all, times := map[string]bool{}, map[string]int{}
	for _, line := range prose(t, file) {
		m := heading.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		text := strings.NewReplacer("`", "", "*", "").Replace(linkText.ReplaceAllString(m[1], "$1"))
		slug := strings.ReplaceAll(noSlug.ReplaceAllString(strings.ToLower(text), ""), " ", "-")
		if n := times[slug]; n > 0 {
			all[slug+"-"+strconv.Itoa(n)] = true
		} else {
			all[slug] = true
		}
		times[slug]++
	}
	return all
}
