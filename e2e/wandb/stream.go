package wandb

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// HistoryFile and SummaryFile are the files of a run that metrics go to.
const (
	HistoryFile = "wandb-history.jsonl"
	SummaryFile = "wandb-summary.json"
)

// File is what was written to one file of a run: for each offset, which is a
// number of lines, all lines that came for it in the order of their coming. A
// W&B server keeps the last one.
type File map[int][]string

// Lines are the file's, in order, without those that are missing.
func (f File) Lines() []string {
	var out []string
	for _, at := range slices.Sorted(maps.Keys(f)) {
		out = append(out, f[at][len(f[at])-1])
	}
	return out
}

// Missing are the offsets before n that nothing came for.
func (f File) Missing(n int) []int {
	var out []int
	for at := range n {
		if len(f[at]) == 0 {
			out = append(out, at)
		}
	}
	return out
}

// Doubled are the offsets that something came for more than once.
func (f File) Doubled() []int {
	var out []int
	for _, at := range slices.Sorted(maps.Keys(f)) {
		if len(f[at]) > 1 {
			out = append(out, at)
		}
	}
	return out
}

// run is what the server has of one.
type run struct {
	files    map[string]File
	complete bool
}

// begin makes a run, and tells whether it is new.
func (s *Server) begin(entity, project, name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := runPath(entity, project, name)
	if s.runs[at] != nil {
		return false
	}
	s.runs[at] = &run{files: map[string]File{}}
	return true
}

func runPath(entity, project, name string) string {
	return strings.Join([]string{entity, project, name}, "/")
}

// Runs are the paths of all runs: entity/project/run.
func (s *Server) Runs() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.runs))
}

// File is what came for a file of a run so far; empty if nothing did.
func (s *Server) File(run, name string) File {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := File{}
	if r := s.runs[run]; r != nil {
		for at, lines := range r.files[name] {
			out[at] = slices.Clone(lines)
		}
	}
	return out
}

// Complete tells whether a run's client said that this was all.
func (s *Server) Complete(run string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runs[run] != nil && s.runs[run].complete
}

// chunk is a request of the stream.
type chunk struct {
	Files    map[string]lines `json:"files,omitempty"`
	Complete bool             `json:"complete,omitempty"`
	ExitCode *int             `json:"exitcode,omitempty"`
}

// lines are those that begin at an offset of a file.
type lines struct {
	Offset  int      `json:"offset"`
	Content []string `json:"content"`
}

func (s *Server) fileStream(w http.ResponseWriter, r *http.Request, _ Viewer) {
	var c chunk
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
		reply(w, http.StatusBadRequest, object{"error": err.Error()})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	to := s.runs[runPath(r.PathValue("entity"), r.PathValue("project"), r.PathValue("run"))]
	if to == nil {
		reply(w, http.StatusNotFound, object{"error": "no such run"})
		return
	}
	for name, l := range c.Files {
		if to.files[name] == nil {
			to.files[name] = File{}
		}
		for i, line := range l.Content {
			to.files[name][l.Offset+i] = append(to.files[name][l.Offset+i], line)
		}
	}
	to.complete = to.complete || c.Complete
	reply(w, http.StatusOK, object{"exitcode": nil, "limits": object{}})
}
