#!/usr/bin/env python3
"""Durable steps in a second: NecroCode's journal beside DBOS, LangGraph and bare SQLite.

All in one run, on one disk, in turns. README.md here says what a step is for each of them.
Needs Python 3.10 or newer with `venv`, cargo, and PyPI: the engines are installed into a temporary place.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))

# Name in engines.py, what it is, steps in a round.
PEERS = [
    ("bare", "bare SQLite from Python: a row a commit", 2000),
    ("dbos", "DBOS on SQLite, as it comes", 500),
    ("dbos_wal", "DBOS on SQLite, write-ahead log switched on", 500),
    ("langgraph_put", "LangGraph's checkpointer alone: a checkpoint a commit", 2000),
    ("langgraph", "LangGraph, a graph with that checkpointer", 500),
]
# Key of the bench's JSON, what it is.
OURS = [
    ("bare", "bare SQLite from Rust: the journal's own row, a commit each"),
    ("external", "external effect: intent and answer, a commit each"),
    ("together", "external effects of 8 executions at a time"),
    ("local", "local effect: effect and answer in one commit"),
    ("observed", "observation: shares the commit of the next record"),
]
# Ours, theirs, how many times as fast ours must be. A local effect is what their steps are: one commit,
# durable before the next step begins.
BOUNDS = [
    ("observed", "dbos", 10.0),
    ("observed", "langgraph_put", 3.0),
    ("local", "dbos", 10.0),
    ("local", "langgraph", 3.0),
]


def arguments():
    """What may be asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", help="where to measure: a folder on the disk that is meant (default: target/)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each engine; the median counts")
    parser.add_argument("--venv", help="use this environment and leave it there; made when it is missing")
    parser.add_argument("--strict", action="store_true", help="fail when a bound is missed")
    return parser.parse_args()


def python_with_engines(venv):
    """An environment with the pinned engines in it."""
    python = os.path.join(venv, "bin", "python")
    if not os.path.exists(python):
        print("installing the engines into", venv, file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        requirements = os.path.join(HERE, "requirements.txt")
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements]
        subprocess.run(install, check=True)
    return python


def bench():
    """Builds the bench of the journal and gives the program."""
    build = ["cargo", "bench", "-p", "necro-host", "--bench", "journal", "--no-run", "--message-format", "json"]
    output = subprocess.run(build, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    for line in output.splitlines():
        message = json.loads(line) if line.startswith("{") else {}
        if message.get("reason") == "compiler-artifact" and message["target"]["name"] == "journal":
            return message["executable"]
    sys.exit("cargo did not say where it put the bench of the journal")


def last_json(command):
    """The JSON that a program prints last."""
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.strip().splitlines()[-1])


def measure(python, program, place, rounds):
    """Steps a second: ours and theirs, a list with a figure for each round; and how the databases were set."""
    ours = {key: [] for key, _ in OURS}
    theirs = {name: [] for name, _, _ in PEERS}
    found = {}
    for number in range(rounds):
        with tempfile.TemporaryDirectory(dir=place, prefix="peers-") as directory:
            for key, rate in last_json([program, "--rates", directory]).items():
                ours[key].append(rate)
        for name, _, steps in PEERS:
            with tempfile.TemporaryDirectory(dir=place, prefix="peers-") as directory:
                engine = [python, os.path.join(HERE, "engines.py"), name, directory, str(steps)]
                result = last_json(engine)
            theirs[name].append(steps / result["seconds"])
            found[name] = result["settings"]
        print(f"round {number + 1} of {rounds} is done", file=sys.stderr)
    return ours, theirs, found


def report(ours, theirs, found):
    """Prints the table and the verdicts; gives whether every bound holds."""
    speed = {key: statistics.median(rates) for key, rates in ours.items()}
    peers = {name: statistics.median(rates) for name, rates in theirs.items()}
    print(f"{'durable steps, one after the other':<62} {'a second':>9} {'× DBOS':>8} {'× put':>8} {'× graph':>8}")
    rows = [(f"NecroCode, {what}" if key != "bare" else what, speed[key]) for key, what in OURS]
    rows += [(what, peers[name]) for name, what, _ in PEERS]
    for what, rate in rows:
        ratios = [rate / peers[name] for name in ("dbos", "langgraph_put", "langgraph")]
        print(f"{what:<62} {rate:>9,.0f} " + " ".join(f"{ratio:>8.1f}" for ratio in ratios))
    modes = {name: f"{mode['journal_mode']}/{mode['synchronous']}" for name, mode in found.items()}
    print("journal mode and synchronous (2 is FULL):", ", ".join(f"{name} {mode}" for name, mode in modes.items()))
    print("× DBOS: as it comes; × put: of LangGraph's checkpointer alone; × graph: of its graph")
    holds = True
    for own, other, bound in BOUNDS:
        ratio = speed[own] / peers[other]
        holds &= ratio >= bound
        print(f"{own} / {other}: {ratio:.1f}×, bound ≥ {bound:g}×  {'ok' if ratio >= bound else 'MISSED'}")
    return holds


def main():
    """Installs, builds, measures, reports."""
    asked = arguments()
    place = os.path.abspath(asked.dir or os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))))
    os.makedirs(place, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="peers-venv-") as temporary:
        python = python_with_engines(os.path.abspath(asked.venv or os.path.join(temporary, "venv")))
        holds = report(*measure(python, bench(), place, asked.rounds))
    sys.exit(0 if holds or not asked.strict else 1)


if __name__ == "__main__":
    main()
