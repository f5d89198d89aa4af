/**
 * What BERT does to a text before WordPiece: clean, small letters, no accents, words.
 *
 * The library's own normalizer gives no offsets, and differs from the Rust library that models were
 * trained with: in the sigma at the end of Greek words, in some Chinese characters, and where
 * tables of Unicode are of another version. Token ids must be the same to the last one.
 */

import { KEPT_MARKS, NOT_DECOMPOSED, NOT_DROPPED, NOT_PUNCTUATION } from "./bert_tables.js";
import { TraceBuilder, type Traced } from "./normalization.js";

export interface BertOptions {
  clean_text: boolean;
  handle_chinese_chars: boolean;
  strip_accents: boolean | null;
  lowercase: boolean;
}

/** A word, as it goes into WordPiece, and where it is in the normalized text. */
export interface Word {
  text: string;
  start: number;
}

const DROPPED = new RegExp(`(?![${NOT_DROPPED}])[\\0\\ufffd\\p{Cc}\\p{Cf}\\p{Co}]`, "u");
const SPACE = /\p{White_Space}/u;
const CONTROL_SPACE = /[\t\n\r]/;
const CHINESE = new RegExp(
  "[\\u4e00-\\u9fff\\u3400-\\u4dbf\\u{20000}-\\u{2a6df}\\u{2a700}-\\u{2b73f}\\u{2b740}-\\u{2b81f}" +
    "\\u{2b920}-\\u{2ceaf}\\uf900-\\ufaff\\u{2f800}-\\u{2fa1f}]",
  "u",
);
const MARK = new RegExp(`(?![${KEPT_MARKS}])[\\p{Mn}\\u1734\\u{1171e}]`, "gu");
const COMPOSED = new RegExp(`[${NOT_DECOMPOSED}]`, "u");
const PUNCTUATION = `(?![${NOT_PUNCTUATION}])[\\p{P}!-/:-@\\[-\`{-~\\u166d\\u{111c9}]`;
const WORDS = new RegExp(`${PUNCTUATION}|(?:(?!${PUNCTUATION})\\P{White_Space})+`, "gu");
const PLAIN = /^[ a-z0-9]*$/;

/** Normalize a text; what each character becomes depends on it alone. */
export function normalize(text: string, options: BertOptions): Traced {
  const builder = new TraceBuilder();
  if (PLAIN.test(text)) {
    builder.keep(text, 0);
    return builder.done(text.length);
  }
  let position = 0;
  for (const character of text) {
    const end = position + character.length;
    builder.put(normalized(character, options), position, end);
    position = end;
  }
  return builder.done(text.length);
}

function normalized(character: string, options: BertOptions): string {
  let text = character;
  if (options.clean_text) {
    if (DROPPED.test(character) && !CONTROL_SPACE.test(character)) return "";
    if (SPACE.test(character)) return " ";
  }
  if (options.handle_chinese_chars && CHINESE.test(text)) text = ` ${text} `;
  if (options.strip_accents ?? options.lowercase) {
    text = (COMPOSED.test(text) ? text : text.normalize("NFD")).replace(MARK, "");
  }
  // Letter by letter: the last sigma of a word is a letter of its own in JavaScript.
  return options.lowercase ? Array.from(text, (letter) => letter.toLowerCase()).join("") : text;
}

/** Cut a normalized text into words and single marks of punctuation. */
export function words(text: string): Word[] {
  return Array.from(text.matchAll(WORDS), (match) => ({ text: match[0], start: match.index }));
}
