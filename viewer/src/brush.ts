/** The brush: what the reader draws on a film, from the first stroke until it is done or cancelled. */

import { Mask } from "./mask";
import type { Stage } from "./stage";

const LEAST_PX = 2, MOST_PX = 150, STEP = 1.25;
/** The button of a pen's eraser, as the pointer events number it. */
const ERASER = 5;

/** The reader's preferences, kept from film to film. The radius is in CSS px on the screen: zooming in draws finer. */
const reader = { radius: 14, erase: false };

/** Drawings that are not done, by the key of their film: going to another film loses none. */
const unfinished = new Map<string, Mask>();

export class Brush {
  mask: Mask | null = null;
  private key = "";
  private stroke: { pointer: number; x: number; y: number; inside: boolean } | null = null;

  /** `changed` is called when the drawing has, `active` says whether the pointer draws. */
  constructor(
    private readonly area: HTMLElement,
    private readonly ring: HTMLElement,
    private readonly stage: Stage,
    private readonly active: () => boolean,
    private readonly changed: () => void,
    signal: AbortSignal,
  ) {
    area.addEventListener("pointerdown", (event) => this.down(event), { signal });
    area.addEventListener("pointermove", (event) => this.move(event), { signal });
    area.addEventListener("pointerup", (event) => this.up(event), { signal });
    area.addEventListener("pointercancel", () => this.leaveOut(), { signal });
    area.addEventListener("pointerleave", () => (ring.hidden = true), { signal });
  }

  get radius(): number {
    return reader.radius;
  }

  set radius(px: number) {
    reader.radius = Math.min(Math.max(px, LEAST_PX), MOST_PX);
    const size = `${2 * reader.radius}px`;
    Object.assign(this.ring.style, { width: size, height: size });
  }

  get erase(): boolean {
    return reader.erase;
  }

  set erase(erase: boolean) {
    reader.erase = erase;
    this.ring.classList.toggle("erase", erase);
  }

  larger(): void {
    this.radius *= STEP;
  }

  smaller(): void {
    this.radius /= STEP;
  }

  /** Go to a film, with the drawing that was left on it. */
  goTo(key: string): void {
    this.leaveOut();
    this.ring.hidden = true;
    this.key = key;
    this.mask = unfinished.get(key) ?? null;
  }

  start(mask: Mask): void {
    this.mask = mask;
    unfinished.set(this.key, mask);
    this.erase = false;
    this.radius = reader.radius;
  }

  /** End the drawing; returns it. */
  stop(): Mask | null {
    this.leaveOut();
    this.ring.hidden = true;
    const { mask } = this;
    this.mask = null;
    unfinished.delete(this.key);
    return mask;
  }

  undo(): void {
    this.leaveOut();
    this.mask?.undo();
    this.changed();
  }

  private leaveOut(): void {
    if (!this.stroke) return;
    this.stroke = null;
    this.mask?.revert();
    this.changed();
  }

  private down(event: PointerEvent): void {
    if (!this.active() || !this.mask) return;
    // A second finger zooms.
    if (!event.isPrimary) return this.leaveOut();
    if ((event.button !== 0 && event.button !== ERASER) || event.shiftKey || event.ctrlKey) return;
    const [x, y] = this.onFilm(event);
    this.area.setPointerCapture(event.pointerId);
    this.mask.begin();
    this.stroke = { pointer: event.pointerId, x, y, inside: !reader.erase && event.button !== ERASER };
    this.to(x, y);
    this.showRing(event);
  }

  private move(event: PointerEvent): void {
    this.showRing(event);
    if (event.pointerId !== this.stroke?.pointer) return;
    const between = event.getCoalescedEvents?.() ?? [];
    for (const each of between.length ? between : [event]) this.to(...this.onFilm(each));
  }

  private up(event: PointerEvent): void {
    if (event.pointerId !== this.stroke?.pointer) return;
    this.to(...this.onFilm(event));
    this.stroke = null;
    this.mask!.end();
    this.changed();
  }

  private to(x: number, y: number): void {
    const stroke = this.stroke!;
    const radius = (reader.radius * devicePixelRatio) / this.stage.zoom;
    this.mask!.paint(stroke.x, stroke.y, x, y, radius, stroke.inside);
    [stroke.x, stroke.y] = [x, y];
    this.changed();
  }

  private onFilm(event: PointerEvent): [number, number] {
    return this.stage.toFilm(...this.onArea(event));
  }

  private onArea(event: PointerEvent): [number, number] {
    const box = this.area.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  private showRing(event: PointerEvent): void {
    this.ring.hidden = !(this.active() && this.mask);
    const [x, y] = this.onArea(event);
    this.ring.style.translate = `${x - reader.radius}px ${y - reader.radius}px`;
  }
}
