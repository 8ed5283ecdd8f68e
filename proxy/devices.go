package proxy

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"github.com/mileusna/useragent"

	"gatehouse/authn/page"
	"gatehouse/session"
)

// endPath is where the page that shows people their own identity has accesses ended,
// below the gateway's prefix.
const endPath = "/end"

// What a form of that page may ask for instead of one access's id.
const (
	endOthers     = "others"
	endEverywhere = "everywhere"
)

// maxDevices bounds what one page shows.
const maxDevices = 50

// devices is where else somebody is signed in, for their own page; nil where there is no
// register of it.
func (h *Handler) devices(x *exchange) *page.Devices {
	if h.o.Register == nil {
		return nil
	}
	d := &page.Devices{Action: h.o.Paths.Prefix + endPath, Others: endOthers, Everywhere: endEverywhere, FormAction: h.leavesTo(x.identity)}
	all, err := h.o.Register.Of(x.r.Context(), session.PersonOf(x.identity))
	if err != nil {
		h.o.Log.Warn("can't find out who is signed in", "request_id", x.id[0], "err", err)
		d.Unknown = true
		return d
	}
	current := func(a session.Access) int {
		if a.ID == x.identity.Access {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(all, func(a, b session.Access) int {
		return cmp.Or(cmp.Compare(current(a), current(b)), b.Seen.Compare(a.Seen), b.Since.Compare(a.Since))
	})
	for _, a := range all[:min(len(all), maxDevices)] {
		one := page.Device{
			ID: a.ID, Name: deviceName(a.Agent), Token: a.Kind == session.AccessToken, Current: current(a) == 0,
			Address: a.Address, Since: a.Since, Seen: a.Seen,
		}
		if a.Route != x.identity.Route { // the page names that one already
			one.Route = h.label(a.Route)
		}
		d.All = append(d.All, one)
	}
	d.More = len(all) - len(d.All)
	return d
}

// deviceName is what people call what sends that User-Agent, as far as it can be told.
func deviceName(agent string) string {
	ua := useragent.Parse(agent)
	product, _, _ := strings.Cut(agent, "/")
	name := cmp.Or(ua.Name, product, "A device of unknown kind")
	if ua.OS != "" {
		name += " on " + ua.OS
	}
	return name
}

// postEnd answers the buttons of that page.
func (h *Handler) postEnd(x *exchange) {
	if !h.recognise(x) {
		return
	}
	which := x.r.PostFormValue("end")
	a := call{exchange: x, person: session.PersonOf(x.identity)}
	ctx, cancel := ending(x.r)
	defer cancel()
	var ended []string
	var err error
	switch which {
	case "":
		h.turnAway(x, fault{http.StatusBadRequest, "The form does not say what is to end."})
		return
	case x.identity.Access: // as signing out does
	case endOthers, endEverywhere:
		ended, err = h.o.Register.EndOthers(ctx, a.person, x.identity.Access)
	default:
		// One that has ended meanwhile is what was asked for.
		var had bool
		if had, err = h.o.Register.EndOne(ctx, a.person, which); had {
			ended = []string{which}
		}
	}
	if err != nil {
		h.unended(a, err)
		return
	}
	h.note(a, ended)
	if which == endEverywhere || which == x.identity.Access {
		h.signOut(x)
		return
	}
	redirect(x, h.base(x.r)+h.o.Paths.Prefix+"/#devices", http.StatusSeeOther)
}
