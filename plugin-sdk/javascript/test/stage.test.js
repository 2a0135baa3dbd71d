import { parseConfig } from '../lib/config.js';
import assert from 'node:assert/strict';
import { mock, test } from 'node:test';

import { bytesOf, Reject, Stage, textOf } from '../index.js';
import { Driven, record, run } from '../testing.js';
import { schemaOf, worldOf } from '../lib/opened.js';

/** A stage of one method. */
const stage = (process, open = (config, setup) => ({ value: setup.value() })) =>
  class extends Stage {
    open(config, setup) {
      Object.assign(this, open(config, setup));
    }

    process(record, out) {
      process.call(this, record, out);
    }
  };

const values = (records) => records.map((one) => one.value);

/** What is printed to stderr while `call` runs. */
function printed(call) {
  const error = mock.method(console, 'error', () => {});
  try {
    call();
    return error.mock.calls.map((one) => one.arguments[0]);
  } finally {
    error.mock.restore();
  }
}

class OnlyLevel extends Stage {
  static config = { properties: { level: { type: 'string' } }, required: ['level'] };

  open(config, setup) {
    setup.keepsNothing();
    this.level = setup.attribute('level');
    this.wanted = config.level;
  }

  process(record, out) {
    if (record.text(this.level) === this.wanted) out.keep();
  }
}

test('a stage keeps some records, which stay as they are', () => {
  const out = run(OnlyLevel, { level: 'ERROR' }, [
    record('disk full', { key: 'k', timestamp: 5, attributes: { level: 'ERROR', host: 'a' } }),
    record('all is well', { attributes: { level: 'INFO' } }),
    record('no level'),
    record(null, { attributes: { level: 'ERROR' } }),
  ]);
  assert.deepEqual(out.out, [
    record('disk full', { key: 'k', timestamp: 5, attributes: { level: 'ERROR', host: 'a' } }),
    record(null, { attributes: { level: 'ERROR' } }),
  ]);
  assert.deepEqual(out.rejected, []);
});

test('only what is declared is read, and nothing is declared later', () => {
  const driven = Driven.open(OnlyLevel, { level: 'x' });
  assert.deepEqual(driven.plan, {
    reads: { timestamps: false, key: false, value: false, attributes: ['level'] },
    ports: ['out'],
    inputs: [],
    keeps: { tag: 'nothing' },
  });
  const late = stage(function () { this.setup.value(); }, (config, setup) => ({ setup }));
  const stacks = printed(() => {
    assert.match(run(late, {}, ['a']).rejected[0].reason, /declared in `open`/);
  });
  assert.equal(stacks.length, 1);
});

test('a field that is declared twice is one', () => {
  const Twice = stage(function (record, out) {
    assert.equal(this.a, this.b);
    out.keep();
  }, (config, setup) => ({ a: setup.attribute('x'), b: setup.attributeOrKey('x'), k: setup.attributeOrKey(null), v: setup.key() }));
  const driven = Driven.open(Twice);
  assert.deepEqual(driven.plan.reads, { timestamps: false, key: true, value: false, attributes: ['x'] });
  assert.deepEqual(driven.process(['a']).rejected, []);
});

test('rows that all go on in order are `all`, others are picked', () => {
  const rows = (process, records) => {
    const { opened } = Driven.open(stage(process));
    const [output] = opened.process({ len: records, timestamps: null, key: null, value: null, attributes: [], input: 0 }).outputs;
    return output && (output.rows.tag === 'picked' ? Array.from(new Uint32Array(output.rows.val.slice().buffer)) : output.rows.tag);
  };
  let n = 0;
  assert.equal(rows((record, out) => out.keep(), 3), 'all');
  assert.equal(rows(() => {}, 3), undefined);
  assert.deepEqual(rows((record, out) => n++ < 2 && out.keep(), 3), [0, 1]);
  n = 0;
  assert.deepEqual(rows((record, out) => n++ > 0 && out.keep(), 3), [1, 2]);
  assert.deepEqual(rows((record, out) => { out.keep(); out.keep(); }, 2), [0, 0, 1, 1]);
  assert.deepEqual(rows((record, out) => out.keep(), 3000), 'all');
  n = 0;
  assert.equal(rows((record, out) => n++ !== 1 && out.keep(), 3000).length, 2999);
});

test('a row is changed, and the rest is inherited', () => {
  const Change = stage(function (record, out) {
    const row = out.keep();
    const value = record.text(this.value);
    if (value === 'all') {
      row.value('new').key('k').attribute('a', 7).attribute('b', 8n).removeAttribute('c').timestamp(9n);
    } else if (value === 'none') row.value(null).key(null).attribute('a', null).timestamp(null);
    else if (value === 'bytes') row.value(Uint8Array.of(0xff, 0x41)).timestamp(new Date(1));
  });
  const rest = { key: 'old', timestamp: 1, attributes: { a: '1', c: '3' } };
  const out = run(Change, {}, [record('all', rest), record('same', rest), record('none', rest), record('bytes', rest)]);
  assert.deepEqual(out.out, [
    record('new', { key: 'k', timestamp: 9n, attributes: { a: '7', b: '8' } }),
    record('same', rest),
    record(null, { attributes: { c: '3' } }),
    record(Uint8Array.of(0xff, 0x41), { ...rest, timestamp: 1_000_000n }),
  ].map((one) => (one.attributeBytes = new Map([...one.attributeBytes]), one)));
});

