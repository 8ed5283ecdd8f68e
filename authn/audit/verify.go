package audit

import (
	"bufio"
	"bytes"
	"crypto/subtle"
	"encoding/json/v2"
	"fmt"
	"io"
)

// lastCode is the code of the last whole line of a text, empty if it has none.
func lastCode(text []byte) string {
	text = bytes.TrimRight(text, "\n")
	text = text[bytes.LastIndexByte(text, '\n')+1:]
	var l struct {
		Code string `json:"code"`
	}
	if json.Unmarshal(text, &l) != nil {
		return ""
	}
	return l.Code
}

// Part is a file of a trail, open at its beginning.
type Part struct {
	Name string
	io.Reader
}

// Flaw is a place in a trail where it is not as it was written.
type Flaw struct {
	Part string // its name
	Line int    // of the part, from 1
	What string // a sentence
}

// Verdict is what [Verify] has found.
type Verdict struct {
	Lines int // of all parts
	Flaws []Flaw
	// GoesOn says that the first line is not the first of the trail. Whether all that is
	// missing before it is in other files can't be told.
	GoesOn bool
}

// Verify reads a chained trail, the parts of it in their order. Secrets are those that it
// may have been written by. The error says that it could not be read to its end.
func Verify(parts []Part, secrets [][]byte) (v Verdict, err error) {
	last := ""
	for _, part := range parts {
		if last, err = v.read(part, last, secrets); err != nil {
			return v, err
		}
	}
	return v, nil
}

// read reads a part that comes after a line of that code, and returns its own last.
func (v *Verdict) read(part Part, last string, secrets [][]byte) (string, error) {
	in := bufio.NewScanner(part)
	in.Buffer(nil, maxLine)
	n := 0
	flaw := func(what string) { v.Flaws = append(v.Flaws, Flaw{part.Name, n, what}) }
	for in.Scan() {
		n++
		v.Lines++
		var l line
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			flaw("This is not a line of an audit trail.")
			continue
		}
		switch code, after := l.Code, l.After; {
		case code == "":
			flaw("This line has no code.")
		case !genuine(in.Bytes(), code, secrets):
			flaw("This line was changed, or was written under another key.")
		case v.Lines == 1:
			v.GoesOn = after != ""
		case after == last:
		case after == "":
			flaw("A trail begins anew here: the gateway was started without the file before. If that was moved away meanwhile, nothing is amiss; lines that are missing from its end can't be told.")
		default:
			flaw("Before this line some are missing, added or in another order.")
		}
		last = l.Code
	}
	if err := in.Err(); err != nil {
		return "", fmt.Errorf("audit: %s, line %d: %w", part.Name, n+1, err)
	}
	return last, nil
}

// genuine reports whether one of the secrets has made the line's code.
func genuine(text []byte, code string, secrets [][]byte) bool {
	body, ok := bytes.CutSuffix(text, []byte(`,"code":"`+code+`"}`))
	if !ok {
		return false
	}
	body = append(bytes.Clone(body), '}')
	for _, secret := range secrets {
		if subtle.ConstantTimeCompare([]byte(codeOf(secret, body)), []byte(code)) == 1 {
			return true
		}
	}
	return false
}
