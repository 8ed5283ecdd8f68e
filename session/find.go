package session

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Several is the error of a name by which several people go.
type Several struct {
	Name   string
	People []Person
}

func (e *Several) Error() string {
	who := make([]string, len(e.People))
	for i, p := range e.People {
		who[i] = fmt.Sprintf("%q of %s", p.Subject, p.Issuer)
	}
	return fmt.Sprintf("session: several people go by %q: %s", e.Name, strings.Join(who, ", "))
}

// Who returns the one person who goes by a name, as [Register.Find] reads it, or a
// *[Several]. An issuer leaves its people alone; among those the subject that reads just
// like the name goes before what else the name may be.
//
// Of an issuer that has nobody of that name it is taken for a subject: of somebody who
// sends a password with each request there is nothing in the register.
func (g *Register) Who(ctx context.Context, name, issuer string) (p Person, found bool, err error) {
	people, err := g.Find(ctx, name)
	if err != nil {
		return Person{}, false, err
	}
	if issuer != "" {
		people = slices.DeleteFunc(people, func(p Person) bool { return p.Issuer != issuer })
	}
	switch {
	case len(people) == 0:
		return Person{issuer, name}, issuer != "", nil
	case len(people) == 1:
		return people[0], true, nil
	}
	for _, p := range people {
		if issuer != "" && p.Subject == name {
			return p, true, nil
		}
	}
	return Person{}, false, &Several{name, people}
}

// EndOne ends one access of a person, everywhere, and says whether they had one of that
// id. One whose end has failed halfway is still theirs, so that to try again is in order.
func (g *Register) EndOne(ctx context.Context, p Person, id string) (bool, error) {
	for _, index := range g.of(p) {
		members, err := g.store.Members(ctx, index)
		if err != nil {
			return false, err
		}
		if _, theirs := members[id]; theirs {
			return true, g.End(ctx, p, id)
		}
	}
	return false, nil
}
