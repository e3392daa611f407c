#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs libFuzzer's programs.

    fuzz.py run PROGRAM --seconds N CORPUS   one TAP point: N seconds without a finding
    fuzz.py long BUILD SECONDS [TARGET...]   each target that long; prints time and executions
    fuzz.py merge BUILD [TARGET...]          adds to the tree's corpus what covers more

New inputs go to BUILD/tests/fuzz/found/TARGET, what fails to BUILD/tests/fuzz/failed. An input that
failed belongs, with the fix, into tests/fuzz/corpus/TARGET.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
LIMITS = ["-timeout=20", "-rss_limit_mb=1024"]
# bytes of the longest input worth trying; elsewhere 1024
LENGTHS = {"record": 8192, "compound": 2048, "callback": 2048, "idmap": 2048, "state": 4096}
HALT = {"UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"}


def limits(target):
    return [*LIMITS, f"-max_len={LENGTHS.get(target, 1024)}"]


def fuzz(program, corpus, seconds):
    """(exit status, executions, seconds, output)"""
    folder = os.path.dirname(os.path.abspath(program))
    target = os.path.basename(program).removeprefix("fuzz_")
    found, failed = os.path.join(folder, "found", target), os.path.join(folder, "failed")
    for path in (found, failed):
        os.makedirs(path, exist_ok=True)
    begun = time.monotonic()
    done = subprocess.run(
        [program, f"-max_total_time={seconds}", "-print_final_stats=1",
         f"-artifact_prefix={failed}/{target}-", "-use_value_profile=1", *limits(target), found,
         *([corpus] if os.path.isdir(corpus) else [])],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, **HALT})
    text = done.stdout.decode(errors="replace")
    executions = re.search(r"stat::number_of_executed_units: *(\d+)", text)
    return (done.returncode, int(executions[1]) if executions else 0,
            time.monotonic() - begun, text)


def run(args):
    print("1..1", flush=True)
    status, executions, seconds, text = fuzz(args.program, args.corpus, args.seconds)
    print(f"{'not ok' if status else 'ok'} 1 - {seconds:.0f} s, {executions} executions")
    if status:
        print("\n".join("# " + line for line in text.splitlines()[-60:]), file=sys.stderr)
    return status != 0


def targets(build, names):
    folder = os.path.join(build, "tests/fuzz")
    everything = sorted(n.removeprefix("fuzz_") for n in os.listdir(folder)
                        if n.startswith("fuzz_") and os.access(os.path.join(folder, n), os.X_OK)
                        and os.path.isfile(os.path.join(folder, n)) and n != "fuzz_seeds")
    return [(n, os.path.join(folder, "fuzz_" + n)) for n in names or everything]


def long(args):
    bad = 0
    for name, program in targets(args.build, args.targets):
        status, executions, seconds, text = fuzz(
            program, os.path.join(HERE, "corpus", name), args.seconds)
        print(f"{name}: {seconds:.0f} s, {executions} executions, "
              f"{'FAILED' if status else 'nothing found'}", flush=True)
        if status:
            bad = 1
            print("\n".join(text.splitlines()[-60:]), flush=True)
    return bad


def merge(args):
    """The smallest set of inputs that covers every branch that corpus, finds and seeds cover; how
    often one is taken does not count, which would be three times as many for nothing to read."""
    with tempfile.TemporaryDirectory() as seeds:
        subprocess.run([os.path.join(args.build, "tests/fuzz/fuzz_seeds"), seeds], check=True)
        for name, program in targets(args.build, args.targets):
            corpus = os.path.join(HERE, "corpus", name)
            sources = [p for p in (corpus, os.path.join(args.build, "tests/fuzz/found", name),
                                   os.path.join(seeds, name)) if os.path.isdir(p)]
            with tempfile.TemporaryDirectory() as merged:
                done = subprocess.run(
                    [program, "-set_cover_merge=1", "-use_counters=0", *limits(name), merged,
                     *sources],
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                    env={**os.environ, **HALT})
                if done.returncode:
                    print(done.stdout.decode(errors="replace"))
                    return 1
                shutil.rmtree(corpus, ignore_errors=True)
                shutil.copytree(merged, corpus)
            sizes = [os.path.getsize(os.path.join(corpus, n)) for n in os.listdir(corpus)]
            print(f"{name}: {len(sizes)} inputs, {sum(sizes)} bytes", flush=True)
    return 0


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    sub = commands.add_parser("run")
    sub.add_argument("program")
    sub.add_argument("--seconds", type=int, required=True)
    sub.add_argument("corpus")
    sub.set_defaults(do=run)
    sub = commands.add_parser("long")
    sub.add_argument("build")
    sub.add_argument("seconds", type=int)
    sub.add_argument("targets", nargs="*")
    sub.set_defaults(do=long)
    sub = commands.add_parser("merge")
    sub.add_argument("build")
    sub.add_argument("targets", nargs="*")
    sub.set_defaults(do=merge)
    args = parser.parse_args()
    sys.exit(args.do(args))


main()
