package session

import (
	"errors"
	"fmt"
	"time"
)

const (
	maxKey = 200
	// maxValue bounds a stored value, in bytes.
	maxValue = 1 << 20
)

var (
	errKey = errors.New("session: a store key is 1 to 200 bytes of printable ASCII")
	errTTL = errors.New("session: a value needs a time to live above zero")
)

// checkKey refuses what a [Store] need not keep.
func checkKey(key string) error {
	if key == "" || len(key) > maxKey {
		return errKey
	}
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' {
			return errKey
		}
	}
	return nil
}

func checkWrite(value []byte, ttl time.Duration) error {
	if ttl <= 0 {
		return errTTL
	}
	if len(value) > maxValue {
		return fmt.Errorf("session: a value of %d bytes is over the store's limit of %d", len(value), maxValue)
	}
	return nil
}

const (
	// maxMember bounds the value of a member of an index, in bytes.
	maxMember = 8 << 10
	// maxMessage bounds a message, in bytes.
	maxMessage = 32 << 10
)

func checkMember(value []byte, ttl time.Duration) error {
	switch {
	case ttl <= 0:
		return errTTL
	case len(value) == 0:
		return errors.New("session: a member of an index needs a value")
	case len(value) > maxMember:
		return fmt.Errorf("session: a member of %d bytes is over the store's limit of %d", len(value), maxMember)
	}
	return nil
}

func checkMessage(message []byte) error {
	if len(message) > maxMessage {
		return fmt.Errorf("session: a message of %d bytes is over the store's limit of %d", len(message), maxMessage)
	}
	return nil
}
