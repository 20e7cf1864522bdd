# compose-scale as an image. It needs the Engine's socket, the project's directory at the same path as
# on the host (compose's labels and nginx's files name it), and, to read CPU without asking the
# Engine, the host's cgroup files:
#
#   docker run -d --name compose-scale --restart unless-stopped --network host \
#     -v /var/run/docker.sock:/var/run/docker.sock \
#     -v "$PWD:$PWD" -w "$PWD" \
#     -v /sys/fs/cgroup:/sys/fs/cgroup:ro \
#     -v compose-scale:/state -e COMPOSE_SCALE_STATE=/state \
#     compose-scale watch
FROM rust:1.95 AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
RUN RUSTFLAGS="-C target-feature=+crt-static" \
    cargo build --release --locked --target "$(rustc -vV | sed -n 's/^host: //p')" \
    && cp target/*/release/compose-scale /compose-scale

FROM scratch
COPY --from=build /compose-scale /compose-scale
ENTRYPOINT ["/compose-scale"]
CMD ["watch"]
