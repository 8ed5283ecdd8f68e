package wandb

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Run is one that a client has begun: what is logged is sent in the background
// while the program goes on.
type Run struct {
	// Path is what the server knows it by: entity/project/run.
	Path string

	client                *Client
	entity, project, name string
	finish                chan struct{}
	done                  chan struct{}

	mu      sync.Mutex
	lines   []string
	sent    int
	fatal   error
	remarks []error
}

// sendEvery and heartbeat are in seconds.
const (
	sendEvery = 15
	heartbeat = 30
)

// Start begins a run. An entity of "" means the viewer's own. The error is what
// people see of wandb.init. What it sends later ends with ctx.
func (c *Client) Start(ctx context.Context, entity, project, name string) (*Run, error) {
	var viewer struct {
		Viewer *struct{ Entity, Email string } `json:"viewer"`
	}
	const whoAmI = `query Viewer { viewer { id entity username email flags teams { edges { node { name } } } } }`
	if err := c.Query(ctx, whoAmI, object{}, &viewer); err != nil {
		return nil, err
	}
	const features = `query ServerFeaturesQuery { serverInfo { features { name isEnabled } } }`
	if err := c.Query(ctx, features, object{}, nil); err != nil {
		return nil, err
	}
	var got struct {
		UpsertBucket struct {
			Bucket struct {
				Name    string
				Project struct {
					Name   string
					Entity struct{ Name string }
				}
			}
		} `json:"upsertBucket"`
	}
	const upsert = `mutation UpsertBucket($name: String, $project: String, $entity: String) {
 upsertBucket(input: {name: $name, modelName: $project, entityName: $entity}) { bucket { id name project { name entity { name } } } inserted } }`
	if err := c.Query(ctx, upsert, object{"name": name, "project": project, "entity": entity}, &got); err != nil {
		return nil, err
	}
	b := got.UpsertBucket.Bucket
	r := &Run{
		client: c, entity: b.Project.Entity.Name, project: b.Project.Name, name: b.Name,
		Path:   runPath(b.Project.Entity.Name, b.Project.Name, b.Name),
		finish: make(chan struct{}), done: make(chan struct{}),
	}
	go r.transmit(ctx)
	return r, nil
}

// Log adds a line to the run's history. It never waits, and never fails.
func (r *Run) Log(metrics any) {
	line, err := json.Marshal(metrics)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.remarks = append(r.remarks, err)
		return
	}
	r.lines = append(r.lines, string(line))
}

// Finish waits until all has been sent, or until the client has given up. The
// error is what it then writes into its log; the program itself ends as if all
// were well.
func (r *Run) Finish() error {
	close(r.finish)
	<-r.done
	return r.Fatal()
}

// Fatal is why nothing is sent any more; nil while it is.
func (r *Run) Fatal() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fatal
}

// Sent is how many lines the client believes to have arrived.
func (r *Run) Sent() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent
}

// Remarks is what the client noticed and thought nothing of.
func (r *Run) Remarks() []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.remarks
}

func (r *Run) transmit(ctx context.Context) {
	defer close(r.done)
	second := r.client.settings.Second
	tick := time.NewTicker(sendEvery * second)
	defer tick.Stop()
	for quiet := 0; ; {
		last := false
		select {
		case <-ctx.Done():
			r.give(ctx.Err())
			return
		case <-r.finish:
			last = true
		case <-tick.C:
			quiet++
		}
		r.mu.Lock()
		c := chunk{Files: map[string]lines{}}
		if more := r.lines[r.sent:]; len(more) > 0 {
			c.Files[HistoryFile] = lines{r.sent, more}
			c.Files[SummaryFile] = lines{0, more[len(more)-1:]}
		}
		r.mu.Unlock()
		if len(c.Files) == 0 && !last && quiet*sendEvery < heartbeat {
			continue
		}
		quiet = 0
		if last {
			c.Complete, c.ExitCode = true, new(int)
		}
		if err := r.post(ctx, c); err != nil {
			r.give(err)
			return // for good: no other request is made for this run
		}
		if last {
			return
		}
	}
}

func (r *Run) give(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fatal = err
}

// post sends a chunk for as long as that makes sense to the client. It takes
// every 2xx for success, whatever was answered.
func (r *Run) post(ctx context.Context, c chunk) error {
	body, err := json.Marshal(c)
	if err != nil {
		return err
	}
	const sevenDays = 10085
	path := "/files/" + url.PathEscape(r.entity) + "/" + url.PathEscape(r.project) + "/" + url.PathEscape(r.name) + "/file_stream"
	a, err := r.client.send(ctx, attempts{retries: sevenDays, first: 2, most: 60, timeout: 3 * time.Minute, again: retryGraphQL}, call{
		method: http.MethodPost, url: r.client.settings.URL + path, body: body, authorize: true,
		header: http.Header{"Content-Type": {"application/json"}, "X-Wandb-Use-Async-Filestream": {"true"}},
	})
	if err != nil {
		return err
	}
	if a.status < 200 || a.status > 299 {
		return refusal(a)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent += len(c.Files[HistoryFile].Content)
	var ignored object
	if err := json.Unmarshal(a.body, &ignored); err != nil {
		r.remarks = append(r.remarks, err)
	}
	return nil
}
