package authn_test

import (
	"crypto/sha256"
	"encoding/hex"
	"reflect"
	"testing"

	"gatehouse/authn"
)

func TestAccounts(t *testing.T) {
	const issuer = "https://idp.example.com"
	sum := sha256.Sum256([]byte("key"))
	text := "sha256:" + hex.EncodeToString(sum[:])
	ci := authn.Account{Name: "ci", Team: "research", Teams: []string{"research", "ops"}, Role: "admin"}
	bot := authn.Account{Name: "bot", Team: "ops", Teams: []string{"ops"}, Role: "viewer"}
	a := authn.NewAccounts([]authn.Registration{
		{Account: ci, Issuer: issuer, Subject: "repo:acme/app", KeyHashes: []string{text}},
		{Account: bot, KeyHashes: []string{"", "sha256:", "sha256:00", "md5", "sha256:" + text[7:] + "00", "sha256:zz"}},
	}, map[string][]string{"research": {"Ada", "ben@Example.com"}})

	find := func(got authn.Account, ok bool) authn.Account {
		t.Helper()
		if ok != (got.Name != "") {
			t.Errorf("%+v, %v", got, ok)
		}
		return got
	}
	for name, c := range map[string]struct{ got, want authn.Account }{
		"by name":                   {find(a.Named("ci")), ci},
		"by another's name":         {find(a.Named("bot")), bot},
		"by no name":                {find(a.Named("")), authn.Account{}},
		"by a name in another case": {find(a.Named("CI")), authn.Account{}},
		"by its JWT":                {find(a.External(issuer, "repo:acme/app")), ci},
		"by another subject":        {find(a.External(issuer, "repo:acme/app2")), authn.Account{}},
		"by another issuer":         {find(a.External(issuer+"/", "repo:acme/app")), authn.Account{}},
		"by no subject":             {find(a.External(issuer, "")), authn.Account{}},
		"by nothing at all":         {find(a.External("", "")), authn.Account{}},
		"by the parts, moved":       {find(a.External(issuer+"repo", ":acme/app")), authn.Account{}},
		"by its key":                {find(a.Holder(sum)), ci},
		"by another key":            {find(a.Holder(sha256.Sum256([]byte("other")))), authn.Account{}},
		"by the key zero":           {find(a.Holder([32]byte{})), authn.Account{}},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("%s: %+v, want %+v", name, c.got, c.want)
		}
	}
	for who, want := range map[string]bool{"ada": true, "ADA": true, "ben@example.com": true, "ben": false, "": false, "Ada ": false, "\u0410da": false} {
		if got := a.Member("research", who); got != want {
			t.Errorf("%q is a member: %v", who, got)
		}
	}
	if a.Member("ops", "ada") || a.Member("", "ada") || a.Member("Research", "ada") {
		t.Error("a member of another team")
	}
	var none authn.Accounts
	if find(none.Named("ci")).Name+find(none.External(issuer, "x")).Name+find(none.Holder(sum)).Name != "" || none.Member("research", "ada") {
		t.Error("the zero value knows somebody")
	}
}
