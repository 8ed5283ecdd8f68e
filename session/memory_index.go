package session

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"
)

// Enter writes a member of an index, in place of one of the same name.
func (m *Memory) Enter(ctx context.Context, index, member string, value []byte, ttl time.Duration) error {
	if err := checkMember(value, ttl); err != nil {
		return err
	}
	return m.within(ctx, index, []string{member}, func(members map[string]*entry) error {
		return m.putIn(index, members[member], member, value, ttl)
	})
}

// Update writes the value of a member only if it is there and was not retired.
func (m *Memory) Update(ctx context.Context, index, member string, value []byte, ttl time.Duration) (updated bool, err error) {
	if err := checkMember(value, ttl); err != nil {
		return false, err
	}
	err = m.within(ctx, index, []string{member}, func(members map[string]*entry) error {
		e := members[member]
		if e == nil || len(e.value) == 0 {
			return nil
		}
		err := m.putIn(index, e, member, value, ttl)
		updated = err == nil
		return err
	})
	return updated, err
}

// Retire takes the values of members away, so that no Update brings them back.
func (m *Memory) Retire(ctx context.Context, index string, members ...string) error {
	return m.within(ctx, index, members, func(all map[string]*entry) error {
		for _, member := range members {
			if e := all[member]; e != nil {
				m.size -= len(e.value)
				e.value = nil
			}
		}
		return nil
	})
}

// Leave removes members.
func (m *Memory) Leave(ctx context.Context, index string, members ...string) error {
	return m.within(ctx, index, members, func(all map[string]*entry) error {
		for _, member := range members {
			if e := all[member]; e != nil {
				m.remove(e)
			}
		}
		return nil
	})
}

// Members returns every member of an index and its value.
func (m *Memory) Members(ctx context.Context, index string) (out map[string][]byte, err error) {
	err = m.within(ctx, index, nil, func(members map[string]*entry) error {
		out = make(map[string][]byte, len(members))
		for name, e := range members {
			out[name] = bytes.Clone(e.value)
		}
		return nil
	})
	return out, err
}

// Indexes calls f with every index whose key begins with prefix.
func (m *Memory) Indexes(ctx context.Context, prefix string, f func(index string) bool) error {
	var found []string
	err := m.within(ctx, prefix, nil, func(map[string]*entry) error {
		for index := range m.indexes {
			if strings.HasPrefix(index, prefix) {
				found = append(found, index)
			}
		}
		return nil
	})
	for _, index := range found {
		if !f(index) {
			break
		}
	}
	return err
}

// within runs f with the live members of an index.
func (m *Memory) within(ctx context.Context, index string, members []string, f func(map[string]*entry) error) error {
	for _, member := range members {
		if err := checkKey(member); err != nil {
			return err
		}
	}
	return m.do(ctx, index, func(*entry) error { return f(m.indexes[index]) })
}

// listener is one call of Listen.
type listener struct {
	messages chan []byte
	lost     context.Context
	lose     context.CancelCauseFunc
}

// unheard is how many messages may wait for a listener.
const unheard = 1024

// Publish sends a message to whoever listens.
func (m *Memory) Publish(ctx context.Context, message []byte) error {
	if err := checkMessage(message); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ready(ctx); err != nil {
		return err
	}
	for l := range m.listeners {
		select {
		case l.messages <- bytes.Clone(message):
		default:
			l.lose(errUnheard)
		}
	}
	return nil
}

// Listen calls hear with each message that is published after it has called ready.
func (m *Memory) Listen(ctx context.Context, ready func(), hear func(message []byte)) error {
	l := &listener{messages: make(chan []byte, unheard)}
	l.lost, l.lose = context.WithCancelCause(ctx)
	defer l.lose(nil)
	if err := m.admit(ctx, l); err != nil {
		return err
	}
	defer m.dismiss(l)
	ready()
	for {
		select {
		case message := <-l.messages:
			hear(message)
		case <-l.lost.Done():
			return fmt.Errorf("session: memory listen: %w", context.Cause(l.lost))
		}
	}
}

func (m *Memory) admit(ctx context.Context, l *listener) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ready(ctx); err != nil {
		return err
	}
	m.listeners[l] = true
	return nil
}

func (m *Memory) dismiss(l *listener) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.listeners, l)
}
