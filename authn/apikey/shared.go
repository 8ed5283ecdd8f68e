package apikey

import (
	"context"
	"encoding/json/v2"
	"log/slog"
	"strconv"
	"time"

	"gatehouse/session"
)

// sharedTime bounds one look into the store for an answer. Without it the
// application is asked.
const sharedTime = time.Second

// shared is the answers that replicas keep for each other in the store, sealed,
// under a digest of all that was decided on. Only those are kept that name
// somebody, so that no number of wrong keys fills the store.
type shared struct {
	store    session.Store
	sealer   session.Sealer
	digest   func(string) string
	about    string
	lifetime time.Duration
	log      *slog.Logger
}

// sharedAnswer is whose a key is, and until when that counts.
type sharedAnswer struct {
	Viewer viewer    `json:"viewer"`
	Until  time.Time `json:"until"`
}

func newShared(route, upstream string, lifetime time.Duration, d Deps) shared {
	return shared{
		store: d.Store, sealer: d.Keys.Sealer("api key answer"), digest: d.Keys.Digest("api key answer"),
		about: strconv.Quote(route) + strconv.Quote(upstream), lifetime: lifetime, log: d.Log,
	}
}

func (s shared) place(key string) string { return "apikey-answer:" + s.digest(s.about+key) }

// recall returns the answer about a key that another replica got.
func (s shared) recall(ctx context.Context, key string) (viewer, time.Time, bool) {
	if s.lifetime <= 0 {
		return viewer{}, time.Time{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, sharedTime)
	defer cancel()
	at := s.place(key)
	raw, found, err := s.store.Get(ctx, at)
	if err != nil {
		s.log.Debug("no answers of other replicas", "err", err)
		return viewer{}, time.Time{}, false
	}
	if !found {
		return viewer{}, time.Time{}, false
	}
	var a sharedAnswer
	plain, err := s.sealer.Open(at, string(raw))
	if err != nil || json.Unmarshal(plain, &a) != nil {
		return viewer{}, time.Time{}, false
	}
	left := time.Until(a.Until)
	return a.Viewer, a.Until, left > 0 && left <= s.lifetime // settings may have become stricter
}

// keep gives the answer about a key to the other replicas, if it is not too long
// to be sealed, and returns until when it counts.
func (s shared) keep(ctx context.Context, key string, who viewer) time.Time {
	if s.lifetime <= 0 {
		return time.Time{}
	}
	until := time.Now().Add(s.lifetime)
	ctx, cancel := context.WithTimeout(ctx, sharedTime)
	defer cancel()
	at := s.place(key)
	plain, err := json.Marshal(sharedAnswer{who, until})
	if err == nil {
		var sealed string
		if sealed, err = s.sealer.Seal(at, plain); err == nil {
			err = s.store.Set(ctx, at, []byte(sealed), s.lifetime)
		}
	}
	if err != nil {
		s.log.Debug("an answer is not shared with other replicas", "err", err)
	}
	return until
}
