# The commands of the project; each is a thin call of the binary or of cargo. `just` lists them.

memtrain := "cargo run --release --quiet --"

_default:
    @just --list --unsorted

# Everything once on a fictional encyclopedia: corpus, training, evaluation (minutes, no download)
quickstart *arguments:
    {{ memtrain }} quickstart {{ arguments }}

# Turn a dump into training documents: a sample of Wikipedia, or `just build-corpus configs/memtrain.toml --dump DUMP`
build-corpus config="configs/enwiki-short.toml" *arguments:
    {{ memtrain }} corpus build --config {{ config }} {{ arguments }}

# Train a memory with MemTrain's two objectives: some steps on that sample, or `just pretrain-memory configs/memtrain.toml`
pretrain-memory config="configs/enwiki-short.toml" *arguments:
    {{ memtrain }} train --config {{ config }} {{ arguments }}

# Offer the index of a corpus over HTTP, on the loopback
serve-index corpus *arguments:
    {{ memtrain }} serve-index {{ corpus }} {{ arguments }}

# What must hold before each commit
check:
    cargo fmt --all --check
    cargo clippy --release --workspace --all-targets -- -D warnings
    cargo test --release --workspace
    RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps

# All tests
test *arguments:
    cargo test --release --workspace {{ arguments }}

# Open pages of `memtrain report` in headless Chromium: of two short quickstarts, or of the runs given
report-check *runs:
    cargo build --release --locked
    scripts/report-check.sh "${CARGO_TARGET_DIR:-target}/release/memtrain" {{ runs }}

# Fuzz the readers of other people's bytes, so many seconds each
fuzz seconds="60":
    scripts/fuzz.sh {{ seconds }}

# Disturb a small build and a small training run at every file operation, and compare what they leave (two hours)
torture:
    MEMTRAIN_TORTURE=all cargo test --release --test torture -- --nocapture --test-threads 1

# Measurements: `just bench` takes all, `just bench ingest` one
bench *names="train sample prefix ingest synthesize":
    cargo bench --workspace $(printf -- '--bench %s ' {{ names }})

# The program for NVIDIA cards; needs neither a card nor CUDA here
cuda-build *arguments:
    scripts/cuda-build.sh {{ arguments }}

# CUDA kernels without a card: `test`, `faults`, `compile`
cuda-kernels *arguments="test":
    scripts/cuda-kernels.sh {{ arguments }}

# What a training step and a decode pass ask of a card: counted without one
cuda-record *arguments:
    scripts/cuda-record.sh {{ arguments }}

# On a machine with a card: parity, a step of a 4B policy, speed of drawing, a short run (`cpu tiny` goes the same way without one)
gpu-check device="cuda:0" size="qwen3-4b":
    scripts/gpu-check.sh {{ device }} {{ size }}

# The Python package, installed by pip and tested against the program
test-python:
    cargo build --release --quiet
    scripts/python-check.sh "${CARGO_TARGET_DIR:-target}/release/memtrain"

# Corpus and training under a Slurm of this machine (root and Debian's slurm-wlm)
test-slurm:
    cargo build --release --quiet
    scripts/test-slurm.sh "${CARGO_TARGET_DIR:-target}/release/memtrain"

# Training by several processes of MPI (Debian's openmpi-bin, libopenmpi-dev and libclang-dev), against one process
test-mpi:
    scripts/test-mpi.sh

# Corpus and training under a Ray of this machine (PyPI's ray)
test-ray:
    cargo build --release --quiet
    scripts/test-ray.sh "${CARGO_TARGET_DIR:-target}/release/memtrain"

# The manifests for Kubernetes and the units for systemd
test-units:
    cargo build --release --quiet
    scripts/kubernetes-check.sh "${CARGO_TARGET_DIR:-target}/release/memtrain"
    scripts/systemd-check.sh
