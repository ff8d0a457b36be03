# SPDX-License-Identifier: GPL-3.0-or-later
"""look.py find|remove [ROOT]: what must not be in an image, by rules that come as JSON on stdin.

`find` prints one finding a line; `remove` takes away what rules let it. vars/main.yml says what a rule is. Python's own library alone, and
nothing newer than 3.9: it runs on the machine that becomes the image.
"""

import fnmatch
import functools
import glob
import json
import os
import re
import shutil
import sys

LARGEST = 1 << 20  # bytes of a file that is looked into: keys and settings are small


class Look:
    """The file system below `root`, and what is to be found there."""

    def __init__(self, root):
        self.root = root.rstrip("/")
        self.device = os.lstat(self.root or "/").st_dev
        self.homes = ["/root", *("/home/" + name for name in self.names("/home"))]
        self._shipped = None

    def names(self, directory):
        """What is in a directory of this file system: what is mounted over it is no part of the image."""
        try:
            if os.lstat(self.root + directory).st_dev != self.device:
                return []
            return sorted(os.listdir(self.root + directory))
        except OSError:
            return []

    def expand(self, pattern):
        """The files that a glob names, links as what they are."""
        starts = [home + pattern[1:] for home in self.homes] if pattern.startswith("~") else [pattern]
        for start in starts:
            yield from self._below("", start.strip("/").split("/"))

    def _below(self, base, parts):
        head, rest = parts[0], parts[1:]
        if head == "**":
            for path, is_directory in self._all(base):
                if not rest or (not is_directory and matches(path, base + "/**/" + "/".join(rest))):
                    yield path
            return
        found = [head] if not glob.has_magic(head) else fnmatch.filter(self.names(base or "/"), head)
        for name in found:
            path = base + "/" + name
            if rest:
                if os.path.isdir(self.root + path) and not os.path.islink(self.root + path):
                    yield from self._below(path, rest)
            elif os.path.lexists(self.root + path):
                yield path

    def _all(self, base):
        """Everything below a directory, depth last."""
        waiting = [base]
        while waiting:
            directory = waiting.pop()
            for name in self.names(directory or "/"):
                path = directory + "/" + name
                is_directory = os.path.isdir(self.root + path) and not os.path.islink(self.root + path)
                yield path, is_directory
                if is_directory and path not in ("/proc", "/sys", "/dev"):
                    waiting.append(path)

    def findings(self, rule):
        """The paths that a rule finds."""
        left_out = rule.get("except", [])
        for pattern in rule["paths"]:
            for path in self.expand(pattern):
                real = self.root + path
                is_link = os.path.islink(real)
                if is_link and not rule.get("links", True):
                    continue
                if not is_link and os.path.isdir(real) and not rule.get("directories"):
                    continue
                if any(matches(path, one) for one in left_out):
                    continue
                if not rule.get("shipped", True) and path in self.shipped():
                    continue
                if self.counts(rule, real, is_link):
                    yield path

    def counts(self, rule, real, is_link):
        if "date" in rule:
            return os.lstat(real).st_mtime != rule["date"]
        if "contains" not in rule and "write" not in rule:
            return True
        if is_link or not os.path.isfile(real):
            return False
        try:
            if "write" in rule:
                wanted = rule["write"].encode()
                if os.path.getsize(real) == len(wanted) and read(real) == wanted:
                    return False
            if "contains" not in rule:
                return True
            return os.path.getsize(real) <= LARGEST and re.search(rule["contains"].encode(), read(real)) is not None
        except FileNotFoundError:
            return False  # it went away meanwhile
        except OSError:
            return True  # nobody can say that it is harmless

    def shipped(self):
        """Files that packages bring; with directories that became one (/lib and /usr/lib) both ways."""
        if self._shipped is None:
            self._shipped = set()
            for listed in glob.glob(self.root + "/var/lib/dpkg/info/*.list"):
                for line in read(listed).decode("utf-8", "replace").splitlines():
                    self._shipped.update((line, "/usr" + line))
        return self._shipped

    def remove(self, rule):
        for path in list(self.findings(rule)):
            real = self.root + path
            try:
                if "date" in rule:
                    os.utime(real, (rule["date"], rule["date"]))
                elif "write" in rule:
                    with open(real, "wb") as stream:
                        stream.write(rule["write"].encode())
                elif os.path.isdir(real) and not os.path.islink(real):
                    shutil.rmtree(real, ignore_errors=True)
                else:
                    os.unlink(real)
            except OSError:
                pass  # it is found again, and named then


def read(path):
    with open(path, "rb") as stream:
        return stream.read(LARGEST + 1)


def matches(path, pattern):
    """A glob whose ** is any depth, none included, and whose * stays within a directory."""
    return _compiled(pattern).match(path) is not None


@functools.cache
def _compiled(pattern):
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^]]+\])", pattern)
    meanings = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    text = "".join(meanings.get(part, part if part.startswith("[") else re.escape(part)) for part in parts)
    return re.compile(text + r"\Z", re.DOTALL)


def main():
    verb, root = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "/"
    look = Look(root)
    named = set()
    for rule in json.load(sys.stdin):
        if verb == "remove":
            if not rule.get("find_only"):
                look.remove(rule)
            continue
        for path in look.findings(rule):
            if path not in named:  # the first rule names it best
                named.add(path)
                print(rule["what"], path)


main()
