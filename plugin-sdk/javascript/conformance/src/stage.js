// Does what tests/conformance/README.md says.
import { Reject, Stage } from '../../index.js';

export default class Conformance extends Stage {
  static config = {
    properties: {
      mode: { enum: ['commands', 'count', 'count-by-key', 'inputs'] },
      long_number: { type: 'integer' },
      refuse: { type: 'string' },
    },
  };

  open(config, setup) {
    if (config.refuse !== undefined) throw new Error(config.refuse);
    this.mode = config.mode ?? 'commands';
    this.longNumber = config.long_number ?? 0;
    this.count = 0;
    this.counts = new Map();
    switch (this.mode) {
      case 'count-by-key':
        this.key = setup.key();
        setup.keepsByKey(this.key);
        break;
      case 'inputs':
        setup.keepsNothing();
        this.left = setup.input('left');
        setup.input('right');
        break;
      case 'commands':
        setup.keepsNothing();
        this.time = setup.timestamp();
        this.key = setup.key();
        this.value = setup.value();
        this.verb = setup.attribute('do');
        this.arg = setup.attribute('arg');
        this.extra = setup.attribute('extra');
        this.other = setup.port('other');
    }
  }

  process(record, out) {
    switch (this.mode) {
      case 'count':
        out.keep().attribute('count', ++this.count);
        break;
      case 'count-by-key': {
        const key = record.text(this.key) ?? '';
        const count = (this.counts.get(key) ?? 0) + 1;
        this.counts.set(key, count);
        out.keep().attribute('count', count);
        break;
      }
      case 'inputs':
        out.keep().attribute('from', record.isFrom(this.left) ? 'left' : 'right');
        break;
      default:
        this.command(record, out);
    }
  }

  command(record, out) {
    const arg = record.text(this.arg) ?? '';
    switch (record.text(this.verb) ?? 'keep') {
      case 'keep':
        out.keep();
        break;
      case 'drop':
        break;
      case 'twice':
        out.keep();
        out.keep().value(arg);
        break;
      case 'echo': {
        const row = out.keep();
        const [value, extra] = [record.bytes(this.value), record.bytes(this.extra)];
        if (value !== null) row.value(value);
        if (extra !== null) row.attribute('extra', extra);
        break;
      }
      case 'upper':
        out.keep().value(record.text(this.value).toUpperCase());
        break;
      case 'value':
        out.keep().value(arg);
        break;
      case 'key':
        out.keep().key(arg);
        break;
      case 'attribute':
        out.keep().attribute('made', arg);
        break;
      case 'remove':
        out.keep().removeAttribute('extra');
        break;
      case 'time':
        out.keep().timestamp(BigInt(arg));
        break;
      case 'later': {
        const row = out.keep();
        const time = record.timestamp(this.time);
        if (time !== null) row.timestamp(time + 1_000_000_000n);
        break;
      }
      case 'tell-time':
        out.keep().value(String(record.timestamp(this.time) ?? 'none'));
        break;
      case 'number':
        out.keep().value(this.longNumber);
        break;
      case 'other':
        out.send(this.other);
        break;
      case 'both':
        out.keep();
        out.send(this.other).value(arg);
        break;
      case 'create':
        out.create().value(arg);
        break;
      case 'create-other':
        out.keep();
        out.createOn(this.other).key(arg).attribute('made', arg).timestamp(1n);
        break;
      case 'reject':
        throw new Reject(arg);
      case 'retry':
        throw new Reject(arg, { retryable: true });
      case 'keep-throw':
        out.keep().value('lost');
        throw new Error(arg);
      default:
        throw new Error(arg);
    }
  }

  finish(out) {
    if (this.mode === 'count') out.create().value(`${this.count} at the end`);
  }

  advance(watermark, out) {
    if (this.mode !== 'count') return;
    out.create().value(`${this.count} until ${watermark}`);
    this.count = 0;
  }

  save(state) {
    if (this.mode === 'count') state.put(this.count);
    if (this.mode === 'count-by-key') state.putByKey(this.counts);
  }

  restore(saved) {
    if (this.mode === 'count') this.count = saved.get();
    if (this.mode === 'count-by-key') this.counts = saved.byKey();
  }
}
