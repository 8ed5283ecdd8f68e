package apikey

import (
	"regexp"
	"strings"
	"testing"
)

// TestKeyShape: W&B clients old and new take the gateway's keys.
func TestKeyShape(t *testing.T) {
	word := regexp.MustCompile(`^[\w-]+$`)
	seen := map[string]bool{}
	for range 1000 {
		key := Generate()
		id, ok := ID(key)
		_, rest, _ := strings.Cut(key, "-") // as wandb/sdk/lib splits it
		switch {
		case !ok, seen[id]:
			t.Fatalf("%s has no id of its own", key)
		case len(rest) != 40: // up to 0.22.2: exactly 40; since then: at least
			t.Fatalf("%s has %d characters behind its prefix", key, len(rest))
		case !word.MatchString(rest):
			t.Fatalf("%s has another character", key)
		case len(key) != 50 || !own(key):
			t.Fatalf("%s is not the gateway's", key)
		}
		seen[id] = true
	}
}

// TestKeyRandom: every letter is as likely as every other. One that were a
// quarter likelier, as without care, would be seen.
func TestKeyRandom(t *testing.T) {
	const keys = 5000
	counts := map[rune]int{}
	for range keys {
		for _, r := range Generate()[len(prefix):] {
			counts[r]++
		}
	}
	if len(counts) != len(alphabet) {
		t.Errorf("%d letters of %d", len(counts), len(alphabet))
	}
	mean := float64(keys*(idLength+secretLength)) / float64(len(alphabet)) // 3,226, with a deviation of 56
	for r, n := range counts {
		if float64(n) < mean*0.88 || float64(n) > mean*1.12 {
			t.Errorf("%c came %d times, the mean is %.0f", r, n, mean)
		}
	}
}

func TestID(t *testing.T) {
	if id, ok := ID(mine); !ok || id != "abcdEFGH" {
		t.Errorf("%q %v", id, ok)
	}
	for name, key := range map[string]string{
		"TOK-28 one less": mine[:len(mine)-1], "TOK-28 one more": mine + "a", "TOK-28 no prefix": mine[len(prefix):],
		"TOK-28 prefix in another case": "Gatehouse-" + mine[len(prefix):], "another letter": mine[:len(mine)-1] + "_", "not ASCII": mine[:len(mine)-2] + "é", "nothing": "",
		"the prefix alone": prefix,
	} {
		if id, ok := ID(key); ok {
			t.Errorf("%s: has the id %s", name, id)
		}
	}
	for key, want := range map[string]bool{mine: true, prefix: true, "GATEHOUSE-x": true, "gatehouse": false, "local-" + mine: false, hexKey(1): false} {
		if own(key) != want {
			t.Errorf("own(%s) is %v", key, !want)
		}
	}
}

func TestHash(t *testing.T) {
	// echo -n abc | sha256sum
	if got := Hash("abc"); got != "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" {
		t.Error(got)
	}
}
