//go:build unix

package audit

import (
	"os"
	"syscall"
)

// lock keeps other processes from writing to a file meanwhile.
func lock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX) }

func unlock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }
