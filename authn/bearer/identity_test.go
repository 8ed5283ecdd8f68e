package bearer

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/authntest"
	"gatehouse/config"
)

// sameIdentity compares what a token says of somebody, times apart.
func sameIdentity(got, want authn.Identity) bool {
	got.AuthTime, got.Expires, got.Access = want.AuthTime, want.Expires, want.Access
	return reflect.DeepEqual(got, want)
}

func TestClaims(t *testing.T) {
	change := func(edit func(*authn.Identity)) authn.Identity {
		id := ada()
		edit(&id)
		return id
	}
	for name, c := range map[string]struct {
		claims m
		set    func(*config.Issuer)
		want   authn.Identity
	}{
		"as they are":              {nil, nil, ada()},
		"nothing but sub":          {m{"preferred_username": nil, "name": nil, "email": nil, "email_verified": nil, "groups": nil}, nil, authn.Identity{Issuer: idpURL, Subject: "1001", Kind: authn.Person, Route: "robots"}},
		"address not verified":     {m{"email_verified": false}, nil, change(func(id *authn.Identity) { id.Email = "" })},
		"address, nothing said":    {m{"email_verified": nil}, nil, change(func(id *authn.Identity) { id.Email = "" })},
		"address, trusted":         {m{"email_verified": nil}, func(i *config.Issuer) { i.TrustUnverifiedEmail = true }, ada()},
		"address, trusted, denied": {m{"email_verified": false}, func(i *config.Issuer) { i.TrustUnverifiedEmail = true }, change(func(id *authn.Identity) { id.Email = "" })},
		"address verified by text": {m{"email_verified": "true"}, nil, ada()},
		"address that is none":     {m{"email": "ada"}, nil, change(func(id *authn.Identity) { id.Email = "" })},
		"address, two at signs":    {m{"email": "ada@evil.test@example.com"}, nil, change(func(id *authn.Identity) { id.Email = "" })},
		"name that draws":          {m{"name": "Ada\u202e"}, nil, change(func(id *authn.Identity) { id.Name = "" })},
		"empty groups":             {m{"groups": []string{"", "a"}}, nil, change(func(id *authn.Identity) { id.Groups = []string{"a"} })},
		"prefix":                   {nil, func(i *config.Issuer) { i.SubjectPrefix = "ci:" }, change(func(id *authn.Identity) { id.Subject = "ci:1001" })},
		"a service":                {nil, func(i *config.Issuer) { i.Kind = "service" }, change(func(id *authn.Identity) { id.Kind = authn.Service })},
		"other claims":             {m{"oid": "7", "upn": "lovelace", "roles": []string{"x"}}, func(i *config.Issuer) { i.Claims.Subject, i.Claims.Username, i.Claims.Groups = "oid", "upn", "roles" }, change(func(id *authn.Identity) { id.Subject, id.Username, id.Groups = "7", "lovelace", []string{"x"} })},
		"groups at a path":         {m{"realm_access": m{"roles": []string{"x"}}}, func(i *config.Issuer) { i.Claims.Groups = "realm_access.roles" }, change(func(id *authn.Identity) { id.Groups = []string{"x"} })},
		"user name is the address": {m{"email_verified": false}, func(i *config.Issuer) { i.Claims.Username = "email" }, change(func(id *authn.Identity) { id.Username, id.Email = "", "" })},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(s *setup) {
				if c.set != nil {
					c.set(s.first())
				}
			})
			if got := r.accepted(with(c.claims)); !sameIdentity(got, c.want) {
				t.Errorf("\n got %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestTimesOfIdentity(t *testing.T) {
	bubble(t, "an old iat, and the end with the skew", func(t *testing.T, r *rig) {
		now := time.Now()
		id := r.accepted(with(m{"iat": now.Add(-time.Hour).Unix(), "exp": now.Add(time.Hour).Unix()}))
		if !id.AuthTime.Equal(now.Add(-time.Hour)) || !id.Expires.Equal(now.Add(time.Hour+time.Minute)) {
			t.Errorf("%v, %v", id.AuthTime, id.Expires)
		}
	})
	bubble(t, "no iat", func(t *testing.T, r *rig) {
		if id := r.accepted(with(m{"iat": nil})); !id.AuthTime.Equal(time.Now()) {
			t.Errorf("%v", id.AuthTime)
		}
	})
	bubble(t, "JWT-47 remembered no longer than it is valid", func(t *testing.T, r *rig) {
		token := with(m{"exp": time.Now().Add(3 * time.Second).Unix()})
		r.accepted(token)
		time.Sleep(62 * time.Second)
		r.accepted(token)
		time.Sleep(time.Second)
		r.rejected(token, "has expired")
	}, func(s *setup) { s.settings.Cache.Lifetime = config.Duration(15 * time.Minute) })
	bubble(t, "JWT-48 refused before its time, and good then", func(t *testing.T, r *rig) {
		token := with(m{"nbf": time.Now().Add(61 * time.Second).Unix()})
		r.rejected(token, "not valid yet")
		time.Sleep(5 * time.Second)
		r.accepted(token)
	})
}

// wandb is identity federation as the W&B server does it.
func wandb(s *setup) {
	i := s.first()
	i.Preset, i.Audiences = "wandb", nil
	s.deps.Teams = []config.Team{{Name: "research"}, {Name: "wandb"}}
	s.deps.Accounts = robots()
}

func robots() authn.Accounts {
	return authn.NewAccounts([]authn.Registration{
		{Account: authn.Account{Name: "ci", Team: "research", Teams: []string{"research"}, Role: "member"}, Issuer: idpURL, Subject: "repo:acme/app"},
	}, nil)
}

// federated is a token of a person as W&B's manual wants it.
func federated(changes m) string {
	c := m{"sub": "ada@example.com", "preferred_username": nil, "email": nil, "email_verified": nil, "name": nil, "groups": nil}
	for k, v := range changes {
		c[k] = v
	}
	return with(c)
}

// TestWandb: WANDB 1.2, the five checks of identity federation, each with its
// sentence and with what was seen and expected.
func TestWandb(t *testing.T) {
	for name, c := range map[string]struct {
		token, sentence string
		log             []string
	}{
		"issuer":     {federated(m{"iss": "https://evil.test"}), "issuer (iss)", []string{`"check":"iss"`, `"seen":"https://evil.test"`, `"expected":"` + idpURL}},
		"audience":   {federated(m{"aud": "acme"}), "audience (aud)", []string{`"check":"aud"`, `"seen":"acme"`, `"expected":"wandb research"`}},
		"subject":    {federated(m{"sub": "repo:acme/other"}), "neither an e-mail address nor a registered service account", []string{`"check":"sub"`, `"seen":"repo:acme/other"`}},
		"expiration": {federated(m{"exp": time.Now().Add(-time.Hour).Unix()}), "has expired", []string{`"check":"exp"`, `"expected":"now `}},
		"signature":  {authntest.JWT(foreign(), m{"kid": es256().ID}, claims(m{"sub": "ada@example.com"})), "signature", []string{`"check":"signature"`, `"seen":"ES256 by key ` + es256().ID}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, wandb)
			r.rejected(c.token, c.sentence)
			r.logged(append(c.log, "token refused")...)
		})
	}
	for name, aud := range map[string]any{"wandb": "wandb", "a team": "research", "a list": []string{"x", "research"}} {
		t.Run("audience "+name, func(t *testing.T) {
			id := newRig(t, wandb).accepted(federated(m{"aud": aud}))
			want := authn.Identity{Issuer: idpURL, Subject: "ada@example.com", Kind: authn.Person, Route: "robots", Username: "ada@example.com", Email: "ada@example.com"}
			if !sameIdentity(id, want) {
				t.Errorf("%+v", id)
			}
		})
	}
	t.Run("SKIP_AUDIENCE_VALIDATION", func(t *testing.T) {
		r := newRig(t, wandb, func(s *setup) { s.first().SkipAudienceValidation = true })
		r.accepted(federated(m{"aud": "acme"}))
		r.accepted(federated(m{"aud": nil}))
		r.rejected(federated(m{"exp": nil}), "expires")
	})
	t.Run("a service account", func(t *testing.T) {
		r := newRig(t, wandb)
		id := r.accepted(federated(m{"sub": "repo:acme/app", "email": "ada@example.com", "email_verified": true, "preferred_username": "ada", "groups": []string{"admins"}}))
		account, _ := robots().Named("ci")
		if !sameIdentity(id, authn.Identity{Issuer: idpURL, Subject: "account:ci", Kind: authn.Service, Route: "robots", Username: "ci", Account: account}) {
			t.Errorf("%+v", id)
		}
	})
	t.Run("a service account of another issuer", func(t *testing.T) {
		r := newRig(t, wandb)
		id, err := r.judge(authntest.JWT(es256b(), nil, claims(m{"iss": otherURL, "sub": "repo:acme/app"})))
		if err != nil || id.Kind != authn.Person || id.Account.Name != "" {
			t.Errorf("%+v, %v", id, err)
		}
	})
}

