package issuer

import (
	"net/url"
	"regexp"
	"strings"
)

// aJWT is what looks like one, or like one whose signature is cut off.
var aJWT = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{5,}(\.[A-Za-z0-9_-]*)+`)

// minPart is from which length on a part of a secret is one by itself.
const minPart = 8

// Without is a text of somebody else's for the log, in which nothing stands of the
// secrets that they were sent, nor any JWT: some repeat what they refuse.
func Without(text string, secrets ...string) string {
	const blot = "[secret]"
	for _, s := range secrets {
		if s == "" {
			continue
		}
		text = strings.ReplaceAll(text, s, blot)
		text = strings.ReplaceAll(text, url.QueryEscape(s), blot)
		for part := range strings.SplitSeq(s, ".") {
			if len(part) >= minPart {
				text = strings.ReplaceAll(text, part, blot)
			}
		}
	}
	return aJWT.ReplaceAllString(text, blot)
}
