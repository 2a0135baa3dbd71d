#!/usr/bin/env node
import { parseArgs } from 'node:util';

import { build, runTests } from '../lib/build.js';

const USAGE = `Usage: pipehost-plugin COMMAND

  build STAGE [-o OUT.wasm] [--bundle OUT.js]
      Makes a component of the module STAGE (.js or .ts), whose default export is a class that
      extends \`Stage\`. Name, version and summary come from its package.json. The component goes to
      dist/NAME.wasm if nothing else is said. --bundle also writes the JavaScript that is in it.

  test [FILES]
      Runs tests in TypeScript with \`node --test\`, on any version of Node.js: test/*.test.ts if no
      files are named. Tests in JavaScript need nothing but \`node --test\`.
`;

const commands = {
  async build([entry, ...others], values) {
    if (entry === undefined || others.length !== 0) usage();
    const { name, version, world, size, out } = await build({ entry, ...values });
    console.log(`${out}: ${name} ${version}, ${world}, ${(size / 2 ** 20).toFixed(1)} MiB`);
  },

  async test(files) {
    process.exitCode = await runTests(files);
  },
};

function usage() {
  process.stderr.write(USAGE);
  process.exit(2);
}

try {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      out: { type: 'string', short: 'o' },
      bundle: { type: 'string' },
      help: { type: 'boolean', short: 'h' },
    },
  });
  if (values.help) process.stdout.write(USAGE);
  else await (commands[positionals[0]] ?? usage)(positionals.slice(1), values);
} catch (error) {
  console.error(`pipehost-plugin: ${error.message}`);
  process.exit(1);
}
