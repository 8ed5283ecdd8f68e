package traces

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"gatehouse/authn"
)

// stranger is the context key of requests whose trace context nobody trusted vouches for.
type stranger struct{}

// sampler decides which traces are recorded, as OTEL_TRACES_SAMPLER says. The library's
// own goes by the flag and the id that a client sends: whoever likes could have all of
// their requests recorded, or none.
type sampler struct {
	share    float64 // of the traces that begin here
	byParent bool    // a trusted proxy's flag decides
}

// newSampler reads the environment's words for it.
func newSampler(name, arg string) (sampler, error) {
	kind, byParent := strings.CutPrefix(name, "parentbased_")
	s := sampler{share: 1, byParent: byParent || name == ""}
	switch kind {
	case "", "always_on":
	case "always_off":
		s.share = 0
	case "traceidratio":
		if arg == "" {
			return s, nil
		}
		share, err := strconv.ParseFloat(arg, 64)
		if err != nil || math.IsNaN(share) || share < 0 || share > 1 {
			return s, fmt.Errorf("OTEL_TRACES_SAMPLER_ARG: %q is not a number from 0 to 1", authn.Bounded(arg))
		}
		s.share = share
	default:
		return s, fmt.Errorf("OTEL_TRACES_SAMPLER: %q is none of always_on, always_off, traceidratio, and these with parentbased_ before", authn.Bounded(name))
	}
	return s, nil
}

// ShouldSample implements sdk.Sampler.
func (s sampler) ShouldSample(p sdk.SamplingParameters) sdk.SamplingResult {
	parent := trace.SpanContextFromContext(p.ParentContext)
	var record bool
	switch {
	case parent.IsValid() && !parent.IsRemote(): // all of a request, or nothing
		record = parent.IsSampled()
	case parent.IsValid() && s.byParent && p.ParentContext.Value(stranger{}) == nil:
		record = parent.IsSampled()
	default:
		record = s.chance()
	}
	r := sdk.SamplingResult{Decision: sdk.Drop, Tracestate: parent.TraceState()}
	if record {
		r.Decision = sdk.RecordAndSample
	}
	return r
}

// chance is true for the share of those that ask.
func (s sampler) chance() bool {
	switch s.share {
	case 0:
		return false
	case 1:
		return true
	}
	var b [8]byte
	rand.Read(b[:]) // never fails: it ends the program instead
	return float64(binary.BigEndian.Uint64(b[:])>>11)/(1<<53) < s.share
}

// Description implements sdk.Sampler.
func (s sampler) Description() string { return fmt.Sprintf("gatehouse{%g}", s.share) }
