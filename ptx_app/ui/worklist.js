export default function ({ data, parentElement, setTriggerValue }) {
  const element = (name, text, more = {}) => Object.assign(document.createElement(name), { textContent: text, ...more });
  const scroll = parentElement.querySelector(".scroll");
  const none = parentElement.querySelector(".none");
  scroll.hidden = data.rows.length === 0;
  none.textContent = data.note;
  none.hidden = data.note === "";
  scroll.querySelector("table").setAttribute("aria-label", "Studies in the archive");
  const head = document.createElement("tr");
  head.append(...[...data.columns, ""].map((column) => element("th", column, { scope: "col" })));
  scroll.querySelector("thead").replaceChildren(head);
  scroll.querySelector("tbody").replaceChildren(...data.rows.map(({ cells, opened }, place) => {
    const row = document.createElement("tr");
    const button = element("button", opened ? "Open again" : "Open", { type: "button" });
    button.setAttribute("aria-label", `${button.textContent}: ${cells.join(", ")}`);
    button.onclick = () => setTriggerValue("pick", { place, serial: data.serial });
    const last = document.createElement("td");
    last.append(button);
    row.append(...cells.map((cell) => element("td", cell)), last);
    return row;
  }));
}
