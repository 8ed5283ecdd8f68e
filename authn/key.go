package authn

import (
	"net/http"
	"strings"
)

// The headers that hold nothing but an API key (weave's OTLP exporter, W&B
// sandboxes).
const (
	KeyHeader     = "Wandb-Api-Key"
	LongKeyHeader = "X-Wandb-Api-Key"
)

// KeysOf are the keys in the headers for keys. Some clients send those that they have
// no value for.
func KeysOf(h http.Header) []string {
	var keys []string
	for _, name := range [...]string{KeyHeader, LongKeyHeader} {
		for _, v := range h[name] {
			if v = strings.Trim(v, " \t"); v != "" {
				keys = append(keys, v)
			}
		}
	}
	return keys
}
