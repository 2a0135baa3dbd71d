// Builds a stage: bundles it, makes a component of it, and links the codec of texts into it.

import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

import { link } from './link.js';

const SDK = fileURLToPath(new URL('..', import.meta.url));

/** The SDK of this program, whichever way the stage finds it: there must be one `Stage`. */
const SDK_ALIAS = {
  '@pipehost/plugin/testing': path.join(SDK, 'testing.js'),
  '@pipehost/plugin': path.join(SDK, 'index.js'),
};

/**
 * @param {object} options
 * @param {string} options.entry the module whose default export is the stage
 * @param {string} [options.out] where to write the component; `dist/NAME.wasm` by default
 * @param {string} [options.bundle] where to write the bundle, to look up lines of stacks in
 * @returns {Promise<{ name: string, version: string, world: string, out: string, size: number }>}
 */
export async function build({ entry, out, bundle }) {
  entry = path.resolve(entry);
  const [esbuild, qjs] = await Promise.all([
    tool(entry, 'esbuild'),
    tool(entry, 'componentize-qjs'),
  ]);
  const folder = await mkdtemp(path.join(tmpdir(), 'pipehost-plugin-'));
  try {
    const about = await manifestOf(entry);
    const world = await inspect(esbuild, entry, folder);
    const names = { 'stateful-transform': ', checkpoint', 'timed-transform': ', checkpoint, packedWatermark' };
    const source = `
      import { component } from ${JSON.stringify(path.join(SDK, 'lib/component.js'))};
      import Stage from ${JSON.stringify(entry)};
      export const { packedStage${names[world] ?? ''} } = component(Stage, ${JSON.stringify(about)});
    `;
    const { code, map } = await bundled(esbuild, source, path.dirname(entry), ['pipehost:*', 'wasi:*']);
    const lines = linesOf(JSON.parse(map), path.dirname(entry));
    const jsSource = `${code}\nglobalThis.__pipehostLines = ${JSON.stringify(JSON.stringify(lines))};\n`;
    if (bundle !== undefined) await writeFile(bundle, jsSource);
    const { component } = await qjs.componentize({
      witPath: path.join(SDK, 'wit'),
      world,
      jsSource,
      sync: true,
    });
    const codec = await readFile(path.join(SDK, 'codec/text.wasm'));
    const linked = link(component, 'pipehost:js/text@0.1.0', codec);
    out ??= path.join('dist', `${about.name}.wasm`);
    await mkdir(path.dirname(out), { recursive: true });
    await writeFile(out, linked);
    return { ...about, world, out, size: linked.length };
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function bundled(esbuild, contents, resolveDir, external = []) {
  const { outputFiles } = await esbuild.build({
    stdin: { contents, resolveDir, sourcefile: 'pipehost-entry.js' },
    bundle: true,
    write: false,
    outfile: 'bundle.js',
    sourcemap: 'external',
    sourcesContent: false,
    format: 'esm',
    target: 'es2024',
    platform: 'neutral',
    mainFields: ['module', 'main'],
    conditions: ['pipehost'],
    external,
    legalComments: 'none',
    logLevel: 'warning',
    absWorkingDir: resolveDir,
    alias: SDK_ALIAS,
  });
  const file = (end) => outputFiles.find((one) => one.path.endsWith(end)).text;
  return { code: file('.js'), map: file('.js.map') };
}

/**
 * Where the lines of a bundle come from: runs of lines that are one behind the other in a source. Each
 * is its first line in the bundle, the number of the source, and its first line there.
 */
function linesOf({ sources, mappings }, folder) {
  const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
  const at = [0, 0, 0, 0, 0];
  const lines = [];
  mappings.split(';').forEach((segments, index) => {
    at[0] = 0;
    let place = null;
    for (const segment of segments.split(',').filter(Boolean)) {
      let field = 0;
      let value = 0;
      let shift = 0;
      for (const digit of segment) {
        const bits = DIGITS.indexOf(digit);
        value |= (bits & 31) << shift;
        shift += 5;
        if (bits & 32) continue;
        at[field++] += value & 1 ? -(value >> 1) : value >> 1;
        value = shift = 0;
      }
      if (field >= 4) place ??= [at[1], at[2] + 1];
    }
    if (place === null) return;
    const last = lines.at(-1);
    const follows = last && last[1] === place[0] && place[1] - last[2] === index + 1 - last[0];
    if (!follows) lines.push([index + 1, ...place]);
  });
  return { sources: sources.map((source) => shownPath(path.resolve(folder, source))), lines };
}

function shownPath(file) {
  if (file.startsWith(SDK)) return `@pipehost/plugin/${path.relative(SDK, file)}`;
  return path.relative(process.cwd(), file).split(path.sep).join('/');
}

/** Loads the stage here, to see what kind of stage it is before anything is built. */
async function inspect(esbuild, entry, folder) {
  const source = `
    import { worldOf } from ${JSON.stringify(path.join(SDK, 'lib/opened.js'))};
    import * as module from ${JSON.stringify(entry)};
    export const world = worldOf(module.default);
  `;
  const file = path.join(folder, 'inspect.mjs');
  await writeFile(file, (await bundled(esbuild, source, path.dirname(entry))).code);
  return (await import(pathToFileURL(file).href)).world;
}

/** Name, version and summary of a stage: those of the package that it is in. */
async function manifestOf(entry) {
  for (let folder = path.dirname(entry); ; folder = path.dirname(folder)) {
    const file = path.join(folder, 'package.json');
    if (await stat(file).then(() => true, () => false)) {
      const { name, version, description } = JSON.parse(await readFile(file, 'utf8'));
      if (!name || !version) throw new Error(`${file} needs a \`name\` and a \`version\``);
      return { name: name.replace(/^@[^/]*\//, ''), version, summary: description ?? '' };
    }
    if (folder === path.dirname(folder)) throw new Error(`there is no package.json above ${entry}`);
  }
}

/** A tool that the author's project has, or the SDK beside it. */
async function tool(entry, name) {
  for (const from of [entry, path.join(SDK, 'index.js')]) {
    try {
      const module = await import(pathToFileURL(createRequire(from).resolve(name)).href);
      return module.default ?? module;
    } catch (error) {
      if (error.code !== 'MODULE_NOT_FOUND') throw error;
    }
  }
  throw new Error(`${name} is missing: npm install --save-dev ${name}`);
}

/** Runs tests in TypeScript: returns the exit code. */
export async function runTests(files) {
  if (files.length === 0) {
    files = (await readdir('test')).filter((file) => /\.test\.m?[jt]s$/.test(file)).map((file) => path.join('test', file));
  }
  if (files.length === 0) throw new Error('there are no tests');
  const esbuild = await tool(path.resolve(files[0]), 'esbuild');
  const folder = await mkdtemp(path.join(tmpdir(), 'pipehost-plugin-'));
  try {
    await esbuild.build({
      entryPoints: files,
      bundle: true,
      outdir: folder,
      outExtension: { '.js': '.mjs' },
      sourcemap: 'inline',
      format: 'esm',
      platform: 'node',
      logLevel: 'warning',
      alias: SDK_ALIAS,
    });
    const built = (await readdir(folder, { recursive: true })).filter((file) => file.endsWith('.mjs'));
    const args = ['--enable-source-maps', '--test', ...built.map((file) => path.join(folder, file))];
    const child = spawn(process.execPath, args, { stdio: 'inherit' });
    return await new Promise((done) => child.on('close', (code) => done(code ?? 1)));
  } finally {
    await rm(folder, { recursive: true });
  }
}
