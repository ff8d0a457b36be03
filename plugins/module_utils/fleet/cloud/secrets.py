# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parameters with passwords and hashes, the fleet's authority, certificates on hosts and in ACM. Values go to AWS and nowhere else."""

from __future__ import annotations

import hashlib
import secrets
import string
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError
from ansible_collections.boring.fleet.plugins.module_utils.fleet import certificates, names
from ansible_collections.boring.fleet.plugins.module_utils.fleet.certificates import CertificateError, Pair
from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.calls import Calls, some, tag_list
from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.keeper import Keeper
from ansible_collections.boring.fleet.plugins.module_utils.fleet.facts import AUTHORITY, signed_state
from ansible_collections.boring.fleet.plugins.module_utils.fleet.seen import (
    CERTIFICATE,
    DIGEST,
    FLEET,
    Imported,
    Parameter,
    Seen,
)

try:
    import bcrypt
except ImportError:
    bcrypt = None  # type: ignore[assignment]

_ALPHABET: Final = string.ascii_letters + string.digits
_LENGTH: Final = 32
_ROUNDS: Final = 11
_IN_USE: Final = ("ResourceInUseException",)


class SecretMaker:
    """Makes them, once."""

    def __init__(self, calls: Calls, seen: Seen, keeper: Keeper) -> None:
        self._calls, self._seen, self._keeper = calls, seen, keeper
        self._tags = {FLEET: seen.fleet}
        self._known: dict[str, str] = {}  # values that this run made or read

    # -- parameters ------------------------------------------------------------------------------------------------

    def parameter(self, wanted: Mapping[str, Any]) -> None:
        """A password, or the hash of one that was made before."""
        made = wanted["made"]
        value = "".join(secrets.choice(_ALPHABET) for dummy in range(_LENGTH))
        if made != "password":
            kind, dummy, of = made.partition(" of ")
            value = hashed(kind, self._value(of))
        self._put(wanted["name"], value, wanted["type"])

    def remove_parameters(self, removed: Sequence[str]) -> None:
        """Those that are there no more are none the worse for it."""
        for several in some(removed, 10):
            self._calls.write("ssm", "DeleteParameters", "remove parameters", Names=list(several))
        for name in removed:
            del self._seen.parameters[name]

    def _value(self, name: str) -> str:
        if name not in self._known:
            answer = self._calls.read("ssm", "GetParameter", f"read {name}", Name=name, WithDecryption=True)
            self._known[name] = str(answer["Parameter"]["Value"])
        return self._known[name]

    def _put(self, name: str, value: str, kind: str) -> None:
        doing = f"write the parameter {name}"
        if name in self._seen.parameters:  # it has its tags, and AWS takes none with a new value
            self._calls.write("ssm", "PutParameter", doing, Name=name, Value=value, Type=kind, Overwrite=True)
        else:
            self._calls.write(
                "ssm", "PutParameter", doing, Name=name, Value=value, Type=kind, Tags=tag_list(self._tags)
            )
        self._known[name] = value
        self._seen.parameters[name] = Parameter(kind, value if kind == "String" else "", self._calls.clock())

    # -- certificates ----------------------------------------------------------------------------------------------

    def authority(self, wanted: Mapping[str, str]) -> None:
        """Make it, unless it is here, and put its certificate where hosts find it."""
        pair = self._keeper.authority()
        if pair is None:
            pair = certificates.make_authority(wanted["name"], self._calls.clock())
            self._keeper.keep_authority(pair)
        self._put(wanted["certificate"], pair.certificate, "String")

    def signed(self, wanted: Mapping[str, Any]) -> None:
        """A certificate by the authority, for hosts by parameters, and for a load balancer in ACM too."""
        names_there, state = signed_state(
            self._seen, wanted, names.parameter(self._seen.fleet, AUTHORITY, "certificate"), self._calls.clock()
        )
        if state in ("valid", "not in ACM") and names_there == tuple(sorted(wanted["dns_names"])):
            pair = Pair(self._seen.parameters[wanted["certificate"]].value, "")
        else:
            authority = self._keeper.authority()
            if authority is None:
                raise CertificateError(_not_here(self._seen.fleet))
            pair = certificates.sign(authority, wanted["dns_names"], self._calls.clock())
            self._put(wanted["key"], pair.key, "SecureString")
            # Last: one that is older than its key is made anew.
            self._put(wanted["certificate"], pair.certificate, "String")
        if not wanted["host"]:
            self.imported(
                wanted["name"], Pair(pair.certificate, pair.key or self._value(wanted["key"])), chain=self._trusted()
            )

    def imported(self, name: str, pair: Pair, chain: str = "") -> None:
        """Into ACM, in place of the one that is there."""
        there, digest = self._seen.certificates.get(name), certificates.digest(pair.certificate)
        if there and there.digest == digest:
            return
        first, after = certificates.split(pair.certificate)
        given: dict[str, Any] = {"Certificate": first.encode(), "PrivateKey": pair.key.encode()}
        if after or chain:
            given["CertificateChain"] = (after or chain).encode()
        tags = {**self._tags, CERTIFICATE: name, DIGEST: digest}
        doing = f"import the certificate {name} into ACM"
        if there:
            arn = there.arn
            self._calls.write("acm", "ImportCertificate", doing, CertificateArn=arn, **given)
            self._calls.write("acm", "AddTagsToCertificate", doing, CertificateArn=arn, Tags=tag_list({DIGEST: digest}))
        else:
            arn = self._calls.write("acm", "ImportCertificate", doing, **given, Tags=tag_list(tags))["CertificateArn"]
        self._seen.certificates[name] = Imported(arn, digest, tags)

    def remove_certificate(self, name: str, patience: float) -> None:
        """Its parameters, and what is in ACM."""
        parts = ("certificate",) if name == AUTHORITY else ("key", "certificate")
        there = [
            one for part in parts if (one := names.parameter(self._seen.fleet, name, part)) in self._seen.parameters
        ]
        if name in self._seen.certificates:
            arn = self._seen.certificates[name].arn
            doing = f"remove the certificate {name} from ACM"
            try:
                self._calls.patiently(
                    lambda: self._calls.write("acm", "DeleteCertificate", doing, CertificateArn=arn), _IN_USE, patience
                )
            except AwsError as exc:
                if exc.code != "ResourceNotFoundException":
                    raise
            del self._seen.certificates[name]
        self.remove_parameters(there)

    def _trusted(self) -> str:
        there = self._seen.parameters.get(names.parameter(self._seen.fleet, AUTHORITY, "certificate"))
        return there.value if there else ""


