/** The viewer on the page: it joins film, overlay, toolbar, keys and gestures. */

import css from "./viewer.css";
import html from "./viewer.html";
import { Brush } from "./brush";
import { ACTS, ARROWS, DRAWING_ACTS, KEYS, typing } from "./keys";
import { Mask } from "./mask";
import { inferno, Overlay } from "./overlay";
import { type Film, filmOf, headerOf } from "./payload";
import { PRESETS } from "./presets";
import { type Greys, type Mode, type Place, Stage } from "./stage";

/** What the page says at each run. */
export interface Said {
  key: string;
  /** The film and its verdict in words. */
  alt: string;
  /** Whether to mark the patient's sides; only for a film known to be frontal. */
  sides: boolean;
  /** Whether the film is flagged; else nothing is outlined. */
  flagged: boolean;
  /** Mask threshold, in [0, 1]. */
  threshold: number;
  /** Share of the field below which a region is dropped. */
  smallest: number;
  surest: number;
  /** Share of the largest region below which another is dropped. */
  relative: number;
  /** The reader's own contour of this film, as `Mask` packs it; null if there is none. */
  drawn: string | null;
  /** Names a wish of the page that the reader may draw now; each is granted once. */
  draw: string;
}

/** How far a drag must go, in CSS px, to do what an arrow does with Shift or Alt. */
const ARROW_PX = 20;

type Report = (name: "mask_threshold" | "contour", value: unknown) => void;

/** The reader's preferences, kept from film to film. */
const reader = { overlay: true, fill: false, heat: false, why: false, opacity: 45, mode: "window" as Mode };

/** Wishes to draw that were granted. */
const granted = new Set<string>();

/** The film on the screen as it was left, in case the page takes the viewer away and puts it back. */
let left: { film: Film; place: Place; greys: Greys; inverse: boolean } | null = null;

export class Viewer {
  private readonly stage: Stage;
  private readonly overlay: Overlay;
  private readonly listening = new AbortController();
  private readonly resizing: ResizeObserver;
  private said: Said | null = null;
  private threshold = 0;
  private coming = "";
  private under = false;
  private outlining = 0;
  private pointer: [number, number] | null = null;
  private readonly brush: Brush;
  /** The reader's contour that is kept. */
  private own: Mask | null = null;
  private ownText: string | null = null;
  private ownOutlining = 0;

  constructor(private readonly root: HTMLElement | ShadowRoot, private report: Report) {
    const template = document.createElement("template");
    template.innerHTML = `<style>${css}</style>${html}`;
    root.append(template.content);
    this.overlay = new Overlay(this.one("canvas.overlay"));
    this.stage = new Stage(this.one(".film"), () => this.drawOver(), () => this.windowed());
    this.brush = new Brush(
      this.one(".stage"), this.one(".ring"), this.stage, () => reader.mode === "brush", () => this.outlineOwnSoon(),
      this.listening.signal,
    );
    this.fill();
    this.listen();
    this.resizing = new ResizeObserver(() => {
      const fitted = this.stage.film && Math.abs(this.stage.zoom / this.fitted - 1) < 0.01;
      this.stage.resized();
      if (fitted) this.stage.fit();
      this.remember();
    });
    this.resizing.observe(this.one(".stage"));
    this.use(reader.mode);
    this.press();
  }

  private one<T extends Element>(selector: string): T {
    return this.root.querySelector<T>(selector)!;
  }

  /** Take what the page says. A new film is blanked at once and drawn when its greys are here. */
  draw(said: Said, report: Report): void {
    this.report = report;
    if (said.key !== this.said?.key) {
      this.blank();
      this.under = false;
      if (said.flagged) reader.overlay = true;
      this.brush.goTo(said.key);
      if (reader.mode === "brush") this.use("window");
    }
    if (said.threshold !== this.said?.threshold) this.threshold = said.threshold;
    const first = !this.said;
    this.said = said;
    this.one(".stage").setAttribute("aria-label", said.alt);
    for (const mark of this.root.querySelectorAll<HTMLElement>(".side")) mark.hidden = !said.sides;
    this.press();
    if (this.stage.film?.key === said.key) this.unblank();
    else if (first && left?.film.key === said.key) void this.put(left.film, left.place, left.greys, left.inverse);
    else this.arrived();
  }

