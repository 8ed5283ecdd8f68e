package session

import (
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json/v2"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"gatehouse/authn"
	"gatehouse/authn/audit"
)

// Access is one thing by which somebody comes in: what may be told of a session or of an
// access token.
type Access struct {
	// ID names it. It opens nothing.
	ID   string `json:"id"`
	Kind string `json:"kind"` // AccessSession or AccessToken
	Person
	Username string `json:"username,omitempty"`
	Name     string `json:"name,omitempty"`
	Email    string `json:"email,omitempty"`
	Route    string `json:"route"`
	// Since is when it began, Seen when it was last used, to within a minute or two,
	// and Ends when it is over at the latest.
	Since time.Time `json:"since,omitzero"`
	Seen  time.Time `json:"lastSeen,omitzero"`
	Ends  time.Time `json:"ends,omitzero"`
	// Address and Agent are the client's, as last seen. Both are hearsay.
	Address string `json:"address,omitempty"`
	Agent   string `json:"userAgent,omitempty"`
}

// The kinds of access.
const (
	AccessSession = "session"
	AccessToken   = "token"
)

// Person is whom accesses are listed by: somebody as one issuer knows them.
type Person struct {
	Issuer  string `json:"iss"`
	Subject string `json:"sub"`
}

// PersonOf is whose identity that is.
func PersonOf(id authn.Identity) Person { return Person{id.Issuer, id.Subject} }

// Client is where a request comes from, for people to recognise.
type Client struct{ Address, Agent string }

// ClientOf reads it off a request whose RemoteAddr is the client's.
func ClientOf(r *http.Request) Client {
	return Client{Address: authn.AddressOf(r), Agent: r.Header.Get("User-Agent")}
}

// maxText bounds each text of an Access, in bytes.
const maxText = 512

// Register is who is signed in: each person's sessions and access tokens. It is an index
// in the store for each person, and smaller ones by which a person is found. Both where
// something is and what it is sealed with are made of the key ring, so that who reads the
// store learns nothing of anybody.
//
// Something is in the register before it counts, and is ended by being retired there
// first. So whatever is made while a person's accesses are being ended is found, or finds
// out itself.
type Register struct {
	store   Store
	news    *News
	secrets [][]byte // one for each key of the ring, newest first
	// idle ends sessions that are not used for so long.
	idle time.Duration
	// trail is told what begins and what is ended; never nil.
	trail audit.Trail
}

// NewRegister opens the register of the gateway that has this store, these keys and this
// idle timeout; zero means none.
func NewRegister(store Store, keys Keyring, news *News, idleTimeout time.Duration) *Register {
	return &Register{store: store, news: news, secrets: keys.Secrets("register"), idle: idleTimeout, trail: audit.None{}}
}

// Audited is a register like this one that tells the trail of each session and token
// that begins, or is ended before its time, with the cause that [audit.Because] gave.
// What can't be written down does not begin.
func (g *Register) Audited(trail audit.Trail) *Register {
	audited := *g
	audited.trail = audit.Or(trail)
	return &audited
}

const (
	personIndex = "person:"
	nameIndex   = "name:"
	sidIndex    = "sid:"
)

