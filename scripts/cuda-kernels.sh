#!/usr/bin/env bash
# Tests and compiles the CUDA kernels of crates/kernels/cuda. No card is needed.
#
#   scripts/cuda-kernels.sh test [SEED]              tests of the emulator and of the kernels in it; a new SEED each time unless given
#   scripts/cuda-kernels.sh faults [--quick] [NAME]  plants faults that these tests must find (scripts/cuda_faults.py)
#   scripts/cuda-kernels.sh compile [FOLDER]         kernels for sm_80, sm_89 and sm_90: a table of registers, shared memory and spills,
#                                                    and a .fatbin and a .ptx each in FOLDER; fails if anything spills
#   scripts/cuda-kernels.sh plan                     what the plan of forest attention is worth, by batch (attention/README.md)
#   scripts/cuda-kernels.sh ci                       test with seed 1, faults --quick, compile
#
# Each folder of crates/kernels/cuda is one set of kernels, FOLDER/FOLDER.cu, with FOLDER/test.cpp and FOLDER/faults.toml. nvcc comes from
# the PATH or from NVIDIA's wheels (scripts/cuda-toolkit.sh); where it can be had neither way, compile says so and ends well.
#
#   CXX                    C++17 compiler of the tests, c++ unless set
#   MEMTRAIN_CUDA_DIR      where the wheels are unpacked, <target>/cuda-toolkit unless set
#   MEMTRAIN_REQUIRE_NVCC  1: without nvcc compile fails
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/cuda-toolkit.sh
target="${CARGO_TARGET_DIR:-$PWD/target}"
kernels="$PWD/crates/kernels/cuda"
build="$target/cuda-kernels/build"
export CXX="${CXX:-c++}"

run_test() { # name, seed, folder, flags
    "$CXX" -std=c++17 -O2 -march=native -Wall -Wextra -Wno-unknown-pragmas "${@:4}" -o "$build/$1" "$kernels/$3/test.cpp"
    "$build/$1" "$2"
}

run_tests() { # seed
    mkdir -p "$build"
    printf 'seed %s\n' "$1"
    run_test emulator "$1" emulator
    # The way in which threads are switched where there is no assembly for it.
    run_test emulator-ucontext "$1" emulator -DEMULATOR_UCONTEXT
    local test folder
    for test in "$kernels"/*/test.cpp; do
        folder="$(basename "$(dirname "$test")")"
        [ "$folder" = emulator ] || run_test "$folder" "$1" "$folder"
    done
}

compile() { # folder for what is compiled
    local out="${1:-$target/cuda-kernels}" source name
    if ! cuda_toolkit "${MEMTRAIN_CUDA_DIR:-$target/cuda-toolkit}"; then
        printf '\n  **** SKIPPED: the CUDA kernels were not compiled, nvcc cannot be had ****\n\n' >&2
        [ "${MEMTRAIN_REQUIRE_NVCC:-0}" != 1 ]
        return
    fi
    mkdir -p "$out"
    nvcc --version | tail -n 2 | head -n 1
    for source in "$kernels"/*/*.cu; do
        name="$(basename "$source" .cu)"
        nvcc -std=c++17 -fatbin -Xptxas -v -gencode arch=compute_80,code=[sm_80,compute_80] -gencode arch=compute_89,code=sm_89 \
            -gencode arch=compute_90,code=sm_90 -o "$out/$name.fatbin" "$source" 2>"$out/$name.ptxas" || {
            cat "$out/$name.ptxas" >&2
            return 1
        }
        nvcc -std=c++17 -ptx -arch=compute_80 -o "$out/$name.ptx" "$source"
        python3 scripts/cuda_registers.py "$out/$name.ptxas" "$(dirname "$source")/kernels.tsv"
        ls -l "$out/$name.fatbin" "$out/$name.ptx" | awk '{ print $NF ": " $5 " bytes" }'
    done
}

case "${1:-}" in
    test) run_tests "${2:-$(($(date +%s) % 1000000))}" ;;
    faults) python3 scripts/cuda_faults.py "$build/faults" "${@:2}" ;;
    compile) compile "${2:-}" ;;
    plan)
        mkdir -p "$build"
        "$CXX" -std=c++17 -O2 -o "$build/plan" "$kernels/attention/plan_report.cpp"
        "$build/plan"
        ;;
    ci)
        run_tests 1
        python3 scripts/cuda_faults.py "$build/faults" --quick --jobs "$(nproc)"
        compile
        ;;
    *)
        sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
        exit 2
        ;;
esac
