"""The contrast of all text on a page, from the colours that the browser has computed."""

from typing import Any

# WCAG 2.2, 1.4.3. Text over the film is measured against white, the worst that a film can be.
_MEASURE = """() => {
  const parse = (colour) => {
    const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number);
    return [r, g, b, a];
  };
  const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a), 1];
  const light = ([r, g, b]) => {
    const [R, G, B] = [r, g, b].map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * R + 0.7152 * G + 0.0722 * B;
  };
  const above = (node) => node.assignedSlot ?? node.parentElement ?? node.getRootNode().host ?? null;
  const onto = (element) => {
    const layers = [], { x, y, width, height } = element.getBoundingClientRect();
    for (let each = element; each; each = above(each)) {
      const box = each.getBoundingClientRect(), [left, top] = [x + width / 2 - box.x, y + height / 2 - box.y];
      if (left < 0 || top < 0 || left > box.width || top > box.height) continue; // a label beside its mark
      layers.push(each.matches(".film, .stage") && !element.matches(".wait") ? [255, 255, 255, 1]
        : parse(getComputedStyle(each).backgroundColor));
      if (layers.at(-1)[3] === 1 || each.matches("dialog")) break;
    }
    return layers.reduceRight((below, layer) => over(layer, below), [0, 0, 0, 1]);
  };
  const opacity = (element) => {
    let all = 1;
    for (let each = element; each; each = above(each)) all *= getComputedStyle(each).opacity;
    return all;
  };
  const found = [];
  const measure = (element, text) => {
    const box = element.getBoundingClientRect();
    if (box.width <= 1 || box.height <= 1 || !element.checkVisibility({ visibilityProperty: true })) return;
    if (element.closest(":disabled, [aria-disabled=true]")) return;
    const ground = onto(element), colour = parse(getComputedStyle(element).color);
    colour[3] *= opacity(element);
    if (colour[3] === 0) return; // shown under the pointer only
    const [one, two] = [light(over(colour, ground)), light(ground)];
    found.push([(Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05), text.trim().slice(0, 60)]);
  };
  const walk = (root) => {
    for (const element of root.querySelectorAll("*")) {
      if (element.shadowRoot) walk(element.shadowRoot);
      if (element.matches("style, script, option, title")) continue;
      const text = element.matches("select") ? element.selectedOptions[0]?.text ?? ""
        : [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data).join(" ");
      if (text.trim()) measure(element, text);
    }
  };
  walk(document);
  return found;
}"""


def contrasts(page: Any) -> list[tuple[float, str]]:
    """Contrast ratio, from 1 to 21, and beginning of each visible text, in open shadow roots too."""
    return [(ratio, text) for ratio, text in page.evaluate(_MEASURE)]
