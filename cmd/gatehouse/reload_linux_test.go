package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"gatehouse/config"
)

// TestReloadSeesEveryChange: whenever the file changes while it is being loaded, either
// that is what is loaded, or it is seen as a change.
func TestReloadSeesEveryChange(t *testing.T) {
	big := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(big, bytes.Repeat([]byte("x"), maxWatched), 0o600); err != nil {
		t.Fatal(err)
	}
	for reads := 1; reads <= 4; reads++ {
		r := newReloading(t, nil)
		former := r.live.now.Load().settings
		for i := range 10 { // files that take a while to look at
			name := filepath.Join(t.TempDir(), fmt.Sprint("f", i))
			if err := os.Link(big, name); err != nil {
				t.Fatal(err)
			}
			former.Authn = append(former.Authn, config.Route{Name: fmt.Sprint("r", i), OIDC: &config.OIDC{ClientKeyFile: name}})
		}
		wrote := afterReads(t, r.file, reads, func() { r.write(r.text(denied)) })
		c, err := r.settings(former)
		if err != nil {
			t.Fatal(err)
		}
		<-wrote
		if len(c.Policy) == 0 && r.digest(c) == r.tried {
			t.Errorf("after %d reads: what was loaded is from before the change, and counts as loaded", reads)
		}
	}
}

// afterReads calls f once a file has been read so many times.
func afterReads(t *testing.T, file string, reads int, f func()) <-chan struct{} {
	t.Helper()
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := syscall.InotifyAddWatch(fd, file, syscall.IN_CLOSE_NOWRITE); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer syscall.Close(fd)
		buffer := make([]byte, 4096)
		for seen := 0; seen < reads; {
			n, err := syscall.Read(fd, buffer)
			if err != nil {
				t.Error(err)
				return
			}
			seen += n / syscall.SizeofInotifyEvent
		}
		f()
	}()
	return done
}
