package wandb

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// presign makes a URL below /storage/ on the host that the client used. As with
// S3, the signature holds for that host alone.
func (s *Server) presign(r *http.Request, file string) string {
	scheme := "http"
	if r.Header.Get("X-Forwarded-Proto") == "https" {
		scheme = "https"
	}
	return scheme + "://" + r.Host + "/storage/" + file + "?X-Amz-SignedHeaders=host&X-Amz-Signature=" + s.signature(r.Host, "/storage/"+file)
}

func (s *Server) signature(host, path string) string {
	mac := hmac.New(sha256.New, s.secret)
	_, _ = io.WriteString(mac, host+"\n"+path) // a hash takes everything
	return hex.EncodeToString(mac.Sum(nil))
}

// store keeps a file. Like an object store it refuses a request that carries a
// credential beside its signature, and one that went to another host or path.
func (s *Server) store(w http.ResponseWriter, r *http.Request) {
	alien := Request{Header: r.Header}.Identity()
	good := hmac.Equal([]byte(r.FormValue("X-Amz-Signature")), []byte(s.signature(r.Host, r.URL.EscapedPath())))
	switch {
	case len(alien) > 0:
		reply(w, http.StatusBadRequest, object{"error": "beside the signature came " + strings.Join(slices.Sorted(maps.Keys(alien)), ", ")})
		return
	case !good:
		reply(w, http.StatusForbidden, object{"error": "SignatureDoesNotMatch"})
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		reply(w, http.StatusBadRequest, object{"error": err.Error()})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[r.PathValue("file")] = body
	w.Header().Set("ETag", `"`+hex.EncodeToString(body[:min(8, len(body))])+`"`)
}

// Blob is what was put into storage as entity/project/run/name.
func (s *Server) Blob(file string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.blobs[file]
	return b, ok
}
