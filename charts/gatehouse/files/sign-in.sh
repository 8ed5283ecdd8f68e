# What "helm test" asks a gateway, from inside the cluster. GATEWAY, OPERATIONS, HOST and
# PREFIX say where; CREDENTIAL is a folder with username and password, or token.
say() { echo "$*"; }
fail() { say "FAULT  $*"; exit 1; }
credential=${CREDENTIAL:-/run/secrets/credential}

# status prints the status of an answer, 000 for none.
status() { curl --silent --insecure --output /dev/null --max-time 10 --write-out '%{http_code}' --header "Host: $HOST" "$@" || true; }

ready=$(status "$OPERATIONS/readyz")
[ "$ready" = 200 ] || fail "/readyz says $ready: $(curl --silent --max-time 10 "$OPERATIONS/readyz" || true)"
say "ok     ready"

if [ -n "${PROXY_PROTOCOL:-}" ]; then
  say "ok     nothing more is asked: only the load balancer may connect (listen.proxyProtocol)"
  exit 0
fi

got=$(status "$GATEWAY$PREFIX/userinfo")
[ "$got" = 401 ] || fail "a program without a credential got $got, not 401"
say "ok     a program without a credential is refused"

got=$(status --header "Accept: text/html" --header "Sec-Fetch-Mode: navigate" --header "Sec-Fetch-Dest: document" "$GATEWAY$PREFIX/sign-in")
case $got in
200 | 302 | 303 | 401) say "ok     a browser is led to sign-in ($got)" ;;
*) fail "a browser at $PREFIX/sign-in got $got" ;;
esac

# The credential is read by curl from its standard input, so that no list of processes shows it.
if [ -e "$credential/token" ]; then
  got=$(printf 'header = "Authorization: Bearer %s"\n' "$(cat "$credential/token")" | status --config - "$GATEWAY$PREFIX/userinfo")
elif [ -e "$credential/password" ]; then
  got=$(printf 'user = "%s:%s"\n' "$(cat "$credential/username")" "$(sed 's/[\\"]/\\&/g' "$credential/password")" | status --config - "$GATEWAY$PREFIX/userinfo")
else
  say "ok     no credential to sign in with (test.existingSecret)"
  exit 0
fi
[ "$got" = 200 ] || fail "signing in with the credential got $got, not 200"
say "ok     signed in"
