/** What lies over the film: heat map, fill, and the contour with its dark halo, redrawn with each frame. */

import type { Span } from "./mask";
import { type Least, outlineOf, runsOf, stretched } from "./outline";
import type { Film } from "./payload";

export interface Look {
  contour: boolean;
  fill: boolean;
  heat: boolean;
  /** What each place adds to the score. */
  why: boolean;
  /** Of fill and maps, in [0, 1]. */
  opacity: number;
  /** Whether the reader is drawing: then the model's contour is left out. */
  drawing: boolean;
}

/** The outline of some pixels; `coarse` leaves out the steps between them, for where they are smaller than a screen's. */
interface Paths {
  fine: Path2D;
  coarse: Path2D;
}

/** The finding's colour; the same as in the exported pictures. */
const AMBER = "#ffb000";
/** The reader's own contour. */
const CYAN = "#5cd3ff";
const HALO = "rgba(0, 0, 0, 0.8)";
const LINE_PX = 2, HALO_PX = 5, COARSE_PX = 4;
/** Opacity of the fill while the reader draws. */
const DRAWING = 0.2;
/** Height of the viewer in CSS px above which lines grow with it. */
const LARGE = 1000;

export class Overlay {
  private readonly context: CanvasRenderingContext2D;
  private film: Film | null = null;
  private wide: Float32Array | null = null;
  private found = pathsOf([]);
  private own = pathsOf([]);
  private runs: Span[] = [];
  private drawn = "";
  private heat: HTMLCanvasElement | null = null;
  private why: HTMLCanvasElement | null = null;
  private outlinedAt = "";

  constructor(private readonly canvas: HTMLCanvasElement) {
    this.context = canvas.getContext("2d")!;
  }

  /** Find the outline of a film at a threshold. */
  outline(film: Film, threshold: number, kept: Least): void {
    if (film !== this.film) {
      this.film = film;
      [this.wide, this.heat, this.why, this.outlinedAt] = [null, null, null, ""];
      this.own = pathsOf([]);
    }
    const asked = `${threshold} ${kept.smallest} ${kept.surest} ${kept.relative}`;
    if (this.outlinedAt === asked) return;
    this.outlinedAt = asked;
    this.drawn = "";
    [this.runs, this.found] = [[], pathsOf([])];
    if (!film.side) return;
    const [top, left, bottom, right] = film.field;
    this.wide ??= stretched(film.probability, film.side, right - left);
    const runs = runsOf(this.wide, film.side, right - left, bottom - top, threshold, kept);
    this.runs = runs.map(({ row, from, to }) => ({ row: row + top, from: from + left, to: to + left }));
    this.found = pathsOf(this.runs);
  }

  /** The pixels inside the model's contour. */
  get spans(): readonly Span[] {
    return this.runs;
  }

  /** The pixels inside the reader's contour; none if there is no such contour. */
  outlineOwn(spans: readonly Span[]): void {
    this.own = pathsOf(spans);
    this.drawn = "";
  }

  /** Draw over a film whose upper left corner is at `from` and whose lower right corner is at `to`, in CSS px. */
  draw(look: Look | null, from: ArrayLike<number>, to: ArrayLike<number>): void {
    const { canvas, context, film } = this;
    const ratio = devicePixelRatio;
    const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const asked = [width, height, from[0], from[1], to[0], to[1], ...Object.values(look ?? {})].join();
    if (asked === this.drawn) return;
    this.drawn = asked;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    if (!film?.side || !look) return;
    const scale = ((to[0]! - from[0]!) / film.width) * ratio;
    context.setTransform(scale, 0, 0, scale, from[0]! * ratio, from[1]! * ratio);
    const [top, left, bottom, right] = film.field;
    const form = COARSE_PX * scale < 1 ? "coarse" : "fine";
    const [path, own] = [this.found[form], this.own[form]];
    if (look.heat) this.heat ??= mapOf(film.probability, 1);
    if (look.why) this.why ??= mapOf(film.activation, 255);
    const map = look.heat ? this.heat : look.why ? this.why : null;
    if (map) {
      context.globalAlpha = look.opacity;
      context.drawImage(map, left, top, right - left, bottom - top);
      context.globalAlpha = 1;
    }
    if (look.fill && !look.drawing) this.fill(path, AMBER, look.opacity);
    if (look.drawing) this.fill(own, CYAN, DRAWING);
    if (look.contour) {
      const px = (Math.max(1, canvas.clientHeight / LARGE) * ratio) / scale;
      if (!look.drawing) this.line(path, AMBER, px);
      this.line(own, CYAN, px);
    }
  }

