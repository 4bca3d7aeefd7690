export default function ({ data, parentElement, setTriggerValue }) {
  const row = parentElement.querySelector(".row");
  row.className = `row ${data.size}`;
  row.setAttribute("aria-label", data.label);
  const focused = [...row.children].indexOf(row.getRootNode().activeElement);
  const buttons = data.items.map(draw);
  row.replaceChildren(...buttons);
  buttons[focused]?.focus({ preventScroll: true });

  let chosen = data.items.findIndex((item) => item.chosen);
  buttons.forEach((button, index) => { button.onclick = () => pick(index); });
  buttons[chosen]?.scrollIntoView({ block: "nearest", inline: "nearest" });

  function pick(index) {
    // Mark it at once: a second key press may come before the server has answered the first.
    buttons[chosen]?.setAttribute("aria-current", false);
    buttons[index].setAttribute("aria-current", true);
    chosen = index;
    // The film on the screen goes at once, so that it never stands beside the next one's verdict.
    globalThis.dispatchEvent(new Event("ptx-leave"));
    setTriggerValue("pick", data.items[index].id);
  }

  const listening = new AbortController();
  if (data.arrowKeys) {
    const steps = { arrowright: 1, j: 1, arrowleft: -1, k: -1 };
    // Before anything else hears the key: the film changes wherever the focus is, also on a slider.
    window.addEventListener("keydown", (event) => {
      const step = steps[event.key.toLowerCase()];
      if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
      const typing = "input:not([type=range], [type=checkbox], [type=radio]), textarea, select, dialog";
      if (event.composedPath().some((node) => node.matches?.(typing))) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      if (buttons[chosen + step]) pick(chosen + step);
    }, { signal: listening.signal, capture: true });
  }
  return () => listening.abort();
}

function draw(item) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = item.mark;
  button.title = item.title;
  if (item.title) button.setAttribute("aria-label", `${item.label}, ${item.title}`);
  button.setAttribute("aria-current", item.chosen);
  if (item.picture) {
    const picture = document.createElement("img");
    picture.src = item.picture;
    picture.alt = "";
    button.append(picture);
  }
  const label = document.createElement("span");
  label.textContent = item.label;
  button.append(label);
  return button;
}
