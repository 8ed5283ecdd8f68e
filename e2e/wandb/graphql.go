package wandb

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
)

// operationName finds the name of a GraphQL operation, which clients don't send
// beside the query.
var operationName = regexp.MustCompile(`\b(?:query|mutation)\s+(\w+)`)

// question is a GraphQL request.
type question struct {
	Query     string          `json:"query"`
	Variables json.RawMessage `json:"variables"`
}

// operation is the name of what /graphql is asked for.
func operation(path string, body []byte) string {
	var q question
	if path != "/graphql" || json.Unmarshal(body, &q) != nil {
		return ""
	}
	if m := operationName.FindStringSubmatch(q.Query); m != nil {
		return m[1]
	}
	return ""
}

// bucket is what UpsertBucket says of a run.
type bucket struct {
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	DisplayName string   `json:"displayName"`
	Project     string   `json:"project"`
	Entity      string   `json:"entity"`
	Run         string   `json:"run"`
	Files       []string `json:"files"`
}

func (s *Server) graphql(w http.ResponseWriter, r *http.Request, who Viewer) {
	var q question
	var v bucket
	err := json.NewDecoder(r.Body).Decode(&q)
	if err == nil && len(q.Variables) > 0 {
		err = json.Unmarshal(q.Variables, &v)
	}
	if err != nil {
		reply(w, http.StatusBadRequest, object{"errors": []object{{"message": err.Error()}}})
		return
	}
	v.Entity, v.Project = cmp.Or(v.Entity, who.Entity), cmp.Or(v.Project, "uncategorized")
	m := operationName.FindStringSubmatch(q.Query)
	if m == nil {
		reply(w, http.StatusBadRequest, object{"errors": []object{{"message": "no operation"}}})
		return
	}
	var data object
	switch m[1] {
	case "Viewer", "ServerInfo", "ServerFeaturesQuery", "DefaultEntity":
		data = object{"viewer": who.graph(), "serverInfo": serverInfo()}
	case "UpsertBucket":
		name := cmp.Or(v.Name, v.ID, "run-1")
		data = object{"upsertBucket": object{"inserted": s.begin(v.Entity, v.Project, name), "bucket": object{
			"id": name, "name": name, "displayName": cmp.Or(v.DisplayName, name), "description": nil, "config": "{}", "sweepName": nil,
			"historyLineCount": 0, "project": object{"id": v.Project, "name": v.Project, "entity": object{"id": v.Entity, "name": v.Entity}},
		}}}
	case "CreateRunFiles":
		data = object{"createRunFiles": object{"runID": v.Run, "uploadHeaders": []string{}, "files": s.uploads(r, v)}}
	case "RunStoppedStatus":
		data = object{"project": object{"run": object{"stopped": false}}}
	case "RunResumeStatus":
		data = object{"model": nil}
	default:
		reply(w, http.StatusBadRequest, object{"errors": []object{{"message": "no such operation: " + m[1]}}})
		return
	}
	reply(w, http.StatusOK, object{"data": data})
}

// uploads are the places to put a run's files.
func (s *Server) uploads(r *http.Request, v bucket) []object {
	out := []object{}
	for _, name := range v.Files {
		file := url.PathEscape(v.Entity) + "/" + url.PathEscape(v.Project) + "/" + url.PathEscape(v.Run) + "/" + url.PathEscape(name)
		out = append(out, object{"name": name, "uploadUrl": s.presign(r, file)})
	}
	return out
}

func (v Viewer) graph() object {
	teams := []object{}
	for _, t := range v.Teams {
		teams = append(teams, object{"node": object{"name": t}})
	}
	return object{
		"id": v.Username, "username": v.Username, "email": v.Email, "entity": v.Entity, "admin": false, "flags": "{}",
		"defaultEntity": object{"name": v.Entity}, "teams": object{"edges": teams},
	}
}

func serverInfo() object {
	const version = "0.83.0"
	return object{
		"cliVersionInfo":         object{"max_cli_version": "99.0.0", "min_cli_version": "0.10.0"},
		"latestLocalVersionInfo": object{"outOfDate": false, "latestVersionString": version, "versionOnThisInstanceString": version},
		"features":               []object{{"name": "FILESTREAM_GZIP", "isEnabled": true}},
	}
}
