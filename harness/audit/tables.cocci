// SPDX-License-Identifier: GPL-2.0-only
/// Lists all struct dma_fence_ops and their members, for make audit.
// Options: --no-includes --include-headers

virtual report

@table@
identifier s;
position p;
@@

struct dma_fence_ops s@p = { ... };

@member@
identifier table.s, m;
position table.p;
expression e;
@@

struct dma_fence_ops s@p = { ..., .m = e, ... };

// It may have no members that can be seen, where a macro has them.
@script:python depends on report@
s << table.s;
p << table.p;
@@

print(s, p[0].line, sep="\t")

@script:python depends on report@
s << table.s;
p << table.p;
m << member.m;
e << member.e;
@@

print(s, p[0].line, m, e, sep="\t")
