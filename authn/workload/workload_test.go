package workload

import (
	"bytes"
	"encoding/json/v2"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// TestSecretShowsNowhere shows a secret in each way there is, alone and within
// what holds it.
func TestSecretShowsNowhere(t *testing.T) {
	const secret = Secret("hunter2")
	for _, v := range []any{secret, Token{Secret: secret}, &Party{Secret: secret}, []Secret{secret}} {
		var out bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("text", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "v", v)
		if err := json.MarshalWrite(&out, v); err != nil {
			t.Fatal(err)
		}
		said := out.String()
		if strings.Contains(said, string(secret)) || strings.Contains(said, fmt.Sprintf("%x", string(secret))) {
			t.Errorf("%T shows it:\n%s", v, said)
		}
		if strings.Count(said, masked) < 10 {
			t.Errorf("%T shows nothing at all:\n%s", v, said)
		}
	}
}
