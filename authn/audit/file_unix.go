//go:build unix

package audit

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// lock keeps other processes from writing to a file meanwhile.
func lock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX) }

func unlock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }

// handOver gives a file that root has made to whom its directory belongs: they are who
// writes to it from then on.
func handOver(f *os.File) error {
	if os.Geteuid() != 0 {
		return nil
	}
	dir, err := os.Stat(filepath.Dir(f.Name()))
	if err == nil {
		if s, ok := dir.Sys().(*syscall.Stat_t); ok {
			err = f.Chown(int(s.Uid), int(s.Gid))
		}
	}
	if err == nil || errors.Is(err, fs.ErrPermission) { // it stays root's where root may not
		return nil
	}
	return errors.Join(err, f.Close())
}
