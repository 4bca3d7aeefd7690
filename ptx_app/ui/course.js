// The serial of the comparison that was opened last: the page may be drawn again, and must not open it a second time.
const reader = (globalThis.ptxCourse ??= { opened: 0 });

export default function ({ data, parentElement, setTriggerValue }) {
  const opener = parentElement.querySelector(".open"), dialog = parentElement.querySelector("dialog");
  opener.textContent = data.label;
  opener.onclick = () => setTriggerValue("want", Date.now());
  dialog.onkeydown = (event) => event.stopPropagation(); // the viewer's keys are not for this
  dialog.onclose = () => {
    dialog.querySelector(".films").replaceChildren();
    opener.focus();
  };
  if (!data.films || data.serial === reader.opened) return;
  reader.opened = data.serial;
  dialog.querySelector(".sides").replaceChildren(...data.sides.map((text) => element("li", text)));
  dialog.querySelector(".films").replaceChildren(...data.films.map(figure));
  if (!dialog.open) dialog.showModal();
}

function figure(film) {
  const made = element("figure", "", film.current ? "current" : "");
  made.setAttribute("role", "listitem");
  const picture = Object.assign(document.createElement("img"), { src: film.picture, alt: film.description });
  const caption = document.createElement("figcaption");
  caption.append(element("b", film.day), element("span", film.verdict, film.mark), ...film.sizes.map((text) => element("div", text, "small")));
  made.append(picture, caption);
  return made;
}

function element(name, textContent, className = "") {
  return Object.assign(document.createElement(name), { textContent, className });
}
