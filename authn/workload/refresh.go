package workload

import (
	"encoding/json/v2"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// keptToken is what is in a file of refresh tokens. It names whom the token is
// for: another issuer or client must not get it.
type keptToken struct {
	Issuer  string `json:"issuer"`
	Client  string `json:"client_id"`
	Refresh string `json:"refresh_token"`
}

// refreshToken is the latest refresh token. It is in memory, and if there is a
// file also there, before anything that came with it is used.
type refreshToken struct {
	file           File
	issuer, client string

	token  string
	locked *os.File // held as long as this process may use the file
	saved  bool
}

// open reads the file, once, and keeps other processes out: two that share a
// rotating token end it for both.
func (r *refreshToken) open() error {
	if r.file == "" || r.locked != nil {
		return nil
	}
	beside := r.file + ".lock"
	if _, err := beside.stat(); err != nil { // it says what is wrong; openHere only makes sure
		return fmt.Errorf("refresh token: %s: %w", string(beside), cause(err))
	}
	guard, err := openHere(string(beside), os.O_CREATE|os.O_RDWR)
	if err != nil {
		return fmt.Errorf("refresh token: %w", err)
	}
	if err := lock(guard); err != nil {
		return errors.Join(final{fmt.Errorf("refresh token: another gatehouse uses %s", string(r.file))}, guard.Close())
	}
	text, there, err := r.file.Read() // not before: the other one may have changed it
	if err == nil {
		err = r.file.tighten()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("refresh token: %s: %w", string(r.file), cause(err)), guard.Close())
	}
	r.locked = guard
	if !there {
		return nil
	}
	var kept keptToken
	if decode([]byte(text), &kept) != nil || kept.Issuer != r.issuer || kept.Client != r.client {
		return nil
	}
	r.token, r.saved = kept.Refresh, true
	return nil
}

// set replaces the token. If it can't be written, the former one is at least
// removed: it may have been used up, and must not be used again.
func (r *refreshToken) set(token string) error {
	if token == r.token && r.saved {
		return nil
	}
	r.token, r.saved = token, false
	if r.file == "" {
		return nil
	}
	text, err := json.Marshal(keptToken{r.issuer, r.client, token}, json.Deterministic(true))
	if err == nil {
		err = r.file.Write(Secret(text))
	}
	if err == nil {
		r.saved = true
		return nil
	}
	if gone := os.Remove(string(r.file)); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return fmt.Errorf("refresh token: %w", err)
}

// forget drops a token that is worth nothing any more.
func (r *refreshToken) forget() error {
	r.token, r.saved = "", false
	if r.file == "" {
		return nil
	}
	if err := os.Remove(string(r.file)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("refresh token: %w", err)
	}
	return nil
}

// close lets others have the file.
func (r *refreshToken) close() error {
	if r.locked == nil {
		return nil
	}
	err := r.locked.Close()
	r.locked = nil
	return err
}
