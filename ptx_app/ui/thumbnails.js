export default function ({ data, parentElement, setTriggerValue }) {
  const row = parentElement.querySelector(".row");
  row.setAttribute("aria-label", data.label);
  row.replaceChildren(...data.items.map((item) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = item.title;
    button.setAttribute("aria-label", `${item.label}, ${item.title}`);
    const picture = Object.assign(document.createElement("img"), { src: item.picture, alt: "" });
    const label = Object.assign(document.createElement("span"), { textContent: item.label });
    button.append(picture, label);
    button.onclick = () => setTriggerValue("pick", item.id);
    return button;
  }));
}
