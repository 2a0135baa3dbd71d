import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Stage } from '../index.js';
import { Save, Saved } from '../lib/saved.js';
import { Driven, record } from '../testing.js';

class Count extends Stage {
  count = 0;

  process(_record, out) {
    out.keep().attribute('count', ++this.count);
  }

  save() {
    return this.count;
  }

  restore(saved) {
    this.count = saved.get();
  }
}

class CountByKey extends Stage {
  counts = new Map();

  open(config, setup) {
    this.key = setup.key();
    setup.keepsByKey(this.key);
  }

  process(record, out) {
    const key = record.text(this.key);
    const count = (this.counts.get(key) ?? 0) + 1;
    this.counts.set(key, count);
    out.keep().attribute('count', count);
  }

  save(state) {
    state.put({ watermark: 5n });
    state.putByKey(this.counts);
  }

  restore(saved) {
    assert.deepEqual(saved.get(), { watermark: 5n });
    this.counts = saved.byKey();
  }

  accepts(saved) {
    saved.acceptChangesOf(['max']);
  }
}

const counts = (outputs) => outputs.out.map((one) => one.attributes.count);

test('a state outlives its instance', () => {
  const driven = Driven.open(Count);
  driven.process(['a', 'b']);
  assert.deepEqual(counts(driven.restarted().process(['c'])), ['3']);
});

test('a state by key outlives its instance', () => {
  const driven = Driven.open(CountByKey);
  assert.deepEqual(driven.plan.keeps, { tag: 'by-key', val: { tag: 'key' } });
  const keys = ['a', 'b', 'é', '', Uint8Array.of(0xff, 0x41), 'a'];
  driven.process(keys.map((key) => record('v', { key })));
  const out = driven.restarted().process([...keys, 'new'].map((key) => record('v', { key })));
  assert.deepEqual(counts(out), ['3', '2', '2', '2', '2', '4', '1']);
});

test('another configuration is refused unless the stage accepts it', () => {
  const driven = Driven.open(Count, { a: 1, b: { c: [1] }, d: 1 });
  driven.restarted({ d: 1, b: { c: [1] }, a: 1 });
  assert.throws(() => driven.restarted({ a: 2, b: { c: [2] }, d: 1 }), {
    message: 'it was made with another configuration; what differs: `a`, `b`',
  });
  const byKey = Driven.open(CountByKey, { max: 1, other: 1 });
  byKey.restarted({ max: 2, other: 1 });
  assert.throws(() => byKey.restarted({ max: 2 }), /what differs: `other`$/);
});

test('what a state may hold', () => {
  const state = {
    text: 'é\udcff\0"', number: 1.5, none: null, list: [1, 'a', [true]], big: 2n ** 70n, date: new Date(5),
    bytes: Uint8Array.of(0, 255), floats: Float64Array.of(0.5, NaN), map: new Map([[1n, new Set(['a'])]]),
    odd: [NaN, Infinity, -Infinity, -0, undefined], $map: 'a name of ours', nested: { $bigint: { $set: 1 } },
    ['__proto__']: 1,
  };
  const save = new Save({ first: 0, end: 1, count: 1 });
  save.put(state);
  save.putByKey([['k', state], [null, 1]]);
  const by = { version: '1.2.3', config: '{"a":1}' };
  const saved = new Saved(save.finish().map((one) => one.state), by, { a: 1 });
  assert.deepEqual(saved.get(), state);
  assert.deepEqual(saved.byKey(), new Map([['k', state], ['', 1]]));
  assert.equal(saved.version, '1.2.3');
  assert.deepEqual(saved.config, { a: 1 });
  assert.deepEqual(saved.changed, []);
});

test('what a state may not hold', () => {
  const save = new Save({ first: 0, end: 1, count: 1 });
  assert.throws(() => save.put({ f: () => 1 }), /the state holds a function, which cannot be saved/);
  assert.throws(() => save.putByKey([['k', new (class Session {})()]]), /the state of key "k" holds a Session/);
  assert.throws(() => save.putByKey([[1, 1]]), /a key must be a string or null/);
});

test('a key is in the group that its CRC-32 says', () => {
  // The check value of CRC-32, in every description of it.
  const group = 0xcbf43926 % 64;
  const save = new Save({ first: group, end: group + 1, count: 64 });
  save.putByKey([['123456789', 1]]);
  assert.deepEqual(save.finish().map((one) => one.number), [group]);
  assert.throws(() => save.putByKey([['', 1]]), /not one of the records of this instance/);
});

test('groups can be given to other instances', () => {
  const keys = Array.from({ length: 100 }, (_, i) => `key ${i}`);
  const save = new Save({ first: 0, end: 8, count: 8 });
  save.put(7);
  save.putByKey(keys.map((key, i) => [key, i]));
  const groups = save.finish();
  assert.deepEqual(groups.map((one) => one.number), [0, 1, 2, 3, 4, 5, 6, 7]);
  const by = { version: '1', config: '{}' };
  const halves = [groups.slice(0, 4), groups.slice(4)].map((half) => new Saved(half.map((one) => one.state), by, {}));
  assert.deepEqual(halves.map((half) => half.get()), [7, 7]);
  assert.deepEqual(new Map([...halves[0].byKey(), ...halves[1].byKey()].sort()), new Map(keys.map((key, i) => [key, i]).sort()));
});

test('a stage without a state saves nothing', () => {
  assert.deepEqual(new Save({ first: 0, end: 4, count: 4 }).finish(), []);
  assert.equal(new Saved([], { version: '1', config: '{}' }, {}).get(), undefined);
});

test('what is no state is refused', () => {
  for (const text of ['', '{}', 'PS\u0001', 'null', '{"format":"other"}']) {
    assert.throws(() => new Saved([Buffer.from(text)], { version: '1', config: '{}' }, {}), /another format/);
  }
});

test('a watermark closes a window', () => {
  class Window extends Count {
    process() {
      this.count++;
    }

    advance(watermark, out) {
      if (watermark < 10n) return;
      out.create().value(this.count).timestamp(watermark);
      this.count = 0;
    }
  }
  const driven = Driven.open(Window);
  driven.process(['a', 'b']);
  assert.deepEqual(driven.advance(9).out, []);
  assert.deepEqual(driven.restarted().advance(new Date(1)).out, [record('2', { timestamp: 1000000n })]);
});
