/** Median and worst of the figures of several runs. */

export function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

export function percentile(numbers, share) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? 0;
}

export const round = (number, digits = 2) => Math.round(number * 10 ** digits) / 10 ** digits;

/** One line per goal and case: every number as { median, worst, goal }, where more is worse. */
export function summary(results) {
  const groups = new Map();
  for (const figure of results.flatMap((result) => result.figures)) {
    const name = `${figure.goal} ${figure.case ?? ""}`;
    groups.set(name, [...(groups.get(name) ?? []), figure]);
  }
  return [...groups.values()].map((group) => {
    const line = { goal: group[0].goal, case: group[0].case, runs: group.length };
    for (const [key, first] of Object.entries(group[0])) {
      if (typeof first !== "number") continue;
      const all = group.map((figure) => figure[key]);
      line[key] = {
        median: round(median(all)),
        worst: Math.max(...all),
        ...(group[0].bounds?.[key] !== undefined ? { goal: group[0].bounds[key] } : {}),
      };
    }
    return line;
  });
}
