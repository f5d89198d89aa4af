/** One ONNX graph; runs come one after the other, as onnxruntime-web demands. */

import type { InferenceSession, Tensor } from "onnxruntime-common";
import { ModelFormatError } from "./errors.js";
import { type Ort, platform, type RuntimeOptions } from "./platform.js";

export type Input =
  | { type: "int64"; data: BigInt64Array; dims: number[] }
  | { type: "float32"; data: Float32Array; dims: number[] }
  | { type: "uint8"; data: Uint8Array; dims: number[] };

export interface Output {
  data: Float32Array;
  dims: readonly number[];
}

export class Graph {
  #last: Promise<unknown> = Promise.resolve();

  private constructor(
    private readonly ort: Ort,
    private readonly session: InferenceSession,
  ) {}

  static async load(bytes: Uint8Array, options: RuntimeOptions = {}): Promise<Graph> {
    const ort = await platform().onnxruntime(options);
    try {
      const session = await ort.InferenceSession.create(bytes, {
        intraOpNumThreads: options.threads ?? 1,
        interOpNumThreads: 1,
        logSeverityLevel: 3,
        // As Python does: the same graph gives the same vectors.
        extra: { optimization: { disable_specified_optimizers: "SkipLayerNormFusion" } },
      });
      return new Graph(ort, session);
    } catch (error) {
      throw new ModelFormatError(`onnxruntime cannot load the graph: ${(error as Error).message}.`);
    }
  }

  get inputNames(): readonly string[] {
    return this.session.inputNames;
  }

  /** Run the graph and return its first output. */
  run(inputs: Record<string, Input>): Promise<Output> {
    const result = this.#last.then(() => this.#runNow(inputs));
    this.#last = result.catch(() => undefined);
    return result;
  }

  async #runNow(inputs: Record<string, Input>): Promise<Output> {
    const feeds: Record<string, Tensor> = {};
    for (const [name, input] of Object.entries(inputs)) {
      feeds[name] = new this.ort.Tensor(
        input.type as "uint8",
        input.data as Uint8Array,
        input.dims,
      );
    }
    const outputs = await this.session.run(feeds);
    const first = outputs[this.session.outputNames[0]!]!;
    const data = first.data;
    if (!(data instanceof Float32Array)) {
      throw new ModelFormatError(`the graph must give float32, got ${first.type}.`);
    }
    return { data, dims: first.dims };
  }

  async release(): Promise<void> {
    await this.#last;
    await this.session.release();
  }
}
