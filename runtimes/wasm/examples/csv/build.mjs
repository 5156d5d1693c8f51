// node build.mjs WIT OUTPUT: csv.js and what it imports, as a component.

import { writeFile } from 'node:fs/promises';
import { componentize } from '@bytecodealliance/componentize-js';
import { build } from 'esbuild';

const [witPath, output] = process.argv.slice(2);
const bundle = await build({ entryPoints: ['csv.js'], bundle: true, format: 'esm', external: ['wasi:*'], write: false });
const { component } = await componentize(bundle.outputFiles[0].text, {
  witPath,
  worldName: 'wasi:http/proxy@0.2.12',
  // Its own handler, and no requests of its own.
  disableFeatures: ['fetch-event', 'http'],
});
await writeFile(output, component);
