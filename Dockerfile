# The program for the processor.
#
#   docker build -t memtrain .
#   docker run --rm -v "$PWD:/work" memtrain quickstart
#
# The corpus and the runs lie in the mounted folder. x86-64 needs AVX2, as any build (.cargo/config.toml); aarch64 builds too.
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
# The image's own compiler, without asking for the version that rust-toolchain.toml names.
RUN RUSTUP_TOOLCHAIN="$(ls "$RUSTUP_HOME/toolchains")" cargo build --profile dist --locked --bin memtrain

FROM debian:bookworm-slim
# Certificates are for the Hugging Face hub and for servers that sample.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /source/target/dist/memtrain /usr/local/bin/memtrain
COPY configs /usr/local/share/memtrain/configs
COPY LICENSE-MIT LICENSE-APACHE /usr/local/share/doc/memtrain/
WORKDIR /work
# SIGTERM, which `docker stop` sends, saves and ends with 75; `docker stop -t 120` waits for that longer than ten seconds.
ENTRYPOINT ["memtrain"]
CMD ["--help"]
