// Shouts the lines that have a word in them.
import { Reject, Stage } from '@pipehost/plugin';

export default class MyStage extends Stage {
  // The JSON Schema of what a pipeline may configure. Descriptions are for operators.
  static config = {
    properties: {
      word: { type: 'string', minLength: 1, description: 'Lines with this word are changed.' },
    },
    required: ['word'],
  };

  open(config, setup) {
    setup.keepsNothing(); // So it runs on all cores.
    this.value = setup.value();
    this.word = config.word;
  }

  process(record, out) {
    const line = record.text(this.value);
    if (line === null) throw new Reject('it has no value');
    const row = out.keep();
    if (line.includes(this.word)) row.value(line.toUpperCase());
  }
}
