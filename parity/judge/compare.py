"""Compares two reports of quipu_judge: compare.py REFERENCE OURS. Prints a table by file, and every case that the reference
passes and ours does not; exit 1 if there is one that DEVIATIONS (a file beside this one) does not name."""

import collections
import os
import sys


def read(path):
    with open(path) as lines:
        return {case: outcome for outcome, case in (line.rstrip("\n").split(" ", 1) for line in lines)}


def main():
    reference, ours = read(sys.argv[1]), read(sys.argv[2])
    known = {}
    deviations = os.path.join(os.path.dirname(__file__), "DEVIATIONS")
    if os.path.exists(deviations):
        with open(deviations) as lines:
            known = dict(line.strip().split(": ", 1) for line in lines if ": " in line and line[0] != "#")
    counts = collections.defaultdict(lambda: [0, 0, 0, 0])
    lost = []
    for case, outcome in sorted(reference.items()):
        row = counts[case.split("::")[0]]
        passes, ours_passes = outcome == "passed", ours.get(case) == "passed"
        row[0] += 1
        row[1] += passes
        row[2] += ours_passes
        row[3] += passes and ours_passes
        if passes and not ours_passes:
            lost.append(case)
    print("| file | cases | llama-server | quipu | both |\n|---|---:|---:|---:|---:|")
    for file, row in counts.items():
        print(f"| {file} | " + " | ".join(map(str, row)) + " |")
    print("| all | " + " | ".join(str(sum(column)) for column in zip(*counts.values())) + " |\n")
    for case in lost:
        why = next((why for name, why in known.items() if case.startswith(name)), None)
        print(f"- `{case}`: {why or 'NOT EXPLAINED'}")
    unknown = [case for case in lost if not any(case.startswith(name) for name in known)]
    sys.exit(1 if unknown else 0)


main()
