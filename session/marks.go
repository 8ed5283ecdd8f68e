package session

import (
	"sync"
	"time"
)

// marks remembers times by session, for a while and for a bounded number of
// sessions; what is forgotten early only costs a command more.
type marks struct {
	keep time.Duration // how long at least a mark is kept

	mu        sync.Mutex
	young     map[string]time.Time
	old       map[string]time.Time
	turnsOver time.Time
}

// maxMarks bounds each of the two generations.
const maxMarks = 1 << 16

func newMarks(keep time.Duration) *marks {
	return &marks{keep: keep, young: map[string]time.Time{}}
}

func (m *marks) get(key string) (until time.Time, found bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if until, found = m.young[key]; !found {
		until, found = m.old[key]
	}
	return until, found
}

func (m *marks) set(key string, until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := time.Now(); len(m.young) >= maxMarks || now.After(m.turnsOver) {
		m.old, m.young, m.turnsOver = m.young, map[string]time.Time{}, now.Add(m.keep)
	}
	m.young[key] = until
}

func (m *marks) drop(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.young, key)
	delete(m.old, key)
}
