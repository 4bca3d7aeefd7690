export default function ({ data, parentElement, setTriggerValue }) {
  const row = parentElement.querySelector(".row");
  row.className = `row ${data.size}`;
  row.setAttribute("aria-label", data.label);
  row.replaceChildren(...data.items.map((item) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = item.mark;
    button.title = item.title;
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
    button.onclick = () => setTriggerValue("pick", item.id);
    return button;
  }));
  row.querySelector("[aria-current=true]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
}
