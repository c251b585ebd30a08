# Images of all parts, one target each, for amd64 and arm64: docker buildx build --target nsmgr --platform linux/amd64,linux/arm64 .
# What is in them images/layout.mjs says; `scripts/images` makes the same ones without a container engine.
ARG NODE=node:22-bookworm-slim
ARG RUST=rust:1-slim-bookworm

FROM ${RUST} AS native
WORKDIR /src
COPY forwarder-native/native .
RUN ./build

# Plain JavaScript comes out of it: needs no emulation of another processor.
FROM --platform=${BUILDPLATFORM} ${NODE} AS bundles
WORKDIR /src
COPY . .
RUN npm ci --ignore-scripts --no-fund --no-audit
COPY --from=native /src/nsm-native.node forwarder-native/native/
COPY --from=native /src/target/release/nsm-run forwarder-native/native/target/release/
RUN node_modules/.bin/tsc -b registry nsmgr forwarder-native webhook sidecar agent prefixes nse cli && node scripts/bundle.mjs

# On the processor the images are for: its libraries, and code that its node has compiled.
FROM ${NODE} AS rootfs
WORKDIR /src
COPY images images
COPY --from=bundles /src/build build
RUN node images/main.mjs --rootfs /rootfs

FROM scratch AS base
COPY --from=rootfs /rootfs/base/ /
ENV SSL_CERT_FILE=/dev/null SSL_CERT_DIR=/nonexistent MALLOC_ARENA_MAX=1
WORKDIR /
USER 65532:65532

FROM base AS registry
COPY --from=rootfs /rootfs/registry/ /
ENTRYPOINT ["/nsm/node", "--use-openssl-ca", "/nsm/start.cjs", "/nsm/registry.cjs"]

FROM base AS nsmgr
COPY --from=rootfs /rootfs/nsmgr/ /
ENTRYPOINT ["/nsm/node", "--use-openssl-ca", "/nsm/start.cjs", "/nsm/nsmgr.cjs"]

FROM base AS forwarder
COPY --from=rootfs /rootfs/forwarder/ /
ENTRYPOINT ["/nsm/node", "--use-openssl-ca", "/nsm/start.cjs", "/nsm/forwarder.cjs"]

FROM base AS webhook
COPY --from=rootfs /rootfs/webhook/ /
ENTRYPOINT ["/nsm/node", "--use-openssl-ca", "/nsm/start.cjs", "/nsm/webhook.cjs"]

FROM base AS sidecar
COPY --from=rootfs /rootfs/sidecar/ /
ENTRYPOINT ["/nsm/node", "--use-openssl-ca", "/nsm/start.cjs", "/nsm/sidecar.cjs"]

FROM base AS agent
COPY --from=rootfs /rootfs/agent/ /
ENTRYPOINT ["/nsm/node", "--use-openssl-ca", "/nsm/start.cjs", "/nsm/agent.cjs"]

FROM base AS prefixes
COPY --from=rootfs /rootfs/prefixes/ /
ENTRYPOINT ["/nsm/node", "--use-openssl-ca", "/nsm/start.cjs", "/nsm/prefixes.cjs"]

FROM base AS icmp-responder
COPY --from=rootfs /rootfs/icmp-responder/ /
ENTRYPOINT ["/nsm/node", "--use-openssl-ca", "/nsm/start.cjs", "/nsm/icmp-responder.cjs"]

FROM base AS nsm
COPY --from=rootfs /rootfs/nsm/ /
ENTRYPOINT ["/nsm/node", "--use-openssl-ca", "/nsm/start.cjs", "/nsm/nsm.cjs"]
