// The viewer is another component: it finds the film here. Streamlit sends a message only once while it stays the same,
// so the film travels apart from what changes at each run.
export default function ({ data }) {
  globalThis.ptxFilm = data;
  globalThis.dispatchEvent(new Event("ptx-film"));
}
