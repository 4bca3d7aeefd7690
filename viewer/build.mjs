/** npm run build: the viewer as one file, in the folder that the package ships. */

import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
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
const { metafile } = await build({
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
  metafile: true,
});

// The licences of what is in the bundle, which ask to be passed on with it.
const here = import.meta.dirname;
const packages = Object.keys(metafile.inputs).flatMap((path) => path.match(/^node_modules\/(@[^/]+\/)?[^/]+/)?.[0] ?? []);
const notices = [...new Set(packages)].sort().map((folder) => {
  const { name, version, license } = JSON.parse(readFileSync(join(here, folder, "package.json"), "utf8"));
  const file = readdirSync(join(here, folder)).find((entry) => /^(licen[cs]e|copying)/i.test(entry));
  const text = file && existsSync(join(here, folder, file)) ? readFileSync(join(here, folder, file), "utf8").trim() : "";
  return [`${name} ${version}, ${license}`, text].filter(Boolean).join("\n\n");
});
if (!notices.length) throw new Error("No licence was found. Is node_modules a link? Run npm ci here.");
writeFileSync(join(resolve(here, outdir), "licences.txt"), `${notices.join(`\n\n${"-".repeat(80)}\n\n`)}\n`);
