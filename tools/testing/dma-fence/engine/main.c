// SPDX-License-Identifier: GPL-2.0-only
/*
 * The command line: chooses scenarios, explores each in a process of its own, prints a
 * row as it ends.
 */
#include <ctype.h>
#include <fnmatch.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine.h"

static struct {
	const char *only, *json, *replay;
	struct limits limits;
	int jobs;
	bool base, fixes, list, quiet, compare, stop;
} options = {
	.limits = { .bound = 3, .executions = 1000000, .seconds = 20 },
	.jobs = 1,
};

static const char usage[] =
	"usage: explore [OPTION]...\n"
	"Explores every interleaving of each scenario.\n"
	"\n"
	"  --only=NAMES       names or patterns, separated by commas\n"
	"  --bound=N          preemptions, where all interleavings are too many (3); 'all':\n"
	"                     search without a bound or not at all\n"
	"  --executions=N     after so many, all interleavings are too many (1000000)\n"
	"  --seconds=N        a scenario is cut after so long, and says so (20)\n"
	"  --jobs=N           scenarios at once (1)\n"
	"  --base             expect what an unmodified core does\n"
	"  --fixes            expect what a core does that has the fixes, but no locked ops\n"
	"  --quiet            rows for what is not as expected only, and no counterexamples of what is\n"
	"  --stop             start no more after the first that is violated and should not be\n"
	"  --json=FILE        write the results there\n"
	"  --replay=SCHEDULE  run this schedule of the one scenario that --only= names\n"
	"  --compare          count the executions that differ, and compare with brute force\n"
	"  --list             the scenarios, and which promise each is about\n"
	"\n"
	"Exits with 0 if all is as expected, with 1 if not, with 2 if it cannot be done.\n";

/* See SCENARIOS(). */
extern const struct scenario *const __start_scenario_tables[], *const __stop_scenario_tables[];

/* The nth of all, or NULL. */
static const struct scenario *scenario_at(int n)
{
	for (const struct scenario *const *table = __start_scenario_tables;
	     table < __stop_scenario_tables; table++)
		for (const struct scenario *s = *table; s->name; s++)
			if (!n--)
				return s;
	return NULL;
}

static bool chosen(const struct scenario *scenario)
{
	char *patterns, *rest, *word;
	bool found = false;

	if (!options.only)
		return true;
	patterns = strdup(options.only);
	rest = patterns;
	while (!found && (word = strsep(&rest, ",")))
		found = *word && !fnmatch(word, scenario->name, 0);
	free(patterns);
	return found;
}

static const char *expected(const struct scenario *scenario)
{
	if (options.base && explore_preempt_rt && scenario->base_rt)
		return scenario->base_rt;
	if (options.fixes && scenario->fixed)
		return NULL;
	if (explore_preempt_rt && scenario->rt)
		return *scenario->rt ? scenario->rt : NULL;
	return options.base || options.fixes ? scenario->base : scenario->ours;
}

static const struct scenario *at_hand;

/* What the code under test did to memory that the engine does not look at. */
static void crashed(int sig, siginfo_t *info, void *context)
{
	const ucontext_t *at = context;

	(void)sig;
	(void)info;
	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
	/* The linker leaves at 0 what shim/ does not have. */
	if (!at->uc_mcontext.gregs[REG_RIP])
		explore_fail("a call of NULL: an op, or a function that is not there");
	explore_fail("access to memory that is not there");
}

static void explore(const struct scenario *scenario, struct result *result)
{
	static char stack[65536];
	stack_t other = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction action = {
		.sa_sigaction = crashed,
		.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER,
	};

	at_hand = scenario;
	sigaltstack(&other, NULL);
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	memory_init();
	if (options.replay)
		replay(scenario, result);
	else if (options.compare)
		compare(scenario, result, &options.limits);
	else
		search(scenario, result, &options.limits);
}

static void judge(const struct scenario *scenario, struct result *result)
{
	const char *want = expected(scenario);

	if (options.compare)
		result->expected = !result->violated && result->complete;
	else if (want)
		result->expected = result->violated && strstr(result->message, want);
	else
		result->expected = !result->violated && result->executions;
}

