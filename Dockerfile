# The server, on a slim Debian, as a user without rights. The root of the container may be read-only:
# all that is written is under /var/lib/ploy-webhooks.
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked -p ploy-webhooks-server \
    && cp target/release/ploy-webhooks /ploy-webhooks

FROM debian:bookworm-slim
# What destinations and engines show to be trusted.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --home-dir /var/lib/ploy-webhooks --create-home --shell /usr/sbin/nologin ploy
COPY --from=build /ploy-webhooks /usr/local/bin/ploy-webhooks
USER 10001
WORKDIR /var/lib/ploy-webhooks
VOLUME /var/lib/ploy-webhooks
ENV PLOY_LISTEN=0.0.0.0:8080 \
    PLOY_STORE=sqlite:/var/lib/ploy-webhooks/ploy.db \
    PLOY_MASTER_KEY_FILE=/var/lib/ploy-webhooks/master.key
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["ploy-webhooks", "health"]
ENTRYPOINT ["ploy-webhooks"]
CMD ["serve"]
