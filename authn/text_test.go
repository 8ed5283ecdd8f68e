package authn_test

import (
	"net/http"
	"testing"

	"gatehouse/authn"
)

func TestAddressOf(t *testing.T) {
	for remote, want := range map[string]string{"192.0.2.1:0": "192.0.2.1", "[2001:db8::1]:443": "2001:db8::1", "@": "@", "": ""} {
		if got := authn.AddressOf(&http.Request{RemoteAddr: remote}); got != want {
			t.Errorf("%q is %q, want %q", remote, got, want)
		}
	}
}
