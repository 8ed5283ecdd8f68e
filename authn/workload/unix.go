//go:build unix

package workload

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
)

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

// unsupported tells a file system whose directories can't be synced.
func unsupported(err error) bool {
	return errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EBADF)
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
