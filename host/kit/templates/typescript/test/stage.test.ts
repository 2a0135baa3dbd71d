import assert from 'node:assert/strict';
import { test } from 'node:test';

import { record, run } from '@pipehost/plugin/testing';

import MyStage from '../src/stage.ts';

test('lines with the word are shouted', () => {
  const out = run(MyStage, { word: 'error' }, [record('an error'), record('fine')]);
  assert.deepEqual(out.out, [record('AN ERROR'), record('fine')]);
});