def hashed(kind: str, password: str) -> str:
    """What a data node is given in place of a password. Raises AwsError without the library for it."""
    if kind == "sha256":
        return hashlib.sha256(password.encode()).hexdigest()
    need_bcrypt()
    return str(bcrypt.hashpw(password.encode(), bcrypt.gensalt(_ROUNDS)).decode())


def need_bcrypt() -> None:
    """Raises AwsError where the library is missing."""
    if bcrypt is None:
        raise AwsError(
            "the Python library bcrypt, for the passwords of NATS users, is missing on the controller; 'pip install bcrypt'"
        )


def _not_here(fleet: str) -> str:
    return (
        f"the fleet {fleet} has an authority already, and its key is not in the state directory: bring the directory authority from where the "
        "fleet was deployed first (fleet_state_dir)"
    )


def refuse_another_authority(keeper: Keeper, seen: Seen) -> str:
    """Why nothing can be signed here, "" if it can."""
    fleet = seen.fleet
    there = seen.parameters.get(names.parameter(fleet, AUTHORITY, "certificate"))
    here = keeper.authority()
    if there is None:
        return ""
    if here is None:
        return _not_here(fleet)
    if certificates.digest(here.certificate) != certificates.digest(there.value):
        return f"the authority in the state directory is not that of the fleet {fleet}: {_not_here(fleet).partition(': ')[2]}"
    return ""
