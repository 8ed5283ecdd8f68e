package bearer

import (
	"sync"

	"golang.org/x/time/rate"

	"gatehouse/authn"
)

const (
	// perSecond and inARow are how many access tokens one subject is given: enough
	// for a fleet that starts at once, and too few to fill the store.
	perSecond, inARow = 10, 1000
	// maxPaced bounds how many subjects are watched.
	maxPaced = 10_000
)

// pace bounds how many access tokens each subject is given. Its zero value has
// seen nobody.
type pace struct {
	mu       sync.Mutex
	subjects map[[2]string]*rate.Limiter
}

// allow says whether somebody may have another token now.
func (p *pace) allow(id authn.Identity) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	who := [2]string{id.Issuer, id.Subject}
	l := p.subjects[who]
	if l == nil {
		if p.subjects == nil || len(p.subjects) >= maxPaced {
			p.subjects = map[[2]string]*rate.Limiter{} // each of them has proved who they are: no flood
		}
		l = rate.NewLimiter(perSecond, inARow)
		p.subjects[who] = l
	}
	return l.Allow()
}
