// The configuration of a stage.

/** A configuration in JSON. Whole numbers that a number would round are bigints. */
export function parseConfig(text) {
  const TAG = '\u0000bigint';
  const tagged = text.replace(/"(?:[^"\\]|\\.)*"|-?\d{16,}(?![\d.eE])/g, (token) =>
    token.startsWith('"') || Number.isSafeInteger(Number(token)) ? token : JSON.stringify(TAG + token));
  return JSON.parse(tagged, (_, value) =>
    typeof value === 'string' && value.startsWith(TAG) ? BigInt(value.slice(TAG.length)) : value);
}
