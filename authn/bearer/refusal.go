package bearer

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"gatehouse/authn"
	"gatehouse/authn/issuer"
)

// refusal is a check that a token has failed. What was seen and what was expected
// are for the log; the sentence is for who sent the token.
type refusal struct {
	check    string
	sentence string
	seen     string
	expected string
}

func (r refusal) Error() string { return "token refused: " + r.check }

// Reason is the check, for counts.
func (r refusal) Reason() string { return r.check }

// unreadable refuses what looks like a JWT and can't be taken apart.
func unreadable(err error) refusal {
	if errors.Is(err, errEncrypted) {
		return refusal{check: "format", sentence: "The token is encrypted, which can’t be read here."}
	}
	return refusal{check: "format", sentence: "The token is not a signed JWT in compact form.", seen: err.Error()}
}

// notTrusted refuses a JWT of nobody whom the settings trust.
func (b *route) notTrusted(token string) refusal {
	said, err := claimsOf(token)
	if err != nil {
		return unreadable(err)
	}
	return refusal{check: "iss", sentence: "The token’s issuer (iss) is not trusted here.", seen: issuerOf(said), expected: strings.Join(b.issuerNames(), " ")}
}

// refused turns an error of a check into an answer of the chain, and logs it. A
// check that could not be made is an outage, whoever sent the token.
func (b *route) refused(ctx context.Context, log *slog.Logger, t *trusted, err error) error {
	var no refusal
	if !errors.As(err, &no) {
		if errors.Is(err, issuer.ErrUnavailable) || ctx.Err() != nil {
			return err
		}
		no = refusal{check: "claims", sentence: "A claim of the token is missing or has the wrong type.", seen: err.Error()}
	}
	if b.refusals.Allow() {
		line := log.With("check", no.check, "seen", authn.Bounded(no.seen), "expected", authn.Bounded(no.expected))
		if t != nil {
			line = line.With("issuer", t.settings.Issuer)
		}
		line.Info("token refused")
	}
	// What was seen is of the sender's making and size: it is not remembered.
	return &authn.Rejected{Sentence: no.sentence, Err: refusal{check: no.check}}
}
