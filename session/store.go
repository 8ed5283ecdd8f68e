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
	// Delete removes the values, all with one question. Absence is no error.
	Delete(ctx context.Context, keys ...string) error

	// Enter writes a member of an index, in place of one of the same name. An index
	// is a key of its own: a set of members, each with a value and a time to live.
	Enter(ctx context.Context, index, member string, value []byte, ttl time.Duration) error
	// Update writes the value of a member only if it is there and was not retired,
	// and says whether it did. Its time to live begins anew.
	Update(ctx context.Context, index, member string, value []byte, ttl time.Duration) (updated bool, err error)
	// Retire takes the values of members away, so that no Update brings them back. They
	// stay in the index, with nothing in them, until they Leave.
	Retire(ctx context.Context, index string, members ...string) error
	// Leave removes members. Absence is no error.
	Leave(ctx context.Context, index string, members ...string) error
	// Members returns every member of an index and its value, with one question; of
	// those whose time is over, some may still be there.
	Members(ctx context.Context, index string) (map[string][]byte, error)
	// Indexes calls f with every index whose key begins with prefix, in no order, until
	// f says false. What comes or goes meanwhile may be missed, and some be seen twice.
	Indexes(ctx context.Context, prefix string, f func(index string) bool) error

	// Publish sends a message of at most 32 KiB to whoever listens, in all processes
	// that share the store.
	Publish(ctx context.Context, message []byte) error
	// Listen calls hear with each message that is published after it has called ready,
	// one at a time, until ctx is over or a message may have been lost; then it returns
	// why.
	Listen(ctx context.Context, ready func(), hear func(message []byte)) error

	// Ping reports whether the store can be reached.
	Ping(ctx context.Context) error
	// Close gives back what the store holds.
	Close() error
}
