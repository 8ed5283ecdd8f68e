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

// Flaw is a place in a trail where it is not as it was written.
type Flaw struct {
	Line int    // from 1, over all that was read
	What string // a sentence
}

// Verdict is what [Verify] has found.
type Verdict struct {
	Lines int
	Flaws []Flaw
	// GoesOn says that the first line is not the first of the trail. Whether all that is
	// missing before it is in other files can't be told.
	GoesOn bool
}

// Verify reads a chained trail, of one file or of several in their order. Secrets are
// those that it may have been written by. The error says that it could not be read to its
// end.
func Verify(r io.Reader, secrets [][]byte) (v Verdict, err error) {
	in := bufio.NewScanner(r)
	in.Buffer(nil, maxLine)
	last := ""
	for in.Scan() {
		v.Lines++
		var l line
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			v.flaw("This is no line of an audit trail.")
			continue
		}
		switch code, after := l.Code, l.After; {
		case code == "":
			v.flaw("This line has no code.")
		case !genuine(in.Bytes(), code, secrets):
			v.flaw("This line was changed, or was written under another key.")
		case v.Lines == 1:
			v.GoesOn = after != ""
		case after != last:
			v.flaw("Before this line some are missing, or in another order, or added.")
		}
		last = l.Code
	}
	if err := in.Err(); err != nil {
		return v, fmt.Errorf("audit: line %d: %w", v.Lines+1, err)
	}
	return v, nil
}

func (v *Verdict) flaw(what string) { v.Flaws = append(v.Flaws, Flaw{v.Lines, what}) }

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
