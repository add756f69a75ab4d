"""Faults planted into copies of crates/kernels/cuda, each of which the tests there must find.

    python3 scripts/cuda_faults.py SCRATCH [--quick] [NAME]     all, those marked `quick`, or those whose name contains NAME

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

import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import tomllib

KERNELS = pathlib.Path(__file__).parent.parent / "crates" / "kernels" / "cuda"
SECONDS = 300


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
    shutil.rmtree(copy, ignore_errors=True)
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


def main(scratch, *arguments):
    quick = "--quick" in arguments
    names = [argument for argument in arguments if argument != "--quick"]
    scratch = pathlib.Path(scratch)
    scratch.mkdir(parents=True, exist_ok=True)
    total, missed = 0, 0
    for path in sorted(KERNELS.glob("*/faults.toml")):
        for fault in tomllib.loads(path.read_text())["fault"]:
            if (quick and not fault.get("quick")) or not all(name in fault["name"] for name in names):
                continue
            start = time.monotonic()
            found, line = outcome(path.parent.name, fault, scratch)
            total += 1
            missed += not found
            seconds = time.monotonic() - start
            print(f"{'found ' if found else 'MISSED'} {path.parent.name}: {fault['name']} ({seconds:.0f} s): {line[:140]}", flush=True)
    print(f"{missed} of {total} planted faults missed")
    if total == 0:
        sys.exit("no such fault")
    sys.exit(missed > 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