func TestKubernetes(t *testing.T) {
	pod := m{"sub": "system:serviceaccount:ml:train", "email": nil, "email_verified": nil, "name": nil, "groups": nil, "preferred_username": nil,
		"kubernetes.io": m{"namespace": "ml", "pod": m{"name": "train-0"}}, "aud": []string{"wandb"}}
	cluster := func(s *setup) {
		s.first().Preset = "kubernetes"
		s.first().RequiredClaims = []config.RequiredClaim{{Claim: "kubernetes.io.namespace", Values: []string{"ml", "ops"}}}
		s.deps.Accounts = authn.NewAccounts([]authn.Registration{{Account: authn.Account{Name: "train", Team: "ml"}, Issuer: idpURL, Subject: "system:serviceaccount:ml:train"}}, nil)
	}
	r := newRig(t, cluster)
	if id := r.accepted(with(pod)); id.Kind != authn.Service || id.Account.Name != "train" || id.Username != "train" {
		t.Errorf("%+v", id)
	}
	pod["sub"] = "system:serviceaccount:ml:other"
	if id := r.accepted(with(pod)); id.Kind != authn.Service || id.Account.Name != "" || id.Username != "" {
		t.Errorf("one that is not registered: %+v", id)
	}
	pod["kubernetes.io"] = m{"namespace": "kube-system"}
	r.rejected(with(pod), `"kubernetes.io.namespace"`)
	r.logged(`"expected":"ml ops"`)
	inside := trust("https://kubernetes.default.svc")
	inside.Preset = "kubernetes"
	if i := inside.WithPreset(nil); !strings.HasSuffix(i.TokenFile, "/token") || !strings.HasSuffix(i.TLS.CAFile, "/ca.crt") {
		t.Errorf("%+v", i)
	}
}

