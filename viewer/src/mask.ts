/** A mask at the film's size, drawn with a round brush, and how it travels: 8 pixels in a byte, deflated, in base64. */

import { inflated } from "./payload";

/** Pixels from `from` to `to`, without `to`, of a row. */
export interface Span {
  row: number;
  from: number;
  to: number;
}

/** A part of the mask as it was before a stroke. */
interface Patch {
  left: number;
  top: number;
  width: number;
  before: Uint8Array;
}

/** Strokes that can be undone. */
const MOST_STROKES = 100;
/** Radius in px of the film with which the pixel under the pointer is always drawn. */
const LEAST_RADIUS = 0.75;

export class Mask {
  /** 1 inside, row by row. */
  readonly pixels: Uint8Array;
  private readonly strokes: Patch[] = [];
  private before: Uint8Array | null = null;
  /** What the present stroke has touched: left, top, right, bottom. */
  private touched: [number, number, number, number] = [0, 0, 0, 0];

  constructor(readonly width: number, readonly height: number, pixels?: Uint8Array) {
    this.pixels = pixels ?? new Uint8Array(width * height);
  }

  static of(width: number, height: number, spans: readonly Span[]): Mask {
    const mask = new Mask(width, height);
    for (const { row, from, to } of spans) mask.pixels.fill(1, row * width + from, row * width + to);
    return mask;
  }

  get drawn(): number {
    return this.strokes.length;
  }

  begin(): void {
    this.before = this.pixels.slice();
    this.touched = [this.width, this.height, 0, 0];
  }

  /** Set every pixel whose centre is within the radius of the line from a to b, in px of the film. */
  paint(ax: number, ay: number, bx: number, by: number, radius: number, inside: boolean): void {
    const reach = Math.max(radius, LEAST_RADIUS);
    const left = Math.max(Math.floor(Math.min(ax, bx) - reach), 0), top = Math.max(Math.floor(Math.min(ay, by) - reach), 0);
    const right = Math.min(Math.ceil(Math.max(ax, bx) + reach), this.width);
    const bottom = Math.min(Math.ceil(Math.max(ay, by) + reach), this.height);
    if (left >= right || top >= bottom) return;
    const [dx, dy] = [bx - ax, by - ay], length = dx * dx + dy * dy || 1, value = Number(inside);
    for (let row = top; row < bottom; row++)
      for (let column = left; column < right; column++) {
        const [x, y] = [column + 0.5 - ax, row + 0.5 - ay];
        const along = Math.min(Math.max((x * dx + y * dy) / length, 0), 1);
        if ((x - along * dx) ** 2 + (y - along * dy) ** 2 <= reach * reach) this.pixels[row * this.width + column] = value;
      }
    const [l, t, r, b] = this.touched;
    this.touched = [Math.min(l, left), Math.min(t, top), Math.max(r, right), Math.max(b, bottom)];
  }

  /** End the stroke; it can then be undone. */
  end(): void {
    const [left, top, right, bottom] = this.touched, { before } = this;
    this.before = null;
    if (!before || left >= right) return;
    const width = right - left, patch = new Uint8Array(width * (bottom - top));
    for (let row = top; row < bottom; row++)
      patch.set(before.subarray(row * this.width + left, row * this.width + right), (row - top) * width);
    this.strokes.push({ left, top, width, before: patch });
    if (this.strokes.length > MOST_STROKES) this.strokes.shift();
  }

  /** Leave the stroke out. */
  revert(): void {
    if (this.before) this.pixels.set(this.before);
    this.before = null;
  }

  undo(): void {
    const patch = this.strokes.pop();
    if (!patch) return;
    const { left, top, width, before } = patch;
    for (let at = 0; at < before.length; at += width)
      this.pixels.set(before.subarray(at, at + width), (top + at / width) * this.width + left);
  }

  spans(): Span[] {
    const { pixels, width, height } = this, spans: Span[] = [];
    for (let at = pixels.indexOf(1); at >= 0 && at < width * height; ) {
      const row = Math.floor(at / width), end = (row + 1) * width;
      const stop = pixels.indexOf(0, at), to = stop < 0 ? end : Math.min(stop, end);
      spans.push({ row, from: at - row * width, to: to - row * width });
      at = pixels.indexOf(1, to);
    }
    return spans;
  }

  async packed(): Promise<string> {
    const bits = new Uint8Array(Math.ceil(this.pixels.length / 8));
    for (let at = this.pixels.indexOf(1); at >= 0; at = this.pixels.indexOf(1, at + 1)) bits[at >> 3]! |= 128 >> (at & 7);
    const stream = new Blob([bits]).stream().pipeThrough(new CompressionStream("deflate"));
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
    let text = "";
    for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
    return btoa(text);
  }

  static async unpacked(text: string, width: number, height: number): Promise<Mask> {
    const bits = await inflated(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)));
    const mask = new Mask(width, height);
    for (let at = 0; at < mask.pixels.length; at++) mask.pixels[at] = (bits[at >> 3]! >> (7 - (at & 7))) & 1;
    return mask;
  }
}
