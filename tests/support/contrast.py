"""The contrast of text and of marks on a page, from the colours that the browser has computed."""

from typing import Any

# WCAG 2.2, 1.4.3 and 1.4.11. What lies over the film is measured against white, the worst that a film can be.
_COLOURS = """
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
      const beside = left < 0 || top < 0 || left > box.width || top > box.height; // as a label is beside its mark
      if (beside && !each.matches("dialog, .stApp")) continue; // in these, what is scrolled away is not beside
      layers.push(each.matches(".film, .stage") && !element.matches(".wait") ? [255, 255, 255, 1]
        : parse(getComputedStyle(each).backgroundColor));
      if (layers.at(-1)[3] === 1 || each.matches("dialog")) break;
    }
    return layers.reduceRight((below, layer) => over(layer, below), [0, 0, 0, 1]);
  };
  const ratio = (one, two) => {
    const [most, least] = [light(one), light(two)].sort((a, b) => b - a);
    return (most + 0.05) / (least + 0.05);
  };
"""
_TEXTS = """
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
    found.push([ratio(over(colour, ground), ground), text.trim().slice(0, 60)]);
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
"""
_MARKS = """
  const found = [...document.querySelectorAll(".score :is(i, b)")].map((mark) => {
    return [ratio(parse(getComputedStyle(mark).backgroundColor), onto(mark.parentElement)), mark.outerHTML];
  });
  let focused = document.activeElement;
  while (focused?.shadowRoot?.activeElement) focused = focused.shadowRoot.activeElement;
  const { outlineStyle, outlineColor } = getComputedStyle(focused);
  if (outlineStyle === "solid")
    found.push([ratio(parse(outlineColor), onto(above(focused))), `focus: ${focused.outerHTML.slice(0, 60)}`]);
  return found;
"""


def contrasts(page: Any) -> list[tuple[float, str]]:
    """Contrast ratio, from 1 to 21, and beginning of each visible text, in open shadow roots too."""
    return _measured(page, _TEXTS)


def mark_contrasts(page: Any) -> list[tuple[float, str]]:
    """The same of marks without words: the parts of the score's bar, and the frame around what has the focus."""
    return _measured(page, _MARKS)


def _measured(page: Any, what: str) -> list[tuple[float, str]]:
    return [(ratio, name) for ratio, name in page.evaluate(f"() => {{{_COLOURS}{what}}}")]
