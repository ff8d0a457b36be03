# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a node did not get in, told from what Tailscale says: a sentence with a way out, and whether waiting could help.

The role brings this very file to hosts, where it explains a boot; so it imports nothing of ours.
"""

from __future__ import annotations

import re
from typing import Final

# pattern, sentence, whether it is of use to try again; the first that fits
_REASONS: Final = (
    (
        r"x509: certificate has expired or is not yet valid",
        "by this host's clock the certificate of the control plane is not valid: set the clock (chrony), or renew the certificate",
        True,
    ),
    (r"auth-?key .*(already|used)|already been used", "the auth key was used already: make a new one, or a reusable one", False),
    (r"auth-?key .*expired|key expired", "the auth key has expired: make a new one", False),
    (r"auth-?key .*(not found|invalid|not valid)|invalid key|unable to validate", "the control plane does not know the auth key: make one there", False),
    (r"tags? .*(invalid|not permitted|not allowed)", "the auth key or the policy does not allow the tags: declare them there", False),
    (
        r"connection refused|no route to host|network is unreachable|no such host|i/o timeout|context deadline exceeded|EOF",
        "the control plane does not answer: it is down, or its address or the way to it is wrong",
        True,
    ),
)  # fmt: skip


def explain(said: str) -> tuple[str, bool]:
    """The sentence, "" where nothing is known of it, and whether to try again."""
    for pattern, sentence, again in _REASONS:
        if re.search(pattern, said, re.IGNORECASE):
            return sentence, again
    return "", True
