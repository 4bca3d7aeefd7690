/** The viewer's keys. Films are changed by the strip of films, also where no film is on the screen. */

export const KEYS: readonly (readonly [keys: string, does: string])[] = [
  ["Drag, or W then drag", "Window: right widens, down darkens"],
  ["Alt ← → ↑ ↓", "Window, as a drag in that direction"],
  ["1 2 3 4 5", "The film’s own window, full range, lung, bone, inverse"],
  ["I", "Swap black and white"],
  ["Wheel, pinch, + −, right drag", "Zoom at the pointer"],
  ["Middle or Shift drag, P, two fingers", "Move the film"],
  ["Shift ← → ↑ ↓", "Move the film in that direction"],
  ["F, double-click", "Whole film"],
  ["A", "1:1: one pixel of the film on one pixel of the screen"],
  ["M", "Magnifier: press and drag"],
  ["R", "Ruler: drag. Delete removes all rulers"],
  ["B", "Brush: draw where the pneumothorax is"],
  ["E, [ ], Ctrl Z, Enter", "While drawing: add or erase, brush size, undo, done"],
  ["O", "Overlay on or off"],
  ["Hold U", "Look underneath the overlay"],
  ["C", "Fill on or off"],
  ["H", "Heat map of the probability on or off"],
  ["Y", "Why: what each place adds to the score, on or off"],
  ["[ ]", "Overlay less or more opaque"],
  [", .", "Lower or raise the mask threshold"],
  ["G, D", "Your reading: agree, disagree"],
  ["X, N, S", "With “Read first”: pneumothorax, no pneumothorax, show the result"],
  ["→ J, ← K", "Next film, previous film"],
  ["Esc", "Back to the window tool"],
  ["?", "These keys"],
];

/** While a drawing is open. */
export const DRAWING_ACTS: Readonly<Record<string, string>> = { e: "exchange", enter: "done" };

export const ACTS: Readonly<Record<string, string>> = {
  w: "window", b: "brush", p: "pan", r: "ruler", m: "magnifier", escape: "window", f: "fit", a: "actual", i: "invert", o: "overlay",
  c: "fill", h: "heat", y: "why", "[": "fainter", "]": "stronger", ",": "lower", ".": "higher", "+": "larger", "=": "larger",
  "-": "smaller", "?": "keys", delete: "remove", backspace: "remove", 1: "preset-1", 2: "preset-2", 3: "preset-3",
  4: "preset-4", 5: "preset-5",
};

/** Where an arrow points, in steps to the right and down. With Shift it moves the film, with Alt it windows. */
export const ARROWS: Readonly<Record<string, readonly [right: number, down: number]>> = {
  arrowleft: [-1, 0], arrowright: [1, 0], arrowup: [0, -1], arrowdown: [0, 1],
};

/** Whether the focus is where letters are typed. */
export function typing(event: Event): boolean {
  const field = "input:not([type=range], [type=checkbox], [type=radio], [type=button]), textarea, select, [contenteditable=true]";
  return event.composedPath().some((node) => node instanceof Element && node.matches(field));
}
