/** Makes a component of a module whose default export is a stage. */
export function build(options: {
  /** The module, `.js` or `.ts`. */
  entry: string;
  /** Where to write the component; `dist/NAME.wasm` by default. */
  out?: string;
  /** Where to write the bundle, in which stacks count their lines. */
  bundle?: string;
}): Promise<{ name: string; version: string; summary: string; world: string; out: string; size: number }>;