  /** A film's greys may have arrived. */
  arrived(): void {
    const data = globalThis.ptxFilm;
    const key = this.said?.key;
    if (!data || !key || key === this.coming || key === this.stage.film?.key || headerOf(data).key !== key) return;
    this.coming = key;
    performance.mark("ptx-arrived");
    void filmOf(data).then((film) => {
      if (this.said?.key !== key || this.listening.signal.aborted) return;
      // The same film with or without its result stays as it was.
      const same = left && bare(left.film.key) === bare(key) ? left : null;
      return this.put(film, same?.place, same?.greys, same?.inverse);
    }).catch(() => {
      if (!this.listening.signal.aborted)
        this.tell("The film could not be drawn. Reload the page and open it again. (FILM_NOT_DRAWN)");
    }).finally(() => {
      if (this.coming === key) this.coming = "";
    });
  }

  private async put(film: Film, place?: Place, greys?: Greys, inverse?: boolean): Promise<void> {
    await this.stage.show(film, place, greys, inverse);
    if (this.said?.key !== film.key || this.listening.signal.aborted) return;
    this.unblank();
    performance.mark("ptx-shown");
    this.remember();
  }

  /** Hide the film at once: another one is coming. */
  blank(): void {
    this.one(".viewer").classList.add("blank");
    delete this.one<HTMLElement>(".stage").dataset["film"];
    this.tell("Loading the film");
  }

  private unblank(): void {
    this.one<HTMLElement>(".wait").hidden = true;
    this.one(".viewer").classList.remove("blank");
    const { width, height } = this.stage.film!;
    Object.assign(this.one<HTMLElement>(".stage").dataset, { film: this.said!.key, size: `${width} × ${height}` });
    this.one(".viewer").classList.toggle("bare", !this.stage.film!.side);
    this.one<HTMLButtonElement>("[data-act=why]").disabled = !this.stage.film!.activation.some((value) => value > 0);
    this.outline();
    void this.takeOwn();
    this.say();
  }

  /** Take the reader's contour from the page, and begin to draw if the page asks for it. */
  private async takeOwn(): Promise<void> {
    const { key, drawn, draw } = this.said!;
    const film = this.stage.film!;
    const text = `${key} ${drawn ?? ""}`;
    if (text !== this.ownText) {
      const own = drawn ? await Mask.unpacked(drawn, film.width, film.height) : null;
      if (this.said?.key !== key || this.stage.film !== film || this.listening.signal.aborted) return;
      [this.own, this.ownText] = [own, text];
    }
    this.outlineOwn();
    this.press();
    if (!draw || granted.has(draw)) return;
    granted.add(draw);
    this.startDrawing();
    this.one<HTMLElement>(".stage").focus({ preventScroll: true });
  }

  private startDrawing(): void {
    const { film } = this.stage;
    if (!film?.side || film.key !== this.said?.key) return;
    reader.overlay = true;
    if (!this.brush.mask) {
      const { width, height } = film;
      this.brush.start(this.own ? new Mask(width, height, this.own.pixels.slice()) : Mask.of(width, height, this.overlay.spans));
    }
    this.use("brush");
    this.outlineOwn();
  }

  private async endDrawing(keep: boolean): Promise<void> {
    const mask = this.brush.stop();
    if (!mask) return;
    // Nothing was drawn where nothing was: that is no answer.
    if (!mask.drawn && !mask.spans().length) keep = false;
    this.use("window");
    const key = this.said!.key;
    // Until the page has answered, and then its own: it may refuse.
    if (keep) [this.own, this.ownText] = [mask, null];
    this.outlineOwn();
    if (keep) this.report("contour", { film: key, bits: await mask.packed() });
  }

  private outlineOwnSoon(): void {
    this.ownOutlining ||= requestAnimationFrame(() => {
      this.ownOutlining = 0;
      this.outlineOwn();
      this.press();
    });
  }

  private outlineOwn(): void {
    this.overlay.outlineOwn((this.brush.mask ?? this.own)?.spans() ?? []);
    this.drawOver();
  }

  private tell(text: string): void {
    const wait = this.one<HTMLElement>(".wait");
    wait.textContent = text;
    wait.hidden = false;
  }

  private remember(): void {
    const { film, greys, inverse } = this.stage;
    if (film) left = { film, place: this.stage.place, greys, inverse };
  }

  private get fitted(): number {
    const { width, height } = this.stage.film!;
    const stage = this.one<HTMLElement>(".film");
    return Math.min(stage.clientWidth / width, stage.clientHeight / height) * devicePixelRatio;
  }

