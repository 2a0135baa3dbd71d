// The SDK of pipehost for stages in JavaScript and TypeScript. See README.md.

export { metrics } from './lib/metrics.js';
export { Reject, Stage } from './lib/opened.js';
export { decode as textOf, encode as bytesOf } from './lib/text.js';
