const states = new WeakMap();

export default function ({ data, parentElement }) {
  const state = states.get(parentElement) ?? mount(parentElement);
  states.set(parentElement, state);
  draw(state, data);
  return () => state.release();
}

function mount(root) {
  const stage = root.querySelector(".stage");
  const state = { stage, sheet: root.querySelector(".sheet"), key: null, zoom: 1, x: 0, y: 0, film: null };
  const listening = new AbortController();
  const on = (target, type, handler, options = {}) =>
    target.addEventListener(type, handler, { signal: listening.signal, ...options });

  on(stage, "wheel", (event) => {
    event.preventDefault();
    const box = stage.getBoundingClientRect();
    zoomAt(state, event.clientX - box.left, event.clientY - box.top, Math.exp(-event.deltaY * 0.0015));
  }, { passive: false });
  on(stage, "pointerdown", (event) => {
    if (event.target.closest("button")) return;
    stage.setPointerCapture(event.pointerId);
    stage.classList.add("dragging");
  });
  on(stage, "pointermove", (event) => {
    if (!stage.classList.contains("dragging")) return;
    state.x += event.movementX;
    state.y += event.movementY;
    place(state);
  });
  for (const type of ["pointerup", "pointercancel"]) on(stage, type, () => stage.classList.remove("dragging"));
  on(stage, "dblclick", () => fit(state));
  on(stage, "click", (event) => act(state, event.target.closest("button")?.dataset.act));
  on(document, "keydown", (event) => onKey(state, event));
  const resized = new ResizeObserver(() => { if (state.zoom === 1) fit(state); });
  resized.observe(stage);

  state.release = () => {
    listening.abort();
    resized.disconnect();
    states.delete(root);
  };
  return state;
}

function draw(state, data) {
  if (state.key !== data.key) {
    state.film = new Image();
    state.film.className = "film";
    state.film.onload = () => fit(state);
    state.film.src = data.picture;
    state.key = data.key;
  }
  state.film.alt = data.alt;
  state.stage.classList.toggle("sideless", !data.sides);
  const layers = data.layers.map(({ picture, opacity }) => {
    const layer = new Image();
    layer.className = "layer";
    layer.alt = "";
    layer.src = picture;
    layer.style.opacity = opacity;
    return layer;
  });
  state.sheet.replaceChildren(state.film, ...layers);
}

function fit(state) {
  if (!state.film?.naturalWidth) return;
  const { clientWidth: width, clientHeight: height } = state.stage;
  state.fitted = Math.min(width / state.film.naturalWidth, height / state.film.naturalHeight);
  state.zoom = 1;
  state.x = (width - state.film.naturalWidth * state.fitted) / 2;
  state.y = (height - state.film.naturalHeight * state.fitted) / 2;
  place(state);
}

function place(state) {
  const { stage, sheet, film, fitted, zoom } = state;
  // Keep at least 80 px of the film visible.
  const inSight = (at, size, room) => Math.min(Math.max(at, 80 - size), room - 80);
  state.x = inSight(state.x, film.naturalWidth * fitted * zoom, stage.clientWidth);
  state.y = inSight(state.y, film.naturalHeight * fitted * zoom, stage.clientHeight);
  sheet.style.width = `${film.naturalWidth * fitted}px`;
  sheet.style.height = `${film.naturalHeight * fitted}px`;
  sheet.style.transform = `translate(${state.x}px, ${state.y}px) scale(${zoom})`;
}

function zoomAt(state, x, y, factor) {
  if (!state.fitted) return;
  const zoom = Math.min(Math.max(state.zoom * factor, 0.5), 16);
  state.x = x - ((x - state.x) * zoom) / state.zoom;
  state.y = y - ((y - state.y) * zoom) / state.zoom;
  state.zoom = zoom;
  place(state);
}

function act(state, name) {
  const toggle = (css, pressed) =>
    state.stage.querySelector(`[data-act=${name}]`).setAttribute("aria-pressed", state.stage.classList.toggle(css) === pressed);
  if (name === "overlay") toggle("plain", false);
  if (name === "invert") toggle("inverted", true);
  if (name === "fit") fit(state);
}

function onKey(state, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = "input:not([type=range], [type=checkbox], [type=radio]), textarea, select";
  if (event.composedPath().some((node) => node.matches?.(typing))) return;
  const zoom = { "+": 1.25, "=": 1.25, "-": 0.8 }[event.key];
  if (zoom) zoomAt(state, state.stage.clientWidth / 2, state.stage.clientHeight / 2, zoom);
  act(state, { o: "overlay", i: "invert", f: "fit" }[event.key.toLowerCase()]);
}