  private outline(): void {
    const { film } = this.stage;
    if (film && this.said && film.key === this.said.key && this.said.flagged)
      this.overlay.outline(film, this.threshold, this.said);
    else if (film) this.overlay.outline(film, 2, { smallest: 0, surest: 0, relative: 0 });
    this.drawOver();
  }

  private drawOver(): void {
    const { film } = this.stage;
    if (!film) return;
    const shown = reader.overlay && !this.under;
    const { fill, heat, why, opacity } = reader;
    const look = { contour: true, fill, heat, why, opacity: opacity / 100, drawing: this.brush.mask !== null };
    this.overlay.draw(shown ? look : null, this.stage.toCanvas(0, 0), this.stage.toCanvas(film.width, film.height));
    this.scale(shown && film.side > 0, !this.one<HTMLButtonElement>("[data-act=why]").disabled);
    this.say();
  }

  /** Show the scale of the map that is on. */
  private scale(shown: boolean, knowsWhy: boolean): void {
    const scale = this.one<HTMLElement>(".scale");
    scale.hidden = !(shown && (reader.heat || (reader.why && knowsWhy)));
    const [most, half, least] = reader.heat ? ["1", "0.5", "0"] : ["most", "", "none"];
    for (const [name, text] of Object.entries({ most, half, least })) this.one(`.scale .${name}`).textContent = text!;
    scale.setAttribute("aria-label", reader.heat ? "Heat map scale, probability from 0 to 1" : "Scale of what each place adds to the score");
  }

  private say(): void {
    const { film } = this.stage;
    if (!film) return;
    this.remember();
    const put = (name: string, text: string): void => {
      const place = this.one(`[data-say=${name}]`);
      if (place.textContent !== text) place.textContent = text;
    };
    const [lower, upper] = this.stage.window;
    const own = this.stage.greys === "header" && !film.linear ? " (header’s LUT)" : "";
    put("zoom", `${Math.round(100 * this.stage.zoom)} %`);
    // DICOM's linear window (PS3.3 C.11.2.1.2): from centre − 0.5 − (width − 1) / 2 to centre − 0.5 + (width − 1) / 2.
    put("window", `C ${figure((lower + upper + 1) / 2)} W ${figure(upper - lower + 1)}${own}`);
    const under = this.pointer && this.stage.under(...this.pointer);
    put("grey", under ? `x ${under.column} y ${under.row} grey ${under.value === null ? "–" : figure(under.value)}` : "");
  }

  /** Say the new window, and light the preset that it is. */
  private windowed(): void {
    this.say();
    const lit = PRESETS.findIndex((preset) => {
      const { greys, inverse } = preset.of(this.stage.film!);
      return inverse === this.stage.inverse && String(greys) === String(this.stage.greys);
    });
    this.one(".presets").querySelectorAll("button").forEach((button, at) => {
      button.setAttribute("aria-pressed", String(at === lit));
    });
  }

  private act(name: string): void {
    const { film } = this.stage;
    if (name === "keys") return this.one<HTMLDialogElement>("dialog").showModal();
    if (name === "brush") return this.startDrawing();
    if (name in ({ window: 1, pan: 1, ruler: 1, magnifier: 1 } satisfies Record<Exclude<Mode, "brush">, 1>)) return this.use(name as Mode);
    if (!film) return;
    const preset = PRESETS[Number(name.replace("preset-", "")) - 1];
    if (preset) {
      const { greys, inverse } = preset.of(film);
      this.stage.setWindow(greys, inverse);
    }
    if (name === "invert") this.stage.setWindow(this.stage.greys, !this.stage.inverse);
    if (name === "fit") this.stage.fit();
    if (name === "actual") this.stage.actualSize();
    if (name === "larger") this.zoom(1.25);
    if (name === "smaller") this.zoom(0.8);
    if (name === "remove") this.stage.removeRulers();
    if (name === "overlay") reader.overlay = !reader.overlay;
    if ((name === "fill" || name === "heat" || name === "why") && film.side) this.toggle(name);
    if (this.brush.mask) {
      if (name === "done" || name === "cancel") return void this.endDrawing(name === "done");
      if (name === "undo") this.brush.undo();
      if (name === "add" || name === "erase") this.brush.erase = name === "erase";
      if (name === "exchange") this.brush.erase = !this.brush.erase;
      if (name === "fainter") this.brush.smaller();
      if (name === "stronger") this.brush.larger();
      if (["fainter", "stronger"].includes(name)) return this.press();
      if (["add", "erase", "exchange"].includes(name)) return this.use("brush");
    }
    if (name === "fainter") reader.opacity = Math.max(reader.opacity - 5, 0);
    if (name === "stronger") reader.opacity = Math.min(reader.opacity + 5, 100);
    if ((name === "lower" || name === "higher") && film.side) {
      this.moveThreshold(this.threshold + (name === "higher" ? 0.01 : -0.01));
      this.reportSoon();
    }
    this.press();
    this.drawOver();
  }