func TestRequiredClaims(t *testing.T) {
	for name, c := range map[string]struct {
		claim  any
		values []string
		good   bool
	}{
		"one of the values":         {"b", []string{"a", "b"}, true},
		"none of the values":        {"c", []string{"a", "b"}, false},
		"part of a value":           {"ab", []string{"a", "b"}, false},
		"a list with one":           {[]string{"c", "a"}, []string{"a"}, true},
		"a list without":            {[]string{"c"}, []string{"a"}, false},
		"a list of numbers":         {[]int{1}, []string{"1"}, false},
		"a number":                  {7, []string{"7"}, true},
		"true":                      {true, []string{"true"}, true},
		"text for true":             {"true", []string{"true"}, true},
		"an object":                 {m{"a": 1}, []string{"a"}, false},
		"absent":                    {nil, []string{"a"}, false},
		"any, and text":             {"x", nil, true},
		"any, and false":            {false, nil, false},
		"any, and empty":            {"", nil, false},
		"any, and an empty list":    {[]string{}, nil, false},
		"any, and absent":           {nil, nil, false},
		"a text that is not a text": {"a\x00", []string{"a"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(s *setup) {
				s.first().RequiredClaims = []config.RequiredClaim{{Claim: "repository", Values: c.values}}
			})
			token := with(m{"repository": c.claim})
			if !c.good {
				r.rejected(token, `"repository"`)
				return
			}
			r.accepted(token)
		})
	}
}

