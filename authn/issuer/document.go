package issuer

import (
	"bytes"
	"encoding/json/jsontext"
	"errors"
	"fmt"
)

// The most that a JSON document from outside may nest.
const maxDepth = 32

// CheckDocument refuses a text that is not exactly one JSON value in valid
// UTF-8, that has an object with duplicate names, or that nests too deep. What
// passes means the same to every parser (RFC 8725, section 2.4).
func CheckDocument(text []byte) error {
	d := jsontext.NewDecoder(bytes.NewReader(text))
	for {
		if _, err := d.ReadToken(); err != nil {
			return fmt.Errorf("not a JSON document: %w", err)
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
