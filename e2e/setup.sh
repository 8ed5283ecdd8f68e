#!/usr/bin/env bash
# Makes the tests' real peers ready: redis-server, Chromium, nginx, Caddy, HAProxy, Traefik,
# promtool, two foreign OpenID providers, two directories, an ACME server, tools that
# attack, a few npm packages and Helm; what builds the
# image (buildah) and judges the service's unit (systemd, strace); and a C compiler, for the
# race detector. With everything in place it changes nothing and says nothing.
# As root it installs what is missing from Debian and npm, otherwise it says what
# to run. No daemon is started: the tests start their own. With the argument "kubernetes"
# it also makes etcd ready, and builds Kubernetes' API server.
set -euo pipefail
cd "$(dirname "$0")"
PATH=$PATH:/usr/sbin # where Debian has slapd and samba, and not everybody looks

missing=()
command -v "${CC:-gcc}" >/dev/null || missing+=(gcc libc6-dev)
command -v redis-server >/dev/null || missing+=(redis-server)
command -v chromium >/dev/null || missing+=(chromium)
command -v nginx >/dev/null || missing+=(nginx-light)
command -v caddy >/dev/null || missing+=(caddy)
command -v haproxy >/dev/null || missing+=(haproxy)
command -v promtool >/dev/null || missing+=(prometheus)
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
command -v slowhttptest >/dev/null || missing+=(slowhttptest)
command -v testssl >/dev/null || missing+=(testssl.sh)
command -v curl >/dev/null || missing+=(curl)
# What docs/assertion.md verifies tokens with in Python.
/usr/bin/python3 -c 'import jwt, cryptography' 2>/dev/null || missing+=(python3-jwt python3-cryptography)
command -v starman >/dev/null || missing+=(starman)
# LemonLDAP::NG with the modules that its OpenID provider and login form load.
portal=(liblemonldap-ng-portal-perl lemonldap-ng-fastcgi-server
  libgd-securityimage-perl libimage-magick-perl libio-string-perl libstring-random-perl)
perl -MLemonldap::NG::Portal::Main -MGD::SecurityImage -MImage::Magick -MIO::String -MString::Random -e 1 2>/dev/null ||
  missing+=("${portal[@]}")
[ -e /etc/ldap/schema/inetorgperson.schema ] && command -v slapd >/dev/null || missing+=(slapd)
command -v ldapsearch >/dev/null || missing+=(ldap-utils)
command -v ip >/dev/null || missing+=(iproute2)
command -v buildah >/dev/null || missing+=(buildah)
command -v systemd-analyze >/dev/null || missing+=(systemd)
command -v strace >/dev/null || missing+=(strace)
[ "${1:-}" != kubernetes ] || command -v etcd >/dev/null || missing+=(etcd-server)
# Samba as a domain controller of Active Directory, with what it loads and what
# making a domain needs.
domain=(samba-ad-dc samba-ad-provision samba-dsdb-modules samba-vfs-modules
  winbind krb5-user python3-markdown attr ldb-tools)
has_domain() {
  for program in samba samba-tool winbindd kinit getfattr ldbmodify; do
    command -v "$program" >/dev/null || return 1
  done
  compgen -G '/usr/lib/*/samba/ldb/acl.so' >/dev/null && compgen -G '/usr/lib/*/samba/vfs/acl_xattr.so' >/dev/null &&
    [ -d /usr/share/samba/setup ] && /usr/bin/python3 -c 'import markdown'
}
has_domain 2>/dev/null || missing+=("${domain[@]}")

log=$(mktemp)
policy=
trap 'rm -f "$log" ${policy:+"$policy"}' EXIT

# quiet runs a command and shows what it said only if it failed.
quiet() {
  "$@" >"$log" 2>&1 && return
  cat "$log" >&2
  echo "setup: failed: $*" >&2
  exit 1
}

install_packages() {
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "setup: missing: ${missing[*]}" >&2
    echo "setup: on Debian, run as root: apt-get update && apt-get install -y --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    policy=/usr/sbin/policy-rc.d # keeps packages from starting daemons
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  echo "setup: installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  quiet apt-get update
  quiet apt-get install -y --no-install-recommends "${missing[@]}"
}

[ ${#missing[@]} = 0 ] || install_packages

if ! node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)'; then
  echo "setup: node 20 or newer is needed, this is $(node --version): see https://nodejs.org" >&2
  exit 1
fi

# An ACME server and h2spec, which only Go's own tools install.
tools=../.ci/tools/peers
if ! cmp -s "$tools/go.sum" bin/.go.sum; then
  GOTOOLCHAIN=auto GOBIN=$PWD/bin quiet go -C "$tools" install tool
  cp "$tools/go.sum" bin/.go.sum
fi

cd oidc-provider
if ! cmp -s package-lock.json node_modules/.package-lock.installed; then
  quiet npm ci
  cp package-lock.json node_modules/.package-lock.installed
fi
cd ..

../.ci/tool traefik traefik github.com/traefik/traefik/v3/cmd/traefik

# Helm, in both versions that are in use, and what reads objects as Kubernetes does.
../.ci/tool helm3 helm3 helm.sh/helm/v3/cmd/helm
../.ci/tool helm4 helm4 helm.sh/helm/v4/cmd/helm
../.ci/tool helm4 objects ./objects
if [ "${1:-}" = kubernetes ]; then
  version=$(awk '$1 == "k8s.io/kubernetes" { print $2; exit }' ../.ci/tools/kubernetes/go.mod)
  ../.ci/tool kubernetes kube-apiserver . "-X k8s.io/component-base/version.gitVersion=$version"
fi
