//go:build unix

package workload

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
)

// trust refuses a plain file that somebody else may have put at this place to be
// handed what is written there. A file of this user or of root can't be one. One of
// anybody else must be the doing of this user or of root: nobody else may write to
// its directory. A sticky bit does not help, for who comes first.
func trust(info fs.FileInfo, dir string) error {
	file, ok := info.Sys().(*syscall.Stat_t)
	us := uint32(os.Geteuid()) //nolint:gosec // on unix it is one
	if !ok || file.Uid == us || file.Uid == 0 {
		return nil
	}
	d, err := os.Stat(dir)
	if err != nil {
		return err
	}
	owner, ok := d.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid != us && owner.Uid != 0 || d.Mode().Perm()&0o022 != 0 {
		return final{fmt.Errorf("belongs to user %d, who may have put it there: remove it, or let only this user and root write to its directory", file.Uid)}
	}
	return nil
}

// keepOwner gives file the owner and group of a former one.
func keepOwner(file *os.File, former fs.FileInfo) error {
	is, err := file.Stat()
	if err != nil {
		return err
	}
	was, ok := former.Sys().(*syscall.Stat_t)
	now, isToo := is.Sys().(*syscall.Stat_t)
	if !ok || !isToo || was.Uid == now.Uid && was.Gid == now.Gid {
		return nil
	}
	return file.Chown(int(was.Uid), int(was.Gid))
}

// tighten gives a plain file that is there, and was looked at, mode 0600.
func tighten(name string, seen fs.FileInfo) error {
	if seen.Mode().Perm() == 0o600 {
		return nil
	}
	file, err := openHere(name, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer file.Close()
	if is, err := file.Stat(); err != nil || !os.SameFile(is, seen) {
		return err // another one by now, which is not ours to change
	}
	return file.Chmod(0o600)
}

// unsupported tells a file system whose directories can't be synced.
func unsupported(err error) bool {
	return errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EBADF)
}

// openHere opens what is at this very place, and follows no link there. It does
// not wait for whoever has the other end of a pipe.
func openHere(name string, flag int) (*os.File, error) {
	return os.OpenFile(name, flag|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600) //nolint:gosec // the operator names it
}

// lock holds a file against other processes for as long as it is open.
func lock(file *os.File) error {
	return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

// alone makes cmd and whatever it starts end together.
func alone(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
