package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/acme/autocert"

	"gatehouse/config"
	"gatehouse/session"
)

const (
	// certificateKept is how long the store keeps a certificate or an account's key.
	certificateKept = 400 * 24 * time.Hour
	// claimTime is how long a replica may take to get a certificate.
	claimTime = 5 * time.Minute
)

// openKept is where the CA's certificates are kept: a directory, or else the store. Now
// says the settings and the store that count at that moment.
func openKept(a config.ACME, now func() (config.Config, session.Store)) keptCertificates {
	if a.CacheDir != "" {
		return folder{autocert.DirCache(a.CacheDir)}
	}
	return sealedStore{now}
}

// folder keeps them in files (0600 in a directory that is made with 0700).
type folder struct{ autocert.DirCache }

// claim is always granted: a folder is one replica's.
func (folder) claim(context.Context, string) (bool, func(), error) { return true, func() {}, nil }

// sealedStore keeps them in the session store, each sealed under the newest key of the
// ring and opened by any, for all replicas. Who reads the store learns nothing of it.
type sealedStore struct {
	now func() (config.Config, session.Store)
}

// certificateKey is the same whichever key of the ring is the newest. Names of hosts are no
// secret.
func certificateKey(name string) string {
	sum := sha256.Sum256([]byte(name))
	return "acme:" + hex.EncodeToString(sum[:])
}

// aeads are the ciphers of the ring, newest first. They are made for each use, which is
// rare.
func aeads(c config.Config) ([]cipher.AEAD, error) {
	keys, err := openKeys(c)
	if err != nil {
		return nil, err
	}
	var out []cipher.AEAD
	for _, secret := range keys.Secrets("acme") {
		block, err := aes.NewCipher(secret[:32])
		if err != nil {
			return nil, err
		}
		a, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// Get implements autocert.Cache. What no key of the ring opens is not there.
func (s sealedStore) Get(ctx context.Context, name string) ([]byte, error) {
	c, store := s.now()
	ring, err := aeads(c)
	if err != nil {
		return nil, err
	}
	raw, found, err := store.Get(ctx, certificateKey(name))
	if err != nil {
		return nil, fmt.Errorf("the store of certificates: %w", err)
	}
	if found {
		for _, a := range ring {
			if plain, err := a.Open(nil, nil, raw, []byte(name)); err == nil {
				return plain, nil
			}
		}
	}
	return nil, autocert.ErrCacheMiss
}

// Put implements autocert.Cache.
func (s sealedStore) Put(ctx context.Context, name string, data []byte) error {
	c, store := s.now()
	ring, err := aeads(c)
	if err != nil {
		return err
	}
	return store.Set(ctx, certificateKey(name), ring[0].Seal(nil, nil, data, []byte(name)), certificateKept) //nolint:gosec // it makes a random nonce itself
}

// Delete implements autocert.Cache.
func (s sealedStore) Delete(ctx context.Context, name string) error {
	_, store := s.now()
	return store.Delete(ctx, certificateKey(name))
}

// claim is granted to one replica at a time.
func (s sealedStore) claim(ctx context.Context, host string) (bool, func(), error) {
	_, store := s.now()
	key := certificateKey(host) + ":claim"
	claim := []byte(rand.Text())
	mine, err := store.Add(ctx, key, claim, claimTime)
	if err != nil {
		return false, nil, fmt.Errorf("the store of certificates: %w", err)
	}
	done := func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_, _ = store.Swap(last, key, claim, nil, 0) // or it ends by itself; it may be another's by now
	}
	return mine, done, nil
}

var errNoDirectory = errors.New("the CA's directory names nowhere to ask for certificates (RFC 8555, section 7.1.1)")
