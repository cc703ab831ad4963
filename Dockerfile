# Builds the gateway and runs it without privileges. docker build -t malote .
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential cmake pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked -p malote && cp target/release/malote /malote

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/malote --create-home malote
COPY --from=build /malote /usr/local/bin/malote
COPY config/malote.toml /etc/malote/malote.example.toml
USER malote
WORKDIR /var/lib/malote
VOLUME /var/lib/malote
# HTTP API, SMTP submission, admin
EXPOSE 8080 587 465 8081
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["malote", "health", "--config", "/etc/malote/malote.toml"]
ENTRYPOINT ["malote"]
CMD ["serve", "--config", "/etc/malote/malote.toml"]
