// Package workload fetches the token by which a program proves who it is, and
// keeps it fresh in a file: for the W&B SDK, the one that
// WANDB_IDENTITY_TOKEN_FILE names.
//
// A [Source] knows one way to come by a token: [Credentials] as a client of an
// issuer, [Device] with the help of a person, [Projected] from a file that
// somebody else keeps, [Command] from a program's output. A [Keeper] asks it in
// time and writes what it gives to a [File].
//
// Nothing is verified here: the token is for somebody else, who has the issuer's
// keys. It is only looked at, so that nothing that can't be right gets into the
// file: it must be a JWT that has not ended.
//
// No error of this package holds a secret.
package workload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// A Source gives a token. It may block for as long as a person needs, and ends
// with ctx.
type Source interface {
	Fetch(ctx context.Context) (Token, error)
}

// Token is what a source gave.
type Token struct {
	// Secret is the token itself.
	Secret Secret
	// Issued and Expires are what it says of itself (RFC 7519, section 4.1), or
	// what was said beside it; zero if nobody said.
	Issued, Expires time.Time
	// Claims are for the log; zero for a token that is no JWT.
	Claims Claims
}

// Secret is a text that shows as [secret], in a log, an error and JSON too.
type Secret string

const masked = "[secret]"

// String hides it.
func (Secret) String() string { return masked }

// Format hides it under every verb; without it %d would show it in its complaint
// about the verb.
func (Secret) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, masked) }

// LogValue hides it.
func (Secret) LogValue() slog.Value { return slog.StringValue(masked) }

// MarshalText hides it.
func (Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }

// final is an error that does not pass by itself: somebody has to mend something.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// Final says whether asking again can't help before somebody has mended
// something: the issuer does not know the client, say.
func Final(err error) bool {
	var f final
	if errors.As(err, &f) {
		return true
	}
	var no *Refusal
	return errors.As(err, &no) && no.final()
}
