#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a reader of the source may rely on, checked.

    lint.py spdx|layers|size|format|cppcheck|tidy|man|shell|links SOURCE BUILD

Each prints one TAP point, or skips with the reason when its tool is not installed.
"""

import glob
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

# in two parts, since it is not the licence of this line
SPDX = "SPDX-License-" + "Identifier: LGPL-2.1-or-later"
# debian/copyright and .reuse/dep5 speak for what has no place for it
NO_LINE_FOR_SPDX = {"LICENSE", ".gitignore", ".reuse/dep5", "debian/changelog", "debian/control",
                    "debian/copyright", "debian/source/format", "debian/tests/control"}

# what each part of src/ may include besides itself; src/*.c stands above them all
BELOW = {
    "util": set(),
    "vsock": {"util"},
    "rpc": {"vsock", "util"},
    "nfs41": {"rpc", "vsock", "util"},
    "gateway": {"vsock", "util"},
    "generator": {"vsock", "util"},
    "": {"nfs41", "rpc", "vsock", "util"},
    "ctl": {""},
}
# foreign headers, and the only files that know them
FOREIGN = {
    r"(rpc|tirpc)/.*\.h": r"src/rpc/.*",
    r"liburing.*\.h": r"src/(vsock/.*|util/loop.*)",
    r"openssl/.*": r"src/vsock/tls.*",
    r"fuse.*\.h": r"src/[^/]*",
    r"(gssapi|krb5).*\.h": r"src/(rpc/gss_token\.c|kerberos.*)",
}
FILE_LINES = 600


class Skip(Exception):
    pass


def need(*names):
    for name in names:
        if shutil.which(name):
            return name
    raise Skip(f"{names[0]} is not installed")


def tracked():
    """Files of the project, from git where this is a checkout."""
    done = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if done.returncode == 0:
        return [n for n in sorted(set(done.stdout.decode().splitlines())) if os.path.isfile(n)]
    found = []
    for root, dirs, files in os.walk("."):
        dirs[:] = [d for d in dirs if not d.startswith((".git", "build", "__pycache__"))]
        found += [os.path.relpath(os.path.join(root, f)) for f in files]
    return sorted(found)


def sources(*suffixes):
    return [n for n in tracked() if n.endswith(suffixes)]


def output_of(command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    return done.returncode, done.stdout.decode(errors="replace")


def check_spdx(_build):
    """every file names its licence near its top"""
    for name in tracked():
        if name in NO_LINE_FOR_SPDX or name.startswith(("LICENSES/", "tests/fuzz/corpus/")):
            continue
        with open(name, errors="replace") as f:
            head = "".join(f.readline() for _ in range(5))
        if SPDX not in head:
            yield f"{name}: no line \"{SPDX}\""


def check_layers(_build):
    """no layer includes a higher one, and foreign headers stay in their layer"""
    for name in sources(".c", ".h"):
        if not name.startswith("src/"):
            continue
        layer = name.split("/")[1] if name.count("/") > 1 else ""
        if layer not in BELOW:
            yield f"{name}: {layer} is not in the table of layers"
            continue
        with open(name) as f:
            for number, line in enumerate(f, 1):
                yield from bad_include(f"{name}:{number}", name, layer, line)


def bad_include(where, name, layer, line):
    own = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
    if own:
        other = own[1].split("/")[0] if "/" in own[1] else ""
        if other not in BELOW[layer] | {layer}:
            yield f"{where}: {layer or 'the face'} includes \"{own[1]}\" of a higher layer"
    foreign = re.match(r"\s*#\s*include\s+<([^>]+)>", line)
    for header, user in FOREIGN.items() if foreign else ():
        if re.fullmatch(header, foreign[1]) and not re.fullmatch(user, name):
            yield f"{where}: <{foreign[1]}> belongs to {user} alone"


def check_size(_build):
    """every source file fits in a head"""
    for name in sources(".c", ".h"):
        with open(name) as f:
            lines = sum(1 for _ in f)
        if lines > FILE_LINES:
            yield f"{name}: {lines} lines, more than {FILE_LINES}"


def check_format(_build):
    """clang-format would change nothing"""
    tool = need("clang-format", "clang-format-14")
    names = sources(".c", ".h")
    cores = os.cpu_count()

    def look(part):
        return output_of([tool, "--dry-run", "-Werror", *names[part::cores]])

    with ThreadPoolExecutor(cores) as pool:
        for status, text in pool.map(look, range(cores)):
            if status != 0:
                yield "\n".join(line for line in text.split("\n") if "error:" in line) or text


def check_cppcheck(build):
    """cppcheck finds no error, warning, or portability or performance trouble"""
    tool = need("cppcheck")
    status, text = output_of([
        tool, "--quiet", "--error-exitcode=1", "--inline-suppr", "--std=c11", f"-j{os.cpu_count()}",
        "--enable=warning,performance,portability", "--suppress=missingIncludeSystem",
        "--suppress=unknownMacro", "--suppress=invalidPointerCast", "-D_GNU_SOURCE", "-D__linux__",
        # the one system header whose macros declare things
        *(f"--include={n}" for n in glob.glob("/usr/include/**/sys/queue.h", recursive=True)),
        "-Isrc",
        *(n for n in sources(".c") if n.startswith("src/"))])
    if status != 0:
        yield text


def check_tidy(build):
    """clang-tidy has nothing to say about the daemon"""
    tool = need("clang-tidy", "clang-tidy-14")
    with open(os.path.join(build, "compile_commands.json")) as f:
        commands = {os.path.realpath(os.path.join(c["directory"], c["file"])) for c in json.load(f)}
    here = [n for n in sources(".c") if n.startswith("src/") and os.path.realpath(n) in commands]

    def tidy(name):
        return output_of([tool, "-p", build, "--quiet", "--extra-arg=-Wno-unknown-warning-option",
                          name])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, (status, text) in zip(here, pool.map(tidy, here)):
            if status != 0:
                yield f"{name}:\n{text}"


def check_man(_build):
    """mandoc reads the manual pages without complaint"""
    tool = need("mandoc")
    for name in sources(".1", ".5", ".7", ".8"):
        status, text = output_of([tool, "-Tlint", name])
        if status != 0:
            yield text


def check_shell(_build):
    """sh accepts the shell scripts, and shellcheck, where installed, likes them"""
    for name in tracked():
        with open(name, "rb") as f:
            first = f.readline()
        if not re.match(rb"#!.*\b(sh|bash)\b", first):
            continue
        shell = "bash" if b"bash" in first else "sh"
        tools = [[shell, "-n", name]]
        if shutil.which("shellcheck"):
            tools.append(["shellcheck", "-S", "warning", name])
        for tool in tools:
            status, text = output_of(tool)
            if status != 0:
                yield text or f"{name}: {shell} -n fails"


def anchors(name):
    """Of the headings of a page, as web sites make them."""
    with open(name) as f:
        titles = re.findall(r"^#+ (.*)$", f.read(), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def check_links(_build):
    """links within the project's pages lead somewhere"""
    for name in sources(".md"):
        with open(name) as f:
            links = re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)", f.read())
        for path, anchor in links:
            target = os.path.normpath(os.path.join(os.path.dirname(name), path)) if path else name
            if not os.path.exists(target):
                yield f"{name}: no {path}"
            elif anchor and anchor not in anchors(target):
                yield f"{name}: no heading #{anchor} in {target}"


def main():
    name, source, build = sys.argv[1:]
    check = globals()[f"check_{name}"]
    os.chdir(source)
    print("1..1")
    try:
        complaints = list(check(build))
    except Skip as e:
        print(f"ok 1 - {check.__doc__} # SKIP {e}")
        return
    print(f"{'not ok' if complaints else 'ok'} 1 - {check.__doc__}")
    for line in "\n".join(complaints).rstrip("\n").split("\n") if complaints else ():
        print("#", line, file=sys.stderr)
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
