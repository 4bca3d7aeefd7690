// Order and filter are the reader's: they stay while films come and go, and while Streamlit mounts the list again, which
// it does without telling the former one. `ids` are the films in the order of the list.
// Until the server has heard of the reader's latest pick, what it sends is older, and the pick stands. It is sent again if
// it was lost: Streamlit starts a run while the last is at work, and one can overwrite what the other was told.
// Streamlit takes the list away for a moment before it mounts it again. A key that is pressed meanwhile counts: `step`
// is then still the former list's, and the new one sends the pick. `gone` is when the list went; 0 while it is there.
const reader = (globalThis.ptxList ??= listening({
  order: "arrival", filter: "all", ids: [], answers: [], step: () => {}, gone: 0, waiting: 0, pick: { visit: "", serial: 0, id: "", sent: 0 },
}));
const SHOWN = {
  all: () => true,
  flagged: ({ mark, below }) => mark === "flagged" || (mark === "borderline" && !below),
  borderline: ({ mark }) => mark === "borderline",
  unseen: ({ seen, mark }) => !seen && mark !== "waiting",
  problem: ({ mark }) => mark === "problem",
  disagree: ({ differs }) => differs,
};
const LOST_MS = 5000;
const GAP_MS = 2000; // a list that is away for longer does not come back: all films were cleared
const STEPS = { arrowright: 1, j: 1, arrowleft: -1, k: -1 };
const TAIL = 9; // letters at a name's end that are always readable, such as 0012.dcm
const ANSWERS = { agree: ["✓", "you agree"], disagree: ["✗", "you disagree"], contour: ["✎", "your contour"] };
export default function ({ data, parentElement, setStateValue }) {
  const one = (selector) => parentElement.querySelector(selector);
  const section = one(".films"), list = one(".list");
  const films = data.films;
  reader.answers = data.answers; // the keys of the panel's buttons
  if (reader.pick.visit !== data.visit) reader.pick = { visit: data.visit, serial: data.picks, id: "", sent: 0 };
  const picked = data.picks < reader.pick.serial && films.find(({ id }) => id === reader.pick.id);
  let chosen = (picked || films.find((film) => film.chosen))?.id;
  section.classList.toggle("many", films.length > 4);
  one(".counts").textContent = counts(films);
  one(".note").textContent = data.note;
  for (const select of section.querySelectorAll("select")) {
    const name = select.dataset.set;
    select.value = reader[name];
    select.onchange = () => {
      reader[name] = select.value;
      select.blur(); // the next J or arrow is for the film
      arrange(true);
    };
  }
  arrange(false);

  // Under the reader's pointer or focus nothing changes its place: what is new comes last.
  function arrange(asked) {
    const held = !asked && (list.matches(":hover") || list.contains(list.getRootNode().activeElement));
    const wanted = films.filter((film) => SHOWN[reader.filter](film) || (film.id === chosen && !asked));
    if (reader.order === "score") wanted.sort((a, b) => (b.score ?? -1) - (a.score ?? -1));
    const ids = wanted.map(({ id }) => id);
    const kept = held ? reader.ids.filter((id) => films.some((film) => film.id === id)) : [];
    reader.ids = [...kept, ...ids.filter((id) => !kept.includes(id))];
    draw();
  }

  function draw() {
    const focused = list.getRootNode().activeElement?.dataset?.id;
    const buttons = reader.ids.map((id) => button(films.find((film) => film.id === id), id === chosen, pick));
    list.replaceChildren(...(buttons.length ? buttons : [nothing()]));
    const find = (id) => buttons.find((each) => each.dataset.id === id);
    find(focused)?.focus({ preventScroll: true });
    if (chosen !== section.dataset.chosen) find(chosen)?.scrollIntoView({ block: "nearest" });
    section.dataset.chosen = chosen ?? "";
  }

  function pick(id) {
    if (id === chosen) return;
    // Mark it at once: a second key press may come before the server has answered the first.
    for (const each of list.children) {
      each.setAttribute("aria-current", each.dataset.id === id);
      if (each.dataset.id === id) each.scrollIntoView({ block: "nearest" });
    }
    chosen = id;
    // The film on the screen goes at once, so that it never stands beside the next one's verdict.
    globalThis.dispatchEvent(new Event("ptx-leave"));
    reader.pick = { visit: data.visit, serial: Math.max(reader.pick.serial, data.picks) + 1, id, sent: 0 };
    document.documentElement.toggleAttribute("data-leaving", true);
    if (!reader.gone) send();
  }

  function send() {
    reader.pick = { ...reader.pick, sent: reader.pick.sent + 1 };
    setStateValue("pick", reader.pick);
    clearTimeout(reader.waiting);
    reader.waiting = setTimeout(send, LOST_MS);
  }

  reader.gone = 0;
  reader.step = (step) => {
    const next = reader.ids[reader.ids.indexOf(chosen) + step];
    if (next !== undefined) pick(next);
  };
  clearTimeout(reader.waiting);
  // Until the panel shows the film that was picked, page.css hides it.
  document.documentElement.toggleAttribute("data-leaving", Boolean(picked));
  if (picked) {
    if (reader.pick.sent) reader.waiting = setTimeout(send, LOST_MS);
    else send();
  }
  const mine = (reader.mounted = {});
  return () => {
    if (reader.mounted !== mine) return;
    clearTimeout(reader.waiting);
    reader.gone = performance.now();
    reader.waiting = setTimeout(() => document.documentElement.toggleAttribute("data-leaving", false), GAP_MS);
  };
}

