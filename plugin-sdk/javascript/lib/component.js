// From the contract's functions to a stage and back.

import { enter } from './runtime.js';
import { guarded, Opened, schemaOf, worldOf } from './opened.js';
import { s64s } from './text.js';

/** What a component of this stage exports, in the packed shape. */
export function component(Type, about) {
  let opened = null;
  const stage = () => {
    if (opened === null) throw new Error('called before open');
    return opened;
  };
  const exported = (call) => (...values) => {
    enter();
    return guarded(() => call(...values));
  };
  worldOf(Type);
  return {
    packedStage: {
      describe: exported(() => ({ ...about, configSchema: schemaOf(Type).toWellFormed() })),
      open: exported((config) => {
        opened = new Opened(Type, config);
        return opened.plan;
      }),
      process: exported((batch) => stage().process(batch)),
      finish: exported(() => stage().finish()),
    },
    checkpoint: {
      save: exported((groups) => stage().save(groups)),
      restore: exported((saved, by) => stage().restore(saved, by)),
    },
    packedWatermark: {
      advance: exported((watermark) => stage().advance(s64s(watermark)[0])),
    },
  };
}