static void print_row(const struct scenario *scenario, const struct result *result)
{
	char bound[32];

	if (options.quiet && result->expected)
		return;
	if (result->violated)
		strcpy(bound, "-");
	else if (result->bound == -1)
		strcpy(bound, result->complete ? "all" : "cut");
	else
		snprintf(bound, sizeof(bound), "<= %d%s", result->bound,
			 result->complete ? "" : ", cut");
	printf("%-52s %9lu  %-9s %6.2f s  ", scenario->name, result->executions, bound,
	       result->seconds);
	if (options.compare)
		printf("%s: %s\n", !result->complete ? "not comparable" :
		       result->violated ? "VIOLATED" : "ok", result->message);
	else if (result->expected && !result->violated)
		printf("ok\n");
	else if (result->expected)
		printf("violated, as expected: %s\n", result->message);
	else if (result->violated)
		printf("VIOLATED: %s\n", result->message);
	else
		printf("OK, BUT EXPECTED TO BE VIOLATED: %s\n", expected(scenario));
	if (result->violated && !options.compare && !(options.quiet && result->expected))
		printf("\n%s\nto replay it: --only=%s --replay=%s\n\n", result->trace,
		       scenario->name, result->schedule);
	fflush(stdout);
}

static void json_text(FILE *file, const char *text)
{
	fputc('"', file);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fprintf(file, "\\%c", *text);
		else if ((unsigned char)*text < ' ')
			fprintf(file, "\\u%04x", *text);
		else
			fputc(*text, file);
	}
	fputc('"', file);
}

static void write_json(struct result **results, int count)
{
	FILE *file = fopen(options.json, "w");

	if (!file) {
		perror(options.json);
		exit(2);
	}
	fprintf(file, "[");
	for (int i = 0, n = 0; i < count; i++) {
		const struct scenario *s = scenario_at(i);
		const struct result *r = results[i];

		if (!r)
			continue;
		fprintf(file, "%s\n {\"name\": ", n++ ? "," : "");
		json_text(file, s->name);
		fprintf(file, ", \"promise\": ");
		json_text(file, s->promise ? s->promise : "");
		fprintf(file,
			", \"executions\": %lu, \"steps\": %lu, \"seconds\": %.3f, \"bound\": %d, \"complete\": %s",
			r->executions, r->steps, r->seconds, r->bound,
			r->complete ? "true" : "false");
		fprintf(file, ", \"violated\": %s, \"expected\": %s, \"message\": ",
			r->violated ? "true" : "false", r->expected ? "true" : "false");
		json_text(file, r->message);
		fprintf(file, ", \"schedule\": \"%s\", \"trace\": ", r->schedule);
		json_text(file, r->trace);
		fprintf(file, "}");
	}
	fprintf(file, "\n]\n");
	if (fclose(file)) {
		perror(options.json);
		exit(2);
	}
}

/* Which scenario each child explores, and where its result comes from. */
struct child {
	pid_t pid;
	int fd, which;
};

static struct child start(int which)
{
	struct child child = { .which = which };
	int fds[2];

	if (pipe(fds)) {
		perror("explore: pipe");
		exit(2);
	}
	fflush(stdout);
	child.pid = fork();
	if (child.pid < 0) {
		perror("explore: fork");
		exit(2);
	}
	if (!child.pid) {
		static struct result result;
		const char *from = (const char *)&result;
		ssize_t n;

		close(fds[0]);
		explore(scenario_at(which), &result);
		judge(scenario_at(which), &result);
		for (size_t left = sizeof(result); left; left -= n, from += n) {
			n = write(fds[1], from, left);
			if (n <= 0)
				_exit(2);
		}
		_exit(0);
	}
	close(fds[1]);
	child.fd = fds[0];
	return child;
}

static struct result *finish(struct child *child)
{
	struct result *result = calloc(1, sizeof(*result));
	char *to = (char *)result;
	size_t left = sizeof(*result);
	ssize_t n;
	int status;

	while (left && (n = read(child->fd, to, left)) > 0) {
		left -= n;
		to += n;
	}
	close(child->fd);
	waitpid(child->pid, &status, 0);
	if (left) {
		memset(result, 0, sizeof(*result));
		result->violated = true;
		snprintf(result->message, sizeof(result->message),
			 "the engine itself has failed, status %#x", status);
	}
	return result;
}

