package ldap

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"gatehouse/authn"
)

// reason is why somebody is refused, as far as they may know it.
type reason string

// The reasons. All but wrong are the directory's own words about an account,
// and all but locked it says only to who has the right password.
const (
	wrong      reason = "wrong name or password"
	locked     reason = "account locked"
	expired    reason = "password expired"
	mustChange reason = "password must be changed"
	disabled   reason = "account disabled"
	ended      reason = "account expired"
	notNow     reason = "sign-in not allowed at this time or from this place"
	unfit      reason = "entry not fit to sign in with"
)

// counts says whether a refusal is one of the password, or could be one.
func (r reason) counts() bool { return r == wrong || r == locked || r == disabled }

// word is a reason in a word.
func (r reason) word() string {
	return map[reason]string{
		wrong: "wrong", locked: "locked", expired: "expired", mustChange: "must_change", disabled: "disabled",
		ended: "account_expired", notNow: "not_now", unfit: "unfit",
	}[r]
}

// stateAttributes are the attributes that tell that an account is out of use.
func stateAttributes() []string {
	return []string{"userAccountControl", "accountExpires", "nsAccountLock", "pwdAccountLockedTime", "shadowExpire"}
}

// outOfUse says why an account may not be used any more, or "". A lock after
// wrong passwords is not a reason: anybody can bring that about, and it must
// end nobody's session.
func outOfUse(e *ldap.Entry, now time.Time) reason {
	one := func(attr string) string {
		if v := values(e, attr); len(v) > 0 {
			return v[0]
		}
		return ""
	}
	const accountDisable = 0x2 // MS-ADTS 2.2.16
	if flags, err := strconv.ParseInt(one("userAccountControl"), 10, 64); err == nil && flags&accountDisable != 0 {
		return disabled
	}
	if strings.EqualFold(one("nsAccountLock"), "true") { // 389 Directory Server, FreeIPA
		return disabled
	}
	// The value by which an administrator locks for ever (draft-behera-ldap-password-policy, section 5.3.3).
	if one("pwdAccountLockedTime") == "000001010000Z" {
		return disabled
	}
	if days, err := strconv.ParseInt(one("shadowExpire"), 10, 64); err == nil && days >= 0 && now.Unix() >= days*24*60*60 {
		return ended
	}
	if end, ok := fileTime(one("accountExpires")); ok && !now.Before(end) {
		return ended
	}
	return ""
}

// fileTime reads a time of Active Directory: 100 nanoseconds since 1601. Zero
// and the largest number mean never.
func fileTime(text string) (time.Time, bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	const never = 1<<63 - 1
	if err != nil || n <= 0 || n == never {
		return time.Time{}, false
	}
	const from1601to1970 = 11_644_473_600
	return time.Unix(n/1e7-from1601to1970, 0), true
}

// Active Directory's own code for a refusal, "data 52e", in hex (WinError.h).
var dataCode = regexp.MustCompile(`\bdata ([0-9a-fA-F]{1,8})\b`)

// adReasons are those codes that a person can do something about.
func adReasons() map[string]reason {
	return map[string]reason{
		"530": notNow, "531": notNow, "532": expired, "533": disabled, "701": ended, "773": mustChange, "775": locked,
	}
}

// judgeBind reads the directory's answer to a password: nil for a good one, a
// *refusal for its no, any other error if it is neither. Only result code 0 is
// success, and not even that if the password must be changed first (LDAP-18).
func judgeBind(res *ldap.SimpleBindResult, err error) error {
	policy := policyReason(res)
	if err == nil {
		if policy != "" {
			return &refusal{reason: policy}
		}
		return nil
	}
	var result *ldap.Error
	if !errors.As(err, &result) {
		return err
	}
	said := resultError{err}
	switch result.ResultCode {
	case ldap.LDAPResultInvalidCredentials:
		why := wrong
		if m := dataCode.FindStringSubmatch(err.Error()); m != nil && adReasons()[strings.ToLower(m[1])] != "" {
			why = adReasons()[strings.ToLower(m[1])]
		}
		if policy != "" {
			why = policy
		}
		return &refusal{reason: why, cause: said}
	case ldap.LDAPResultNoSuchObject, ldap.LDAPResultInappropriateAuthentication, ldap.LDAPResultInvalidDNSyntax:
		return &refusal{reason: wrong, cause: said}
	case ldap.LDAPResultUnwillingToPerform: // 389 Directory Server says so of an inactive account, whatever the password
		return &refusal{reason: wrong, cause: said}
	case ldap.LDAPResultConstraintViolation: // and so after too many wrong passwords
		return &refusal{reason: locked, cause: said}
	}
	return err
}

// resultError prints what a server has said, without what it left empty.
type resultError struct{ error }

func (e resultError) Error() string { return strings.TrimRight(authn.Bounded(e.error.Error()), ": ") }
func (e resultError) Unwrap() error { return e.error }

// policyReason reads the password policy's word (draft-behera-ldap-password-policy,
// section 6.2; draft-vchu-ldap-pwd-policy for older servers).
func policyReason(res *ldap.SimpleBindResult) reason {
	if res == nil {
		return ""
	}
	for _, c := range res.Controls {
		switch c := c.(type) {
		case *ldap.ControlBeheraPasswordPolicy:
			switch c.Error {
			case 0:
				return expired
			case 1:
				return locked
			case 2:
				return mustChange
			}
		case *ldap.ControlVChuPasswordMustChange:
			if c.MustChange {
				return mustChange
			}
		}
	}
	return ""
}