// digest is a name for texts, by one of the secrets.
func digest(secret []byte, purpose string, texts ...string) string {
	h := hmac.New(sha256.New, secret)
	for _, t := range append([]string{purpose}, texts...) {
		fmt.Fprintf(h, "%d:%s,", len(t), t) // so that no two lists read the same
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// indexes are where something may be, one for each key of the ring. New ones go into the
// first.
func (g *Register) indexes(prefix string, texts ...string) []string {
	out := make([]string, len(g.secrets))
	for i, secret := range g.secrets {
		out[i] = prefix + digest(secret, prefix, texts...)
	}
	return out
}

func (g *Register) of(p Person) []string { return g.indexes(personIndex, p.Issuer, p.Subject) }

// ref names everything of a person in the [News].
func (g *Register) ref(p Person) string {
	return digest(g.secrets[0], "ref", p.Issuer, p.Subject)
}

// refs is ref by each key of the ring: other replicas may have another in front.
func (g *Register) refs(p Person) []string {
	var out []string
	for _, secret := range g.secrets {
		out = append(out, digest(secret, "ref", p.Issuer, p.Subject))
	}
	return out
}

// Remembering makes a memory of proofs heed what is ended in the register.
func (g *Register) Remembering(o authn.MemoryOptions) authn.MemoryOptions {
	if g == nil || g.news == nil {
		return o
	}
	o.News, o.Ref = g.news, func(id authn.Identity) string {
		if id.Access != "" {
			return id.Access
		}
		return g.ref(PersonOf(id))
	}
	return o
}

// newest is the place in the newest index.
func (g *Register) newest(prefix string, texts ...string) string {
	return prefix + digest(g.secrets[0], prefix, texts...)
}

// enter notes an access, before it counts.
func (g *Register) enter(ctx context.Context, a Access, sid string) error {
	var all sync.WaitGroup
	var errs [5]error
	for i, e := range g.entries(a, sid) {
		all.Go(func() {
			value, err := g.seal(e.index, e.member, e.value)
			if err == nil {
				err = g.store.Enter(ctx, e.index, e.member, value, a.keep())
			}
			errs[i] = err
		})
	}
	all.Wait()
	return errors.Join(errs[:]...)
}

// enterSID notes the provider's session of an access again: with its renewal the provider
// may have given it another.
func (g *Register) enterSID(ctx context.Context, a Access, sid string) error {
	if sid == "" {
		return nil
	}
	index := g.newest(sidIndex, a.Issuer, sid)
	value, err := g.seal(index, a.ID, a.Person)
	if err != nil {
		return err
	}
	return g.store.Enter(ctx, index, a.ID, value, a.keep())
}

// MaxSkew is how far the clocks of two replicas may be apart without a living access being
// out of the register.
const MaxSkew = 15 * time.Minute

// keep is how long an access is kept in the register from now on: another replica's clock
// may give it longer than this one's.
func (a Access) keep() time.Duration { return max(0, time.Until(a.Ends)) + MaxSkew }

type entering struct {
	index, member string
	value         any
}

// entries are where an access is noted, five at most.
func (g *Register) entries(a Access, sid string) []entering {
	person := g.newest(personIndex, a.Issuer, a.Subject)
	out := []entering{{person, a.ID, a}}
	for _, name := range names(a) {
		out = append(out, entering{g.newest(nameIndex, name), person[len(personIndex):], a.Person})
	}
	if sid != "" {
		out = append(out, entering{g.newest(sidIndex, a.Issuer, sid), a.ID, a.Person})
	}
	return out
}

// names are what a person can be found by, each once, three at most.
func names(a Access) []string {
	out := []string{fold(a.Subject)}
	for _, name := range []string{fold(a.Username), fold(a.Email)} {
		if name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

func fold(name string) string { return strings.ToLower(strings.TrimSpace(name)) }

// stands reports whether an access is still in the register, and notes its use.
func (g *Register) stands(ctx context.Context, a Access) (bool, error) {
	for _, index := range g.of(a.Person) {
		value, err := g.seal(index, a.ID, a)
		if err != nil {
			return false, err
		}
		if updated, err := g.store.Update(ctx, index, a.ID, value, a.keep()); updated || err != nil {
			return updated, err
		}
	}
	return false, nil
}

// confirm is an error if an access that was entered has been ended since.
func (g *Register) confirm(ctx context.Context, a Access) error {
	stands, err := g.stands(ctx, a)
	if err == nil && !stands {
		return errEndedMeanwhile
	}
	if err == nil {
		err = g.trail.Record(a.begun(audit.Cause(ctx)))
	}
	return err
}

// begun is the line of the trail for an access that begins.
func (a Access) begun(e audit.Event) audit.Event {
	e.Name, e.Outcome = audit.SignIn, audit.Allowed
	if a.Kind == AccessToken {
		e.Name = audit.TokenIssue
	}
	e.Route, e.Issuer, e.Subject, e.Username = a.Route, a.Issuer, a.Subject, a.Username
	e.Object, e.Address, e.Agent = []string{a.ID}, a.Address, a.Agent
	return e
}

// ended is the line of the trail for accesses that are ended.
func (p Person) ended(e audit.Event, ids []string) audit.Event {
	e.Name, e.Outcome = audit.SessionEnd, audit.Allowed
	e.Object, e.OfIssuer, e.OfSubject = ids, p.Issuer, p.Subject
	return e
}

// Of lists a person's accesses, those last seen in front.
func (g *Register) Of(ctx context.Context, p Person) ([]Access, error) {
	var out []Access
	for _, index := range g.of(p) {
		list, err := g.read(ctx, index)
		if err != nil {
			return nil, err
		}
		out = append(out, list...)
	}
	slices.SortFunc(out, func(a, b Access) int {
		return cmp.Or(b.Seen.Compare(a.Seen), cmp.Compare(a.ID, b.ID))
	})
	return out, nil
}

// read lists what is alive in an index. The rest is left to the store, by whose clock it
// goes: were this one fast, what is alive elsewhere would be in no index to be ended by.
func (g *Register) read(ctx context.Context, index string) ([]Access, error) {
	members, err := g.store.Members(ctx, index)
	if err != nil {
		return nil, err
	}
	var out []Access
	for id, value := range members {
		var a Access
		ended := len(value) == 0 // but for its last step
		if !ended && g.open(index, id, value, &a) && !a.over(time.Now(), g.idle) {
			out = append(out, a)
		}
	}
	return out, nil
}

// over reports whether an access has ended by itself. A session whose use could not be
// noted in time is given a while.
func (a Access) over(now time.Time, idle time.Duration) bool {
	return !now.Before(a.Ends) || a.Kind == AccessSession && idle > 0 && now.After(a.Seen.Add(idle+2*touchPause))
}

// Find returns who goes by that subject, username or e-mail address; the case of letters
// does not matter.
func (g *Register) Find(ctx context.Context, name string) ([]Person, error) {
	found := map[Person]bool{}
	for _, index := range g.indexes(nameIndex, fold(name)) {
		members, err := g.store.Members(ctx, index)
		if err != nil {
			return nil, err
		}
		for member, value := range members {
			var p Person
			if g.open(index, member, value, &p) {
				found[p] = true
			}
		}
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b Person) int {
		return cmp.Or(cmp.Compare(a.Issuer, b.Issuer), cmp.Compare(a.Subject, b.Subject))
	}), nil
}

// Everybody calls f with the accesses of each person, in no order, until it says false.
func (g *Register) Everybody(ctx context.Context, f func([]Access) bool) error {
	var broken error
	err := g.store.Indexes(ctx, personIndex, func(index string) bool {
		var list []Access
		if list, broken = g.read(ctx, index); broken != nil {
			return false
		}
		return len(list) == 0 || f(list)
	})
	return errors.Join(err, broken)
}

// End ends accesses of a person, by their ids, everywhere. One that there is not, or no
// longer, is no error. After an error some may go on; to end them again is in order.
func (g *Register) End(ctx context.Context, p Person, ids ...string) error {
	err := g.end(ctx, p, ids, nil)
	g.told(ctx, p, ids, err)
	return err
}

// told tells the trail. What has ended stays so, even if that can't be written down. What
// is nobody's had ended before.
func (g *Register) told(ctx context.Context, p Person, ids []string, err error) {
	if err == nil && (len(ids) == 0 || p == Person{}) {
		return
	}
	e := p.ended(audit.Cause(ctx), ids)
	if err != nil {
		e.Outcome = audit.Failed
	}
	_ = g.trail.Record(e) // the log has it
}

// EndOthers ends every access of a person but that of one id, empty for none, and
// whatever is remembered of their passwords. It names the accesses that there were.
func (g *Register) EndOthers(ctx context.Context, p Person, keep string) ([]string, error) {
	ids := map[string]bool{}
	for _, index := range g.of(p) {
		members, err := g.store.Members(ctx, index)
		if err != nil {
			return nil, err
		}
		for id := range members {
			ids[id] = true
		}
	}
	delete(ids, keep)
	ended := slices.Sorted(maps.Keys(ids))
	err := g.end(ctx, p, ended, g.refs(p))
	g.told(ctx, p, ended, err)
	return ended, err
}

// undo takes back an access that did not come to be, though its client has gone away.
func (g *Register) undo(ctx context.Context, a Access) error {
	ctx, cancel := throughout(ctx)
	defer cancel()
	return g.end(ctx, a.Person, []string{a.ID}, nil)
}

func (g *Register) end(ctx context.Context, p Person, ids, refs []string) error {
	var records []string
	for _, id := range ids {
		key, ok := recordOf(id)
		if !ok {
			return fmt.Errorf("session: %q is no id of a session or token", authn.Bounded(id))
		}
		records = append(records, key)
	}
	var unsure error // a store that is full retires nothing, but deletes
	for _, index := range g.of(p) {
		unsure = errors.Join(unsure, g.store.Retire(ctx, index, ids...))
	}
	for some := range slices.Chunk(records, atOnce) {
		if err := g.store.Delete(ctx, some...); err != nil {
			return errors.Join(unsure, err)
		}
	}
	if err := errors.Join(unsure, g.tell(ctx, append(refs, ids...)...)); err != nil {
		return err // and they stay in the index, so that who tries again tells it again
	}
	return g.leave(ctx, p, ids...)
}

// leave takes what is over out of a person's index.
func (g *Register) leave(ctx context.Context, p Person, ids ...string) error {
	var err error
	for _, index := range g.of(p) {
		err = errors.Join(err, g.store.Leave(ctx, index, ids...))
	}
	return err
}

func (g *Register) tell(ctx context.Context, refs ...string) error {
	if g.news == nil || len(refs) == 0 {
		return nil
	}
	return g.news.Ended(ctx, refs...)
}

// An id is a letter for its kind and the hash that names the record.
func (t ticket) session() string { return "s" + t.hash }
func (t ticket) token() string   { return "t" + t.hash }

// recordOf is the store's key of the record that an id is of.
func recordOf(id string) (string, bool) {
	if len(id) < 1 || !isHash(id[1:]) {
		return "", false
	}
	switch t := (ticket{hash: id[1:]}); id[0] {
	case 's':
		return t.record(), true
	case 't':
		return tokenKey(t), true
	}
	return "", false
}

// seal and open keep what is in an index from who reads the store. The key is one for
// each place, so that none has its random nonces used up.

func (g *Register) seal(index, member string, v any) ([]byte, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("session: register: %w", err)
	}
	aead, err := placeAEAD(g.secrets[0], index, member)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, plain, nil), nil //nolint:gosec // it makes a random nonce itself
}

func (g *Register) open(index, member string, sealed []byte, v any) bool {
	for _, secret := range g.secrets {
		aead, err := placeAEAD(secret, index, member)
		if err != nil {
			return false
		}
		if plain, err := aead.Open(nil, nil, sealed, nil); err == nil {
			return json.Unmarshal(plain, v) == nil
		}
	}
	return false
}

func placeAEAD(secret []byte, index, member string) (cipher.AEAD, error) {
	h := hmac.New(sha256.New, secret)
	fmt.Fprintf(h, "seal %s %s", index, member)
	block, err := aes.NewCipher(h.Sum(nil))
	if err != nil {
		return nil, fmt.Errorf("session: register: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}
