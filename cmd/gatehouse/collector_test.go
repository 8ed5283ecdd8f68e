package main

import (
	"context"
	"runtime/debug"
	"testing"
	"testing/synctest"
)

func TestSpareCollector(t *testing.T) {
	for live, want := range map[uint64]int{0: most, 1 << 20: most, 4 << 20: 400, 8 << 20: 200, 16 << 20: 100, 1 << 30: 100} {
		if got := percent(live); got != want {
			t.Errorf("%d bytes: %d%%, want %d%%", live, got, want)
		}
	}
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	for env, stays := range map[string]bool{"GOGC=100": true, "GOGCX=1": false} {
		synctest.Test(t, func(t *testing.T) {
			debug.SetGCPercent(99)
			ctx, cancel := context.WithCancel(t.Context())
			go spareCollector(ctx, []string{env})
			synctest.Wait()
			cancel()
			if got := debug.SetGCPercent(100); (got == 99) != stays {
				t.Errorf("%s: %d%%", env, got)
			}
		})
	}
}
