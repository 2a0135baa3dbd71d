import assert from 'node:assert/strict';
import { test } from 'node:test';

import { link } from '../lib/link.js';

const HEADER = [0, 0x61, 0x73, 0x6d, 0x0d, 0, 1, 0];
const text = (name) => [name.length, ...Buffer.from(name)];
const section = (id, ...body) => [id, body.length, ...body];
const component = (...sections) => Uint8Array.from([...HEADER, ...sections.flat()]);

/** `(type (instance))` */
const TYPE = section(7, 1, 0x42, 0);
/** An import of an instance of type 0. */
const imported = (name) => section(10, 1, 0, ...text(name), 5, 0);
const EMPTY = component();
const PART = component();

test('a component takes the place of an import, and those after it move', () => {
  const inner = section(4, ...EMPTY);
  const before = component(
    TYPE, imported('a:b/first'), inner, imported('a:b/c@0.1.0'), inner,
    // Instances of both components; the second gets a component as an argument.
    section(5, 2, 0, 0, 0, 0, 1, 1, ...text('x'), 4, 1),
    // An instance of exports.
    section(5, 1, 1, 1, 0, ...text('y'), 4, 0),
  );
  const after = component(
    TYPE, imported('a:b/first'), inner,
    section(4, ...PART), section(5, 1, 0, 1, 0),
    inner,
    section(5, 2, 0, 0, 0, 0, 2, 1, ...text('x'), 4, 2),
    section(5, 1, 1, 1, 0, ...text('y'), 4, 0),
  );
  assert.deepEqual(link(before, 'a:b/c@0.1.0', PART), after);
});

test('what cannot be linked is said', () => {
  assert.throws(() => link(component(TYPE, imported('a:b/d')), 'a:b/c', PART), /does not import a:b\/c/);
  assert.throws(() => link(Uint8Array.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]), 'a:b/c', PART), /no component/);
});
