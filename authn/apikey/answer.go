package apikey

import (
	"encoding/json/v2"
	"fmt"
	"slices"

	"gatehouse/authn"
)

// answer is what a GraphQL server says to the question.
type answer struct {
	Errors []answeredError `json:"errors"`
	Data   *struct {
		Viewer answeredViewer `json:"viewer"`
	} `json:"data"`
}

// answeredError is one of GraphQL's errors, as far as it tells a refusal from a failure.
type answeredError struct {
	Message    string `json:"message"`
	Extensions struct {
		Code string `json:"code"`
	} `json:"extensions"`
}

// refuses says whether the error is about the key. All others are failures to find
// out: a resolver that fails and a limit on requests make the viewer null too.
func (e answeredError) refuses() bool {
	switch e.Extensions.Code {
	case "PERMISSION_ERROR", "UNAUTHENTICATED":
		return true
	}
	return e.Message == "permission denied"
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
	somebody := a.Data != nil && a.Data.Viewer.person != nil
	switch {
	case !somebody && slices.ContainsFunc(a.Errors, answeredError.refuses):
		return viewer{}, reject("the application refuses the key")
	case len(a.Errors) > 0:
		return viewer{}, fmt.Errorf("%w: the application's answer has errors", errNotAsked)
	case a.Data == nil || !a.Data.Viewer.there:
		return viewer{}, fmt.Errorf("%w: the application's answer has no viewer", errNotAsked)
	case !somebody:
		return viewer{}, reject("the application knows nobody with the key")
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
