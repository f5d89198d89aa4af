// Small helpers. Strings become text nodes, never HTML: documents are written by anyone.

export const $ = (id) => document.getElementById(id);

/** Make an element with a class and children; strings are text. */
export function make(tag, name, ...children) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...children);
  return element;
}

/** Make a button. */
export function button(name, text, onClick) {
  const made = make("button", name, text);
  made.type = "button";
  made.addEventListener("click", onClick);
  return made;
}

/** Fill a select with [value, text] pairs. */
export function options(select, pairs) {
  select.replaceChildren(...pairs.map(([value, text]) => {
    const option = make("option", "", text);
    option.value = value;
    return option;
  }));
}

export const percent = (share) => `${(100 * share).toFixed(0)} %`;

/** Tell the rest of the page that something happened. */
export const tell = (name, detail) => document.dispatchEvent(new CustomEvent(name, { detail }));
