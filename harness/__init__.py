# SPDX-License-Identifier: GPL-2.0
"""The workshop: what `make TARGET` calls. It gets the kernel's source, makes the series, builds, boots and judges.

Nothing but the standard library of Python 3.9 is used: the host's python3 may be another one than that for which Debian
has packages.
"""

# The rooms by floor. One may use those on lower floors, and none that is above or beside it. `make check` sees to it.
FLOORS = (("targets",), ("bench", "audit"), ("kernel", "explore"), ("tree", "mutants"), ("host",))
