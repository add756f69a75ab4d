"""Faults planted into copies of crates/kernels/cuda, each of which the tests there must find.

    python3 scripts/cuda_faults.py SCRATCH [--quick] [--jobs N] [NAME]

plants all faults, those marked `quick`, or those whose name contains NAME; N at a time, 1 unless given.

Each folder of crates/kernels/cuda lists its faults in a `faults.toml`, tables `[[fault]]` of

    name     what is wrong
    file     where, relative to the folder
    find     text of the file that is replaced, once in it, or
    nth      which occurrence of it, counted from 1
    with     text that it is replaced by
    expect   regular expression for a line that the test must print, so that a fault is found for its own reason
    test     folder whose test.cpp must fail, unless it is the file's own
    quick    whether CI plants it

The test is compiled with FAULTS_QUICK, by which a test.cpp may leave out what costs time and stop at the first failure, and is run
with the arguments `7 0`: a seed, and no cases beyond the fixed ones.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib

KERNELS = pathlib.Path(__file__).parent.parent / "crates" / "kernels" / "cuda"
SECONDS = 900


def planted(text, fault):
    """The text with the fault in it."""
    parts = text.split(fault["find"])
    nth = fault.get("nth", 1)
    if len(parts) <= nth or ("nth" not in fault and len(parts) != 2):
        sys.exit(f"{fault['name']}: {fault['file']} has {len(parts) - 1} times {fault['find']!r}")
    return fault["find"].join(parts[:nth]) + fault["with"] + fault["find"].join(parts[nth:])


def outcome(folder, fault, scratch):
    """Whether the fault was found for its reason, and the line that says so or what happened instead."""
    copy = scratch / "planted"
    shutil.copytree(KERNELS, copy)
    file = copy / folder / fault["file"]
    file.write_text(planted(file.read_text(), fault))
    test = copy / fault.get("test", folder) / "test.cpp"
    compiler = [os.environ.get("CXX", "c++"), "-std=c++17", "-O0", "-w", "-DFAULTS_QUICK", "-o", scratch / "test", test]
    built = subprocess.run(compiler, capture_output=True, text=True)
    if built.returncode != 0:
        return False, f"does not compile: {built.stderr.strip().splitlines()[0]}"
    try:
        run = subprocess.run([scratch / "test", "7", "0"], capture_output=True, text=True, errors="replace", timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return False, f"the test did not end within {SECONDS} s"
    lines = (run.stdout + run.stderr).splitlines()
    reason = next((line.strip() for line in lines if re.search(fault["expect"], line)), None)
    if run.returncode == 0:
        return False, "the test passed"
    if reason is None:
        return False, f"the test failed, but printed nothing like {fault['expect']!r}: {' | '.join(lines[-3:])}"
    return True, reason


def plant(folder, fault, scratch):
    """Plants one fault in a folder of its own and prints the outcome; whether it was found."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory(dir=scratch) as own:
        found, line = outcome(folder, fault, pathlib.Path(own))
    seconds = time.monotonic() - start
    print(f"{'found ' if found else 'MISSED'} {folder}: {fault['name']} ({seconds:.0f} s): {line[:140]}", flush=True)
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("scratch", type=pathlib.Path)
    parser.add_argument("name", nargs="?", default="")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_intermixed_args()
    arguments.scratch.mkdir(parents=True, exist_ok=True)
    chosen = []
    for path in sorted(KERNELS.glob("*/faults.toml")):
        for fault in tomllib.loads(path.read_text())["fault"]:
            if arguments.name in fault["name"] and (fault.get("quick") or not arguments.quick):
                chosen.append((path.parent.name, fault))
                # Before anything is built: a fault that does not fit its file any more is found at once.
                planted((path.parent / fault["file"]).read_text(), fault)
    if not chosen:
        sys.exit("no such fault")
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        found = list(pool.map(lambda one: plant(*one, arguments.scratch), chosen))
    print(f"{found.count(False)} of {len(found)} planted faults missed")
    sys.exit(not all(found))


if __name__ == "__main__":
    main()
