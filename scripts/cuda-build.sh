#!/usr/bin/env bash
# Builds memtrain with the feature `cuda`, with or without a card and a CUDA toolkit on this machine.
#
#   scripts/cuda-build.sh [cargo's arguments]        default: build --release -p memtrain --bin memtrain
#
# Where nvcc is on the PATH it is used. Elsewhere NVIDIA's own wheels from PyPI bring compiler, headers and the runtime
# (about 100 MB, unpacked beside the build). The libraries that only a machine with a card has (driver, cuBLAS, cuRAND,
# nvrtc) are stood in for when linking: files without code that name the symbols cudarc declares. They are never loaded;
# where the program runs, the real ones must be found (docs/gpu.md).
#
#   CUDA_COMPUTE_CAP   compute capability of the card without its dot, 90 (H100, H200) unless set
#   MEMTRAIN_CUDA_DIR  where the wheels are unpacked, <target>/cuda-toolkit unless set
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target="${CARGO_TARGET_DIR:-$PWD/target}"
export CUDA_COMPUTE_CAP="${CUDA_COMPUTE_CAP:-90}"
source scripts/cuda-toolkit.sh
arguments=("$@")
[ ${#arguments[@]} -gt 0 ] || arguments=(build --release -p memtrain --bin memtrain)

cuda_toolkit "${MEMTRAIN_CUDA_DIR:-$target/cuda-toolkit}"
libraries="$cuda_libraries"

# What stands in for libraries that are not here, made from the names that cudarc declares.
cargo fetch --quiet
stubs="$target/cuda-stubs"
mkdir -p "$stubs"
python3 - "$stubs" "$libraries" <<'PYTHON'
import json, pathlib, re, shutil, subprocess, sys
stubs, libraries = map(pathlib.Path, sys.argv[1:])
metadata = subprocess.run(["cargo", "metadata", "--format-version", "1", "--features", "cuda"], check=True, capture_output=True)
packages = json.loads(metadata.stdout)["packages"]
source = next(pathlib.Path(p["manifest_path"]).parent for p in packages if p["name"] == "cudarc") / "src"
wanted = [("driver", "cuda", "libcuda.so.1"), ("cublas", "cublas", "libcublas.so.13"), ("cublaslt", "cublasLt", "libcublasLt.so.13"),
          ("curand", "curand", "libcurand.so.10"), ("nvrtc", "nvrtc", "libnvrtc.so.13")]
for module, name, soname in wanted:
    library = stubs / f"lib{name}.so"
    if (libraries / f"lib{name}.so").exists() or library.exists():
        continue
    text = (source / module / "sys" / "mod.rs").read_text()
    symbols = sorted(set(re.findall(r"pub (?:unsafe )?fn ((?:cu|nvrtc)\w+)", text)))
    code = "".join(f"void {symbol}(void) {{}}\n" for symbol in symbols)
    subprocess.run(["gcc", "-shared", "-fPIC", "-w", f"-Wl,-soname,{soname}", "-x", "c", "-", "-o", str(library)],
                   input=code.encode(), check=True)
    print(f"lib{name}.so stands in with {len(symbols)} symbols", file=sys.stderr)
PYTHON

# The linker's own path, not rustc's flags: those of .cargo/config.toml must stay as they are.
export LIBRARY_PATH="$libraries:$stubs${LIBRARY_PATH:+:$LIBRARY_PATH}"
nvcc --version | tail -n 2 >&2
exec cargo "${arguments[@]}" --features cuda
