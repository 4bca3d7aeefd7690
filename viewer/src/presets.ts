/** Windows on the keys 1 to 5. */

import type { Film } from "./payload";
import type { Greys } from "./stage";

export interface Preset {
  name: string;
  hint: string;
  of: (film: Film) => { greys: Greys; inverse: boolean };
}

/** Lung lies in the dark part of the header's window, bone in the bright part. */
const PART = 0.6;

function part(film: Film, dark: boolean): [number, number] {
  const [lower, upper] = film.window, span = PART * (upper - lower);
  return dark !== film.inverted ? [lower, lower + span] : [upper - span, upper];
}

export const PRESETS: Preset[] = [
  { name: "Header", hint: "The header's own window, as the network sees the film", of: () => ({ greys: "header", inverse: false }) },
  { name: "Full", hint: "From the lowest to the highest value on the film", of: (film) => ({ greys: film.range, inverse: false }) },
  { name: "Lung", hint: "The dark 60 % of the header's window", of: (film) => ({ greys: part(film, true), inverse: false }) },
  { name: "Bone", hint: "The bright 60 % of the header's window", of: (film) => ({ greys: part(film, false), inverse: false }) },
  { name: "Inverse", hint: "The header's own window, black and white swapped", of: () => ({ greys: "header", inverse: true }) },
];
