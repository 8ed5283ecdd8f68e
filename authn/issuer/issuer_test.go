package issuer

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestDocument(t *testing.T) {
	for text, good := range map[string]bool{
		`{}`: true, ` {"a":[1,{"b":null}]} ` + "\n": true, `"x"`: true, `1`: true, `[]`: true,
		``: false, ` `: false, `{`: false, `{}{}`: false, `{} x`: false, `{"a":1,"a":2}`: false, `{"a":1,"\u0061":2}`: false,
		"\"\xff\"": false, `"\ud800"`: false, `nul`: false, `{"a":}`: false,
		strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth):     true,
		strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1): false,
		strings.Repeat("[", 1<<20):                                        false,
	} {
		if err := checkDocument([]byte(text)); (err == nil) != good {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}

// TestUnsoundDocument says what is wrong with one, and quotes nothing of it.
func TestUnsoundDocument(t *testing.T) {
	for text, want := range map[string]string{
		`{"hunter2":1,"hunter2":2}`:      "a duplicate name after byte 12",
		"{\"hunter2\":\"\xff\"}":         "invalid UTF-8 after byte 10",
		`{"hunter2":{"hunter2":hunter}}`: "no sense after byte 21",
		`{"hunter2"`:                     "no sense after byte 10",
		`{"hunter2":1} hunter2`:          "not exactly one value",
	} {
		if err := checkDocument([]byte(text)); err == nil || err.Error() != "not a JSON document: "+want || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestGuardedSaysWhatCame: an answer that is no JSON is told from a page for people.
func TestGuardedSaysWhatCame(t *testing.T) {
	for body, page := range map[string]bool{"<!doctype html>": true, "\r\n <html>": true, "": false, "a=b": false, "{": false} {
		client := Guarded(answers(body))
		_, err := Get(t.Context(), "https://idp.test/", "", client)
		if bad := (BadAnswer{}); !errors.As(err, &bad) || !strings.Contains(err.Error(), "answer is not a JSON document") || strings.Contains(err.Error(), "a page for people") != page {
			t.Errorf("%q: %v", body, err)
		}
	}
}

// answers is a transport that always answers 200 with the same body.
type answers string

func (a answers) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(string(a)))}, nil
}

func TestErrorTexts(t *testing.T) {
	if !errors.Is(StatusError(503), ErrUnavailable) || errors.Is(StatusError(404), ErrUnavailable) || StatusError(404).Error() != "answered 404 Not Found" {
		t.Error("statusError")
	}
	if got := CallError(&url.Error{Op: "Get", URL: "x", Err: BadAnswer{errTooBig}}); errors.Is(got, ErrUnavailable) || !errors.Is(got, errTooBig) {
		t.Errorf("%v", got)
	}
}
