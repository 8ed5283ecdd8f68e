package session

import (
	"context"
	"time"
)

// Store keeps bytes under keys for a while. It knows nothing of sessions.
//
// Every method obeys the context's deadline. An error means "could not find
// out or could not do it" and nothing else: absence is not an error. A key is
// printable ASCII of at most 200 bytes; callers hash what they don't control. Every
// value has a time to live above zero; there are no eternal keys. Values are
// copied, so neither side sees the other's later changes.
//
// Every implementation passes sessiontest.Run.
type Store interface {
	// Get returns the value, and whether there is one.
	Get(ctx context.Context, key string) (value []byte, found bool, err error)
	// Set writes the value, whether or not there was one before.
	Set(ctx context.Context, key string, value []byte, ttl time.Duration) error
	// Add writes the value only if there is none and says whether it did. Of
	// any number of callers at once, one is told true. Locks and replay marks
	// are made of it.
	Add(ctx context.Context, key string, value []byte, ttl time.Duration) (added bool, err error)
	// Swap writes next only if the value is old, byte for byte, and says whether
	// it did. A nil next deletes. With next equal to old it prolongs.
	Swap(ctx context.Context, key string, old, next []byte, ttl time.Duration) (swapped bool, err error)
	// Touch sets the time to live of an existing value. Absence is no error.
	Touch(ctx context.Context, key string, ttl time.Duration) error
	// Delete removes the value. Absence is no error.
	Delete(ctx context.Context, key string) error
	// Ping reports whether the store can be reached.
	Ping(ctx context.Context) error
	// Close gives back what the store holds.
	Close() error
}
