# SPDX-License-Identifier: GPL-2.0
"""From a checkout to booted kernels: what `make TARGET` at the top of the repository calls.

The flow of data, a module each: `debian`/`base` (kernel source) -> `series` (our commits) -> `tools`
(compilers) -> `kernel` (configure and build) -> `guest` (userspace) -> `boot` (UML, QEMU) -> `ktap`
(results).  The targets that join them are in `targets/`.
"""
