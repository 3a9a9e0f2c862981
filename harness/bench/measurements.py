# SPDX-License-Identifier: GPL-2.0
"""What the benchmark prints, and statistics that neither outliers nor drift can spoil."""

import math
import re
import statistics
from collections import Counter, defaultdict
from typing import Dict, Iterable, List, NamedTuple, Sequence, Tuple

_LINE = re.compile(r"dma_fence_bench: (sample|histogram|stream|size) (.*)")


class Key(NamedTuple):
    """What a sample is of. The parameter is a number of CPUs, callbacks, pending fences or steps of an op."""
    case: str
    side: str
    param: int = 1
    irqs: str = "off"


class Sample(NamedTuple):
    """The time of one run of an operation; and the longest time that the clock was running."""
    ns: float
    longest: float


class Stream(NamedTuple):
    """One run of a stream of jobs."""
    jobs: int
    ns: int
    polls: int
    deadlines: int
    waits: int
    callbacks: int
    buffers: int
    stalls: int


class Size(NamedTuple):
    """The memory that a fence takes: what is asked for, where it is known, and what the allocator gives."""
    payload: int
    size: int
    bucket: int


class Estimate(NamedTuple):
    """A median, an interval that has the true one with a probability of 95 %, and the quartiles."""
    median: float
    low: float
    high: float
    lower: float
    upper: float
    count: int


def estimate(values: Sequence[float]) -> Estimate:
    """The interval comes from the order of the values alone, whatever their distribution is."""
    ordered = sorted(values)
    count = len(ordered)
    skip = max(0, math.floor(count / 2 - 0.98 * math.sqrt(count)))
    lower, _, upper = statistics.quantiles(ordered, n=4, method="inclusive") if count > 1 else (ordered[0],) * 3
    return Estimate(statistics.median(ordered), ordered[skip], ordered[-1 - skip], lower, upper, count)


def percentile(histogram: Counter, part: float) -> float:
    """The value below which a part of all is."""
    values = sorted(histogram.elements())
    return values[max(0, math.ceil(part * len(values)) - 1)] if values else math.nan


class Boots:
    """All that the boots of a kernel have printed."""

    def __init__(self) -> None:
        self.count = 0
        self.samples: Dict[Key, Dict[Tuple[int, int], Sample]] = {}  # by boot and round
        self.histograms: Dict[Tuple[str, ...], Counter] = defaultdict(Counter)
        self.streams: Dict[Tuple[str, ...], List[Stream]] = defaultdict(list)
        self.sizes: Dict[str, List[Size]] = defaultdict(list)

    def add(self, lines: Iterable[str]) -> int:
        """Adds a boot. Returns the number of its samples."""
        for match in filter(None, map(_LINE.search, lines)):
            words = match[2].split()
            if match[1] == "sample":
                case, side, param, irqs, round_number, ns, count, longest = words
                if round_number != "0":  # caches were cold
                    here = self.samples.setdefault(Key(case, side, int(param), irqs), {})
                    here[self.count, int(round_number)] = Sample(int(ns) / int(count), int(longest))
            elif match[1] == "histogram":
                pairs = (word.split(":") for word in words[3:])
                self.histograms[tuple(words[:3])].update({int(ns): int(count) for ns, count in pairs})
            elif match[1] == "stream":
                self.streams[tuple(words[:2])].append(Stream(*map(int, words[2:])))
            else:
                self.sizes[words[0]].append(Size(*map(int, words[1:])))
        self.count += 1
        return sum(boot == self.count - 1 for rounds in self.samples.values() for boot, _ in rounds)

    def ns(self, key: Key) -> Estimate:
        return estimate([sample.ns for sample in self.samples[key].values()])

    def medians(self, key: Key) -> List[float]:
        """One for each boot."""
        return [statistics.median(sample.ns for (boot, _), sample in self.samples[key].items() if boot == number)
                for number in range(self.count)]

    def rounds(self, *keys: Key) -> List[List[float]]:
        """The samples that were taken one shortly after the other."""
        both = set.intersection(*(set(self.samples[key]) for key in keys))
        return [[self.samples[key][place].ns for key in keys] for place in sorted(both)]

    def ratio(self, over: Sequence[Key], under: Sequence[Key]) -> Estimate:
        """Of sums of samples, round by round."""
        rounds = self.rounds(*over, *under)
        return estimate([sum(values[:len(over)]) / sum(values[len(over):]) for values in rounds])

    def difference(self, this: Key, that: Key) -> Estimate:
        return estimate([a - b for a, b in self.rounds(this, that)])


def ratio_of_boots(over: Boots, under: Boots, key: Key) -> Estimate:
    """Of medians, each boot of one kernel against each of the other: the interval is the whole range."""
    values = [a / b for a in over.medians(key) for b in under.medians(key)]
    found = estimate(values)
    return found._replace(low=min(values), high=max(values))