// Before anything else hears the key: the film changes wherever the focus is, also on a slider. For good, so that no key
// is lost while the list is mounted again.
function listening(reader) {
  window.addEventListener("keydown", (event) => {
    const key = event.key.toLowerCase(), step = STEPS[key];
    const leaving = document.documentElement.hasAttribute("data-leaving") && reader.answers.includes(key);
    // With Shift or Alt the arrows are the viewer's.
    if (!(step || leaving) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.shiftKey && event.key.startsWith("Arrow")) return;
    if (reader.gone && performance.now() - reader.gone > GAP_MS) return;
    const typing = "input:not([type=range], [type=checkbox], [type=radio]), textarea, select, dialog";
    if (event.composedPath().some((node) => node.matches?.(typing))) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (step) reader.step(step);
  }, { capture: true });
  return reader;
}

function counts(films) {
  const count = (which) => films.filter(SHOWN[which]).length;
  const below = films.filter((film) => film.mark === "borderline" && film.below).length;
  const parts = [
    `${films.length} ${films.length === 1 ? "film" : "films"}`,
    [count("flagged"), "flagged"], [below, "just below"], [count("problem"), "without result"],
    [films.filter(({ mark }) => mark === "hidden").length, "hidden"],
    [films.filter(({ mark }) => mark === "waiting").length, "to be read"],
  ];
  return parts.map((part) => (typeof part === "string" ? part : part[0] && part.join(" "))).filter(Boolean).join(" · ");
}

function nothing() {
  return Object.assign(document.createElement("p"), { className: "empty", textContent: "No film matches." });
}

// Where a name is too long it loses its middle: films of a study often differ at the end only.
function name(title) {
  const made = Object.assign(document.createElement("span"), { className: "name" });
  const letters = Array.from(title);
  const parts = [letters.slice(0, -TAIL), letters.slice(-TAIL)];
  made.append(...parts.map((part) => Object.assign(document.createElement("bdi"), { textContent: part.join("") })));
  return made;
}

function button(film, chosen, pick) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = film.mark + (film.below ? " below" : "") + (film.seen || film.mark === "waiting" ? "" : " new");
  made.dataset.id = film.id;
  made.title = film.title;
  made.setAttribute("aria-current", chosen);
  const score = film.score === null ? "" : film.score.toFixed(3);
  const [mark, answer] = ANSWERS[film.reading] ?? ["", ""];
  const said = [`Film ${film.id}`, film.standing, score && `score ${score}`, film.where, film.seen ? "" : "not seen", answer, film.title];
  made.setAttribute("aria-label", said.filter(Boolean).join(", "));
  const picture = film.picture
    ? Object.assign(document.createElement("img"), { src: film.picture, alt: "" })
    : Object.assign(document.createElement("span"), { className: "none" });
  made.append(picture, ...[["standing", `${film.id} · ${film.standing}`], ["score", score], ["where", film.where], ["answer", mark]].map(
    ([className, textContent]) => Object.assign(document.createElement("span"), { className, textContent }),
  ), name(film.title));
  made.onclick = () => pick(film.id);
  return made;
}