static unsigned long number(const char *text, const char *name)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (!isdigit(*text) || *end || value > INT_MAX) {
		fprintf(stderr, "explore: --%s=%s: wants a number, of at most %d\n", name, text,
			INT_MAX);
		exit(2);
	}
	return value;
}

static void parse(int argc, char **argv)
{
	static const struct option known[] = {
		{ "only", 1, 0, 'o' },
		{ "bound", 1, 0, 'b' },
		{ "executions", 1, 0, 'e' },
		{ "seconds", 1, 0, 's' },
		{ "jobs", 1, 0, 'j' },
		{ "base", 0, 0, 'B' },
		{ "fixes", 0, 0, 'F' },
		{ "quiet", 0, 0, 'q' },
		{ "stop", 0, 0, 'S' },
		{ "json", 1, 0, 'J' },
		{ "replay", 1, 0, 'r' },
		{ "list", 0, 0, 'l' },
		{ "compare", 0, 0, 'c' },
		{ "help", 0, 0, 'h' },
		{},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (c) {
		case 'o':
			options.only = optarg;
			break;
		case 'b':
			options.limits.bound =
				strcmp(optarg, "all") ? (int)number(optarg, "bound") : -1;
			break;
		case 'e':
			options.limits.executions = number(optarg, "executions");
			break;
		case 's':
			options.limits.seconds = number(optarg, "seconds");
			break;
		case 'j':
			options.jobs = number(optarg, "jobs");
			break;
		case 'B':
			options.base = true;
			break;
		case 'F':
			options.fixes = true;
			break;
		case 'q':
			options.quiet = true;
			break;
		case 'S':
			options.stop = true;
			break;
		case 'J':
			options.json = optarg;
			break;
		case 'r':
			options.replay = optarg;
			break;
		case 'c':
			options.compare = true;
			break;
		case 'l':
			options.list = true;
			break;
		case 'h':
			fputs(usage, stdout);
			exit(0);
		default:
			fputs(usage, stderr);
			exit(2);
		}
	}
	if (optind < argc || options.jobs < 1) {
		fputs(usage, stderr);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	unsigned long executions = 0, violated = 0, unexpected = 0, scenarios = 0, known = 0,
		      cut = 0;
	struct child *children;
	struct result **results;
	int count = 0, running = 0, next = 0;

	parse(argc, argv);
	while (scenario_at(count))
		scenarios += chosen(scenario_at(count++));
	if (!scenarios) {
		fprintf(stderr, "explore: --only=%s names no scenario; --list shows all\n",
			options.only);
		return 2;
	}
	if (options.replay && scenarios != 1) {
		fprintf(stderr, "explore: --replay wants --only=NAME, of one scenario\n");
		return 2;
	}
	if (options.replay && !schedule(options.replay)) {
		fprintf(stderr, "explore: --replay=%s: a schedule looks like A12B40A30\n",
			options.replay);
		return 2;
	}
	results = calloc(count, sizeof(*results));
	children = calloc(options.jobs, sizeof(*children));
	while (next < count || running) {
		while (next < count && running < options.jobs) {
			const struct scenario *s = scenario_at(next++);

			if (!chosen(s))
				continue;
			if (options.list)
				printf("%-52s %s\n", s->name, s->promise ? s->promise : "");
			else
				children[running++] = start(next - 1);
		}
		if (!running)
			break;

		struct child first = children[0];
		struct result *r = results[first.which] = finish(&first);

		memmove(children, children + 1, --running * sizeof(*children));
		print_row(scenario_at(first.which), r);
		executions += r->executions;
		violated += r->violated;
		known += r->violated && r->expected;
		cut += !r->violated && !r->complete;
		unexpected += !r->expected;
		/* Without any execution, the engine itself has failed. */
		if (options.stop && r->violated && !r->expected && r->executions)
			next = count;
	}
	if (options.list)
		return 0;
	if (options.json)
		write_json(results, count);
	printf("explore: %lu scenarios, %lu executions, %lu violated (%lu of them as expected), %lu cut\n",
	       scenarios, executions, violated, known, cut);
	return unexpected ? 1 : 0;
}
