# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writers of names: each change happens once, and each failure has its one errno."""

import ctypes
import errno
import os
import stat
import time

from writers import Kind, Writer, listing_differs

LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, RENAME_NOREPLACE = -100, 1


def rename_noreplace(source, target):
    if LIBC.renameat2(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target),
                      RENAME_NOREPLACE) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), source, None, target)


class Renamer(Writer):
    """A token that moves through numbered names in two directories, and a directory that does."""

    def begin(self):
        self.count = 0
        self.token = None
        for name in ("a", "b"):
            with self.op("mkdir"):
                os.mkdir(self.path(f"{self.number}{name}"))
        self.token = self.place()
        with self.op("create"):
            with open(self.token, "x") as f:
                f.write(f"token {self.number}")
        self.directory = self.place("d")
        with self.op("mkdir"):
            os.mkdir(self.directory)

    def place(self, letter="t"):
        self.count += 1
        return self.path(f"{self.number}{self.rng.choice('ab')}", f"{letter}{self.count:06}")

    def victim(self, path):
        with self.op("create"):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))

    def rename(self):
        target = self.place()
        if self.rng.random() < 0.3:
            self.victim(target)
        with self.op("rename"):
            os.rename(self.token, target)
        self.token = target

    def noreplace(self):
        target = self.place()
        if self.rng.random() < 0.3:
            self.victim(target)
            self.fails(errno.EEXIST, "renameat2", rename_noreplace, self.token, target)
            with self.op("unlink"):
                os.unlink(target)
            return
        with self.op("renameat2"):
            rename_noreplace(self.token, target)
        self.token = target

    def rename_directory(self):
        target = self.place("d")
        with self.op("rename"):
            os.rename(self.directory, target)
        self.directory = target

    def look(self):
        found = []
        for name in ("a", "b"):
            with self.op("listdir"):
                found += [self.path(f"{self.number}{name}", e)
                          for e in os.listdir(self.path(f"{self.number}{name}"))]
        assert sorted(found) == sorted([self.token, self.directory]), (
            f"{found}, not {self.token} and {self.directory}")

    def step(self):
        self.rng.choices((self.rename, self.noreplace, self.rename_directory, self.look),
                         (45, 20, 15, 20))[0]()

    def end(self):
        self.facts = {"number": self.number, "names": [os.path.relpath(p, self.root)
                                                       for p in (self.token, self.directory)]}


class Renames(Kind):
    name = "renames"
    says = "what is renamed again and again has its last name, and no other"
    writers = (0, 1, 0)
    writer = Renamer

    def check(self, disk, facts):
        for f in facts:
            found = [f"{f['number']}{name}/{entry}" for name in "ab"
                     for entry in os.listdir(os.path.join(disk, f"{f['number']}{name}"))]
            if sorted(found) != sorted(f["names"]):
                yield f"{found} instead of {f['names']}"
                continue
            with open(os.path.join(disk, f["names"][0])) as token:
                if token.read() != f"token {f['number']}":
                    yield f"{f['names'][0]} is another file"


class Racer(Writer):
    """Makes names that others make at the same moment, in each way in which only one can."""

    def begin(self):
        self.index = 0
        self.won = []
        self.mine = self.path(f"file-of-{self.number}")
        self.peers = [n for n in self.kind.numbers if n != self.number]
        with self.op("create"):
            with open(self.mine, "x") as f:
                f.write(str(self.number))

    def make(self, path):
        way = self.index % 4
        if way == 0:
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            try:
                os.write(fd, str(self.number).encode())
            finally:
                os.close(fd)
        elif way == 1:
            os.mkdir(path)
        elif way == 2:
            os.link(self.mine, path)
        else:
            os.symlink(str(self.number), path)

    def step(self):
        # nobody is far ahead, so that all want the same name
        while not self.watch.stopped() and any(
                self.watch.get(peer)[1] < self.index for peer in self.peers):
            time.sleep(0.002)
        with self.op(("create", "mkdir", "link", "symlink")[self.index % 4]):
            try:
                self.make(self.path(f"x{self.index:06}"))
                self.won.append(self.index)
            except FileExistsError:
                pass
        self.index += 1

    def end(self):
        self.facts = {"number": self.number, "won": self.won, "tried": self.index}


