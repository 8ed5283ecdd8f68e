package audit

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// file is a file that lines are appended to, by several processes perhaps. Who rotates it
// renames it: the next line goes into a new one.
type file struct {
	name string
	f    *os.File
	// last is the code of the line that the next one here goes after if nobody else has
	// written since, and end where that line ends in f; zero if it is in no file of ours.
	last string
	end  int64
}

func (f *file) open() error {
	const flags = os.O_APPEND | os.O_RDWR
	opened, err := os.OpenFile(f.name, flags, 0)
	if errors.Is(err, fs.ErrNotExist) {
		opened, err = os.OpenFile(f.name, flags|os.O_CREATE|os.O_EXCL, 0o600)
		switch {
		case errors.Is(err, fs.ErrExist): // another was quicker
			opened, err = os.OpenFile(f.name, flags, 0)
		case err == nil:
			err = handOver(opened)
		}
	}
	if err != nil {
		return err
	}
	f.f, f.end = opened, 0
	return nil
}

// take locks the file that has the name now. One that has lost it is read to its end
// under its lock: nobody writes to it any more.
func (f *file) take() error {
	for {
		if f.f == nil {
			if err := f.open(); err != nil {
				return err
			}
		}
		if err := lock(f.f); err != nil {
			return err
		}
		if f.named() {
			return nil
		}
		if _, after, err := f.tail(); err == nil {
			f.last = after
		}
		_ = f.f.Close() // all lines have been written; this unlocks it too
		f.f = nil
	}
}

// named reports whether the open file still has its name.
func (f *file) named() bool {
	here, err := f.f.Stat()
	named, gone := os.Stat(f.name)
	return err == nil && gone == nil && os.SameFile(here, named)
}

func (f *file) write(line func(after string) ([]byte, error)) (err error) {
	if err := f.take(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock(f.f)) }()
	size, after, err := f.tail()
	if err != nil {
		return err
	}
	text, err := line(after)
	if err != nil {
		return err
	}
	last := lastCode(text)
	if f.torn(size) {
		text = append([]byte{'\n'}, text...)
	}
	if n, err := f.f.Write(text); err != nil || n < len(text) {
		if err == nil {
			err = io.ErrShortWrite
		}
		return errors.Join(err, f.f.Truncate(size)) // no torn line
	}
	f.last, f.end = last, size+int64(len(text))
	return nil
}

// maxLine bounds a line, in bytes: each byte of its texts may be written as six.
const maxLine = 256 << 10

// tail is the file's size and the code that the next line goes after: that of the last
// one. If the line is gone that was written last from here, it is that one's all the same:
// that lines were cut off is seen then.
func (f *file) tail() (size int64, after string, err error) {
	info, err := f.f.Stat()
	if err != nil {
		return 0, "", err
	}
	size = info.Size()
	switch {
	case size == 0, size == f.end:
		return size, f.last, nil
	case f.end > 0 && f.last != "":
		if mine, err := f.codeAt(min(f.end, size)); err != nil || size < f.end || mine != f.last {
			return size, f.last, err
		}
	}
	after, err = f.codeAt(size)
	return size, after, err
}

// codeAt is the code of the line that ends there.
func (f *file) codeAt(end int64) (string, error) {
	text := make([]byte, min(end, maxLine))
	if _, err := f.f.ReadAt(text, end-int64(len(text))); err != nil {
		return "", err
	}
	return lastCode(text), nil
}

// torn reports whether the file ends within a line, as after a crash.
func (f *file) torn(size int64) bool {
	if size == 0 || size == f.end {
		return false
	}
	last := []byte{0}
	_, err := f.f.ReadAt(last, size-1)
	return err == nil && last[0] != '\n'
}

// Close closes the file.
func (f *file) Close() error {
	if f.f == nil {
		return nil
	}
	open := f.f
	f.f = nil
	return open.Close()
}
