# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of containers in registries: what a tag stands for, and fetching it whole.

https://github.com/opencontainers/distribution-spec and https://github.com/opencontainers/image-spec describe both.
"""
