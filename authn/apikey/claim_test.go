package apikey

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"gatehouse/authn"
)

// mine has the shape of a gateway's key.
var mine = prefix + "abcdEFGH" + strings.Repeat("Zz90", 8)

const (
	jwt     = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"
	newKey  = "wandb_v1_aB3daB3daB3daB3daB3daB3daB3daB3d_aB3daB3daB3daB3daB3daB3daB3daB3daB3d"
	aToken  = "gh_at_aB3daB3daB3daB3daB3daB3daB3daB3daB3daB3daB3daB3d"
	aSecret = "correct-horse-battery-staple"
)

func TestClaim(t *testing.T) {
	old := hexKey(1)
	auth := func(values ...string) http.Header { return http.Header{"Authorization": values} }
	with := func(h http.Header, name string, values ...string) http.Header {
		h = h.Clone()
		h[name] = values
		return h
	}
	none, rejected := authn.ErrNoCredential, authn.ErrRejected
	for name, c := range map[string]struct {
		header http.Header
		want   string
		err    error
	}{
		"nothing": {nil, "", none},
		// What W&B clients send.
		"SDK":                                     {basic("api", old), old, nil},
		"SDK, on-premises prefix":                 {basic("api", "local-"+old), "local-" + old, nil},
		"SDK, new key":                            {basic("api", newKey), newKey, nil},
		"SDK, the gateway's key":                  {basic("api", mine), mine, nil},
		"netrc":                                   {basic("user", mine), mine, nil},
		"SCIM, service account":                   {basic("", mine), mine, nil},
		"SCIM and audit log, USERNAME:KEY":        {basic("ada", old), old, nil},
		"USERNAME:KEY, new key":                   {basic("ada", newKey), newKey, nil},
		"USERNAME:KEY, the gateway's":             {basic("ada", mine), mine, nil},
		"wandb-api-key as the name":               {basic("wandb-api-key", old), old, nil},
		"Bearer, the gateway's":                   {auth("Bearer " + mine), mine, nil},
		"Bearer, new key":                         {auth("bearer  " + newKey), newKey, nil},
		"Bearer, old key":                         {auth("Bearer " + old), old, nil},
		"weave's OTLP header":                     {http.Header{"Wandb-Api-Key": {newKey}}, newKey, nil},
		"sandbox header":                          {http.Header{"X-Wandb-Api-Key": {" " + mine + " "}}, mine, nil},
		"header beside the cookie's empty Basic":  {with(auth("Basic Og=="), "Wandb-Api-Key", old), old, nil},
		"header beside an empty Authorization":    {with(auth(""), "Wandb-Api-Key", old), old, nil},
		"the same key in all places":              {with(with(basic("api", old), "Wandb-Api-Key", old), "X-Wandb-Api-Key", old), old, nil},
		"a header that the client has no key for": {with(basic("api", old), "X-Wandb-Api-Key", ""), old, nil},
		"a key of a shape not yet known":          {http.Header{"Wandb-Api-Key": {"wb9-short"}}, "wb9-short", nil},
		"the gateway's key, cut short":            {basic("api", mine[:len(mine)-1]), mine[:len(mine)-1], nil},
		// What is somebody else's.
		"a person's password":              {basic("ada", aSecret), "", none},
		"api with a password":              {basic("api", "hunter2"), "", none},
		"the browser's empty Basic":        {auth("Basic Og=="), "", none},
		"api:JWT":                          {basic("api", jwt), "", none},
		"ada:JWT":                          {basic("ada", jwt), "", none},
		"Bearer JWT":                       {auth("Bearer " + jwt), "", none},
		"Bearer access token":              {auth("Bearer " + aToken), "", none},
		"access token with a key's tail":   {auth("Bearer gh_at_x-" + old), "", none},
		"api:access token":                 {basic("api", aToken), "", none},
		"Bearer opaque token":              {auth("Bearer 2YotnFZFEjr1zCsicMWpAA"), "", none},
		"Bearer token of a W&B server":     {auth("Bearer wb_at_x1Y2"), "wb_at_x1Y2", nil},
		"its token elsewhere":              {http.Header{"Wandb-Api-Key": {"wb_at_x.1"}}, "", rejected},
		"Bearer that is none":              {auth("Bearer a b"), "", none},
		"Digest":                           {auth(`Digest username="ada"`), "", none},
		"a key under another name's scope": {http.Header{"Api-Key": {old}}, "", none},
		// What can't be told apart.
		"HDR-35 a key beside a password":        {with(basic("ada", aSecret), "Wandb-Api-Key", old), "", rejected},
		"HDR-35 a key beside a JWT":             {with(auth("Bearer "+jwt), "Wandb-Api-Key", old), "", rejected},
		"HDR-35 a key beside api:JWT":           {with(basic("api", jwt), "X-Wandb-Api-Key", old), "", rejected},
		"HDR-35 a key beside an access token":   {with(auth("Bearer "+aToken), "Wandb-Api-Key", old), "", rejected},
		"HDR-35 a key beside Negotiate":         {with(auth("Negotiate YII="), "Wandb-Api-Key", old), "", rejected},
		"HDR-35 a key beside a broken Bearer":   {with(auth("Bearer a b"), "Wandb-Api-Key", old), "", rejected},
		"HDR-35 two keys":                       {with(basic("api", old), "Wandb-Api-Key", mine), "", rejected},
		"HDR-35 two keys in one header":         {http.Header{"Wandb-Api-Key": {old, mine}}, "", rejected},
		"HDR-35 two keys in two headers":        {http.Header{"Wandb-Api-Key": {old}, "X-Wandb-Api-Key": {mine}}, "", rejected},
		"HDR-35 two Authorization headers":      {auth("Basic "+encoded("api:"+old), "Bearer "+mine), "", rejected},
		"HDR-35 two Bearer":                     {auth("Bearer "+mine, "Bearer "+old), "", rejected},
		"HDR-35 the same key twice over Bearer": {auth("Bearer "+mine, "Bearer "+mine), "", rejected},
		"HDR-35 two keys in one line":           {http.Header{"Wandb-Api-Key": {old + ", " + mine}}, "", rejected},
		"Basic that can't be read":              {auth("Basic api:" + old), "", rejected},
		"a JWT where only keys stand":           {http.Header{"Wandb-Api-Key": {jwt}}, "", rejected},
		"an access token where only keys stand": {http.Header{"Wandb-Api-Key": {aToken}}, "", rejected},
		"a control character":                   {http.Header{"Wandb-Api-Key": {old + "\x00"}}, "", rejected},
		"too long":                              {basic("api", strings.Repeat("a", maxKey+1)), "", rejected},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := claim(carrying(c.header))
			if got != c.want || !errors.Is(err, c.err) || err != nil && errors.Is(err, none) == errors.Is(err, rejected) {
				t.Errorf("%q %v", got, err)
			}
		})
	}
}

