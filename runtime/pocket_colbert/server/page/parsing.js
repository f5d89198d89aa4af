// Parses Markdown and colours code, in a worker: what takes too long can be ended from outside.

import { GFM, parser } from "./vendor/lezer-markdown.js";
import hljs from "./vendor/highlight.js";

const markdown = parser.configure([GFM, { remove: ["IndentedCode"] }]);

/** Return the nodes of a tree in order, as [name, from, to, depth]: no recursion, however deep. */
function flat(text) {
  const nodes = [];
  let depth = 0;
  markdown.parse(text).iterate({
    enter: (node) => { nodes.push([node.name, node.from, node.to, depth++]); },
    leave: () => { depth--; },
  });
  return nodes;
}

/** Return code as HTML in which only the colours' elements are new. */
function coloured(text, language) {
  return hljs.highlight(text, { language, ignoreIllegals: true }).value;
}

addEventListener("message", ({ data: { number, kind, text, language } }) => {
  try {
    postMessage({ number, answer: kind === "markdown" ? flat(text) : coloured(text, language) });
  } catch {
    postMessage({ number, answer: null });
  }
});
