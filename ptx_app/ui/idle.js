// Tells the server every `every` seconds whether the reader was at work meanwhile, and when nothing came for `seconds`.
// From a timer, not from the event: Streamlit sends what comes at once as one, and a click could be lost.
const seen = (globalThis.ptxIdle ??= { last: Date.now() / 1000, told: Date.now() / 1000, listening: null });

export default function ({ data, setTriggerValue }) {
  const { seconds, every } = data;
  const now = () => Date.now() / 1000;
  seen.listening?.abort();
  const listening = (seen.listening = new AbortController());
  const active = () => (seen.last = now());
  for (const kind of ["pointerdown", "pointermove", "keydown", "wheel", "drop"])
    window.addEventListener(kind, active, { signal: listening.signal, capture: true, passive: true });
  const timer = setInterval(() => {
    if (now() - seen.told < every) return;
    if (seen.last > seen.told) {
      seen.told = now();
      setTriggerValue("alive", seen.told);
    } else if (now() - seen.last >= seconds) {
      seen.told = now();
      setTriggerValue("idle", seen.told);
    }
  }, 250 * Math.min(every, 4));
  return () => {
    clearInterval(timer);
    listening.abort();
  };
}
