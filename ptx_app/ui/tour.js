// What each step names: for mouse and keys, and for fingers.
const STEPS = [
  [["Drag", "on the film: right widens the window, down darkens. 1 to 5 are presets."],
    ["One finger", "on the film: right widens the window, down darkens."]],
  [["Wheel", "zooms at the pointer. F shows the whole film again."],
    ["Two fingers", "zoom and move the film. “Fit” shows all of it again."]],
  [["Hold U", "to see the film beneath the outline. O hides it until you press O again."],
    ["Look under", "in the toolbar: hold it to see the film beneath the outline."]],
  [["J and K", "or the arrow keys open the next and the previous film of the list."],
    ["The list", "has all films. Touch one to open it."]],
  [["?", "lists all keys: magnifier, ruler, heat map and more."],
    ["?", "at the end of the toolbar lists everything else: magnifier, ruler, heat map and more."]],
];
// What shows that the reader has tried a step: the next one follows. A finger's drag is one for the first step, too.
const TRIED = [
  { gesture: "pointerup", keys: ["1", "2", "3", "4", "5"] }, { gesture: "wheel", keys: ["f"] }, { keys: ["u", "o"] },
  { keys: ["j", "k", "arrowleft", "arrowright"] }, { keys: [] },
];
const REMEMBERED = "ptx-tour-closed";
const reader = (globalThis.ptxTour ??= { at: 0, closed: remembered(), listening: null });

export default function ({ parentElement }) {
  const section = parentElement.querySelector(".tour"), step = section.querySelector(".step");
  const button = (name) => section.querySelector(`[data-go=${name}]`);
  const fingers = matchMedia("(pointer: coarse)").matches ? 1 : 0;

  function draw() {
    section.hidden = reader.closed;
    // The film gives up the tour's height, so that the page stays on one screen; see page.css.
    document.documentElement.toggleAttribute("data-tour", !reader.closed);
    const [what, does] = STEPS[reader.at][fingers];
    const place = Object.assign(document.createElement("span"), { className: "place", textContent: `${reader.at + 1} of ${STEPS.length}` });
    const key = Object.assign(document.createElement("kbd"), { textContent: what });
    if (step.textContent !== `${place.textContent}${what} ${does}`) step.replaceChildren(place, key, ` ${does}`);
    const focused = section.getRootNode().activeElement;
    button("back").disabled = reader.at === 0;
    button("next").disabled = reader.at === STEPS.length - 1;
    if (focused?.disabled && section.contains(focused)) button(reader.at ? "close" : "next").focus();
  }

  function close() {
    reader.closed = true;
    remember();
    draw();
  }

  function go(steps) {
    reader.at += steps;
    draw();
  }

  button("back").onclick = () => go(-1);
  button("next").onclick = () => go(1);
  button("close").onclick = close;
  section.onkeydown = (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    close();
  };
  function tried(event) {
    const { gesture, keys } = TRIED[reader.at], nodes = event.composedPath();
    const done = event.type === "keyup"
      ? keys.includes(event.key.toLowerCase()) && !nodes[0].matches?.("input:not([type=range]), textarea, select")
      : event.type === gesture && nodes.some((node) => node.matches?.(".stage"));
    if (done && !reader.closed) go(1);
  }

  reader.listening?.abort();
  const listening = (reader.listening = new AbortController());
  // The list of films keeps some keys' "keydown" to itself.
  for (const type of ["keyup", "pointerup", "wheel"])
    window.addEventListener(type, tried, { signal: listening.signal, capture: true, passive: true });
  window.addEventListener("ptx-tour", () => {
    Object.assign(reader, { at: 0, closed: false });
    draw();
    button("next").focus();
  }, { signal: listening.signal });
  draw();
  return () => {
    listening.abort();
    document.documentElement.removeAttribute("data-tour");
  };
}

// A browser may forbid storage; the tour then comes back after a reload.
function remembered() {
  try {
    return sessionStorage.getItem(REMEMBERED) !== null;
  } catch {
    return false;
  }
}

function remember() {
  try {
    sessionStorage.setItem(REMEMBERED, "");
  } catch {
    // remembered until the reload
  }
}
