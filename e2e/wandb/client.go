package wandb

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Settings is what the SDK's environment says.
type Settings struct {
	// URL is the server's, as WANDB_BASE_URL has it.
	URL string
	// Key is WANDB_API_KEY.
	Key string
	// Federation is used where there is no key.
	Federation Federation
	// Username and Email are WANDB_USERNAME and WANDB_USER_EMAIL. A username of
	// "" is sent too, as the real one does.
	Username, Email string
	// Header is WANDB__EXTRA_HTTP_HEADERS.
	Header http.Header
	// Second is how long a second of waiting takes, a second if zero. It does not
	// change how long one attempt may take.
	Second time.Duration
	// Now is the clock, time.Now if nil.
	Now func() time.Time
	// Transport is how to get there, http.DefaultTransport if nil.
	Transport http.RoundTripper
}

// Client does what wandb-core does, but for the jitter of its waits: it
// authenticates, retries, gives up and follows redirects as that does, good or
// bad.
type Client struct {
	settings Settings
	http     *http.Client

	// What federation has got.
	mu        sync.Mutex
	token     string
	ends      time.Time
	assertion string
}

// NewClient makes a client.
func NewClient(s Settings) *Client {
	s.Second = cmp.Or(s.Second, time.Second)
	if s.Now == nil {
		s.Now = time.Now
	}
	s.URL = strings.TrimSuffix(s.URL, "/")
	return &Client{settings: s, http: &http.Client{Transport: s.Transport}}
}

// authorize says who the client is, for paths of the server itself.
func (c *Client) authorize(ctx context.Context, r *http.Request) error {
	if key := c.settings.Key; key != "" {
		r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("api:"+key)))
		return nil
	}
	token, err := c.accessToken(ctx)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	return nil
}

// BackendError is what a server refused with.
type BackendError struct {
	Status int
	// Message is what is shown to people.
	Message string
}

func (e *BackendError) Error() string { return fmt.Sprintf("HTTP %d: %s", e.Status, e.Message) }

// refusal reads what to show to people from an answer of any status: the first
// error in JSON, or else all of it.
func refusal(a answer) error {
	var said struct {
		Error  json.RawMessage `json:"error"`
		Errors []struct {
			Message string `json:"message"`
		} `json:"errors"`
	}
	text := strings.TrimSpace(string(a.body))
	if json.Unmarshal(a.body, &said) != nil {
		return &BackendError{a.status, text}
	}
	var plain string
	var nested struct{ Message string }
	switch {
	case json.Unmarshal(said.Error, &plain) == nil && plain != "":
		text = plain
	case json.Unmarshal(said.Error, &nested) == nil && nested.Message != "":
		text = nested.Message
	case len(said.Errors) > 0:
		text = said.Errors[0].Message
	}
	return &BackendError{a.status, text}
}

// Query asks GraphQL and decodes data into out, which may be nil.
func (c *Client) Query(ctx context.Context, query string, variables, out any) error {
	again := retryGraphQL
	if strings.Contains(query, "upsertBucket") {
		again = retryUpsert
	}
	body, err := json.Marshal(object{"query": query, "variables": variables})
	if err != nil {
		return err
	}
	header := http.Header{"Content-Type": {"application/json"}, "X-Wandb-Username": {c.settings.Username}}
	if c.settings.Email != "" {
		header.Set("X-Wandb-User-Email", c.settings.Email)
	}
	a, err := c.send(ctx, attempts{retries: 20, first: 2, most: 60, timeout: 30 * time.Second, again: again},
		call{method: http.MethodPost, url: c.settings.URL + "/graphql", header: header, body: body, authorize: true})
	if err != nil {
		return err
	}
	if a.status < 200 || a.status > 299 {
		return refusal(a)
	}
	var got struct {
		Data   json.RawMessage   `json:"data"`
		Errors []json.RawMessage `json:"errors"`
	}
	if err := json.Unmarshal(a.body, &got); err != nil {
		return err // what people see of a page that was sent instead
	}
	if len(got.Errors) > 0 {
		return refusal(a)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(got.Data, out)
}

// errNotPossible is a file that the server gave no place for.
var errNotPossible = errors.New("the server gave no upload URL")

// Upload puts a file of a run where the server says.
func (c *Client) Upload(ctx context.Context, r *Run, name string, content []byte) error {
	var got struct {
		CreateRunFiles struct {
			Files []struct {
				UploadURL string `json:"uploadUrl"`
			} `json:"files"`
		} `json:"createRunFiles"`
	}
	const query = `mutation CreateRunFiles($entity: String!, $project: String!, $run: String!, $files: [String!]!) {
 createRunFiles(input: {entityName: $entity, projectName: $project, runName: $run, files: $files}) { runID uploadHeaders files { name uploadUrl } } }`
	err := c.Query(ctx, query, object{"entity": r.entity, "project": r.project, "run": r.name, "files": []string{name}}, &got)
	if err != nil {
		return err
	}
	if len(got.CreateRunFiles.Files) != 1 {
		return errNotPossible
	}
	a, err := c.send(ctx, attempts{retries: 20, first: 2, most: 60, again: retryTransfer},
		call{method: http.MethodPut, url: got.CreateRunFiles.Files[0].UploadURL, body: content})
	if err != nil {
		return err
	}
	if a.status < 200 || a.status > 299 {
		return refusal(a)
	}
	return nil
}
