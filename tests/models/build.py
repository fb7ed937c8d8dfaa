#!/usr/bin/env python3
"""Builds the classifier revisions that the demo and the tests deploy: `python3 tests/models/build.py`.

Makes its own environment from requirements.txt, then writes `$SMALLFLEET_CACHE/models-<hash>/`:

    good/ better/ slow/ worse/   model artifacts, each the root of an OCI image
    dataset/                     the labelled set of the accuracy gate (fetched, never to be redistributed)
    broken/                      artifacts that must be refused, one fault each
    requests.jsonl               texts for load with their labels, from articles used nowhere else
    report.json                  accuracy, paired counts, sizes and milliseconds of each revision

The hash covers requirements.txt and every file of this folder that decides the result, so a folder
that is there is complete and right: then nothing is built. The folder's path is the only line on
standard output; progress goes to standard error. `--where` prints the path and builds nothing.
"""

import argparse
import sys

import environment


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--where", action="store_true", help="print the folder's path and build nothing")
    parser.add_argument("--measure", action="store_true", help="measure the built revisions again, here and now")
    return parser.parse_args()


def main():
    asked = arguments()
    folder = environment.models_folder()
    if asked.where:
        print(folder)
        return
    if not folder.is_dir() or asked.measure:
        # Its Python replaces this process the first time.
        environment.enter()
        import measure

        try:
            build_once(folder)
            if asked.measure:
                measure.again(folder)
        except measure.TooFast as problem:
            sys.exit(f"make models: {problem}")
    print(folder)


def build_once(folder):
    """Two builds at once would do the same work twice: the second waits and finds it done."""
    import revisions

    with environment.locked("models"):
        if not folder.is_dir():
            revisions.build(folder)


if __name__ == "__main__":
    main()