test('an attribute that all rows lose is removed, and does not cross', () => {
  const { opened } = Driven.open(stage((record, out) => out.keep().removeAttribute('a')));
  const batch = { len: 2, timestamps: null, key: null, value: null, attributes: [], input: 0 };
  const [output] = opened.process(batch).outputs;
  assert.deepEqual([output.removed, output.attributes, output.value], [['a'], [], null]);
});

test('rows of one record can be changed in any order', () => {
  const Split = stage(function (record, out) {
    const [a, b, c] = [out.keep(), out.keep(), out.keep()];
    c.value('c');
    a.value('a').value('a again');
    b.attribute('x', 1);
  });
  assert.deepEqual(run(Split, {}, ['v']).out, [record('a again'), record('v', { attributes: { x: '1' } }), record('c')]);
});

test('text of bytes that are not UTF-8 becomes these bytes again', () => {
  const Upper = stage(function (record, out) {
    out.keep().value(record.text(this.value).toUpperCase());
  });
  const out = run(Upper, {}, [Uint8Array.of(0x61, 0xe9, 0x62), 'ok', 'ß\0']);
  assert.deepEqual(out.out.map((one) => Array.from(one.valueBytes)), [[0x41, 0xe9, 0x42], [0x4f, 0x4b], [0x53, 0x53, 0]]);
  assert.equal(textOf(bytesOf('é\udcff')), 'é\udcff');
});

test('fields are read now and then, as bytes and as text, and may be absent', () => {
  const seen = [];
  const Look = stage(function (record) {
    if (this.count++ % 40 !== 39) return;
    seen.push(record.text(this.value), record.text(this.value), record.bytes(this.value) && textOf(record.bytes(this.value)), record.text(this.none));
  }, (config, setup) => ({ value: setup.value(), none: setup.attribute('none'), count: 0 }));
  const records = Array.from({ length: 200 }, (_, i) => record(i === 79 ? null : `row ${i}`));
  assert.deepEqual(run(Look, {}, records).rejected, []);
  const rows = [39, 79, 119, 159, 199].map((i) => (i === 79 ? null : `row ${i}`));
  assert.deepEqual(seen, rows.flatMap((row) => [row, row, row, null]));
});

test('what is thrown rejects only that record, and takes back what was emitted for it', () => {
  const Double = stage(function (record, out) {
    out.keep().value('half done').attribute('x', 1).timestamp(1n);
    out.send(this.more).key('k');
    out.create().value('created');
    const value = record.text(this.value);
    if (value === 'reject') throw new Reject('it is no number');
    if (value === 'later') throw new Reject('try again', { retryable: true });
    if (value === 'null') null.x;
    if (value === 'text') throw 'just a text';
    if (value === 'error') throw new Error('');
    if (value === 'hostile') throw { toString: null };
    out.keep().value(2 * value);
  }, (config, setup) => ({ value: setup.value(), more: setup.port('more') }));
  let out;
  const stacks = printed(() => {
    out = run(Double, {}, ['1', 'reject', 'later', 'null', 'text', 'error', 'hostile', '2']);
  });
  assert.deepEqual(out.rejected, [
    { row: 1, reason: 'it is no number', retryable: false },
    { row: 2, reason: 'try again', retryable: true },
    { row: 3, reason: "TypeError: Cannot read properties of null (reading 'x')", retryable: false },
    { row: 4, reason: 'just a text', retryable: false },
    { row: 5, reason: 'Error', retryable: false },
    { row: 6, reason: 'an error that cannot be shown', retryable: false },
  ]);
  assert.deepEqual(values(out.port('out')), ['half done', '2', 'half done', '4', 'created', 'created']);
  assert.deepEqual(out.port('more').map((one) => [one.key, one.value]), [['k', '1'], ['k', '2']]);
  assert.equal(stacks.length, 4);
});

test('records go to ports', () => {
  const Split = stage(function (record, out) {
    if (record.text(this.value).length > 3) out.send(this.long);
    else out.keep();
    if (record.text(this.value) === 'a') out.createOn(this.long).value('new').key('n');
  }, (config, setup) => {
    setup.renameDefaultPort('short');
    return { value: setup.value(), long: setup.port('long') };
  });
  const out = run(Split, {}, ['a', 'long one']);
  assert.deepEqual(values(out.out), ['a']);
  assert.deepEqual(out.port('short'), out.out);
  assert.deepEqual(out.port('long'), [record('long one'), record('new', { key: 'n' })]);
  assert.throws(() => out.port('out'), /no port "out"/);
});

