package issuer

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckDocument(t *testing.T) {
	for text, good := range map[string]bool{
		`{}`: true, ` {"a":[1,{"b":null}]} ` + "\n": true, `"x"`: true, `1`: true, `[]`: true,
		``: false, ` `: false, `{`: false, `{}{}`: false, `{} x`: false, `{"a":1,"a":2}`: false, `{"a":1,"\u0061":2}`: false,
		"\"\xff\"": false, `"\ud800"`: false, `nul`: false, `{"a":}`: false,
		strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth):     true,
		strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1): false,
		strings.Repeat("[", 1<<20):                                        false,
	} {
		if err := CheckDocument([]byte(text)); (err == nil) != good {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}

func TestErrorTexts(t *testing.T) {
	if !errors.Is(StatusError(503), ErrUnavailable) || errors.Is(StatusError(404), ErrUnavailable) || StatusError(404).Error() != "answered 404 Not Found" {
		t.Error("statusError")
	}
	if got := CallError(&url.Error{Op: "Get", URL: "x", Err: BadAnswer{errTooBig}}); errors.Is(got, ErrUnavailable) || !errors.Is(got, errTooBig) {
		t.Errorf("%v", got)
	}
}

func TestKeyWithoutPEM(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewAssertion("gw", "https://idp.test", file, ""); err == nil || !strings.Contains(err.Error(), "no PEM") {
		t.Errorf("%v", err)
	}
}
