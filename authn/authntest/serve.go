package authntest

import (
	"io"
	"net/http"
	"net/http/httptest"
)

// Serve has a handler answer a client's request, without a network between them.
// A handler that aborts ends the connection: the error is [io.ErrUnexpectedEOF].
func Serve(h http.Handler, r *http.Request) (resp *http.Response, err error) {
	body := r.Body
	if body == nil {
		body = http.NoBody
	}
	in := httptest.NewRequestWithContext(r.Context(), r.Method, r.URL.RequestURI(), body)
	in.Header, in.Host, in.ContentLength = r.Header.Clone(), r.URL.Host, r.ContentLength
	if r.Host != "" {
		in.Host = r.Host
	}
	rec := httptest.NewRecorder()
	defer func() {
		if e := recover(); e != nil {
			if e != http.ErrAbortHandler { //nolint:errorlint // as net/http compares it
				panic(e)
			}
			err = io.ErrUnexpectedEOF
		}
	}()
	h.ServeHTTP(rec, in)
	if r.Context().Err() != nil {
		return nil, r.Context().Err()
	}
	resp = rec.Result()
	resp.Request = r
	return resp, nil
}
