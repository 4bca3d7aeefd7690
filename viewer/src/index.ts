/** The component that Streamlit mounts (components v2): called at each run of the page. */

import { type Said, Viewer } from "./viewer";

export { outlineOf, runsOf, stretched } from "./outline";
export { Mask } from "./mask";

declare global {
  /** The last film's packed greys, put there by `ptx_app/ui/film_data.js`. */
  // eslint-disable-next-line no-var
  var ptxFilm: Uint8Array | undefined;
}

interface Mounted {
  data: Said;
  parentElement: HTMLElement | ShadowRoot;
  setTriggerValue: (name: string, value: unknown) => void;
}

const viewers = new WeakMap<Node, Viewer>();

export default function ({ data, parentElement, setTriggerValue }: Mounted): () => void {
  let viewer = viewers.get(parentElement);
  if (!viewer) {
    try {
      viewer = new Viewer(parentElement, setTriggerValue);
    } catch (error) {
      console.error(error);
      parentElement.textContent =
        "This browser cannot draw films. Turn on hardware acceleration or use another browser. (NO_WEBGL)";
      return () => undefined;
    }
    viewers.set(parentElement, viewer);
  }
  viewer.draw(data, setTriggerValue);
  return () => {
    viewers.get(parentElement)?.release();
    viewers.delete(parentElement);
    parentElement.querySelector(".viewer")?.remove();
  };
}