  /** Layers of the overlay are off while the overlay is; to switch one on switches on the overlay, too. */
  private toggle(layer: "fill" | "heat" | "why"): void {
    const on = !(reader.overlay && reader[layer]);
    if (on) reader.overlay = true;
    if (layer !== "fill") [reader.heat, reader.why] = [false, false];
    reader[layer] = on;
  }

  private zoom(factor: number): void {
    this.stage.zoomBy(factor, ...(this.pointer ?? []));
  }

  private use(mode: Mode): void {
    reader.mode = mode;
    this.stage.use(mode);
    this.press();
  }

  /** The outline follows the threshold once per frame, however fast it moves. */
  private moveThreshold(threshold: number): void {
    this.threshold = Math.round(Math.min(Math.max(threshold, 0.01), 0.99) * 1000) / 1000;
    this.press();
    this.outlining ||= requestAnimationFrame(() => {
      this.outlining = 0;
      this.outline();
    });
  }

  private reporting: ReturnType<typeof setTimeout> | undefined;

  private reportSoon(): void {
    clearTimeout(this.reporting);
    this.reporting = setTimeout(() => this.reportNow(), 400);
  }

  private reportNow(): void {
    clearTimeout(this.reporting);
    if (!this.said || this.said.threshold === this.threshold) return;
    this.said = { ...this.said, threshold: this.threshold };
    this.report("mask_threshold", this.threshold);
  }

  /** Show on the toolbar what is set. */
  private press(): void {
    const { overlay, fill, heat, why } = reader;
    const pressed: Record<string, boolean> = { overlay, fill: overlay && fill, heat: overlay && heat, why: overlay && why };
    for (const button of this.root.querySelectorAll<HTMLElement>("[data-toggle]"))
      button.setAttribute("aria-pressed", String(pressed[button.dataset["act"]!]));
    for (const button of this.root.querySelectorAll<HTMLElement>("[data-mode]"))
      button.setAttribute("aria-pressed", String(button.dataset["act"] === reader.mode));
    this.one<HTMLElement>(".stage").dataset["mode"] = reader.mode;
    const { mask } = this.brush;
    this.one<HTMLElement>(".drawing").hidden = !mask;
    for (const name of ["add", "erase"])
      this.one(`[data-act=${name}]`).setAttribute("aria-pressed", String((name === "erase") === this.brush.erase));
    this.one<HTMLButtonElement>("[data-act=undo]").disabled = !mask?.drawn;
    const set = (name: string, value: number, text: string): void => {
      const input = this.one<HTMLInputElement>(`[data-set=${name}]`);
      input.value = String(value);
      input.setAttribute("aria-valuetext", text);
      (input.nextElementSibling as HTMLOutputElement).value = text;
    };
    set("size", this.brush.radius, `${Math.round(2 * this.brush.radius)} px`);
    set("opacity", reader.opacity, `${reader.opacity} %`);
    set("threshold", this.threshold, String(Math.round(1000 * this.threshold) / 1000));
  }

  private fill(): void {
    this.one(".presets").replaceChildren(...PRESETS.map(({ name, hint }, at) => {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset["act"] = `preset-${at + 1}`;
      button.title = `${hint} (${at + 1})`;
      button.append(name, Object.assign(document.createElement("small"), { textContent: at + 1 }));
      return button;
    }));
    this.one("tbody").replaceChildren(...KEYS.map((cells) => {
      const row = document.createElement("tr");
      row.append(...cells.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
      return row;
    }));
    const stops = Array.from({ length: 11 }, (_, at) => `rgb(${inferno(at / 10).join(" ")})`);
    this.one<HTMLElement>(".scale i").style.background = `linear-gradient(to top, ${stops.join(", ")})`;
  }

  private listen(): void {
    const { signal } = this.listening;
    const stage = this.one<HTMLElement>(".stage");
    const at = (event: MouseEvent): [number, number] => {
      const box = stage.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      // A trackpad's pinch comes as a wheel with Ctrl, in small steps.
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 33 : 1;
      const step = event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0015);
      this.stage.zoomBy(Math.exp(-Math.min(Math.max(step, -0.5), 0.5)), ...at(event));
    }, { signal, passive: false });
    stage.addEventListener("pointermove", (event) => {
      this.pointer = at(event);
      this.say();
    }, { signal });
    stage.addEventListener("pointerleave", () => {
      this.pointer = null;
      this.say();
    }, { signal });
    stage.addEventListener("pointerdown", () => stage.focus({ preventScroll: true }), { signal });
    stage.addEventListener("dblclick", () => {
      if (reader.mode !== "brush") this.act("fit");
    }, { signal });
    stage.addEventListener("contextmenu", (event) => event.preventDefault(), { signal });

