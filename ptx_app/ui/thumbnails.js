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
    setTriggerValue("pick", data.items[index].id);
  }

  const listening = new AbortController();
  if (data.arrowKeys) {
    document.addEventListener("keydown", (event) => {
      const next = chosen + ({ ArrowRight: 1, ArrowLeft: -1 }[event.key] ?? 0);
      // Sliders, text fields and choices use the arrow keys themselves.
      const busy = "input, textarea, select, [role=slider], [role=radiogroup], [role=tablist]";
      if (next === chosen || !buttons[next] || event.composedPath().some((node) => node.matches?.(busy))) return;
      pick(next);
    }, { signal: listening.signal });
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
