package authn

import "time"

// Logout says which sessions a provider has ended (OpenID Connect Back-Channel
// Logout, section 2.4; Front-Channel Logout, section 2).
type Logout struct {
	// Issuer is the provider, and is never empty.
	Issuer string
	// Subject is whose sessions end, spelled as in [Identity]. It is empty if the
	// provider names nobody, or somebody by a name that the route does not use;
	// SID is set then.
	Subject string
	// SID is the provider's session whose sessions end, as in [Proof]; those of
	// Subject alone if that is set too. Empty means all of Subject's.
	SID string
	// At is when it was said, by the provider's clock. A sign-in that it vouches for
	// later is not meant.
	At time.Time
	// Unsigned says that a browser brought it and nobody vouches for it: At is our
	// own clock's, and nothing is to be kept for sessions that there are not.
	Unsigned bool
}
