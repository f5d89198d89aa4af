// Markdown as elements. They are made one by one from a list of what there may be; all text comes
// from the document's as text nodes, so nothing in it can become an element or a script.

import { make } from "./dom.js";
import { flows, languageOf, safeAddress } from "./formats.js";
import { markdownNodes } from "./parse.js";
import { link, scrolling } from "./readable.js";
import { showCode } from "./source.js";

const DEEPEST = 40; // elements in each other; what is deeper is text
const ELEMENTS = {
  Paragraph: "p", Blockquote: "blockquote", BulletList: "ul", OrderedList: "ol", ListItem: "li",
  Emphasis: "em", StrongEmphasis: "strong", Strikethrough: "del", InlineCode: "code", HorizontalRule: "hr",
  TableCell: "td", TableRow: "tr",
};
const SIGNS = /^(HeaderMark|QuoteMark|ListMark|EmphasisMark|CodeMark|CodeInfo|LinkMark|LinkTitle|LinkLabel|StrikethroughMark|TableDelimiter|LinkReference|Comment|CommentBlock|ProcessingInstruction|ProcessingInstructionBlock)$/;
const TAGS = /<\/?(?:a|abbr|b|blockquote|br|center|code|dd|del|details|div|dl|dt|em|figure|figcaption|font|h[1-6]|hr|i|img|ins|kbd|li|mark|ol|p|picture|pre|q|s|samp|small|source|span|strong|sub|summary|sup|table|tbody|td|th|thead|tr|tt|u|ul|var)(?:\s[^<>]*)?\/?>|<!--[^]*?-->/gi;

/** Return the blocks of Markdown as elements, or null if that takes too long. */
export async function showMarkdown({ text }, paint) {
  const nodes = await markdownNodes(text);
  return nodes && new Renderer(text, paint, treeOf(nodes)).blocks();
}

/** Return what "&amp;" or the like stands for, as text. */
export function entity(written) {
  return new DOMParser().parseFromString(written, "text/html").documentElement.textContent || written;
}

/** Put nodes into each other again, down to a depth. */
function treeOf(nodes) {
  const root = { name: "Document", from: 0, to: 0, children: [] };
  const open = [root];
  for (const [name, from, to, depth] of nodes) {
    if (depth === 0 || depth > DEEPEST) continue;
    open.length = depth;
    const node = { name, from, to, children: [] };
    open[depth - 1].children.push(node);
    open[depth] = node;
  }
  return root;
}

class Renderer {
  constructor(text, paint, tree) {
    this.text = text;
    this.paint = paint;
    this.tree = tree;
    this.links = new Map();
    for (const node of tree.children) {
      if (node.name !== "LinkReference") continue;
      const [label, address] = ["LinkLabel", "URL"].map((name) => node.children.find((c) => c.name === name));
      if (label && address) this.links.set(this.label(label), this.said(address));
    }
  }

  said({ from, to }) {
    return this.text.slice(from, to);
  }

  label(node) {
    return this.said(node).slice(1, -1).replace(/\s+/g, " ").trim().toLowerCase();
  }

  async blocks() {
    const shown = [];
    for (const node of this.tree.children) {
      const element = await this.element(node);
      if (!element) continue;
      shown.push(element.classList ? this.paint.dress(element, node.from, node.to) : element);
    }
    return shown;
  }

  /** Return what is inside a node: its children, and the text between them. */
  async inside(node, from = node.from, to = node.to) {
    const nodes = [];
    let at = from;
    for (const child of node.children) {
      if (child.to <= from || child.from >= to) continue;
      if (child.from > at) nodes.push(...this.paint.nodes(at, child.from));
      const element = await this.element(child);
      if (Array.isArray(element)) nodes.push(...element);
      else if (element) nodes.push(element);
      at = Math.max(at, child.to);
      if (/^(HeaderMark|ListMark|QuoteMark)$/.test(child.name)) while (this.text[at] === " ") at++;
    }
    if (at < to) nodes.push(...this.paint.nodes(at, to));
    return nodes;
  }

