package session_test

import (
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/session"
	"gatehouse/session/sessiontest"
)

func TestMemory(t *testing.T) {
	sessiontest.Run(t, func(t *testing.T, check func(*testing.T, session.Store, func(time.Duration))) {
		synctest.Test(t, func(t *testing.T) {
			m := session.NewMemory()
			defer m.Close()
			check(t, m, time.Sleep)
		})
	})
}
