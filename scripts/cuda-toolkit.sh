# Finds nvcc, or unpacks it from NVIDIA's wheels: sourced by scripts that compile for CUDA, not run.
#
#   cuda_toolkit FOLDER
#
# Where nvcc is on the PATH it is used. Elsewhere NVIDIA's own wheels from PyPI bring compiler, headers and the runtime
# (about 100 MB, unpacked in FOLDER and used again), and nvcc is put on the PATH. Sets cuda_libraries to the folder of
# the toolkit's libraries. Fails, with a line on stderr, where nvcc can be had neither way.

# Kernels and host code of one release; candle 0.11 knows it.
cuda_release=13.0

cuda_toolkit() {
    local folder="$1" toolkit="$1/nvidia/cu13" part name
    if command -v nvcc >/dev/null; then
        cuda_libraries="$(dirname "$(dirname "$(command -v nvcc)")")/lib64"
        return 0
    fi
    # The last file that is made: a folder that was left half unpacked is unpacked again.
    if [ ! -e "$toolkit/complete" ]; then
        mkdir -p "$folder/wheels" || return 1
        for part in nvcc crt nvvm runtime cccl; do
            name="nvidia-cuda-$part"
            [ "$part" = nvvm ] && name=nvidia-nvvm
            if ! python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
                --dest "$folder/wheels" "$name==$cuda_release.*"; then
                echo "nvcc is not on the PATH, and the wheel of $name $cuda_release cannot be had" >&2
                return 1
            fi
        done
        python3 - "$folder" <<'PYTHON' || return 1
import pathlib, sys, zipfile
folder = pathlib.Path(sys.argv[1])
for wheel in sorted(folder.glob("wheels/*.whl")):
    zipfile.ZipFile(wheel).extractall(folder)
# A zip file keeps no right to execute.
for program in [*folder.glob("nvidia/cu13/bin/**/*"), *folder.glob("nvidia/cu13/nvvm/bin/*")]:
    if program.is_file():
        program.chmod(0o755)
PYTHON
        [ -e "$toolkit/lib64" ] || ln -s lib "$toolkit/lib64"
        [ -e "$toolkit/lib/libcudart.so" ] || ln -s libcudart.so.13 "$toolkit/lib/libcudart.so"
        touch "$toolkit/complete"
    fi
    export PATH="$toolkit/bin:$PATH" CUDA_HOME="$toolkit" CUDA_PATH="$toolkit" CUDA_ROOT="$toolkit"
    export CUDARC_CUDA_VERSION="${CUDARC_CUDA_VERSION:-13000}"
    cuda_libraries="$toolkit/lib"
}