// FuzzClaim: what is claimed stood in the request as it is, is no person's
// password, and nothing else stood there.
func FuzzClaim(f *testing.F) {
	for _, s := range []string{"", "Basic Og==", "Basic " + encoded("api:"+mine), "Basic " + encoded("ada:"+aSecret), "Bearer " + mine, "Bearer " + jwt, "Digest x", "Basic x"} {
		f.Add(s, "", "")
		f.Add(s, hexKey(1), "")
		f.Add(s, mine, mine)
	}
	f.Fuzz(func(t *testing.T, authorization, first, second string) {
		h := http.Header{}
		for name, v := range map[string]string{"Authorization": authorization, "Wandb-Api-Key": first, "X-Wandb-Api-Key": second} {
			if v != "" {
				h[name] = []string{v}
			}
		}
		r := carrying(h)
		key, err := claim(r)
		if err != nil {
			if key != "" || errors.Is(err, authn.ErrNoCredential) == errors.Is(err, authn.ErrRejected) {
				t.Fatalf("%q %v", key, err)
			}
			return
		}
		if key == "" || !authn.ApplicationToken(key) && (len(key) > maxKey || !words(key)) || strings.HasPrefix(key, authn.TokenPrefix) {
			t.Errorf("%q is no key", key)
		}
		b, basicErr := authn.BasicOf(r)
		if basicErr == nil && (!b.Key() || b.Password != key) {
			t.Errorf("%q was claimed beside what %q has", key, authorization)
		}
		if token, err := authn.BearerOf(r); err == nil && token != key {
			t.Errorf("%q was claimed beside the token %q", key, token)
		}
		for _, v := range []string{first, second} {
			if v = strings.Trim(v, " \t"); v != "" && v != key {
				t.Errorf("%q was claimed beside %q", key, v)
			}
		}
	})
}
