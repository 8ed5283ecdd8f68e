package authn

import (
	"regexp"
	"strings"
	"testing"
)

// shape is a function of shape.go, and the expression that it must agree with.
type shape struct {
	is  func(string) bool
	exp *regexp.Regexp
}

func shapes() map[string]shape {
	return map[string]shape{
		"JWT":    {JWT, regexp.MustCompile(`^[\w-]*\.[\w-]*\.[\w-]*(?:\.[\w-]*\.[\w-]*)?$`)},
		"W&B":    {keyShape, regexp.MustCompile(`^(?s:[^-]*-)?[\w-]{40,}$`)},
		"APIKey": {APIKey, regexp.MustCompile(`^(?:gatehouse-[0-9A-Za-z]{40}|(?:[\w-]*-)?(?:[0-9a-fA-F]{40}|wandb_v\d+_[\w-]{32,}))$`)},
		"Own":    {Own, regexp.MustCompile(`(?i:gatehouse-[0-9a-z]{20,}|gh_at_[\w-]{20,})|^(?i:gh_at_)(?s:.+)`)},
		"token":  {func(s string) bool { return s != "" && all(s, tokenByte) }, regexp.MustCompile(`^[\w.~+/=-]+$`)},
	}
}

func disagree(t *testing.T, all map[string]shape, s string) {
	t.Helper()
	for name, c := range all {
		if got, want := c.is(s), c.exp.MatchString(s); got != want {
			t.Errorf("%s of %q: %v", name, s, got)
		}
	}
}

// TestShapes puts credentials together of the pieces that matter.
func TestShapes(t *testing.T) {
	hex := strings.Repeat("0aF9", 10)
	pieces := []string{
		"", "-", "--", "_", ".", "..", "a", "é", "\n", " ", "gatehouse-", "GateHouse-", "gatehouse_", "gh_at_", "GH_AT_", "gh_at", "wb_at_",
		"wandb_v1_", "wandb_v_", "wandb_v12x_", "local-", hex, hex[1:], hex + "0", hex[:20], hex[:19], strings.Repeat("-", 32), strings.Repeat("_", 31),
		strings.Repeat("z", 40), strings.Repeat("Z", 20), "eyJ", "K",
	}
	seen, all := map[string]int{}, shapes()
	for _, a := range pieces {
		for _, b := range pieces {
			for _, c := range pieces {
				s := a + b + c
				disagree(t, all, s)
				for name, c := range all {
					if c.is(s) {
						seen[name]++
					}
				}
				if t.Failed() {
					return
				}
			}
		}
	}
	for name := range all {
		if seen[name] < 10 {
			t.Errorf("%s: only %d of all", name, seen[name])
		}
	}
}

func FuzzShapes(f *testing.F) {
	for _, s := range []string{"a.b.c", "a.b.c.d.e", "gatehouse-" + strings.Repeat("a", 40), "xgh_at_" + strings.Repeat("_", 20), "local-" + strings.Repeat("0", 40)} {
		f.Add(s)
	}
	all := shapes()
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range s { // letters of other scripts that fold to one of these are in no credential
			if r > 0x7f {
				return
			}
		}
		disagree(t, all, s)
	})
}
