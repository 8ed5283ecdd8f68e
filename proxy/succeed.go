package proxy

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"gatehouse/authn"
)

// lineage is the handlers that follow one another in one process as settings change. The
// latest answers, and judges the requests that are still open at the others.
type lineage struct {
	latest atomic.Pointer[Handler]
	mu     sync.Mutex
	open   []*Handler
}

// newLineage begins a lineage, or goes on with former's.
func newLineage(h, former *Handler) *lineage {
	if former != nil {
		return former.lineage
	}
	l := &lineage{open: []*Handler{h}}
	l.latest.Store(h)
	return l
}

// each calls f for every handler that may have open requests.
func (l *lineage) each(f func(*Handler)) {
	l.mu.Lock()
	all := slices.Clone(l.open)
	l.mu.Unlock()
	for _, h := range all {
		f(h)
	}
}

func (l *lineage) leave(h *Handler) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = slices.DeleteFunc(l.open, func(o *Handler) bool { return o == h })
}

// Succeed makes h the one that answers after [Options.Former]. Each request that is
// open there is soon asked whether h lets it in, and ends if not; whom it is answered by
// stays as it is. Former gets no more requests, and is to be closed when it has none.
func (h *Handler) Succeed() {
	h.lineage.mu.Lock()
	h.lineage.open = append(h.lineage.open, h)
	h.lineage.mu.Unlock()
	h.lineage.latest.Store(h)
	h.Recheck()
}

// succeeded reports whether another handler answers now.
func (h *Handler) succeeded() bool { return h.lineage.latest.Load() != h }

// judge decides about an open request as if it were new, and says whom it comes from.
func (h *Handler) judge(x, anew *exchange) (authn.Identity, error) {
	if h != x.h {
		if err := h.find(anew); err != nil {
			return authn.Identity{}, err
		}
	}
	if anew.rule.Public && anew.clean {
		return x.identity, nil
	}
	id, err := h.identify(anew)
	if x.foreign && errors.Is(err, authn.ErrApplication) && h.judges(anew.upstream) && anew.rule.Anonymous() {
		return x.identity, nil
	}
	if err != nil {
		return id, err
	}
	if x.standing != nil && (id.Issuer != x.identity.Issuer || id.Subject != x.identity.Subject) {
		return id, errAnother
	}
	return id, h.allowed(h.stand(id).Subject, anew.rule)
}

// find looks for the upstream and the rule of an open request by settings that it was
// not let in by.
func (h *Handler) find(x *exchange) error {
	if x.upstream = h.places.find(x.r); x.upstream == nil {
		return &authn.NotAllowed{Missing: "No upstream has that address any more."}
	}
	var err error
	if x.rule, err = h.policy.Find(x.place()); err != nil {
		return &authn.NotAllowed{Missing: err.Error()}
	}
	return nil
}