    for (const bar of this.root.querySelectorAll(".bar"))
      bar.addEventListener("click", (event) => {
        const name = (event.target as Element).closest<HTMLElement>("[data-act]")?.dataset["act"];
        if (name) this.act(name);
      }, { signal });
    const hold = this.one<HTMLElement>("[data-hold]");
    hold.addEventListener("pointerdown", () => this.look(true), { signal });
    for (const end of ["pointerup", "pointerleave", "pointercancel"])
      hold.addEventListener(end, () => this.look(false), { signal });

    const threshold = this.one<HTMLInputElement>("[data-set=threshold]");
    threshold.addEventListener("input", () => this.moveThreshold(threshold.valueAsNumber), { signal });
    threshold.addEventListener("change", () => this.reportSoon(), { signal });
    const size = this.one<HTMLInputElement>("[data-set=size]");
    size.addEventListener("input", () => {
      this.brush.radius = size.valueAsNumber;
      this.press();
    }, { signal });
    const opacity = this.one<HTMLInputElement>("[data-set=opacity]");
    opacity.addEventListener("input", () => {
      reader.opacity = opacity.valueAsNumber;
      this.press();
      this.drawOver();
    }, { signal });

    document.addEventListener("keydown", (event) => this.onKey(event), { signal });
    // Before anything else hears it, so that no slider with the focus moves, too.
    window.addEventListener("keydown", (event) => this.onArrow(event), { signal, capture: true });
    document.addEventListener("keyup", (event) => {
      if (event.key.toLowerCase() === "u") this.look(false);
    }, { signal });
    window.addEventListener("blur", () => this.look(false), { signal });
    window.addEventListener("ptx-film", () => this.arrived(), { signal });
    this.one("[data-tour]").addEventListener("click", () => window.dispatchEvent(new Event("ptx-tour")), { signal });
    window.addEventListener("ptx-leave", () => this.blank(), { signal });
  }

  /** Move or window the film by an arrow with Shift or Alt. */
  private onArrow(event: KeyboardEvent): void {
    const arrow = ARROWS[event.key.toLowerCase()];
    if (!arrow || event.shiftKey === event.altKey || event.ctrlKey || event.metaKey || typing(event)) return;
    if (event.composedPath().some((node) => node instanceof HTMLDialogElement)) return;
    event.preventDefault(); // Alt and an arrow would leave the page
    event.stopImmediatePropagation();
    const [right, down] = [arrow[0] * ARROW_PX, arrow[1] * ARROW_PX];
    if (event.shiftKey) this.stage.moveBy(right, down);
    else this.stage.dragWindow(right, down);
  }

  private onKey(event: KeyboardEvent): void {
    if (typing(event) || this.one<HTMLDialogElement>("dialog").open) return;
    const key = event.key.toLowerCase();
    if (this.brush.mask && key === "z" && (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey) {
      event.preventDefault();
      return this.act("undo");
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (key === "u") return this.look(true);
    // Enter on a button presses that button.
    const onButton = event.composedPath().some((node) => node instanceof Element && node.matches("button, a, input, summary"));
    const name = (this.brush.mask && !(key === "enter" && onButton) ? DRAWING_ACTS[key] : undefined) ?? ACTS[key];
    if (name) this.act(name);
  }

  private look(under: boolean): void {
    if (this.under === under) return;
    this.under = under;
    this.drawOver();
  }

  release(): void {
    this.listening.abort();
    this.resizing.disconnect();
    clearTimeout(this.reporting);
    this.stage.release();
  }
}

/** A film's key without the word that its result is there; see `Film.shown_as`. */
function bare(key: string): string {
  return key.replace(/-analysed$/, "");
}

/** A number for the status line: whole, or with as many digits as small values need. */
function figure(value: number): string {
  const digits = Math.abs(value) >= 100 || Number.isInteger(value) ? 0 : Math.abs(value) >= 1 ? 1 : 3;
  return value.toFixed(digits).replace("-", "−");
}
