// What kind of text a document has and where its parts are in its file: pure functions.

const LANGUAGES = {
  py: "python", pyi: "python", js: "javascript", mjs: "javascript", cjs: "javascript", jsx: "javascript",
  ts: "typescript", tsx: "typescript", c: "c", h: "c", cc: "cpp", cpp: "cpp", cxx: "cpp", hpp: "cpp",
  cs: "csharp", css: "css", scss: "scss", diff: "diff", patch: "diff", go: "go", java: "java", json: "json",
  kt: "kotlin", lua: "lua", mk: "makefile", pl: "perl", pm: "perl", php: "php", r: "r", rb: "ruby",
  rs: "rust", scala: "scala", sh: "bash", bash: "bash", zsh: "bash", sql: "sql", swift: "swift",
  xml: "xml", html: "xml", svg: "xml", vue: "xml", yaml: "yaml", yml: "yaml", toml: "ini", ini: "ini",
  cfg: "ini", conf: "ini", service: "ini", env: "ini",
};
const NAMES = { dockerfile: "dockerfile", makefile: "makefile" };
const OTHERS = {
  shell: "bash", console: "bash", python3: "python", "c++": "cpp", "c#": "csharp", rust: "rust", golang: "go",
  ruby: "ruby", jsonc: "json", docker: "dockerfile", make: "makefile",
};
const MARKDOWN = [
  /^ {0,3}#{1,6} \S/m, /^ {0,3}(```|~~~)/m, /^ {0,3}[-*+] \S/m, /^ {0,3}\d{1,9}[.)] \S/m, /^ {0,3}> ?\S/m,
  /\[[^\]\n]{1,200}\]\([^)\s]{1,500}\)/, /\*\*\S[^*\n]{0,200}\*\*/, /`[^`\n]{1,200}`/, /^\|.*\|\s*$/m,
];
const HTML = /^\s*(<!doctype html|<(html|head|body|article|section|main|div|p|h[1-6]|table|ul|ol)\b[^>]*>)/i;
const LONGEST = 300_000; // characters; a longer text is shown as it is

/** Say how to show a document: "source", "markdown", "html", "readable" or "plain". */
export function viewOf({ text, metadata }) {
  const kind = metadata.kind;
  if (text.length > LONGEST) return "plain";
  if (kind === "code" || kind === "config" || kind === "log") return "source";
  // Readers of files have taken all signs of markup away; texts that were added have theirs.
  if (typeof kind === "string" && typeof metadata.path === "string") return "readable";
  if (HTML.test(text.slice(0, 2000))) return "html";
  const head = text.slice(0, 50_000);
  return MARKDOWN.some((sign) => sign.test(head)) ? "markdown" : "readable";
}

/** Return the name of a language as the colours know it, "" for none. */
export function languageOf(name) {
  const word = name.toLowerCase().split("/").pop();
  const known = Object.values(LANGUAGES);
  return OTHERS[word] ?? NAMES[word] ?? (known.includes(word) ? word : LANGUAGES[word.split(".").pop()] ?? "");
}

/** Return the places "offset:number" of a text in order, as [offset, number]. */
export function placesOf(written) {
  return typeof written !== "string" ? []
    : [...written.matchAll(/(\d{1,9}):(\d{1,9})/g)].map((found) => [Number(found[1]), Number(found[2])]);
}

/** Return a function from the number of a line of the text to that of its file's, both from 1. */
export function linesOf(text, written, units) {
  const jumps = new Map(); // line of the text to line of the file
  let [at, line] = [0, 1];
  for (const [offset, number] of placesOf(written)) {
    for (const end = units(offset); at < end; at++) if (text[at] === "\n") line++;
    jumps.set(line, number);
  }
  const numbers = [];
  const total = text.split("\n").length;
  for (let n = 1, now = 1; n <= total; n++, now++) {
    now = jumps.get(n) ?? now;
    numbers.push(now);
  }
  return (n) => numbers[n - 1];
}

/** Return parts of a text that are shown in another way: { from, to, kind, detail } in order. */
export function layoutOf(written, units) {
  if (typeof written !== "string") return [];
  return [...written.matchAll(/(?:^| )(\d{1,9})\+(\d{1,9}):(code|table|link|span|strong|em)(?::(\S{1,500}))?/g)].map((found) => ({
    from: units(Number(found[1])), to: units(Number(found[1]) + Number(found[2])),
    kind: found[3], detail: found[4] ?? "",
  })).filter(({ from, to }) => from < to);
}

/** Say whether the lines of a paragraph were only broken to fit a width, so that they may flow. */
export function flows(paragraph) {
  const lines = paragraph.split("\n");
  return lines.length > 1 && lines.slice(0, -1).every((line) => line.trim().length >= 50);
}

/** Return the address of a link if it may be followed: of a web page or for mail; otherwise null. */
export function safeAddress(written) {
  let address;
  try {
    address = new URL(written);
  } catch {
    return null;
  }
  return ["http:", "https:", "mailto:"].includes(address.protocol) ? address.href : null;
}

const SIGNS = /^ {0,3}(#{1,6} |> ?|```.*$|~~~.*$)|\*\*|__(?=\S)|(?<=\S)__|`+|!?\[(?=[^\]\n]{1,200}\]\()|\]\([^)\s]{0,500}\)|^\|[-:| ]+\|$/gm;

/** Return which parts of a piece of Markdown are only signs, as [from, to]. */
export function signsIn(text) {
  return [...text.matchAll(SIGNS)].map((found) => [found.index, found.index + found[0].length]);
}
