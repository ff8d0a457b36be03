# SPDX-License-Identifier: GPL-3.0-or-later
"""Prints what of a lock (JSON on stdin) the archive does not have as it is locked: one line a package."""

import json
import subprocess
import sys

packages = json.load(sys.stdin)
names = ["%s=%s" % (package["name"], package["version"]) for package in packages]
shown = subprocess.run(["apt-cache", "show", *names], capture_output=True, text=True, timeout=120, check=False).stdout
sums = {}
for stanza in shown.split("\n\n"):
    fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and not line.startswith(" "))
    sums.setdefault((fields.get("Package"), fields.get("Version")), set()).add(fields.get("SHA256"))
for package in packages:
    there = sums.get((package["name"], package["version"]))
    if not there:
        print("%(name)s %(version)s is not in the archive" % package)
    elif package["sha256"] not in there:
        print("%(name)s %(version)s is another file in the archive than in the lock" % package)
