# SPDX-License-Identifier: GPL-3.0-or-later
"""Real hosts: podman containers with systemd inside, and the Debian base images that they start from.

Molecule scenarios use this package on its own: ``python -m localcloud.hosts run|rm``.
"""