test('mistakes are told', () => {
  const reason = (process) => {
    let out;
    printed(() => (out = run(stage(process), {}, ['a'])));
    return out.rejected[0]?.reason;
  };
  assert.match(reason((record, out) => out.send({ index: 0 })), /^TypeError: not a port/);
  assert.match(reason((record, out) => out.createOn({ index: 4 })), /^TypeError: not a port/);
  assert.match(reason((record, out) => out.keep().value({})), /^TypeError: a value must be/);
  assert.match(reason((record, out) => out.keep().value(undefined)), /^TypeError: a value must be/);
  assert.match(reason((record, out) => out.keep().timestamp(5)), /^TypeError: a timestamp must be/);
  assert.match(reason((record, out) => out.keep().timestamp(2n ** 63n)), /^TypeError: a timestamp must be/);
  assert.match(reason((record, out) => out.keep().attribute('', 'x')), /^TypeError: the name of an attribute/);
  const Async = class extends Stage {
    async process() {}
  };
  printed(() => assert.match(run(Async, {}, ['a']).rejected[0].reason, /must not be async/));
});

test('timestamps are exact', () => {
  const Times = stage(function (record, out) {
    const time = record.timestamp(this.time);
    out.keep().timestamp(time === null ? 7n : time + 1n);
  }, (config, setup) => ({ time: setup.timestamp() }));
  const out = run(Times, {}, [record('a', { timestamp: 1796000000123456789n }), record('b'), record('c', { timestamp: -1n })]);
  assert.deepEqual(out.out.map((one) => one.timestamp), [1796000000123456790n, 7n, 0n]);
});

test('inputs are told apart', () => {
  const Join = stage(function (record, out) {
    out.keep().attribute('side', record.isFrom(this.right) ? 'right' : 'left');
  }, (config, setup) => ({ left: setup.input('left'), right: setup.input('right') }));
  const driven = Driven.open(Join);
  assert.equal(driven.process(['a']).out[0].attributes.side, 'left');
  assert.equal(driven.process(['a'], { input: 'right' }).out[0].attributes.side, 'right');
  assert.throws(() => driven.process(['a'], { input: 'middle' }), /no input "middle"/);
});

test('finish emits new records, and nothing can be kept there', () => {
  class Last extends Stage {
    process() {}

    finish(out) {
      out.create().value('the end').attribute('n', 1);
      out.create().key('k');
      assert.throws(() => out.keep(), /no record to keep/);
    }
  }
  assert.deepEqual(run(Last, {}, ['a']).out, [record('the end', { attributes: { n: 1 } }), record(null, { key: 'k' })]);
});

test('a batch with more rows than are kept ready', () => {
  const Many = stage(function (record, out) {
    for (let i = 0; i < 5000; i++) out.keep().value(`${i}`);
  });
  const out = run(Many, {}, ['a', 'b', 'c', 'd']);
  assert.equal(out.out.length, 20000);
  assert.equal(out.out[19999].value, '4999');
});

test('what kind of stage it is', () => {
  class Saves extends Stage {
    save() {}
    restore() {}
  }
  class Times extends Saves {
    advance() {}
  }
  assert.equal(worldOf(OnlyLevel), 'transform');
  assert.equal(worldOf(Saves), 'stateful-transform');
  assert.equal(worldOf(Times), 'timed-transform');
  assert.throws(() => worldOf(class extends Stage { save() {} }), /needs both/);
  assert.throws(() => worldOf(class extends Stage { advance() {} }), /needs `save`/);
  assert.throws(() => worldOf(class {}), /extends `Stage`/);
  assert.throws(() => worldOf(undefined), /extends `Stage`/);
});

test('the schema of the configuration', () => {
  assert.deepEqual(JSON.parse(schemaOf(OnlyLevel)), {
    type: 'object',
    properties: { level: { type: 'string' } },
    required: ['level'],
    additionalProperties: false,
  });
  assert.deepEqual(JSON.parse(schemaOf(class extends Stage {})), { type: 'object', properties: {}, additionalProperties: false });
  assert.equal(JSON.parse(schemaOf(class extends Stage { static config = { additionalProperties: true }; })).additionalProperties, true);
});

test('whole numbers of a configuration are exact', () => {
  const read = (text) => parseConfig(text);
  assert.deepEqual(read('{"n":9007199254740993,"m":-9007199254740993,"f":1.5e300,"s":"9007199254740993\\"1234567890123456789"}'), {
    n: 9007199254740993n,
    m: -9007199254740993n,
    f: 1.5e300,
    s: '9007199254740993"1234567890123456789',
  });
  assert.deepEqual(read('[1,9007199254740991,12345678901234567.5]'), [1, 9007199254740991, 12345678901234567.5]);
});
