package workload

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// File is where a secret is kept. Who reads it sees the whole former text or the
// whole new one, at any time and after a crash.
//
// It is a plain file of mode 0600, whatever the umask. If there is one already,
// its owner and group stay; but one of another user is refused, unless only this
// user and root may write to the directory: the other one could have put it there
// to be handed the secret. A symbolic link at its place is refused and not
// followed: who may write to the directory could otherwise have the secret, or
// what a more powerful user owns, replaced. Links on the way to the directory are
// the operator's own, and followed.
type File string

// Write replaces what the file holds. Text is written as it is: a line end after
// it would be part of the token to SDKs up to 0.28.1.
func (f File) Write(text Secret) error {
	if err := f.write(text); err != nil {
		return fmt.Errorf("write %s: %w", string(f), cause(err))
	}
	return nil
}

// cause leaves out the name of the temporary file, which says nothing to anybody.
func cause(err error) error {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return p.Err
	}
	if l := (*os.LinkError)(nil); errors.As(err, &l) {
		return l.Err
	}
	return err
}

func (f File) write(text Secret) error {
	former, err := f.stat()
	if err != nil {
		return err
	}
	dir, name := f.split()
	temp, err := os.CreateTemp(dir, "."+name+".*.new")
	if err != nil {
		return err
	}
	err = errors.Join(fill(temp, text, former), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), string(f))
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return syncDir(dir)
}

// split leaves the directory as it is spelled: cleaned, one like link/.. would be
// another.
func (f File) split() (dir, name string) {
	dir, name = filepath.Split(string(f))
	if dir == "" {
		dir = "."
	}
	return dir, name
}

// stat is nil for a file that is not there yet, and an error for one that is none
// of ours.
func (f File) stat() (fs.FileInfo, error) {
	info, err := os.Lstat(string(f))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case info.Mode()&fs.ModeSymlink != 0:
		return nil, final{errors.New("is a symbolic link; name the file itself")}
	case !info.Mode().IsRegular():
		return nil, final{errors.New("is not a plain file")}
	}
	dir, _ := f.split()
	return info, trust(info, dir)
}

// fill makes temp ready to take the place of a former file, down to the disk.
func fill(temp *os.File, text Secret, former fs.FileInfo) error {
	if err := temp.Chmod(0o600); err != nil { // the umask may have taken even these
		return err
	}
	if former != nil {
		if err := keepOwner(temp, former); err != nil {
			return fmt.Errorf("keep its owner: %w", err)
		}
	}
	if _, err := io.WriteString(temp, string(text)); err != nil {
		return err
	}
	return temp.Sync()
}

// syncDir makes a rename last.
func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the operator names it
	if err != nil {
		return err
	}
	defer d.Close()
	// Some file systems can't, and have nothing to make last.
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !unsupported(err) {
		return err
	}
	return nil
}

// Read returns what the file holds, and false if it is not there.
func (f File) Read() (Secret, bool, error) {
	if info, err := f.stat(); info == nil || err != nil {
		return "", false, err
	}
	text, err := readFile(string(f), maxToken)
	return Secret(text), err == nil, err
}

// holds says whether the file holds text. If so, its mode is 0600 again, whoever
// has changed that.
func (f File) holds(text Secret) (bool, error) {
	is, there, err := f.Read()
	if err != nil || !there || is != text {
		return false, nil //nolint:nilerr // what can't be read does not hold it
	}
	return true, f.tighten()
}

// tighten gives the file mode 0600, if it is there.
func (f File) tighten() error {
	info, err := f.stat()
	if info == nil || err != nil {
		return err
	}
	if err := tighten(string(f), info); err != nil {
		return fmt.Errorf("make %s mode 0600: %w", string(f), cause(err))
	}
	return nil
}

// sweep removes the file if it holds a token that has ended: a server would refuse
// it, and a program that waits for the file to appear would take it for good. A JWT
// says itself when it ends; of what else there is, only known can. It returns
// whether it did, and when one that is still good ends; zero if nobody knows.
func (f File) sweep(now time.Time, known Token) (ends time.Time, gone bool, err error) {
	text, there, err := f.Read()
	if err != nil || !there {
		return time.Time{}, false, err
	}
	if t, err := parseJWT(strings.TrimSpace(string(text))); err == nil {
		ends = t.Expires
	}
	if ends.IsZero() && text == known.Secret {
		ends = known.Expires
	}
	if ends.IsZero() || now.Before(ends) {
		return ends, false, nil
	}
	return time.Time{}, true, os.Remove(string(f))
}

// readFile reads a plain file, or what a link leads to, of at most limit bytes.
// Anything else might block for ever.
func readFile(name string, limit int64) (string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a plain file", name)
	}
	file, err := os.Open(name) //nolint:gosec // the operator names it
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return "", err
	}
	if int64(len(text)) > limit {
		return "", fmt.Errorf("%s is longer than %d bytes", name, limit)
	}
	return string(text), nil
}
