/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SCENARIOS_H
#define SCENARIOS_H

#include "explore.h"

/* Begins the table of a file. It ends with an empty row. */
#define SCENARIOS(name)								\
	extern const struct scenario name##_scenarios[];			\
	const struct scenario * const name##_table				\
		__attribute__((section("scenario_tables"), used)) = name##_scenarios; \
	const struct scenario name##_scenarios[]

#endif /* SCENARIOS_H */
