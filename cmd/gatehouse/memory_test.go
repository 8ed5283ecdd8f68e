package main

import (
	"context"
	"errors"
	"math"
	"runtime/debug"
	"testing"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

func TestMemoryLimit(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, step := range []struct {
		name string
		of   memlimit.Provider
		want int64
	}{
		{"a container with 1 GiB", memlimit.Limit(1 << 30), 966367641},
		{"one whose limit can't be read", func() (uint64, error) { return 0, errors.New("no cgroup here") }, 966367641},
		{"one without", func() (uint64, error) { return 0, memlimit.ErrNoLimit }, math.MaxInt64},
	} {
		limitMemory(ctx, step.of, newLogger(configLog(), &lockedBuffer{}))
		if got := debug.SetMemoryLimit(-1); got != step.want {
			t.Errorf("%s: %d, want %d", step.name, got, step.want)
		}
	}
	t.Setenv("GOMEMLIMIT", "200MiB")
	debug.SetMemoryLimit(200 << 20)
	limitMemory(ctx, memlimit.Limit(1<<30), newLogger(configLog(), &lockedBuffer{}))
	if got := debug.SetMemoryLimit(-1); got != 200<<20 {
		t.Errorf("GOMEMLIMIT counts for nothing: %d", got)
	}
}
