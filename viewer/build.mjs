/** npm run build: the viewer as one file, in the folder that the package ships. */

import { rmSync } from "node:fs";
import { build } from "esbuild";

const outdir = process.argv[2] ?? "../ptx_app/ui/assets";

// Cornerstone's metadata package brings a DICOM parser with an XML writer that the viewer never calls. These are the
// two modules of node it names.
const absent = {
  name: "absent",
  setup(bundle) {
    bundle.onResolve({ filter: /^(events|url)$/ }, ({ path }) => ({ path, namespace: "absent" }));
    bundle.onLoad({ filter: /.*/, namespace: "absent" }, () => ({ contents: "export class EventEmitter {}" }));
  },
};

rmSync(outdir, { recursive: true, force: true });
await build({
  absWorkingDir: import.meta.dirname,
  entryPoints: { viewer: "src/index.ts" },
  entryNames: "[name]-[hash]",
  outdir,
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  legalComments: "eof",
  loader: { ".css": "text", ".html": "text" },
  plugins: [absent],
});
