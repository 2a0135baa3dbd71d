// Metrics of the stage's own: the host shows them with those of the pipeline, as stage_NAME, with the
// stage as a label. What a call tells counts once, with the answer that the host accepts.

let native = null;

/** The host's functions; in a test, where there are none, nothing is told. */
export function useHost(functions) {
  native = functions;
}

function tell(what, name, value, labels) {
  if (native === null) return;
  const list = Object.entries(labels).map(([label, text]) => ({
    name: label.toWellFormed(),
    value: String(text).toWellFormed(),
  }));
  native[what](String(name).toWellFormed(), list, Number(value));
}

export const metrics = {
  /** Adds to a counter: a positive number. */
  add: (name, by = 1, labels = {}) => tell('add', name, by, labels),
  /** Sets a gauge. */
  set: (name, to, labels = {}) => tell('set', name, to, labels),
  /** Adds a value to a histogram, whose buckets end at 0.001, 0.01, 0.1, 1, 10, 100 and 1000. */
  observe: (name, value, labels = {}) => tell('observe', name, value, labels),
};