class Races(Kind):
    name = "races"
    says = "of several that create one name exactly one succeeds"
    writers = (0, 1, 0, 1)
    writer = Racer

    def check(self, disk, facts):
        won = {}
        for f in facts:
            for index in f["won"]:
                won.setdefault(index, []).append(f["number"])
        tried = max(f["tried"] for f in facts)
        for index in range(tried):
            winners = won.get(index, [])
            if len(winners) != 1:
                yield f"x{index:06}: won by {winners}"
        names = [f"x{i:06}" for i in range(tried)] + [f"file-of-{f['number']}" for f in facts]
        yield from listing_differs(disk, names)
        for index, winners in won.items():
            is_of = self.whose(os.path.join(disk, f"x{index:06}"))
            if is_of is not None and is_of != str(winners[0]):
                yield f"x{index:06} is {is_of!r}'s, and {winners[0]} was told it won"

    @staticmethod
    def whose(path):
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            return os.readlink(path)
        if stat.S_ISREG(mode):
            with open(path) as f:
                return f.read()
        return None


class Namer(Writer):
    """All that changes a directory, against a model of it that knows the errno of each failure."""

    NAMES = [f"n{i}" for i in range(10)]

    def begin(self):
        self.model = {}  # name: ("file", its id), ("link", target) or ("dir", set of names)
        self.files = self.torn = 0
        self.top = self.path(str(self.number))
        with self.op("mkdir"):
            os.mkdir(self.top)

    def at(self, name):
        return os.path.join(self.top, name)

    def expect(self, error, name, call, *args):
        """Whether it is to succeed; then it has."""
        if error:
            self.fails(error, name, call, *args)
            return False
        with self.op(name):
            call(*args)
        return True

    def is_a(self, name, sort):
        return name in self.model and self.model[name][0] == sort

    def make(self, name, sort):
        self.files += 1
        value = {"file": self.files, "link": f"to-{self.files}", "dir": set()}[sort]
        call = {"file": self.new_file, "link": lambda path: os.symlink(value, path),
                "dir": os.mkdir}[sort]
        taken = errno.EEXIST if name in self.model else 0
        try:
            if self.expect(taken, "make " + sort, call, self.at(name)):
                self.model[name] = (sort, value)
        except FileExistsError:
            if sort == "link" or not self.kind.is_torn(str(self.number), name):
                raise
            self.torn += 1
            with self.op("remove torn"):
                (os.rmdir if sort == "dir" else os.unlink)(self.at(name))

    def new_file(self, path):
        with open(path, "x") as f:
            f.write(str(self.files))

    def link(self, name, other):
        if name not in self.model:
            error = errno.ENOENT
        elif other in self.model:
            error = errno.EEXIST
        elif self.is_a(name, "dir"):
            error = errno.EPERM
        else:
            error = 0
        if self.expect(error, "link", lambda a, b: os.link(a, b, follow_symlinks=False),
                       self.at(name), self.at(other)):
            self.model[other] = self.model[name]

    def unlink(self, name):
        if name not in self.model:
            error = errno.ENOENT
        else:
            error = errno.EISDIR if self.is_a(name, "dir") else 0
        if self.expect(error, "unlink", os.unlink, self.at(name)):
            del self.model[name]

    def rmdir(self, name):
        if name not in self.model:
            error = errno.ENOENT
        elif not self.is_a(name, "dir"):
            error = errno.ENOTDIR
        else:
            error = errno.ENOTEMPTY if self.model[name][1] else 0
        if self.expect(error, "rmdir", os.rmdir, self.at(name)):
            del self.model[name]

    def fill(self, name):
        """One entry more in a directory, or one less."""
        if not self.is_a(name, "dir"):
            return
        inner = f"i{self.rng.randrange(2)}"
        path = os.path.join(self.at(name), inner)
        if inner in self.model[name][1]:
            self.expect(0, "unlink", os.unlink, path)
        else:
            self.expect(0, "make file", self.new_file, path)
        self.model[name][1].symmetric_difference_update({inner})

    def rename(self, name, other):
        source, target = self.model.get(name), self.model.get(other)
        if source is None:
            error = errno.ENOENT
        elif name == other or target is None:
            error = 0
        elif source[0] == "dir":
            error = (errno.ENOTDIR if target[0] != "dir" else
                     errno.ENOTEMPTY if target[1] else 0)
        else:
            error = errno.EISDIR if target[0] == "dir" else 0
        if self.expect(error, "rename", os.rename, self.at(name), self.at(other)):
            # two names of one file stay as they are
            if source is not target:
                del self.model[name]
                self.model[other] = source

    def look(self):
        with self.op("listdir"):
            names = os.listdir(self.top)
        assert sorted(names) == sorted(self.model), f"{names}, not {sorted(self.model)}"

    def step(self):
        name, other = self.rng.choice(self.NAMES), self.rng.choice(self.NAMES)
        what = self.rng.choices(
            ("file", "dir", "link", "hard", "unlink", "rmdir", "fill", "rename", "look"),
            (12, 12, 8, 12, 12, 12, 8, 20, 10))[0]
        if what in ("file", "dir", "link"):
            self.make(name, what)
        elif what == "hard":
            self.link(name, other)
        elif what == "rename":
            self.rename(name, other)
        elif what == "look":
            self.look()
        else:
            getattr(self, what)(name)

    def end(self):
        self.facts = {"number": self.number, "model": self.model, "torn": self.torn}


