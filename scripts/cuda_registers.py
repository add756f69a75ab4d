"""A table of what `nvcc -Xptxas -v` said of kernels; fails if one spills, takes more than 255 registers, or is not the one that was asked for.

    python3 scripts/cuda_registers.py PTXAS_OUTPUT KERNELS_TSV

KERNELS_TSV, where there is such a file, names kernels with the dynamic shared memory that their launcher asks for (columns `kernel` and
`shared_bytes`); ptxas knows static shared memory alone.
"""

import csv
import pathlib
import re
import sys

ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'(.*?)Used (\d+) registers([^\n]*)", re.S)
MOST_REGISTERS = 255


def main(output, table):
    found, faults = {}, []
    for kernel, architecture, frame, registers, used in ENTRY.findall(pathlib.Path(output).read_text()):
        stack = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", frame)
        static = re.search(r"(\d+) bytes smem", used)
        local, stores, loads = map(int, stack.groups()) if stack else (0, 0, 0)
        found.setdefault(kernel, {})[architecture] = int(registers), stores + loads, local, int(static[1]) if static else 0
        if stores + loads > 0:
            faults.append(f"{kernel} spills {stores + loads} bytes on {architecture}")
        if int(registers) > MOST_REGISTERS:
            faults.append(f"{kernel} takes {registers} registers on {architecture}")
    architectures = sorted({architecture for by in found.values() for architecture in by})
    shared = {}
    if pathlib.Path(table).exists():
        with open(table, newline="") as lines:
            shared = {row["kernel"]: int(row["shared_bytes"]) for row in csv.DictReader(lines, delimiter="\t")}
    faults += [f"{kernel} of {table} is not among the kernels" for kernel in shared if kernel not in found]
    faults += [f"{kernel} was not compiled for all architectures" for kernel, by in found.items() if len(by) != len(architectures)]
    if not found:
        faults.append(f"{output} names no kernel")
    width = max(map(len, found), default=0) + 2
    print(f"{'kernel':{width}}{'shared':>8}" + "".join(f"{'registers (spill, stack) ' + a:>34}" for a in architectures))
    for kernel, by in sorted(found.items()):
        bytes_shared = shared.get(kernel, 0) + max(static for _, _, _, static in by.values())
        columns = ("%d (%d, %d)" % by[a][:3] if a in by else "-" for a in architectures)
        print(f"{kernel:{width}}{bytes_shared:>8}" + "".join(f"{column:>34}" for column in columns))
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main(*sys.argv[1:])
