# SPDX-License-Identifier: GPL-2.0
"""One module per make target, each with a main()."""
