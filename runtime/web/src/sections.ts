/** Which headings a passage stands under, and what it was encoded with. */

import { strip } from "./normalization.js";

export interface Section {
  start: number;
  headings: string[];
}

/** Return what the heading paths of all sections of a part begin with. */
export function headingsOf(sections: readonly Section[], start: number, end: number): string[] {
  let first = -1;
  while (first + 1 < sections.length && sections[first + 1]!.start <= start) first++;
  let last = 0;
  while (last < sections.length && sections[last]!.start < end) last++;
  if (first < 0 && last <= 0) return [];
  const paths = sections
    .slice(Math.max(first, 0), Math.max(last, first + 1))
    .map((section) => section.headings);
  if (first < 0) paths.push([]);
  const [one = [], ...others] = paths;
  const same = one.findIndex((heading, n) => others.some((path) => path[n] !== heading));
  return same < 0 ? one : one.slice(0, same);
}

/** Return the title and the heading path, as a passage is encoded with them. */
export function contextOf(title: string | null, headings: readonly string[]): string {
  const name = strip(title ?? "");
  const path = headings.length && strip(headings[0]!) === name ? headings.slice(1) : headings;
  return strip(`${name} ${path.join(" > ")}`);
}
