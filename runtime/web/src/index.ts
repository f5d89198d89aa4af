export {
  type Embedding,
  Encoder,
  type LoadOptions,
  load,
  type Query,
  type ReadModelFile,
} from "./encoder.js";
export * from "./errors.js";
export type { Explanation, TokenMatch } from "./explanation.js";
export type { Where } from "./filters.js";
export { maxsim } from "./maxsim.js";
export type { RuntimeOptions } from "./platform.js";
export type { Recipe } from "./recipe.js";
export {
  type Hit,
  openIndex,
  type PassageHit,
  type SearchOptions,
  SiteIndex,
} from "./site_index.js";
export type { Span, Token } from "./tokenizer.js";
