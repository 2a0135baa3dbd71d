import type { Stage, Value } from './index.js';

type StageClass<Config> = new () => Stage<Config>;

/** A record of a test. */
export interface TestRecord {
  readonly value: string | null;
  readonly key: string | null;
  readonly timestamp: bigint | null;
  readonly attributes: { [name: string]: string };
  readonly valueBytes: Uint8Array | null;
  readonly keyBytes: Uint8Array | null;
  readonly attributeBytes: ReadonlyMap<string, Uint8Array>;
}

/** A record with this value, and perhaps more. */
export function record(
  value?: Value | null,
  more?: {
    key?: Value | null;
    timestamp?: bigint | number | Date | null;
    attributes?: { [name: string]: Value | null | undefined };
  },
): TestRecord;

/** Opens a stage, gives it the records in one batch, and finishes it. A text is a record with this value. */
export function run<Config>(
  stage: StageClass<Config>,
  config: NoInfer<Config>,
  records: readonly (TestRecord | string | Uint8Array)[],
): Outputs;

/** An opened stage, to call it as the host does, but without a host. */
export class Driven<Config> {
  static open<Config>(stage: StageClass<Config>, config?: NoInfer<Config>): Driven<Config>;
  private constructor();
  /** What the stage declared. */
  readonly plan: {
    readonly reads: {
      readonly timestamps: boolean;
      readonly key: boolean;
      readonly value: boolean;
      readonly attributes: readonly string[];
    };
    readonly ports: readonly string[];
    readonly inputs: readonly string[];
    readonly keeps: { readonly tag: 'anything' | 'nothing' | 'by-key'; readonly val?: unknown };
  };
  /** Processes a batch, which came in by the input of this name or by the first one. */
  process(records: readonly (TestRecord | string | Uint8Array)[], options?: { input?: string }): Outputs;
  /** Passes a watermark, in nanoseconds since the Unix epoch or as a Date. */
  advance(watermark: bigint | number | Date): Outputs;
  finish(): Outputs;
  /**
   * The same stage after a restart, with its state restored; perhaps with another configuration, or as
   * another class, which is then a new version of the stage. Throws what the stage throws if it refuses
   * the state.
   */
  restarted<Other = Config>(config?: Other, stage?: StageClass<Other>): Driven<Other>;
}

/** What came out of a stage. */
export interface Outputs {
  /** The records that went to a port. */
  port(name: string): TestRecord[];
  /** The records that went to the default port. */
  readonly out: TestRecord[];
  /** The rows that were rejected, and why. */
  readonly rejected: { row: number; reason: string; retryable: boolean }[];
}
