package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/acme/autocert"

	"gatehouse/config"
)

const (
	// certificateKept is how long the store keeps a certificate or an account's key.
	certificateKept = 400 * 24 * time.Hour
	// claimTime is how long a replica may take to get a certificate.
	claimTime = 5 * time.Minute
)

// openKept is where the CA's certificates are kept: a directory, or else the store.
func openKept(c config.Config, store certificateStore) (keptCertificates, error) {
	if dir := c.Listen.TLS.ACME.CacheDir; dir != "" {
		return folder{autocert.DirCache(dir)}, nil
	}
	keys, err := openKeys(c)
	if err != nil {
		return nil, err
	}
	s := &sealedStore{store: store}
	for _, secret := range keys.Secrets("acme") {
		block, err := aes.NewCipher(secret[:32])
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, err
		}
		s.aeads = append(s.aeads, aead)
	}
	return s, nil
}

// folder keeps them in files (0600 in a directory that is made with 0700).
type folder struct{ autocert.DirCache }

// claim is always granted: a folder is one replica's.
func (folder) claim(context.Context, string) (bool, func(), error) { return true, func() {}, nil }

// certificateStore is the part of a session store that certificates need.
type certificateStore interface {
	Get(ctx context.Context, key string) ([]byte, bool, error)
	Set(ctx context.Context, key string, value []byte, ttl time.Duration) error
	Add(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error)
	Delete(ctx context.Context, keys ...string) error
}

// sealedStore keeps them in the session store, each sealed under the newest key of the
// ring and opened by any, for all replicas. Who reads the store learns nothing of it.
type sealedStore struct {
	store certificateStore
	aeads []cipher.AEAD
}

// key is the same whichever key of the ring is the newest. Names of hosts are no secret.
func (s *sealedStore) key(name string) string {
	sum := sha256.Sum256([]byte(name))
	return "acme:" + hex.EncodeToString(sum[:])
}

// Get implements autocert.Cache. What no key of the ring opens is not there.
func (s *sealedStore) Get(ctx context.Context, name string) ([]byte, error) {
	raw, found, err := s.store.Get(ctx, s.key(name))
	if err != nil {
		return nil, fmt.Errorf("the store of certificates: %w", err)
	}
	if found {
		for _, a := range s.aeads {
			if plain, err := a.Open(nil, nil, raw, []byte(name)); err == nil {
				return plain, nil
			}
		}
	}
	return nil, autocert.ErrCacheMiss
}

// Put implements autocert.Cache.
func (s *sealedStore) Put(ctx context.Context, name string, data []byte) error {
	return s.store.Set(ctx, s.key(name), s.aeads[0].Seal(nil, nil, data, []byte(name)), certificateKept) //nolint:gosec // it makes a random nonce itself
}

// Delete implements autocert.Cache.
func (s *sealedStore) Delete(ctx context.Context, name string) error {
	return s.store.Delete(ctx, s.key(name))
}

// claim is granted to one replica at a time.
func (s *sealedStore) claim(ctx context.Context, host string) (bool, func(), error) {
	key := s.key(host) + ":claim"
	mine, err := s.store.Add(ctx, key, []byte("1"), claimTime)
	if err != nil {
		return false, nil, fmt.Errorf("the store of certificates: %w", err)
	}
	done := func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = s.store.Delete(last, key) // or it ends by itself
	}
	return mine, done, nil
}

var errNoDirectory = errors.New("the CA's directory names nowhere to ask for certificates (RFC 8555, section 7.1.1)")
