package issuer

import (
	"net/url"
	"testing"
)

// TestEndpointHosts: whatever spelling of this machine or its link a provider
// names, nothing is sent there, unless the provider is there itself.
func TestEndpointHosts(t *testing.T) {
	at := func(host string) *url.URL { return &url.URL{Scheme: "https", Host: host} }
	for _, host := range []string{
		"127.0.0.1", "127.1", "127.0.0.1.", "0177.0.0.1", "0x7f.1", "0x7F000001", "2130706433", "0x", "1.2.3.0x7f",
		"169.254.169.254", "169.254.169.254.", "169.254.169.254..", "0.0.0.0", "255.255.255.255", "224.0.0.1",
		"[::]", "[::1]", "[::ffff:169.254.169.254]", "[::ffff:127.0.0.1]", "[::127.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b::7f00:1]",
		"[fe80::1]", "[fe80::1%25eth0]", "[2001:db8::1%25eth0]", "[ff02::1]",
		"localhost", "localhost.", "LOCALHOST", "foo.localhost", "foo.LocalHost.", "１２７.0.0.1", "127。0。0。1", "ⓛocalhost",
	} {
		t.Run("SSRF-06 "+host, func(t *testing.T) {
			if err := CheckEndpoint("https://"+host+":8443/jwks", at("idp.example.com")); err == nil {
				t.Error("accepted")
			}
			if err := CheckEndpoint("https://"+host+"/jwks", at("127.0.0.1")); err != nil {
				t.Errorf("of a provider on this machine: %v", err)
			}
		})
	}
	for _, host := range []string{
		"idp.example.com", "IDP.example.com.", "keycloak", "id_p.example.com", "xn--bcher-kva.example", "10.0.0.1", "192.168.1.7:8443",
		"[fd00::1]", "[2001:db8::1]", "[64:ff9b::808:808]", "0x7f.example.com", "127.example", "localhost.example.com", "mylocalhost",
	} {
		t.Run("plain "+host, func(t *testing.T) {
			if err := CheckEndpoint("https://"+host+"/jwks", at("idp.example.com")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPrivate(t *testing.T) {
	for host, want := range map[string]bool{
		"10.0.0.1": true, "172.16.0.1": true, "192.168.1.7": true, "100.64.0.1": true, "fd00::1": true, "::ffff:10.0.0.1": true, "64:ff9b::a00:1": true, "10.0.0.1.": true,
		"8.8.8.8": false, "172.32.0.1": false, "2001:db8::1": false, "idp.example.com": false, "10.example.com": false, "": false,
	} {
		if got := Private(host); got != want {
			t.Errorf("%s: %v", host, got)
		}
	}
}
