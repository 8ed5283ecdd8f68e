package authntest

import "maps"

// JWT signs a token of any claims, for what no provider's endpoint gives out. The
// header is the key's own; what is given goes over it, and nil takes a name out.
func JWT(key Key, header, claims map[string]any) string {
	head := map[string]any{"alg": key.Algorithm, "kid": key.ID, "typ": "JWT"}
	maps.Copy(head, header)
	maps.DeleteFunc(head, func(_ string, v any) bool { return v == nil })
	input := encode(marshal(head)) + "." + encode(marshal(claims))
	return input + "." + encode(key.sign([]byte(input)))
}
