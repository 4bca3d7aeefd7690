/**
 * From probabilities to the outlined regions, as `ptx_app/inference/decide.py` does it: scale to the film's size
 * (bilinear, pixel centres aligned, in float32), threshold, and drop regions that are too small or unsure. OpenCV rounds
 * differently in the last bits, so a pixel within 2e-6 of the threshold may fall on the other side.
 */

import type { Span } from "./mask";

export interface Outline {
  /** Boundary of the regions, along the edges of pixels, in px of the film; each loop is x, y, x, y, … */
  loops: Int32Array[];
  /** Area of the kept regions in px. */
  area: number;
}

interface Run extends Span {
  region: number;
  /** Its highest probability. */
  peak: number;
}

/**
 * What a region is kept for: its share of the area, the probability of its surest pixel, and its share of the largest
 * region that these keep.
 */
export interface Least {
  smallest: number;
  surest: number;
  relative: number;
}

const f = Math.fround;

/** The probabilities stretched to the film's width, (side × width): the costly half, the same for every threshold. */
export function stretched(probability: Float32Array, side: number, width: number): Float32Array {
  const wide = new Float32Array(side * width);
  const { first, second, share } = neighbours(side, width);
  for (let row = 0; row < side; row++)
    for (let x = 0; x < width; x++) {
      const at = row * side;
      wide[row * width + x] =
        probability[at + first[x]!]! * f(1 - share[x]!) + f(probability[at + second[x]!]! * share[x]!);
    }
  return wide;
}

function neighbours(side: number, size: number): { first: Int32Array; second: Int32Array; share: Float32Array } {
  const first = new Int32Array(size), second = new Int32Array(size), share = new Float32Array(size);
  const scale = side / size;
  for (let at = 0; at < size; at++) {
    const place = f((at + 0.5) * scale - 0.5);
    let floor = Math.floor(place), part = f(place - floor);
    if (floor < 0) (floor = 0), (part = 0);
    if (floor >= side - 1) (floor = side - 1), (part = 0);
    first[at] = floor;
    second[at] = Math.min(floor + 1, side - 1);
    share[at] = part;
  }
  return { first, second, share };
}

/** Runs of pixels with at least the threshold, row by row, in the regions that are kept. */
export function runsOf(
  wide: Float32Array, side: number, width: number, height: number, threshold: number, kept: Least,
): Run[] {
  const least = f(threshold);
  const { first, second, share } = neighbours(side, height);
  // A pixel can reach the threshold only between the columns where one of its two rows does.
  const begin = new Int32Array(side).fill(width), end = new Int32Array(side);
  for (let row = 0; row < side; row++)
    for (let x = 0; x < width; x++)
      if (wide[row * width + x]! >= least) {
        begin[row] = Math.min(begin[row]!, x);
        end[row] = x + 1;
      }
  const runs: Run[] = [];
  const parent: number[] = [];
  const root = (region: number): number => {
    while (parent[region] !== region) region = parent[region] = parent[parent[region]!]!;
    return region;
  };
  let above: Run[] = [];
  for (let row = 0; row < height; row++) {
    const here: Run[] = [];
    const upper = first[row]!, lower = second[row]!;
    const last = Math.max(end[upper]!, end[lower]!);
    if (last) {
      const b = share[row]!, a = f(1 - b);
      let from = -1, peak = 0;
      for (let x = Math.min(begin[upper]!, begin[lower]!); x <= last; x++) {
        const value = x < last ? f(wide[upper * width + x]! * a + f(wide[lower * width + x]! * b)) : -1;
        const inside = value >= least;
        if (inside && from < 0) (from = x), (peak = 0);
        if (inside) peak = Math.max(peak, value);
        if (!inside && from >= 0) {
          const region = parent.push(parent.length) - 1;
          here.push({ row, from, to: x, region, peak });
          from = -1;
        }
      }
      let at = 0;
      for (const run of here) {
        while (at < above.length && above[at]!.to < run.from) at++;
        for (let next = at; next < above.length && above[next]!.from <= run.to; next++)
          parent[root(run.region)] = root(above[next]!.region);
      }
      runs.push(...here);
    }
    above = here;
  }
  const area = new Float64Array(parent.length), peak = new Float32Array(parent.length);
  for (const run of runs) {
    const region = root(run.region);
    area[region]! += run.to - run.from;
    peak[region] = Math.max(peak[region]!, run.peak);
  }
  const surest = f(kept.surest);
  const stands = (at: number): boolean => area[at]! / (width * height) >= kept.smallest && peak[at]! >= surest;
  let largest = 0;
  for (const { region } of runs) {
    const at = root(region);
    if (area[at]! > largest && stands(at)) largest = area[at]!;
  }
  return runs.filter(({ region }) => {
    const at = root(region);
    return stands(at) && area[at]! >= kept.relative * largest;
  });
}

/** The boundary of the runs. `left` and `top` move it to its place on the film. */
export function outlineOf(runs: readonly Span[], left = 0, top = 0): Outline {
  const rows = new Map<number, Span[]>();
  let area = 0;
  for (const run of runs) {
    area += run.to - run.from;
    const row = rows.get(run.row);
    if (row) row.push(run);
    else rows.set(run.row, [run]);
  }
  // Directed edges with the region on their right, by the point where they start.
  const edges = new Map<number, number[]>();
  const width = 1 << 15;
  const add = (x0: number, y0: number, x1: number, y1: number): void => {
    const start = y0 * width + x0, end = y1 * width + x1;
    const others = edges.get(start);
    if (others) others.push(end);
    else edges.set(start, [end]);
  };
  for (const [row, here] of rows) {
    for (const { from, to } of here) {
      add(from, row + 1, from, row);
      add(to, row, to, row + 1);
      for (const [a, b] of uncovered(from, to, rows.get(row - 1))) add(a, row, b, row);
      for (const [a, b] of uncovered(from, to, rows.get(row + 1))) add(b, row + 1, a, row + 1);
    }
  }
  const loops: Int32Array[] = [];
  for (const [start, ends] of edges) {
    while (ends.length) {
      const loop: number[] = [];
      let at = start;
      do {
        loop.push((at % width) + left, Math.floor(at / width) + top);
        at = edges.get(at)!.pop()!;
      } while (at !== start);
      loops.push(Int32Array.from(loop));
    }
  }
  return { loops, area };
}

function uncovered(from: number, to: number, others: Span[] | undefined): [number, number][] {
  const parts: [number, number][] = [];
  for (const other of others ?? []) {
    if (other.to <= from) continue;
    if (other.from >= to) break;
    if (other.from > from) parts.push([from, other.from]);
    from = Math.max(from, other.to);
  }
  if (from < to) parts.push([from, to]);
  return parts;
}
