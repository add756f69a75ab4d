#!/usr/bin/env bash
# Builds the book of docs/ into target/book, or into the folder that is given; `scripts/book.sh --if-there` does nothing where
# there is no mdBook. Links, commands and configurations of the pages are checked by tests/book.rs, which needs no mdBook.
# mdBook is taken from the PATH; where it is missing it is installed beside the build, once.
set -euo pipefail
version=0.5.4
out="${1:-}"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target="${CARGO_TARGET_DIR:-$PWD/target}"
tools="$target/book-tools"
export PATH="$tools/bin:$PATH"
if ! command -v mdbook >/dev/null; then
    if [ "$out" = --if-there ]; then
        echo "mdBook is not installed: the book is not built"
        exit 0
    fi
    CARGO_TARGET_DIR="$tools/build" cargo install mdbook --version "$version" --locked --quiet --root "$tools" \
        --no-default-features --features search
    rm -rf "$tools/build"
fi
[ "$out" != --if-there ] || out=""
mkdir -p "$target"
out="$(realpath -m "${out:-$PWD/target/book}")"
mdbook build docs --dest-dir "$out" 2>&1 | tee "$target/book.log"
# mdBook goes on after a warning, of a missing include for example.
! grep -E "WARN|ERROR" "$target/book.log"
echo "$out/index.html"