// TestForeignPrefixes: nobody gets to be one of another route's.
func TestForeignPrefixes(t *testing.T) {
	others := func(s *setup) {
		s.deps.ForeignPrefixes = []string{"ldap:", "ci"}
		s.settings.Issuers[1].SubjectPrefix = "b:"
	}
	r := newRig(t, others)
	r.rejected(with(m{"sub": "ldap:ada"}), "another route")
	r.rejected(with(m{"sub": "b:1001"}), "another route")
	r.accepted(with(m{"sub": "ldap"}))
	own := newRig(t, others, func(s *setup) { s.first().SubjectPrefix = "ci:" })
	if id := own.accepted(with(m{"sub": "ldap:ada"})); id.Subject != "ci:ldap:ada" {
		t.Errorf("%+v", id)
	}
	same := newRig(t, func(s *setup) {
		s.deps.ForeignPrefixes, s.first().SubjectPrefix = []string{"okta:"}, "okta:"
	})
	if id := same.accepted(good()); id.Subject != "okta:1001" {
		t.Errorf("the prefix of the OIDC route of the same issuer: %+v", id)
	}
}

// TestAdmission: JWT-43 and TOK-11, the rules hold for every kind of token, and
// for what is remembered.
func TestAdmission(t *testing.T) {
	strict := func(s *setup) {
		s.first().AllowedEmailDomains, s.first().AllowedGroups = []string{"example.com"}, []string{"research"}
		s.deps.Accounts = robots()
		asks(s)
	}
	for name, c := range map[string]struct {
		claims  m
		missing string
	}{
		"allowed":             {nil, ""},
		"another domain":      {m{"email": "ada@evil.test"}, "example.com"},
		"a domain below":      {m{"email": "ada@x.example.com"}, "example.com"},
		"not verified":        {m{"email_verified": false}, "example.com"},
		"another group":       {m{"groups": []string{"Research"}}, "group research"},
		"no groups":           {m{"groups": nil}, "group research"},
		"a service account":   {m{"sub": "repo:acme/app", "email": nil, "groups": nil}, ""},
		"domain but no group": {m{"groups": []string{"guests"}}, "group research"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, strict)
			token := with(c.claims)
			answer := claims(c.claims)
			answer["active"] = true
			r.asked.says(object(answer))
			for range 2 { // the second time from memory
				for _, credential := range []string{token, "opaque.token"} {
					id, err := r.judge(credential)
					var not *authn.NotAllowed
					switch {
					case c.missing == "" && (err != nil || id.Subject == ""):
						t.Errorf("%v", err)
					case c.missing != "" && (!errors.As(err, &not) || !strings.Contains(not.Missing, c.missing)):
						t.Errorf("%+v, %v", id, err)
					}
				}
			}
			w := r.exchange(token)
			if (w.Code == 200) != (c.missing == "") || c.missing != "" && (w.Code != 400 || !strings.Contains(w.Body.String(), "invalid_grant")) {
				t.Errorf("exchange: %d %s", w.Code, w.Body)
			}
		})
	}
	t.Run("TOK-11 a token that was given before the rule", func(t *testing.T) {
		r := newRig(t)
		token := r.issue(with(m{"groups": []string{"guests"}}))
		r.accepted(token)
		later := r.replica(strict)
		var not *authn.NotAllowed
		if _, err := judge(later, request("Bearer "+token)); !errors.As(err, &not) {
			t.Errorf("%v", err)
		}
	})
	t.Run("an identity of no issuer", func(t *testing.T) {
		var not *authn.NotAllowed
		if err := newRig(t).route.Allow(authn.Identity{Issuer: "https://evil.test", Subject: "x"}); !errors.As(err, &not) {
			t.Errorf("%v", err)
		}
	})
}

