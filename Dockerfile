# compose-scale as an image: one static binary, nothing else.
#
#   docker build -t compose-scale .
#   cd /srv/shop && docker run -d --name compose-scale --restart unless-stopped \
#     --network host \
#     -v /var/run/docker.sock:/var/run/docker.sock \
#     -v "$PWD:$PWD" -w "$PWD" \
#     -v /sys/fs/cgroup:/sys/fs/cgroup:ro \
#     -v compose-scale-shop:/state -e COMPOSE_SCALE_STATE=/state \
#     compose-scale
#
# What each line is for:
#   --network host     new replicas are looked at by their own addresses
#   docker.sock        makes it root on the machine, as it does for everything that has it
#   "$PWD:$PWD"        the project at the same path as on the host: compose's labels and the mounts of
#                      nginx name that path
#   /sys/fs/cgroup     CPU and memory without asking the Engine; without it that takes a second a look
#   /state             history; one volume for each project
#
# The other commands go to the one that runs:
#   docker exec compose-scale /compose-scale ps
#
# There is no shell and no program but this one in it: with commands of your own for `nginx.reload`,
# `nginx.test` or metrics, run the tool on the machine itself. Times are UTC unless
# /etc/localtime is mounted as well.
FROM rust:1.95 AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
# With --target the flag does not reach build scripts, which could not run as static programs.
RUN target=$(rustc -vV | sed -n 's/^host: //p') \
    && RUSTFLAGS="-C target-feature=+crt-static" cargo build --profile dist --locked --target "$target" \
    && cp "target/$target/dist/compose-scale" /compose-scale

FROM scratch
COPY --from=build /compose-scale /compose-scale
ENTRYPOINT ["/compose-scale"]
CMD ["watch"]
