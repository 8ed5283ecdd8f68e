package audit

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"log/syslog"
	"net/url"
	"time"
)

// Options is where a trail goes.
type Options struct {
	// One of these: a file to append to, an address of a syslog server, or a writer.
	File   string
	Syslog string // unixgram:///dev/log, udp://host:514 or tcp://host:601
	To     io.Writer
	// Secrets chain the lines: the first makes their codes. Without any there are none.
	Secrets [][]byte
	// Lossy lets go on what can't be written down. The log tells of it.
	Lossy bool
	Log   *slog.Logger
	// After is the trail by former settings in the same process. Where both go to the
	// same place, this one goes on with its chain, and it may still be written to.
	After *Writer
}

// Writer is a [Trail] that writes lines.
type Writer struct {
	o     Options
	place *place
}

// output takes whole lines.
type output interface {
	// write writes what line makes of the code of the line before.
	write(line func(after string) ([]byte, error)) error
	io.Closer
}

// New opens a trail. That it can't be written now is an error, unless it may be lossy.
func New(o Options) (*Writer, error) {
	if f := o.After; f != nil && f.o.File == o.File && f.o.Syslog == o.Syslog && f.o.To == o.To {
		o.After = nil // it is not to be kept
		return &Writer{o, f.place.share()}, nil
	}
	o.After = nil
	p, err := newPlace(o)
	if err != nil {
		return nil, err
	}
	return &Writer{o, p}, nil
}

// Record implements [Trail]. Of refusals it writes down no more than a disk can take;
// how many it has left out stands in the next one.
func (w *Writer) Record(e Event) error {
	now := time.Now()
	if e.Time.IsZero() {
		e.Time = now
	}
	e.Time = e.Time.UTC().Round(0)
	if e.Outcome == Refused && !w.place.refusals.admit(&e, now) {
		return nil
	}
	err := w.place.use(func(p *place) error { return w.write(p, e.lines()) })
	w.tell(err)
	if err == nil || w.o.Lossy {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrUnwritten, err)
}

// write writes lines one after the other, as far as it gets.
func (w *Writer) write(p *place, lines []Event) error {
	for _, e := range lines {
		code := ""
		err := p.to.write(func(after string) (text []byte, err error) {
			text, code, err = w.line(e, after)
			return text, err
		})
		if err != nil {
			return err
		}
		p.last = code
	}
	return nil
}

// line is the text of an event, with the code that chains it to the line before.
func (w *Writer) line(e Event, after string) (text []byte, code string, err error) {
	l := line{Event: e}
	if len(w.o.Secrets) > 0 {
		l.After = after
		if text, err = l.text(); err != nil {
			return nil, "", err
		}
		l.Code = codeOf(w.o.Secrets[0], text)
	}
	text, err = l.text()
	return append(text, '\n'), l.Code, err
}

// codeOf is the code of a line whose text without a code is that.
func codeOf(secret, text []byte) string {
	h := hmac.New(sha256.New, secret)
	h.Write(text)
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// tell logs when lines begin to be lost, and when that is over.
func (w *Writer) tell(err error) {
	switch failed := err != nil; {
	case w.place.failed.Swap(failed) == failed, w.o.Log == nil:
	case failed:
		w.o.Log.Error("the audit trail can't be written", "lossy", w.o.Lossy, "err", err)
	default:
		w.o.Log.Warn("the audit trail is written again")
	}
}

// Close closes what it writes to, unless it was given open, or another goes on with it.
func (w *Writer) Close() error { return w.place.leave() }

// stream is a writer that was given open.
type stream struct {
	place *place
	to    io.Writer
}

func (s stream) write(line func(after string) ([]byte, error)) error {
	text, err := line(s.place.last)
	if err != nil {
		return err
	}
	n, err := s.to.Write(text)
	if err == nil && n < len(text) {
		err = io.ErrShortWrite
	}
	return err
}

func (stream) Close() error { return nil }

// daemon is a syslog server.
type daemon struct {
	network, address string
	place            *place
	to               *syslog.Writer
}

func newDaemon(p *place, address string) (*daemon, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("audit: not an address of a syslog server")
	}
	d := &daemon{network: u.Scheme, address: u.Host, place: p}
	if u.Host == "" {
		d.address = u.Path
	}
	return d, nil
}

func (d *daemon) write(line func(after string) ([]byte, error)) error {
	if d.to == nil {
		to, err := syslog.Dial(d.network, d.address, syslog.LOG_INFO|syslog.LOG_AUTHPRIV, "gatehouse")
		if err != nil {
			return err
		}
		d.to = to
	}
	text, err := line(d.place.last)
	if err != nil {
		return err
	}
	_, err = d.to.Write(text)
	return err
}

// Close closes the connection, if there is one.
func (d *daemon) Close() error {
	if d.to == nil {
		return nil
	}
	return d.to.Close()
}
