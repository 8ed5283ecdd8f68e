package workload

import (
	"errors"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestFileModes(t *testing.T) {
	for name, umask := range map[string]int{"an open umask": 0, "a closed umask": 0o777} {
		t.Run(name, func(t *testing.T) {
			f := tempFile(t)
			was := syscall.Umask(umask) // of the whole process: no test here is parallel
			err := f.Write("one")
			syscall.Umask(was)
			if err != nil {
				t.Fatal(err)
			}
			assertHolds(t, f, "one")
			assertMode(t, f)
			if err := os.Chmod(string(f), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := f.Write("two"); err != nil {
				t.Fatal(err)
			}
			assertHolds(t, f, "two")
			assertMode(t, f)
			assertAlone(t, f)
		})
	}
}

// The same text is not written again, but others must not go on reading it.
func TestFileModeIsMended(t *testing.T) {
	open := func(t *testing.T, f File) {
		t.Helper()
		if err := os.Chmod(string(f), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("of the token", func(t *testing.T) {
		f, l, text := tempFile(t), &log{}, lasting(t, "first", time.Hour)
		same := func() (Token, error) { return Rules{}.read(text, time.Now()) }
		k := &Keeper{Source: plan(same, same), File: f, Log: l.logger()}
		for range 2 {
			if err := k.Once(t.Context()); err != nil {
				t.Fatal(err)
			}
			assertMode(t, f)
			open(t, f)
		}
		if l.count("token written") != 1 {
			t.Errorf("the log is\n%s", l)
		}
	})
	t.Run("of the refresh token", func(t *testing.T) {
		f := tempFile(t)
		if err := f.Write("{}"); err != nil {
			t.Fatal(err)
		}
		open(t, f)
		r := refreshToken{file: f}
		if err := errors.Join(r.open(), r.close()); err != nil {
			t.Fatal(err)
		}
		assertMode(t, f)
	})
	t.Run("of no file that has come in between", func(t *testing.T) {
		f, other := tempFile(t), tempFile(t)
		if err := errors.Join(f.Write("seen"), other.Write("not seen")); err != nil {
			t.Fatal(err)
		}
		open(t, f)
		open(t, other)
		seen, err := f.stat()
		if err != nil {
			t.Fatal(err)
		}
		if err := tighten(string(other), seen); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(string(other)); err != nil || info.Mode() != 0o644 {
			t.Errorf("its mode is %v, %v", info.Mode(), err)
		}
	})
}

func assertMode(t *testing.T, f File) {
	t.Helper()
	info, err := os.Lstat(string(f))
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
}

// assertAlone wants nothing beside the file, if even that.
func assertAlone(t *testing.T, f File) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(string(f)))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != filepath.Base(string(f)) {
			t.Errorf("%s was left behind", e.Name())
		}
	}
}

func TestFileKeepsItsOwner(t *testing.T) {
	f := tempFile(t)
	if err := f.Write("one"); err != nil {
		t.Fatal(err)
	}
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 { // nobody else may give files away
		uid, gid = 1234, 2345
		if err := os.Chmod(filepath.Dir(string(f)), 0o755); err != nil { // whatever the umask
			t.Fatal(err)
		}
		if err := os.Chown(string(f), uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Write("two"); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(string(f))
	if err != nil {
		t.Fatal(err)
	}
	if is := info.Sys().(*syscall.Stat_t); int(is.Uid) != uid || int(is.Gid) != gid {
		t.Errorf("the owner is %d:%d, want %d:%d", is.Uid, is.Gid, uid, gid)
	}
	assertMode(t, f)
}

// Who comes first in a directory of many must not be handed the secret.
func TestFileOfSomebodyElse(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("only root can make a file of somebody else: run the tests as root")
	}
	const us, other, third = 0, 1234, 2345
	for name, tt := range map[string]struct {
		dirMode        fs.FileMode
		dirOwner, file int
		refused        bool
	}{
		"made first in a sticky directory":           {fs.ModeSticky | 0o777, us, other, true},
		"made first in an open directory":            {0o777, us, other, true},
		"made first in a group's directory":          {0o770, us, other, true},
		"in a directory of their own":                {0o700, other, other, true},
		"in a third one's directory":                 {0o755, third, other, true},
		"in a directory of ours":                     {0o755, us, other, false},
		"our own, in a sticky directory":             {fs.ModeSticky | 0o777, us, us, false},
		"our own, in a directory of somebody else's": {0o777, other, us, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := tempFile(t)
			dir := filepath.Dir(string(f))
			err := errors.Join(os.WriteFile(string(f), []byte("theirs"), 0o666), os.Chown(string(f), tt.file, tt.file),
				os.Chown(dir, tt.dirOwner, tt.dirOwner), os.Chmod(dir, tt.dirMode))
			if err != nil {
				t.Fatal(err)
			}
			err = f.Write("secret")
			if !tt.refused {
				assertHolds(t, f, "secret")
				return
			}
			assertError(t, err, "token: belongs to user 1234, who may have put it there", "secret")
			if !Final(err) {
				t.Error("that would pass")
			}
			if _, _, err := f.Read(); err == nil {
				t.Error("what somebody else wrote is read")
			}
			if text, err := os.ReadFile(string(f)); err != nil || string(text) != "theirs" {
				t.Errorf("it now holds %q, %v", text, err)
			}
			assertAlone(t, f)
		})
	}
}

func TestFileRefuses(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(at("precious"), []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{os.Symlink("precious", at("link")), os.Symlink("nowhere", at("dangling")), os.Mkdir(at("dir"), 0o700), syscall.Mkfifo(at("fifo"), 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"link":                   "link: is a symbolic link",
		"dangling":               "dangling: is a symbolic link",
		"dir":                    "is not a plain file",
		"fifo":                   "is not a plain file",
		"missing/token":          "missing/token: no such file or directory",
		"precious/token":         "precious/token: not a directory",
		strings.Repeat("n", 250): "file name too long",
	} {
		err := File(at(name)).Write("secret")
		assertError(t, err, want, "secret", ".new")
		stays := strings.Contains(want, "link") || strings.Contains(want, "plain")
		if Final(err) != stays {
			t.Errorf("%s: final is %v", name, Final(err))
		}
		if _, _, err := File(at(name)).Read(); stays && err == nil {
			t.Errorf("%s is read", name)
		}
	}
	if text, err := os.ReadFile(at("precious")); err != nil || string(text) != "precious" {
		t.Errorf("the link's target now holds %q, %v", text, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 5 {
		t.Errorf("there are %d files, %v", len(entries), err)
	}

	t.Run("a link to the directory is the operator's own", func(t *testing.T) {
		if err := os.Symlink("dir", at("run")); err != nil {
			t.Fatal(err)
		}
		if err := File(at("run/token")).Write("one"); err != nil {
			t.Fatal(err)
		}
		assertHolds(t, File(at("dir/token")), "one")
	})
	t.Run("a name without a directory", func(t *testing.T) {
		t.Chdir(dir)
		if err := File("token").Write("one"); err != nil {
			t.Fatal(err)
		}
		assertHolds(t, File(at("token")), "one")
	})
}

// TestFileOnAFullDisk has the system cut writes short, as a full disk does.
func TestFileOnAFullDisk(t *testing.T) {
	f := tempFile(t)
	if err := f.Write("the old token"); err != nil {
		t.Fatal(err)
	}
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 16, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	err := f.Write("a new token that does not fit")
	if back := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was); back != nil {
		t.Fatal(back)
	}
	assertError(t, err, string(f)+": file too large", "a new token")
	if !errors.Is(err, syscall.EFBIG) {
		t.Errorf("%v is no EFBIG", err)
	}
	assertHolds(t, f, "the old token")
	assertAlone(t, f)
}

// TestFileInAReadOnlyDirectory uses one that even root can't write to.
func TestFileInAReadOnlyDirectory(t *testing.T) {
	err := File("/proc/self/token").Write("secret")
	assertError(t, err, "write /proc/self/token: ", "secret")
	if os.Geteuid() == 0 {
		return
	}
	f := tempFile(t)
	if err := f.Write("old"); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(string(f))
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir, 0o700)
	if err := f.Write("new"); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("%v is no refusal", err)
	}
	assertHolds(t, f, "old")
}

// TestFileIsNeverTorn reads all the time while it is written.
func TestFileIsNeverTorn(t *testing.T) {
	f := tempFile(t)
	long, short := strings.Repeat("l", 60_000), "s"
	if err := f.Write(Secret(short)); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				text, err := os.ReadFile(string(f))
				if err != nil || string(text) != long && string(text) != short {
					t.Errorf("%d bytes were read, %v", len(text), err)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for i := range 100 {
		text := long
		if i%2 == 1 {
			text = short
		}
		if err := f.Write(Secret(text)); err != nil {
			t.Error(err)
			break
		}
	}
	close(done)
	readers.Wait()
}

func TestSweep(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	good, over := now.Add(time.Second), now
	for name, tt := range map[string]struct {
		text  string
		known time.Time
		gone  bool
		ends  time.Time
	}{
		"ended":                           {jwt(`{"exp":1800000000}`), good, true, time.Time{}},
		"ended, with a line end":          {jwt(`{"exp":1}`) + "\n", good, true, time.Time{}},
		"good":                            {jwt(`{"exp":1800000001}`), over, false, good},
		"for ever":                        {jwt(`{}`), over, false, time.Time{}},
		"opaque, of somebody else":        {"wb_at_1234", over, false, time.Time{}},
		"opaque, and known to have ended": {"known", over, true, time.Time{}},
		"opaque, and known to be good":    {"known", good, false, good},
		"opaque, and nobody knows":        {"known", time.Time{}, false, time.Time{}},
		"something else altogether":       {"# my notes\n", over, false, time.Time{}},
		"a file with nothing inside":      {"", over, false, time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			f := tempFile(t)
			if err := f.Write(Secret(tt.text)); err != nil {
				t.Fatal(err)
			}
			ends, gone, err := f.sweep(now, Token{Secret: "known", Expires: tt.known})
			_, there, _ := f.Read()
			if err != nil || gone != tt.gone || there == gone {
				t.Errorf("gone %v (%v), there %v", gone, err, there)
			}
			if !ends.Equal(tt.ends) {
				t.Errorf("it ends at %s, want %s", ends, tt.ends)
			}
		})
	}
	if _, gone, err := tempFile(t).sweep(now, Token{Expires: now}); gone || err != nil {
		t.Errorf("no file: %v, %v", gone, err)
	}
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	fifo, big := filepath.Join(dir, "fifo"), filepath.Join(dir, "big")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(big, make([]byte, 11), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := readFile(fifo, 10)
	assertError(t, err, "is not a plain file")
	_, err = readFile(big, 10)
	assertError(t, err, "longer than 10 bytes")
	if text, err := readFile(big, 11); err != nil || len(text) != 11 {
		t.Errorf("%d bytes, %v", len(text), err)
	}
}
