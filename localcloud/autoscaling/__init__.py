# SPDX-License-Identifier: GPL-3.0-or-later
"""Amazon EC2 Auto Scaling: a pure model (``model``), its API (``service``) and a virtual-clock cloud (``simulation``)."""