  /** Return a node as an element, as a list of nodes, or as nothing. */
  async element(node) {
    const { name, from, to } = node;
    if (SIGNS.test(name)) return null;
    const heading = /^(?:ATX|Setext)Heading([1-6])$/.exec(name);
    if (heading) return make(`h${Math.min(Number(heading[1]) + 2, 6)}`, "", ...trimmed(await this.inside(node)));
    switch (name) {
      case "FencedCode": case "CodeBlock": return this.code(node);
      case "Link": case "Autolink": return this.link(node);
      case "Image": return this.image(node);
      case "URL": return this.address(node);
      case "Table": return this.table(node);
      case "Escape": return this.paint.nodes(from + 1, to);
      case "Entity": return [document.createTextNode(entity(this.said(node)))];
      case "HardBreak": return make("br", "");
      case "HTMLTag": case "HTMLBlock": return this.html(node);
      case "TaskMarker": return make("span", "task", /x/i.test(this.said(node)) ? "☑" : "☐");
      case "HorizontalRule": return make("hr", "");
    }
    const tag = ELEMENTS[name];
    if (!tag) return this.inside(node);
    const nodes = await this.inside(node);
    const element = make(tag, "", ...(/^(ul|ol|tr|blockquote)$/.test(tag) ? nodes.filter(isElement) : nodes));
    if (tag === "p" && flows(this.said(node))) element.className = "flow";
    if (tag === "ol") {
      const start = Number.parseInt(this.said(node), 10);
      if (start >= 0 && start < 1e9) element.start = start;
    }
    return element;
  }

  code(node) {
    const info = node.children.find((child) => child.name === "CodeInfo");
    const parts = node.children.filter((child) => child.name === "CodeText");
    if (!parts.length) return null;
    const language = languageOf(info ? this.said(info).split(/[\s{,]/)[0] : "");
    return showCode(this.paint, parts[0].from, parts.at(-1).to, language);
  }

  /** Return where a link leads, if it may be followed. */
  target(node) {
    const url = node.children.find((child) => child.name === "URL");
    if (url) return safeAddress(this.said(url).replace(/^<|>$/g, "").replace(/\\([!-/:-@[-`{-~])/g, "$1"));
    const label = node.children.find((child) => child.name === "LinkLabel" && child.to - child.from > 2);
    const marks = node.children.filter((child) => child.name === "LinkMark");
    const name = label ? this.label(label)
      : this.label({ from: marks[0]?.from ?? node.from, to: marks[1]?.to ?? node.to });
    return safeAddress(this.links.get(name) ?? "");
  }

  /** Return the words of a link: what is between its first two marks. */
  async words(node) {
    if (node.name === "Autolink") {
      const url = node.children.find((child) => child.name === "URL") ?? node;
      return this.paint.nodes(url.from, url.to);
    }
    const marks = node.children.filter((child) => child.name === "LinkMark");
    return this.inside(node, marks[0]?.to ?? node.from, marks[1]?.from ?? node.to);
  }

  async link(node) {
    const address = this.target(node);
    const words = await this.words(node);
    return address ? link(address, words) : words;
  }

  async image(node) {
    const words = await this.words(node);
    const shown = make("span", "image", ...(words.length ? words : ["image"]));
    const address = this.target(node);
    return address ? link(address, [shown]) : shown;
  }

  address(node) {
    const written = this.said(node);
    const address = safeAddress(/^www\./i.test(written) ? `https://${written}`
      : /^[^:/?#\s]+@[^\s]+$/.test(written) ? `mailto:${written}` : written);
    const nodes = this.paint.nodes(node.from, node.to);
    return address ? link(address, nodes) : nodes;
  }

  async table(node) {
    const body = make("tbody", "");
    const head = make("thead", "");
    for (const row of node.children) {
      if (row.name !== "TableHeader" && row.name !== "TableRow") continue;
      const isHead = row.name === "TableHeader";
      const made = make("tr", "");
      // An empty cell is no node of its own: what the bars part tells which one a cell is.
      let bars = 0;
      let cells = 0;
      for (const child of row.children) {
        if (child.name === "TableDelimiter") {
          if (child.from > row.from) bars++;
          continue;
        }
        for (; cells < bars; cells++) made.append(make(isHead ? "th" : "td", ""));
        made.append(make(isHead ? "th" : "td", "", ...(await this.inside(child))));
        cells++;
      }
      (isHead ? head : body).append(made);
    }
    return scrolling(make("table", "", head, body));
  }

  /** Return HTML without the tags that only give it looks; other tags are shown as they are. */
  html(node) {
    const nodes = [];
    const text = this.said(node);
    let at = 0;
    for (const found of text.matchAll(TAGS)) {
      nodes.push(...this.paint.nodes(node.from + at, node.from + found.index));
      if (/^<br/i.test(found[0])) nodes.push(make("br", ""));
      at = found.index + found[0].length;
    }
    nodes.push(...this.paint.nodes(node.from + at, node.to));
    if (node.name === "HTMLTag") return nodes;
    return nodes.some((part) => part.textContent.trim()) ? make("p", "", ...nodes) : null;
  }
}

const isElement = (node) => node.nodeType === Node.ELEMENT_NODE;

function trimmed(nodes) {
  const last = nodes.at(-1);
  if (last?.nodeType === Node.TEXT_NODE) last.data = last.data.trimEnd();
  return nodes;
}
