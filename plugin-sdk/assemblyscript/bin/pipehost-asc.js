#!/usr/bin/env node
// Compiles a stage. AssemblyScript exports identifiers, and the contract wants names such as
// `pipehost:stage/stage@0.2.0#process`: so the exports are renamed.
//
//     pipehost-asc assembly/stage.ts -o build/stage.wasm
//     pipehost-asc --test assembly/stage_test.ts

import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const FUNCTIONS = {
  describe: 'stage', open: 'stage', process: 'stage', finish: 'stage',
  save: 'checkpoint', restore: 'checkpoint', advance: 'watermark',
};

/** A tool of the project. */
const load = async (file) => import(pathToFileURL(path.resolve('node_modules', file)).href);

const args = process.argv.slice(2);
const isTest = args[0] === '--test';
if (isTest) args.shift();
const [entry, flag, out] = args;
if (!entry || (!isTest && (flag !== '-o' || !out))) {
  console.error('Usage: pipehost-asc STAGE.ts -o OUT.wasm\n       pipehost-asc --test TEST.ts');
  process.exit(2);
}

const asc = await load('assemblyscript/dist/asc.js');
/** Where the function is that `abort` calls. */
const STOP = '~lib/@pipehost/plugin-assemblyscript/assembly/index/stop';
const { error, binary } = await compile();
if (error) process.exit(1);
if (isTest) await test(binary);
else await rename(binary);

async function compile() {
  const made = {};
  const { error, stderr } = await asc.main(
    [entry, '-O3', '--runtime', 'minimal', '--disableWarning', '235', '--use', `abort=${STOP}`, '-o', 'module.wasm'],
    { writeFile: (name, contents) => { made[name] = contents; } },
  );
  process.stderr.write(stderr.toString());
  return { error, binary: made['module.wasm'] };
}

async function rename(binary) {
  const { default: binaryen } = await load('binaryen/index.js');
  const module = binaryen.readBinary(binary);
  const exported = new Set();
  for (let i = module.getNumExports() - 1; i >= 0; i--) {
    const { name, value } = binaryen.getExportInfo(module.getExportByIndex(i));
    if (!(name in FUNCTIONS) && name !== 'release') continue;
    module.removeExport(name);
    exported.add([name, value]);
  }
  const release = [...exported].find(([name]) => name === 'release')?.[1];
  for (const [name, value] of exported) {
    if (name === 'release') continue;
    const full = `pipehost:stage/${FUNCTIONS[name]}@0.2.0#${name}`;
    module.addFunctionExport(value, full);
    if (release) module.addFunctionExport(release, `cabi_post_${full}`);
  }
  mkdirSync(path.dirname(out), { recursive: true });
  writeFileSync(out, module.emitBinary());
}

/** Calls each exported function whose name begins with `test`. */
async function test(binary) {
  const imports = { env: { abort: (...at) => { throw new Error(`abort at ${at}`); } } };
  const { exports } = await WebAssembly.instantiate(await WebAssembly.compile(binary), imports);
  const text = (at) => {
    const length = new Uint32Array(exports.memory.buffer)[(at - 4) >>> 2] >>> 1;
    return String.fromCharCode(...new Uint16Array(exports.memory.buffer, at, length));
  };
  let failed = 0, passed = 0;
  for (const [name, run] of Object.entries(exports)) {
    if (!name.startsWith('test')) continue;
    const why = text(run());
    if (why === '') passed++;
    else {
      failed++;
      console.error(`${name}: ${why}`);
    }
  }
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
}
