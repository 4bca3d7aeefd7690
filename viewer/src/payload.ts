/** A film as `ptx_app/ui/film_data.py` packs it: a header as JSON, then its parts, each deflated. */

export interface Header {
  /** Identifies the film and whether it was analysed. */
  key: string;
  width: number;
  height: number;
  /** Modality value of a level: slope * level + intercept. */
  slope: number;
  intercept: number;
  /** Lowest and highest modality value on the film: the full range. */
  range: [number, number];
  /** Modality values shown black and white by the header (white and black if inverted). */
  window: [number, number];
  /** Whether the header's greys are exactly that ramp. If not, `shades` are the header's greys. */
  linear: boolean;
  /** MONOCHROME1: low values are white. */
  inverted: boolean;
  /** Level of pixels outside the film, always black; null if there are none. */
  outside: number | null;
  /** Row and column spacing in mm if it can be believed. */
  spacing: [number, number] | null;
  /** Whether the spacing is calibrated to the patient; else it is the detector's. */
  calibrated: boolean;
  /** Whether the header states a spacing that cannot be believed. */
  doubtful: boolean;
  /** Part of the picture that the network saw, in px: top, left, bottom, right. */
  field: [number, number, number, number];
  /** Side of the square of probabilities; 0 if the film was not analysed. */
  side: number;
  /** Bytes of each part as sent: greys, shades, probability, activation. */
  parts: [number, number, number, number];
}

export interface Film extends Header {
  /** (height × width) levels. */
  levels: Uint16Array;
  /** The header's shade of each level in [0, 1]; empty if the header's greys are linear. */
  shades: Float32Array;
  /** (side × side) probabilities in [0, 1]. */
  probability: Float32Array;
  /** A square over the same part of the picture: what each place adds to the score, 255 where most; empty if unknown. */
  activation: Uint8Array;
}

export function headerOf(data: Uint8Array): Header {
  return JSON.parse(new TextDecoder().decode(data.subarray(4, 4 + lengthOf(data)))) as Header;
}

export async function filmOf(data: Uint8Array): Promise<Film> {
  const header = headerOf(data);
  let at = 4 + lengthOf(data);
  const [greys, shades, probability, activation] = await Promise.all(
    header.parts.map((bytes) => inflated(data.subarray(at, (at += bytes)))),
  );
  return {
    ...header,
    levels: levelsOf(greys!, header.width, header.height),
    shades: new Float32Array(shades!.buffer),
    probability: new Float32Array(probability!.buffer),
    activation: activation!,
  };
}

function lengthOf(data: Uint8Array): number {
  return new DataView(data.buffer, data.byteOffset, 4).getUint32(0, true);
}

export async function inflated(data: Uint8Array): Promise<Uint8Array> {
  if (!data.length) return new Uint8Array(0);
  const stream = new Blob([data as BlobPart]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Undo the packing: high bytes, then low bytes, of zigzag differences to the pixel at the left. */
export function levelsOf(bytes: Uint8Array, width: number, height: number): Uint16Array {
  const size = width * height;
  const levels = new Uint16Array(size);
  for (let row = 0; row < size; row += width) {
    let level = 0;
    for (let at = row; at < row + width; at++) {
      const zigzag = (bytes[at]! << 8) | bytes[size + at]!;
      level = (level + ((zigzag >>> 1) ^ -(zigzag & 1))) & 0xffff;
      levels[at] = level;
    }
  }
  return levels;
}
