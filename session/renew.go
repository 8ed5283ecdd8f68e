package session

import (
	"context"
	"time"
)

type renewals struct{}

func newRenewals() *renewals { return &renewals{} }

func (*renewals) close() {}

func (s *Sessions) due(rec record, now time.Time) bool { return false }

func (s *Sessions) renewed(ctx context.Context, t ticket, rec record) (record, error) {
	return rec, nil
}
