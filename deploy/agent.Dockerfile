# The agent, alone in its image: no shell, no package manager, no root.
# Build from the root of the repository: docker build -f deploy/agent.Dockerfile -t tributary-agent .
# Pin both base images by digest where builds must be repeatable.

FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
# The folder is made here because a volume takes over owner and mode of the folder that it covers.
RUN cargo build --release --locked --bin agent \
 && install -d -m 0700 /rootfs/var/lib/tributary

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build --chmod=0555 /build/target/release/agent /usr/local/bin/agent
COPY --from=build --chown=65532:65532 /rootfs/var/lib/tributary /var/lib/tributary
USER 65532:65532
WORKDIR /var/lib/tributary
VOLUME ["/var/lib/tributary"]
EXPOSE 7443/udp
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/agent"]
CMD ["--help"]
