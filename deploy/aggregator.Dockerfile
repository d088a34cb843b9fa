# The aggregator, alone in its image: no shell, no package manager, no root.
# Build from the root of the repository: docker build -f deploy/aggregator.Dockerfile -t tributary-aggregator .
# Pin both base images by digest where builds must be repeatable.

FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
# The folder is made here because a volume takes over owner and mode of the folder that it covers.
RUN cargo build --release --locked --bin aggregator \
 && install -d -m 0700 /rootfs/var/lib/tributary

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build --chmod=0555 /build/target/release/aggregator /usr/local/bin/aggregator
COPY --from=build --chown=65532:65532 /rootfs/var/lib/tributary /var/lib/tributary
USER 65532:65532
WORKDIR /var/lib/tributary
VOLUME ["/var/lib/tributary"]
EXPOSE 7443/udp
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/aggregator"]
CMD ["--help"]
