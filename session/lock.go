package session

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"time"
)

const (
	// lease is how long a lock outlives its holder; leasePause, how often a living
	// holder prolongs it. Where it can't, the lease still spans all that it does with
	// the lock: taking it, reading, asking, writing and giving it back.
	lease      = stepLimit + stepLimit + askLimit + saveLimit + stepLimit
	leasePause = 10 * time.Second
)

// lock is the right of one replica to renew one session, or, after a failure,
// the mark that nobody should before retryAt. In the store it is the retry time
// in Unix milliseconds (8), the failures so far (1) and, while held, its owner's
// random token (16).
type lock struct {
	key      string
	value    []byte // as stored
	held     bool   // by us
	failures int
	retryAt  time.Time
}

const (
	markSize = 9
	heldSize = markSize + 16
)

func encodeLock(failures int, retryAt time.Time, held bool) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, heldSize), uint64(retryAt.UnixMilli()))
	b = append(b, byte(min(failures, 255))) //nolint:gosec // it fits
	if held {
		b = b[:heldSize]
		rand.Read(b[markSize:]) // never fails: it ends the program instead
	}
	return b
}

// acquire takes the lock if it is free or marks a failure whose pause is over.
// Otherwise it returns the lock as it stands, not held.
func (s *Sessions) acquire(ctx context.Context, t ticket) (lock, error) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	l := lock{key: t.lock(), value: encodeLock(0, time.Time{}, true)}
	var err error
	if l.held, err = s.store.Add(ctx, l.key, l.value, lease); l.held || err != nil {
		return l, err
	}
	mark, found, err := s.store.Get(ctx, l.key)
	if err != nil || !found || len(mark) != markSize {
		return l, err
	}
	l.failures = int(mark[markSize-1])
	l.retryAt = time.UnixMilli(int64(binary.BigEndian.Uint64(mark)))         //nolint:gosec // as it was written
	if wait := time.Until(l.retryAt); wait > 0 && wait <= 2*backOffLongest { // a longer one is by a clock that is off
		return l, nil
	}
	l.value = encodeLock(l.failures, time.Time{}, true)
	l.held, err = s.store.Swap(ctx, l.key, mark, l.value, lease)
	return l, err
}

// prolong keeps the lock until ctx ends, and calls lost when it is lost.
func (s *Sessions) prolong(ctx context.Context, lost context.CancelFunc, l lock) {
	ticker := time.NewTicker(leasePause)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if ours, err := s.store.Swap(ctx, l.key, l.value, l.value, lease); err == nil && !ours {
			lost()
			return
		}
	}
}

// release gives the lock back. Where that fails, the lease runs out.
func (s *Sessions) release(ctx context.Context, l lock) {
	s.leave(ctx, l, nil, 0)
}

// backOff leaves a mark in the lock's place, so that no replica asks before
// l.retryAt and each knows how often it went wrong.
func (s *Sessions) backOff(ctx context.Context, l lock) {
	s.leave(ctx, l, encodeLock(l.failures, l.retryAt, false), failureKept)
}

func (s *Sessions) leave(ctx context.Context, l lock, mark []byte, ttl time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	if _, err := s.store.Swap(ctx, l.key, l.value, mark, ttl); err != nil {
		s.log.Warn("session renewal lock not given back", "err", err)
	}
}
