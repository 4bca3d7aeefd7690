/** Windows on the keys 1 to 5. */

import type { Film } from "./payload";
import type { Greys } from "./stage";

export interface Preset {
  name: string;
  hint: string;
  of: (film: Film) => { greys: Greys; inverse: boolean };
}

/** Bone lies in the bright part of the header's window. */
const PART = 0.6;

function bright(film: Film): [number, number] {
  const [lower, upper] = film.window, span = PART * (upper - lower);
  return film.inverted ? [lower, lower + span] : [upper - span, upper];
}

/**
 * Where lung lies depends on the exposure, so its window is the film's own. In the middle of the picture, MARGIN from
 * each edge, DARK of the area is darker than lung, and LUNG is lung or darker. Black is a little darker still (SPARE of
 * the width), so that air beside the lung keeps its greys. Nothing goes beyond the header's window.
 */
const MARGIN = 0.1, DARK = 0.01, LUNG = 0.75, SPARE = 0.15;

const lungs = new WeakMap<Film, [number, number]>();

function lung(film: Film): [number, number] {
  let window = lungs.get(film);
  if (!window) lungs.set(film, (window = lungOf(film)));
  return window;
}

function lungOf(film: Film): [number, number] {
  const [lower, upper] = film.window;
  const within = (value: number): number => Math.min(Math.max(value, lower), upper);
  const dark = within(valueAt(film, DARK)), white = within(valueAt(film, LUNG));
  if (white === dark) return film.window; // no greys to tell apart
  const black = within(dark - SPARE * (white - dark));
  return film.inverted ? [white, black] : [black, white];
}

/** The value, from the dark end, up to which this share of the film's middle lies. */
function valueAt({ levels, width, height, outside, slope, intercept, inverted }: Film, share: number): number {
  const counts = new Uint32Array(1 << 16);
  const [top, left] = [Math.floor(MARGIN * height), Math.floor(MARGIN * width)];
  for (let row = top; row < height - top; row++)
    for (let at = row * width + left; at < (row + 1) * width - left; at++) counts[levels[at]!]!++;
  if (outside !== null) counts[outside] = 0;
  let remaining = share * counts.reduce((sum, count) => sum + count, 0);
  const rising = slope > 0 !== inverted;
  for (let step = 0; step < counts.length; step++) {
    const level = rising ? step : counts.length - 1 - step;
    remaining -= counts[level]!;
    if (remaining < 0) return slope * level + intercept;
  }
  return intercept; // no pixel in the middle
}

export const PRESETS: Preset[] = [
  { name: "Default", hint: "The film's own window, as the network sees it", of: () => ({ greys: "header", inverse: false }) },
  { name: "Full", hint: "From the lowest to the highest value on the film", of: (film) => ({ greys: film.range, inverse: false }) },
  { name: "Lung", hint: "Fitted to the lungs of this film", of: (film) => ({ greys: lung(film), inverse: false }) },
  { name: "Bone", hint: "The bright 60 % of the film's own window", of: (film) => ({ greys: bright(film), inverse: false }) },
  { name: "Inverse", hint: "The film's own window, black and white swapped", of: () => ({ greys: "header", inverse: true }) },
];
