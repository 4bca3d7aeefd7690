const handedOver = new Set();

export default function ({ data, parentElement, setTriggerValue }) {
  const row = parentElement.querySelector(".row");
  const focused = [...row.children].indexOf(row.getRootNode().activeElement);
  row.replaceChildren(...data.offers.map(({ name, label, hint, closed }) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.title = hint;
    button.disabled = closed;
    button.onclick = () => setTriggerValue("want", { name, serial: crypto.randomUUID?.() ?? `${Math.random()}` });
    return button;
  }));
  row.children[focused]?.focus({ preventScroll: true });
  const listening = new AbortController();
  if (data.of_film) {
    // The reader has gone to another film: these buttons are of the last one until the page has answered.
    const retire = () => { for (const button of row.children) button.disabled = true; };
    globalThis.addEventListener("ptx-leave", retire, { signal: listening.signal });
  }
  if (data.file && !handedOver.has(data.file.serial)) {
    handedOver.add(data.file.serial);
    const link = document.createElement("a");
    link.href = data.file.url;
    link.download = data.file.name;
    link.click();
  }
  return () => listening.abort();
}
