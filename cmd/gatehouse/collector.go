package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strings"
	"time"
)

const (
	// spare is how much garbage may lie around before it is collected, in bytes. Go
	// would collect when there is as much as of what lives, which is next to nothing
	// in a gateway, some hundred times a second.
	spare = 16 << 20
	// most is a bound for that in percent of what lives, at the beginning.
	most = 800
	// lookAgain is when it is looked how much lives.
	lookAgain = 10 * time.Second
)

// spareCollector lets the garbage collector run less often while little lives, until
// ctx ends. Once much does, it is Go's default again. It leaves GOMEMLIMIT its say,
// and GOGC the last word.
func spareCollector(ctx context.Context, env []string) {
	if slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, "GOGC=") }) {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	for tick := time.NewTicker(lookAgain); ; {
		metrics.Read(live)
		debug.SetGCPercent(percent(live[0].Value.Uint64()))
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
	}
}

// percent is how much garbage there may be, of what lives.
func percent(live uint64) int {
	if live == 0 {
		return most
	}
	return int(max(100, min(most, spare*100/live)))
}
