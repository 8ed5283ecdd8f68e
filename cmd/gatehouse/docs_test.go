package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
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
