package apikey

import (
	"encoding/json/v2"
	"fmt"

	"gatehouse/authn"
)

// answer is what a GraphQL server says to the question.
type answer struct {
	Errors []struct{} `json:"errors"`
	Data   *struct {
		Viewer answeredViewer `json:"viewer"`
	} `json:"data"`
}

// answeredViewer is the viewer of an answer: not there, null or somebody.
type answeredViewer struct {
	there  bool
	person *answeredPerson
}

type answeredPerson struct {
	ID       string `json:"id"`
	Username string `json:"username"`
	Email    string `json:"email"`
	Teams    *struct {
		Edges []struct {
			Node struct {
				Name string `json:"name"`
			} `json:"node"`
		} `json:"edges"`
	} `json:"teams"`
}

// UnmarshalJSON tells null from absence.
func (v *answeredViewer) UnmarshalJSON(b []byte) error {
	v.there = true
	return json.Unmarshal(b, &v.person)
}

// readAnswer reads the application's answer: somebody, nobody, or nonsense. Half an
// answer is none.
func readAnswer(body []byte) (viewer, error) {
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		return viewer{}, fmt.Errorf("%w: the application's answer: %w", errNotAsked, authn.Foreign{Err: err})
	}
	switch {
	case a.Data == nil || !a.Data.Viewer.there:
		return viewer{}, fmt.Errorf("%w: the application's answer has no viewer", errNotAsked)
	case a.Data.Viewer.person == nil:
		return viewer{}, reject("the application knows nobody with the key")
	case len(a.Errors) > 0:
		return viewer{}, fmt.Errorf("%w: the application's answer has errors", errNotAsked)
	}
	p := a.Data.Viewer.person
	if p.ID == "" {
		return viewer{}, fmt.Errorf("%w: the application's viewer has no id", errNotAsked)
	}
	who := viewer{ID: p.ID, Username: p.Username, Email: p.Email}
	if p.Teams != nil {
		for _, e := range p.Teams.Edges {
			if e.Node.Name == "" {
				return viewer{}, fmt.Errorf("%w: the application's viewer has a team without a name", errNotAsked)
			}
			who.Teams = append(who.Teams, e.Node.Name)
		}
	}
	return who, nil
}
