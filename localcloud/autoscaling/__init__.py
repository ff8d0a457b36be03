# SPDX-License-Identifier: GPL-3.0-or-later
"""Amazon EC2 Auto Scaling: a pure model (``model``), its API (``service``) and a virtual-clock cloud (``simulation``).

An action plugin of the collection simulates with them, also where there is no other part of the local cloud: they import nothing
of it but clock, CloudWatch, errors and faults.
"""
