/** Texts as models read them: without invisible characters, with plain letters. As in Python. */

const INVISIBLE =
  "\\u00ad\\u180e\\u200b\\u200e\\u200f\\u202a-\\u202e\\u2060-\\u2064\\u2066-\\u2069\\ufeff";
const FORMS =
  "\\u0132\\u0133\\u013f\\u0140\\u0149\\u017f\\u01c4-\\u01cc\\u01f1-\\u01f3" +
  "\\u02b0-\\u02b8\\u1d2c-\\u1d6a\\u2070\\u2071\\u2074-\\u208e\\u2090-\\u209c" +
  "\\u2100-\\u2121\\u2123-\\u2125\\u2128-\\u213b\\u2145-\\u2149\\u2150-\\u217f\\u2189" +
  "\\u2460-\\u24ea\\u2e9f\\u2ef3\\u2f00-\\u2fd5\\u3036\\u3038-\\u303a\\u3131-\\u318e\\u3192-\\u319f" +
  "\\u3200-\\u33ff\\uf900-\\ufaff\\ufb00-\\ufb06\\ufb13-\\ufb17\\ufb1d-\\ufb4f\\ufb50-\\ufdff" +
  "\\ufe70-\\ufefc\\uff01-\\uffee\\u{1d400}-\\u{1d7ff}\\u{1ee00}-\\u{1eeff}\\u{1f100}-\\u{1f16c}" +
  "\\u{2f800}-\\u{2fa1d}";
const FOR_MODEL = new RegExp(`[${INVISIBLE}]+|[\\uff66-\\uff9d][\\uff9e\\uff9f]|[${FORMS}]`, "gu");
const REMOVED = new RegExp(`[${INVISIBLE}\\u200c\\u200d]+`, "gu");
const ASCII = /^[\0-\x7f]*$/;

/** A text made of another, with where each of its UTF-16 units comes from. */
export interface Traced {
  text: string;
  /** First unit of the original that each unit is from; one more at the end. */
  starts: Int32Array;
  /** The unit of the original after those that each unit is from. */
  ends: Int32Array;
}

/** Return a text as it is given to a model's tokenizer, without white space lost. */
export function forModel(text: string): Traced {
  const builder = new TraceBuilder();
  if (ASCII.test(text)) {
    builder.keep(text, 0);
    return builder.done(text.length);
  }
  let done = 0;
  for (const match of text.matchAll(FOR_MODEL)) {
    builder.keep(text.slice(done, match.index), done);
    const end = match.index + match[0].length;
    const plain = match[0].normalize("NFKC").replace(REMOVED, "");
    // As in Python, all of it is from the first character; of two, the second has none.
    builder.put(
      plain,
      match.index,
      match.index + String.fromCodePoint(match[0].codePointAt(0)!).length,
    );
    done = end;
  }
  builder.keep(text.slice(done), done);
  return builder.done(text.length);
}

/** Puts together a text that is made of another. */
export class TraceBuilder {
  #parts: string[] = [];
  #starts: number[] = [];
  #ends: number[] = [];

  /** Add a part as it is. */
  keep(part: string, offset: number): void {
    let position = offset;
    for (const character of part) {
      this.put(character, position, position + character.length);
      position += character.length;
    }
  }

  /** Add what stands for a part of the original. */
  put(part: string, start: number, end: number): void {
    this.#parts.push(part);
    for (let n = 0; n < part.length; n++) {
      this.#starts.push(start);
      this.#ends.push(end);
    }
  }

  done(length: number): Traced {
    this.#starts.push(length);
    this.#ends.push(length);
    return {
      text: this.#parts.join(""),
      starts: Int32Array.from(this.#starts),
      ends: Int32Array.from(this.#ends),
    };
  }
}

/** Return a traced text of a traced text, traced to the original. */
export function through(outer: Traced, inner: Traced): Traced {
  return {
    text: outer.text,
    starts: outer.starts.map((n) => inner.starts[n]!),
    ends: outer.ends.map((n) => (n > 0 ? inner.ends[n - 1]! : 0)),
  };
}

/** Strip what Python's `str.strip` strips. */
export function strip(text: string): string {
  return text.replace(/^[\p{White_Space}\x1c-\x1f]+|[\p{White_Space}\x1c-\x1f]+$/gu, "");
}

/** Return what is encoded for a text and its title. */
export function withTitle(text: string, title: string | null | undefined): string {
  return strip(`${title ?? ""} ${text}`);
}
