# SPDX-License-Identifier: GPL-2.0
"""What the benchmark prints, and statistics that neither outliers nor drift can spoil."""

import math
import re
import statistics
from collections import Counter, defaultdict
from typing import Dict, Iterable, List, NamedTuple, Sequence

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


class Boot:
    """All that one boot has printed."""

    def __init__(self, lines: Iterable[str]):
        self.samples: Dict[Key, Dict[int, Sample]] = defaultdict(dict)
        self.histograms: Dict[tuple, Counter] = defaultdict(Counter)
        self.streams: Dict[tuple, List[Stream]] = defaultdict(list)
        self.sizes: Dict[str, List[Size]] = defaultdict(list)
        for match in filter(None, map(_LINE.search, lines)):
            words = match[2].split()
            if match[1] == "sample":
                case, side, param, irqs, round_number, ns, count, longest = words
                sample = Sample(int(ns) / int(count), int(longest))
                self.samples[Key(case, side, int(param), irqs)][int(round_number)] = sample
            elif match[1] == "histogram":
                pairs = (word.split(":") for word in words[3:])
                self.histograms[tuple(words[:3])].update({int(ns): int(count) for ns, count in pairs})
            elif match[1] == "stream":
                self.streams[tuple(words[:2])].append(Stream(*map(int, words[2:])))
            else:
                self.sizes[words[0]].append(Size(*map(int, words[1:])))
        for rounds in self.samples.values():
            rounds.pop(0, None)  # caches were cold


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
    """Boots of the same kernel."""

    def __init__(self, boots: List[Boot]):
        self.boots = boots

    def has(self, key: Key) -> bool:
        return any(key in boot.samples for boot in self.boots)

    def keys(self) -> List[Key]:
        return sorted({key for boot in self.boots for key in boot.samples})

    def values(self, key: Key) -> List[float]:
        return [sample.ns for boot in self.boots for sample in boot.samples[key].values()]

    def longest(self, key: Key) -> List[float]:
        return [sample.longest for boot in self.boots for sample in boot.samples[key].values()]

    def ns(self, key: Key) -> Estimate:
        return estimate(self.values(key))

    def medians(self, key: Key) -> List[float]:
        """One for each boot."""
        return [statistics.median(sample.ns for sample in boot.samples[key].values()) for boot in self.boots]

    def rounds(self, *keys: Key) -> List[List[float]]:
        """The samples that were taken one shortly after the other."""
        found = []
        for boot in self.boots:
            numbers = set.intersection(*(set(boot.samples[key]) for key in keys))
            found += [[boot.samples[key][number].ns for key in keys] for number in sorted(numbers)]
        return found

    def ratio(self, over: Sequence[Key], under: Sequence[Key]) -> Estimate:
        """Of sums of samples, round by round."""
        rounds = self.rounds(*over, *under)
        return estimate([sum(values[:len(over)]) / sum(values[len(over):]) for values in rounds])

    def difference(self, this: Key, that: Key) -> Estimate:
        return estimate([a - b for a, b in self.rounds(this, that)])

    def histogram(self, *key: str) -> Counter:
        total: Counter = Counter()
        for boot in self.boots:
            total.update(boot.histograms.get(key, {}))
        return total

    def streams(self, mode: str, side: str) -> List[Stream]:
        return [stream for boot in self.boots for stream in boot.streams.get((mode, side), [])]


def ratio_of_boots(over: Boots, under: Boots, key: Key) -> Estimate:
    """Of medians, each boot of one kernel against each of the other: the interval is the whole range."""
    values = [a / b for a in over.medians(key) for b in under.medians(key)]
    found = estimate(values)
    return found._replace(low=min(values), high=max(values))
