package issuer

import (
	"bytes"
	"encoding/json/jsontext"
	"errors"
	"fmt"
	"unicode/utf8"
)

// The most that a JSON document from outside may nest.
const maxDepth = 32

// checkDocument refuses a text that is not exactly one JSON value in valid
// UTF-8, that has an object with duplicate names, or that nests too deep. What
// passes means the same to every parser (RFC 8725, section 2.4). An error quotes
// nothing of it: even a name in it may be a secret.
func checkDocument(text []byte) error {
	return readDocument(text, func(string, jsontext.Value) {})
}

// readDocument is checkDocument, and calls member with each name of the outermost
// object, if it is one, and with its value, which is a part of text.
func readDocument(text []byte, member func(name string, value jsontext.Value)) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(text))
	var name string
	var from int64 // where the value begins
	for {
		token, err := d.ReadToken()
		if err != nil {
			return syntaxError(err, text, d.InputOffset())
		}
		depth := d.StackDepth()
		if depth > maxDepth {
			return fmt.Errorf("nests deeper than %d", maxDepth)
		}
		if depth == 0 {
			break
		}
		switch kind, n := d.StackIndex(1); {
		case depth > 1, kind != '{', n == 0:
		case n%2 == 1:
			name, from = token.String(), d.InputOffset()
		default:
			member(name, bytes.TrimLeft(text[from:d.InputOffset()], ": \t\r\n"))
		}
	}
	if rest := bytes.TrimSpace(text[d.InputOffset():]); len(rest) > 0 {
		return errors.New("not a JSON document: not exactly one value")
	}
	return nil
}

func syntaxError(err error, text []byte, offset int64) error {
	what := "no sense"
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		what = "a duplicate name"
	case !utf8.Valid(text):
		what = "invalid UTF-8"
	}
	return fmt.Errorf("not a JSON document: %s after byte %d", what, offset)
}
