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
	d := jsontext.NewDecoder(bytes.NewReader(text))
	for {
		if _, err := d.ReadToken(); err != nil {
			return syntaxError(err, text, d.InputOffset())
		}
		if d.StackDepth() > maxDepth {
			return fmt.Errorf("nests deeper than %d", maxDepth)
		}
		if d.StackDepth() == 0 {
			break
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
