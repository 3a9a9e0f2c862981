// SPDX-License-Identifier: GPL-2.0-only
/*
 * A counterexample for people: what each task does, in a column of its own, and the
 * schedule by which --replay= does it again.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine.h"

#define LINES 512

struct place {
	char function[64], file[192];
	int line;
};

static struct place places[LINES];

/* Headers that nobody wants to be shown. */
static bool is_plumbing(const char *file)
{
	static const char *const names[] = {
		"/shim/", "/engine/", "/list.h", "/kref.h", "/library/core/", "/kernel/sync/",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strstr(file, names[i]))
			return true;
	return !strcmp(file, "??");
}

/* Of a path of Rust, the last part. */
static const char *short_name(const char *function)
{
	const char *name = function;

	for (const char *p = function; *p && *p != '<' && *p != '('; p++)
		if (p[0] == ':' && p[1] == ':')
			name = p + 2;
	return *name && *name != '<' && *name != '(' ? name : function;
}

/*
 * Asks addr2line for all of them at once. Of the first ones the whole function is wanted, of
 * the others the line, in the innermost inlined function that is worth to be shown.
 */
static void look_up(const uintptr_t *pcs, int count, int functions)
{
	static char line[4096];
	char command[128 + LINES * 20];
	int used, i = -1;
	bool found = false;
	FILE *pipe;

	used = snprintf(command, sizeof(command), "addr2line -a -C -f -i -e /proc/%d/exe",
			getpid());
	for (int k = 0; k < count; k++)
		used += snprintf(command + used, sizeof(command) - used, " %#lx", pcs[k] - 1);
	snprintf(command + used, sizeof(command) - used, " 2>/dev/null");
	memset(places, 0, sizeof(places));
	pipe = popen(command, "r");
	if (!pipe)
		return;
	/* An address, then functions and places from the innermost inlined one outwards. */
	while (fgets(line, sizeof(line), pipe) && i < count) {
		char function[64], *colon;

		if (line[0] == '0' && line[1] == 'x') {
			i++;
			found = false;
			continue;
		}
		line[strcspn(line, "\n")] = '\0';
		snprintf(function, sizeof(function), "%.63s", short_name(line));
		if (i < 0 || !fgets(line, sizeof(line), pipe))
			break;
		line[strcspn(line, "\n ")] = '\0';
		colon = strrchr(line, ':');
		if ((found && i >= functions) || !colon)
			continue;
		*colon = '\0';
		if (is_plumbing(line) && i >= functions)
			continue;
		found = true;
		strcpy(places[i].function, function);
		snprintf(places[i].file, sizeof(places[i].file), "%.191s", line);
		places[i].line = atoi(colon + 1);
	}
	pclose(pipe);
}

/* The text of a line of source, without its indentation. */
static void read_line(const struct place *place, char *text, size_t size)
{
	FILE *file = fopen(place->file, "r");
	static char line[512];

	text[0] = '\0';
	if (!file)
		return;
	for (int n = 0; n < place->line; n++)
		if (!fgets(line, sizeof(line), file))
			line[0] = '\0';
	fclose(file);
	line[strcspn(line, "\n")] = '\0';
	snprintf(text, size, "%s", line + strspn(line, " \t"));
}

static void print(struct result *result, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void print(struct result *result, const char *format, ...)
{
	size_t used = strlen(result->trace);
	va_list args;

	va_start(args, format);
	vsnprintf(result->trace + used, sizeof(result->trace) - used, format, args);
	va_end(args);
}

/* Steps that conflict with one of another task. Nobody could tell when the others were made. */
static bool of_interest(int i)
{
	const struct op *op = &nodes[i].op;

	if (!op->pc || op->kind == OP_NONE || op->addr - (uintptr_t)memory_word(0) < WORDS * 8)
		return op->kind == OP_WAIT;
	if (i == depth - 1)
		return true;
	for (int k = 0; k < depth; k++)
		if (nodes[k].task != nodes[i].task && memory_conflict(op, &nodes[k].op))
			return true;
	return false;
}

static void print_schedule(struct result *result)
{
	size_t used = 0;

	for (int i = 0; i < depth && used < sizeof(result->schedule); i++) {
		int task = nodes[i].task, next = i + 1;

		while (next < depth && nodes[next].task == task)
			next++;
		/* It goes on until it is about to do the access with which its next step begins. */
		unsigned long until = ~0UL >> 1;

		for (int k = next; k < depth; k++)
			if (nodes[k].task == task) {
				until = nodes[k].accesses;
				break;
			}
		if (until == ~0UL >> 1 && tasks[task].accesses)
			until = tasks[task].accesses;
		used += snprintf(result->schedule + used, sizeof(result->schedule) - used, "%c%lu",
				 'A' + task, until);
		i = next - 1;
	}
}

void report_violation(const struct scenario *scenario, struct result *result)
{
	static uintptr_t pcs[LINES];
	static int which[LINES];
	int count = 0, columns, width, last = -1;
	uint16_t shown = 0;
	char text[160], title[80];

	snprintf(result->message, sizeof(result->message), "%s", run.message);
	print_schedule(result);

	/* The functions of the tasks, then the steps, then what is wrong. */
	for (; count < SCENARIO_TASKS && scenario->task[count]; count++)
		pcs[count] = (uintptr_t)scenario->task[count] + 1;
	int first = count;

	for (int i = 0; i < depth && count < LINES - 1; i++) {
		shown |= 1 << nodes[i].task;
		if (!of_interest(i))
			continue;
		pcs[count] = nodes[i].op.pc;
		which[count++] = nodes[i].task;
	}
	if (run.pc && (count == first || pcs[count - 1] != run.pc)) {
		pcs[count] = run.pc;
		which[count++] = depth ? nodes[depth - 1].task : 0;
	}
	look_up(pcs, count, first);

	columns = __builtin_popcount(shown);
	width = columns <= 2 ? 60 : columns == 3 ? 46 : 38;
	for (int id = 0; id < TASKS; id++) {
		const char *name = id < first ? places[id].function : tasks[id].name;

		if (!(shown & 1 << id))
			continue;
		snprintf(title, sizeof(title), "%c: %.50s%s", 'A' + id, name,
			 tasks[id].irq ? ", an interrupt" : "");
		print(result, "%-*s", width, title);
	}
	print(result, "\n");
	for (int i = first; i < count; i++) {
		const struct place *p = &places[i], *before = last < 0 ? NULL : &places[last];
		int indent = width * __builtin_popcount(shown & ((1 << which[i]) - 1));
		const char *file = strrchr(p->file, '/');
		bool same_function = last >= 0 && which[last] == which[i] &&
				     !strcmp(before->function, p->function);

		if (!p->line || (same_function && before->line == p->line))
			continue;
		if (!same_function)
			print(result, "%*s%s() in %s\n", indent, "", p->function,
			      file ? file + 1 : p->file);
		read_line(p, text, sizeof(text));
		print(result, "%*s%5d %.*s\n", indent, "", p->line, width - 8, text);
		last = i;
	}
	print(result, "%*s      ^ %s\n",
	      last < 0 ? 0 : width * __builtin_popcount(shown & ((1 << which[last]) - 1)), "",
	      run.message);
}
