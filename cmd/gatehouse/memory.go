package main

import (
	"context"
	"log/slog"
	"math"
	"runtime/debug"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

const (
	// memoryShare is how much of the container's memory Go may take: the rest is the
	// kernel's, for connections.
	memoryShare = 0.9
	// memoryLook is how often it is looked whether there is more or less of it.
	memoryLook = time.Minute
)

// limitMemory has garbage collected in time where a container's limit would otherwise
// end the process, until ctx ends. GOMEMLIMIT has the last word, and GOMAXPROCS needs
// none of this: Go itself heeds the container's quota of processors.
func limitMemory(ctx context.Context, of memlimit.Provider, log *slog.Logger) {
	_, err := memlimit.Set(memlimit.WithProvider(of), memlimit.WithRatio(memoryShare), memlimit.WithRefreshInterval(ctx, memoryLook))
	if err != nil {
		log.Debug("the memory that there is can't be found out; GOMEMLIMIT says it", "err", err)
		return
	}
	if limit := debug.SetMemoryLimit(-1); limit != math.MaxInt64 {
		log.Info("memory is limited", "bytes", limit)
	}
}