class Names(Kind):
    name = "names"
    says = "made, linked, renamed and removed names are as told, and failures have their errno"
    writers = (0, 1, 0)
    writer = Namer

    def prepare(self, disk):
        self.disk = disk

    def is_torn(self, *names):
        """Whether the server has made it and was killed before it gave it times: nobody can tell
        whose it is."""
        entry = os.lstat(os.path.join(self.disk, *names))
        return (entry.st_atime_ns == entry.st_mtime_ns == entry.st_ctime_ns and
                (entry.st_size == 0 or stat.S_ISDIR(entry.st_mode)))

    def check(self, disk, facts):
        for f in facts:
            top = os.path.join(disk, str(f["number"]))
            yield from listing_differs(top, f["model"])
            for name, (sort, value) in f["model"].items():
                found = self.entry(os.path.join(top, name))
                if found != (sort, value):
                    yield f"{f['number']}/{name} is {found}, not {sort, value}"
            self.links = [v for v in f["model"].values() if v[0] == "file"]
            for name, entry in f["model"].items():
                if entry[0] == "file" and os.stat(
                        os.path.join(top, name)).st_nlink != self.links.count(entry):
                    yield f"{f['number']}/{name} has another number of links"

    @staticmethod
    def entry(path):
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            return None
        if stat.S_ISLNK(mode):
            return "link", os.readlink(path)
        if stat.S_ISDIR(mode):
            return "dir", set(os.listdir(path))
        with open(path) as f:
            return "file", int(f.read() or -1)


class Lister(Writer):
    """Reads a large directory while names beside the old ones come and go."""

    def begin(self):
        self.count = 0

    def step(self):
        mine = self.path(f"new-{self.number}-{self.count:06}")
        self.count += 1
        with self.op("create"):
            os.close(os.open(mine, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        found = []
        with self.op("readdir"):
            with os.scandir(self.root) as entries:
                for entry in entries:
                    found.append(entry.name)
        old = sorted(name for name in found if name.startswith("old"))
        assert old == self.kind.old, f"{len(old)} of {len(self.kind.old)} names, or other ones"
        assert found.count(os.path.basename(mine)) == 1, f"{mine} is not listed once"
        with self.op("unlink"):
            os.unlink(mine)
        time.sleep(self.rng.random() * 0.2)


class Listings(Kind):
    name = "listings"
    says = "a directory lists each name that stays exactly once"
    writers = (0, 1)
    writer = Lister
    old = [f"old-{i:04}" for i in range(600)]

    def prepare(self, disk):
        for name in self.old:
            with open(os.path.join(disk, name), "x"):
                pass

    def check(self, disk, facts):
        yield from listing_differs(disk, self.old)