// TestLaterSettings: TOK-29, what an access token stands for under settings that
// have changed since.
func TestLaterSettings(t *testing.T) {
	account := func(s *setup) { s.deps.Accounts = robots() }
	r := newRig(t, account)
	person, robot := r.issue(good()), r.issue(with(m{"sub": "repo:acme/app"}))
	for name, c := range map[string]struct {
		change        func(*setup)
		person, robot bool
	}{
		"the same":               {account, true, true},
		"the account removed":    {func(s *setup) { s.deps.Accounts = authn.Accounts{} }, true, false},
		"the issuer removed":     {func(s *setup) { s.settings.Issuers = s.settings.Issuers[1:] }, false, false},
		"the prefix changed":     {func(s *setup) { s.first().SubjectPrefix = "x:" }, false, true},
		"services now":           {func(s *setup) { s.first().Kind = "service" }, false, true},
		"another key ring":       {func(s *setup) { s.deps.Keys = ring(t, strings.Repeat("An0therKeyRing", 3)) }, false, false},
		"an older key, kept":     {func(s *setup) { s.deps.Keys = ring(t, strings.Repeat("An0therKeyRing", 3), ringKey) }, true, true},
		"the exchange shut down": {func(s *setup) { s.settings.Exchange.Disabled = true }, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := r.replica(c.change)
			for token, good := range map[string]bool{person: c.person, robot: c.robot} {
				id, err := judge(b, request("Bearer "+token))
				if good != (err == nil) || !good && !isRejected(err) {
					t.Errorf("%+v, %v", id, err)
				}
			}
		})
	}
	t.Run("registered since", func(t *testing.T) {
		b := r.replica(func(s *setup) {
			s.deps.Accounts = authn.NewAccounts([]authn.Registration{{Account: authn.Account{Name: "new"}, Issuer: idpURL, Subject: "1001"}}, nil)
		})
		id, err := judge(b, request("Bearer "+person))
		if err != nil || id.Account.Name != "" || id.Kind != authn.Person || id.Subject != "1001" {
			t.Errorf("who was somebody is somebody else now: %+v, %v", id, err)
		}
		if id, err := judge(b, request("Bearer "+with(m{"jti": "another"}))); err != nil || id.Account.Name != "new" || id.Subject != "account:new" || id.Kind != authn.Service || id.Email != "" || id.Groups != nil {
			t.Errorf("a JWT of now: %+v, %v", id, err)
		}
	})
	t.Run("an account removed where all are services", func(t *testing.T) {
		r := newRig(t, account, asks, func(s *setup) { s.first().Kind = "service" })
		robot := m{"sub": "repo:acme/app", "preferred_username": nil, "active": true}
		r.asked.says(object(claims(robot)))
		tokens := []string{r.issue(with(robot)), "opaque.token"}
		for _, token := range tokens {
			if id := r.accepted(token); id.Username != "ci" || id.Account.Name != "ci" {
				t.Errorf("%+v", id)
			}
		}
		b := r.replica(func(s *setup) { s.deps.Accounts = authn.Accounts{} })
		if id, err := judge(b, request("Bearer "+tokens[0])); !isRejected(err) {
			t.Errorf("%+v, %v", id, err)
		}
		if id, err := judge(b, request("Bearer "+tokens[1])); err != nil || id.Subject != "repo:acme/app" || id.Username != "" || id.Account.Name != "" {
			t.Errorf("asked about again: %+v, %v", id, err)
		}
	})
	t.Run("a route of another name", func(t *testing.T) {
		b, err := newRoute("others", r.setup.settings, r.setup.deps)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := judge(b, request("Bearer "+person)); !isRejected(err) {
			t.Errorf("%v", err)
		}
	})
}

// TestPolicyClaims: teams that a token names, and the claims that the policy asks for.
func TestPolicyClaims(t *testing.T) {
	r := newRig(t, func(s *setup) {
		s.first().Claims.Teams = "teams"
		s.deps.Claims = []string{"dept", "level"}
	})
	id := r.accepted(with(m{"teams": []string{"a", "b"}, "dept": []string{"x", "y"}, "level": 3}))
	if !slices.Equal(id.Teams, []string{"a", "b"}) || !slices.Equal(id.Claims["dept"], []string{"x", "y"}) || !slices.Equal(id.Claims["level"], []string{"3"}) {
		t.Errorf("%+v", id)
	}
	if id := r.accepted(good()); id.Teams != nil || id.Claims != nil {
		t.Errorf("%+v", id)
	}
	r.rejected(with(m{"teams": "a"}), "missing or has the wrong type")
	r.rejected(with(m{"teams": []string{"a\n"}}), "control character")
}
