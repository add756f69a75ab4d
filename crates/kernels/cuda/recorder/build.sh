#!/usr/bin/env bash
# Builds the recording CUDA driver: the libraries that a program with the feature `cuda` is linked against and loads.
#
#   build.sh FOLDER CUDARC CANDLE_KERNELS [execute]   FOLDER for the libraries, then the sources of the two crates
#
# With `execute`, launches of the project's own kernels run in the emulator (../executor), on memory of the host.
#
# All code is in libcuda.so.1; libcublas, libcublasLt, libcurand, libnvrtc and libcudart are empty and need it, so that
# there is one set of counters, found by the linker (cudarc's `dynamic-linking`) and by dlopen with dlsym
# (`dynamic-loading`) alike. Every name that cudarc declares is there, and candle's host functions of kernels that nvcc
# would compile; those that no file here defines answer with an error and are listed in the report.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
folder="${1:?a folder for the libraries}"
cudarc="${2:?the sources of cudarc}"
candle="${3:?the sources of candle-kernels}"
mkdir -p "$folder"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

for file in books memory driver libraries; do
    gcc -std=gnu11 -O2 -Wall -Wextra -Werror -fPIC -c "$here/$file.c" -o "$work/$file.o"
done
nm --defined-only -g "$work"/*.o | awk 'NF == 3 { print $3 }' | sort -u >"$work/defined"
for module in driver cublas cublaslt curand nvrtc; do
    grep -ohE 'pub (unsafe )?fn (cu|nvrtc)[A-Za-z0-9_]+' "$cudarc/src/$module/sys/mod.rs" | awk '{ print $NF }'
done >"$work/names"
grep -ohE 'pub fn [A-Za-z0-9_]+' "$candle/src/ffi.rs" | awk '{ print $NF }' >>"$work/names"
sort -u "$work/names" >"$work/declared"
comm -23 "$work/declared" "$work/defined" | awk '
    BEGIN { print "int recorder_missing(const char*);" }
    { printf "int %s(void) { return recorder_missing(\"%s\"); }\n", $1, $1 }' >"$work/missing.c"
gcc -O1 -w -fPIC -c "$work/missing.c" -o "$work/missing.o"

if [ "${4:-}" = execute ]; then
    g++ -std=c++17 -O2 -march=native -Wall -Wno-unknown-pragmas -fPIC -c "$here/../executor/executor.cpp" -o "$work/executor.o"
fi
g++ -shared -Wl,-soname,libcuda.so.1 -o "$folder/libcuda.so.1" "$work"/*.o -ldl -lpthread
ln -sf libcuda.so.1 "$folder/libcuda.so"
for library in cublas:13 cublasLt:13 curand:10 nvrtc:13 cudart:13; do
    name="lib${library%:*}.so" versioned="lib${library%:*}.so.${library#*:}"
    echo "" | gcc -shared -fPIC -x c - -o "$folder/$versioned" -Wl,-soname,"$versioned" -Wl,--no-as-needed \
        -L"$folder" -l:libcuda.so.1 -Wl,-rpath,'$ORIGIN'
    ln -sf "$versioned" "$folder/$name"
done
declared=$(wc -l <"$work/declared") defined=$(comm -12 "$work/declared" "$work/defined" | wc -l)
echo "recording driver: $declared names, $defined of them recorded" >&2
