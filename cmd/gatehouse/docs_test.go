package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

const policyDoc = "../../docs/policy.md"

// blocks are the fenced blocks of a document, each with what stands behind its fence.
func blocks(text string) (out [][2]string) {
	for i, part := range strings.Split("\n"+text, "\n```") {
		if i%2 == 1 {
			kind, body, _ := strings.Cut(part, "\n")
			out = append(out, [2]string{kind, body + "\n"})
		}
	}
	return out
}

// TestPolicyDocument does what docs/policy.md shows: its cases hold, and its commands
// print what stands there. With -update it writes that again.
func TestPolicyDocument(t *testing.T) {
	text, err := os.ReadFile(policyDoc)
	if err != nil {
		t.Fatal(err)
	}
	dir, now := t.TempDir(), string(text)
	all := blocks(now)
	ran := 0
	write := func(name, body string) {
		if err := os.WriteFile(dir+"/"+name, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i, b := range all {
		switch {
		case b[0] == "yaml" && strings.HasPrefix(b[1], "cases:"):
			write("cases.yaml", b[1])
		case b[0] == "yaml":
			write("gatehouse.yaml", b[1])
		case b[0] == "sh":
			ran++
			args := arguments(strings.TrimSpace(b[1]))[1:]
			for i, a := range args {
				if a == "gatehouse.yaml" || a == "cases.yaml" {
					args[i] = dir + "/" + a
				}
			}
			var out, errs bytes.Buffer
			if code := run(t.Context(), shell{args: args, out: &out, err: &errs}); code != 0 {
				t.Errorf("%q: exit %d\n%s%s", args, code, &out, &errs)
			}
			if args[0] != "explain" {
				continue
			}
			if got := steadyTimes(out.String()); got != all[i+1][1] && !*update {
				t.Errorf("%s prints\n%s\nthe document shows\n%s", b[1], got, all[i+1][1])
			} else if *update {
				now = strings.Replace(now, b[1]+"```\n\n```\n"+all[i+1][1], b[1]+"```\n\n```\n"+got, 1)
			}
		}
	}
	if ran < 4 {
		t.Errorf("only %d commands were found", ran)
	}
	if *update {
		if err := os.WriteFile(policyDoc, []byte(now), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

var (
	commandLine   = regexp.MustCompile("(?:^`?|sudo |exec gatehouse |&& )gatehouse ([a-z].*)")
	inlineCode    = regexp.MustCompile("`[^`]+`")
	lineContinues = regexp.MustCompile(`\\\\\n\s*`)
)

// TestCommandsInDocuments: every command that the documents show is one, with the flags
// that stand there.
func TestCommandsInDocuments(t *testing.T) {
	files := []string{"../../README.md", "../../CONTRIBUTING.md", "../../CHANGELOG.md"}
	for _, pattern := range []string{"../../docs/*.md", "../../docs/providers/*.md"} {
		more, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, more...)
	}
	root := rootCommand(shell{})
	shown := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, code := range codeOf(string(text)) {
			m := commandLine.FindStringSubmatch(code)
			if m == nil {
				continue
			}
			if wrong := unknownIn(root, strings.Fields(m[1])); wrong != "" {
				t.Errorf("%s shows %q: there is no %s", file, m[0], wrong)
			}
			shown++
		}
	}
	if shown < 50 {
		t.Errorf("only %d commands were found", shown)
	}
}

// codeOf are the lines of the shell blocks of a document, and what stands in the text as code.
func codeOf(text string) (out []string) {
	for i, part := range strings.Split("\n"+text, "\n```") {
		if i%2 == 0 {
			out = append(out, strings.Split(strings.Join(inlineCode.FindAllString(part, -1), "\n"), "\n")...)
		} else if body, ok := strings.CutPrefix(part, "sh\n"); ok {
			out = append(out, strings.Split(lineContinues.ReplaceAllString(body, " "), "\n")...)
		}
	}
	return out
}

// unknownIn is the first word of a command line that is neither a command nor a flag, as
// far as that can be told.
func unknownIn(cmd *cobra.Command, words []string) string {
	for i, word := range words {
		word = strings.Trim(word, "`.,;:)")
		if word == "--" || strings.HasPrefix(word, "#") || strings.HasPrefix(word, ">") || strings.HasPrefix(word, "|") {
			return ""
		}
		name, flag := strings.CutPrefix(word, "--")
		name, _, _ = strings.Cut(name, "=")
		if flag && cmd.Flags().Lookup(name) == nil && name != "help" {
			return word
		}
		if flag || !cmd.HasSubCommands() {
			continue
		}
		next, _, err := cmd.Find([]string{word})
		if err != nil || next == cmd {
			return "command " + strings.Join(words[:i+1], " ")
		}
		cmd = next
	}
	return ""
}

// arguments splits a command line at spaces that are not in double quotes.
func arguments(line string) (out []string) {
	for i, part := range strings.Split(line, `"`) {
		if i%2 == 1 {
			out = append(out, part)
			continue
		}
		out = append(out, strings.Fields(part)...)
	}
	return out
}