  private fill(path: Path2D, colour: string, opacity: number): void {
    this.context.globalAlpha = opacity;
    this.context.fillStyle = colour;
    this.context.fill(path, "evenodd");
    this.context.globalAlpha = 1;
  }

  /** `px`: units of the path in a CSS px. */
  private line(path: Path2D, colour: string, px: number): void {
    this.context.lineJoin = "round";
    for (const [shade, width] of [[HALO, HALO_PX], [colour, LINE_PX]] as const) {
      this.context.strokeStyle = shade;
      this.context.lineWidth = width * px;
      this.context.stroke(path);
    }
  }
}

function pathsOf(spans: readonly Span[]): Paths {
  const paths = { fine: new Path2D(), coarse: new Path2D() };
  for (const loop of outlineOf(spans).loops) {
    trace(paths.fine, loop, 0);
    trace(paths.coarse, loop, COARSE_PX);
  }
  return paths;
}

/** Add a loop to a path, without points on straight lines or closer than `least` to the last one. */
function trace(path: Path2D, loop: Int32Array, least: number): void {
  let [x, y] = [loop[0]!, loop[1]!];
  path.moveTo(x, y);
  for (let at = 2; at < loop.length; at += 2) {
    const [nextX, nextY] = [loop[at]!, loop[at + 1]!];
    const [afterX, afterY] = [loop[(at + 2) % loop.length]!, loop[(at + 3) % loop.length]!];
    const straight = (nextX === x && afterX === x) || (nextY === y && afterY === y);
    if (straight || Math.hypot(nextX - x, nextY - y) < least) continue;
    path.lineTo((x = nextX), (y = nextY));
  }
  path.closePath();
}

/** A square of values in [0, `highest`] in colour, as transparent as they are low; null for none. */
function mapOf(values: ArrayLike<number>, highest: number): HTMLCanvasElement | null {
  if (!values.length) return null;
  const side = Math.sqrt(values.length);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  const pixels = new ImageData(side, side);
  for (let at = 0; at < values.length; at++) {
    const value = values[at]! / highest;
    pixels.data.set([...inferno(value), 255 * value], 4 * at);
  }
  canvas.getContext("2d")!.putImageData(pixels, 0, 0);
  return canvas;
}

// Matplotlib's colour map "inferno" as a polynomial of degree six (Matt Zucker, public domain), from low to high power.
const INFERNO = [
  [0.00021894, 0.001651, -0.0194809], [0.10651341, 0.56395643, 3.93271238], [11.60249308, -3.97285397, -15.94239411],
  [-41.70399613, 17.43639888, 44.35414519], [77.1629357, -33.40235894, -81.80730926],
  [-71.31942824, 32.62606426, 73.20951986], [25.13112622, -12.24266895, -23.07032500],
] as const;

/** RGB in [0, 255] of a probability in [0, 1]. */
export function inferno(value: number): [number, number, number] {
  return [0, 1, 2].map((channel) => {
    const shade = INFERNO.reduceRight((sum, power) => sum * value + power[channel]!, 0);
    return Math.round(255 * Math.min(Math.max(shade, 0), 1));
  }) as [number, number, number];
}
