const REMEMBERED_S = 365 * 24 * 3600;

export default function ({ data, parentElement, setTriggerValue }) {
  const links = parentElement.querySelector(".links");
  for (const dialog of parentElement.querySelectorAll("dialog")) {
    const text = dialog.querySelector(".text");
    const wanted = data.texts[dialog.dataset.text];
    dialog.onkeydown = (event) => event.stopPropagation(); // the viewer's keys are not for the text
    dialog.onclick = (event) => {
      if (event.target === dialog && !inside(dialog, event)) dialog.close();
    };
    dialog.onclose = () => text.replaceChildren(); // a search in the page finds only what can be seen
    links.querySelector(`[data-opens=${dialog.dataset.text}]`).onclick = () => {
      text.innerHTML = wanted;
      dialog.showModal();
    };
  }
  const tour = links.querySelector("[data-tour]");
  tour.hidden = !data.tour;
  tour.onclick = () => globalThis.dispatchEvent(new Event("ptx-tour"));
  const light = links.querySelector("[data-light]");
  light.textContent = data.light ? "Dark page" : "Light page";
  light.onclick = () => {
    document.cookie = `${data.cookie}=1; max-age=${data.light ? 0 : REMEMBERED_S}; samesite=strict`;
    setTriggerValue("page", data.light ? "dark" : "light");
  };
  // Streamlit's containers have no role; the panel is the part of the page that a reader looks for beside the film.
  const host = parentElement.getRootNode().host ?? parentElement;
  const panel = host.closest(".st-key-panel");
  panel?.setAttribute("role", "region");
  panel?.setAttribute("aria-label", "Verdict, settings and downloads");
  links.classList.toggle("centred", !panel);
  host.closest("[data-testid=stMain]")?.setAttribute("role", "main");
}

function inside(dialog, { clientX, clientY }) {
  const box = dialog.getBoundingClientRect();
  return clientX >= box.left && clientX <= box.right && clientY >= box.top && clientY <= box.bottom;
}
