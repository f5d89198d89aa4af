// Asks the worker that parses; a text that takes it too long has no answer.

const LONGEST = 4000; // ms
const COLOURED = 60_000; // characters of code; more stay without colours

let worker = null;
let asked = 0;
const waiting = new Map();

function ask(kind, text, language = "") {
  return new Promise((resolve) => {
    const number = asked++;
    if (!worker) start();
    const timer = setTimeout(stop, LONGEST);
    waiting.set(number, (answer) => {
      clearTimeout(timer);
      waiting.delete(number);
      resolve(answer);
    });
    worker.postMessage({ number, kind, text, language });
  });
}

function start() {
  worker = new Worker(new URL("./parsing.js", import.meta.url), { type: "module" });
  worker.addEventListener("message", ({ data: { number, answer } }) => waiting.get(number)?.(answer));
  worker.addEventListener("error", stop);
}

function stop() {
  worker?.terminate();
  worker = null;
  for (const answer of [...waiting.values()]) answer(null);
}

/** Return the nodes of Markdown as [name, from, to, depth] in order, or null. */
export const markdownNodes = (text) => ask("markdown", text);

/** Return the colours of code as { from, to, name } in order; none if there are none. */
export async function coloursOf(text, language) {
  if (!language || text.length > COLOURED) return [];
  // HTML knows neither of these characters.
  const plain = text.replace(/[\r\0]/g, " ");
  const html = await ask("code", plain, language);
  if (html === null) return [];
  const parsed = new DOMParser().parseFromString(`<body><code>${html}</code>`, "text/html");
  const code = parsed.querySelector("code");
  if (!code || code.textContent !== plain) return [];
  const colours = [];
  let at = 0;
  const walker = parsed.createTreeWalker(code, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const [from, to] = [at, at + walker.currentNode.data.length];
    const name = walker.currentNode.parentElement.className.split(" ")[0];
    if (/^hljs-[\w-]{1,40}$/.test(name)) colours.push({ from, to, name });
    at = to;
  }
  return colours;
}
