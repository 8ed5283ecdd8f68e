# The image: one static program on a base with nothing but certificates and time zones.
#
#   docker build --build-arg VERSION=v1.2.3 -t gatehouse:v1.2.3 .
#
# docs/releasing.md has the commands that give the same digest each time. Both bases can be
# replaced by your own: GO_IMAGE needs go.mod's Go or a newer one, BASE_IMAGE nothing but
# certificates.
ARG GO_IMAGE=docker.io/library/golang:1.27.3-trixie
ARG BASE_IMAGE=gcr.io/distroless/static-debian13:nonroot@sha256:f7f8f729987ad0fdf6b05eeeae94b26e6a0f613bdf46feea7fc40f7bd72953e6

# Built on the machine's own platform, for the one that is asked for.
FROM --platform=${BUILDPLATFORM:-linux/amd64} ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=devel
# The same flags as .ci/release has, so that the program is the archives', byte for byte.
RUN CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} \
    go build -trimpath -buildvcs=false -ldflags "-s -w -X main.release=${VERSION}" -o /out/gatehouse ./cmd/gatehouse

FROM ${BASE_IMAGE}
COPY --from=build --chown=0:0 --chmod=0755 /out/gatehouse /usr/local/bin/gatehouse
COPY --chown=0:0 --chmod=0644 LICENSE THIRD-PARTY-LICENSES /usr/share/doc/gatehouse/
# By number, so that Kubernetes can tell that it is not root.
USER 65532:65532
EXPOSE 8080
# Whether the process answers. Whether all is there that it needs: gatehouse health --ready.
HEALTHCHECK --interval=30s --timeout=6s --start-period=10s --retries=3 CMD ["/usr/local/bin/gatehouse", "health"]
ENTRYPOINT ["/usr/local/bin/gatehouse"]
CMD ["serve"]
ARG VERSION=devel
ARG REVISION=unknown
LABEL org.opencontainers.image.title="gatehouse" \
      org.opencontainers.image.description="An authentication gateway in front of an unmodified web application" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
