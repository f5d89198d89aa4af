// What keys do. `?` shows the list, which is in index.html.

import { $ } from "./dom.js";
import { toggleFilter } from "./facets.js";
import { toggleMenu } from "./reader.js";
import { search } from "./search.js";
import { state } from "./state.js";

export function pressed(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
  const open = document.querySelector("dialog[open]");
  const active = document.activeElement;
  const writing = active?.matches("input:not([type=checkbox], [type=range]), textarea, select") ?? false;
  if (open) {
    if (event.key === "Escape" && !$("menu").hidden) {
      event.preventDefault(); // close the menu only
      toggleMenu(false);
      $("open-menu").focus();
    } else if (open.id === "reader" && !writing && (event.key === "n" || event.key === "p")) {
      step(event.key === "n" ? 1 : -1);
      event.preventDefault();
    } else if (open.id === "helper" && event.key === "?") $("helper").close();
    return;
  }
  const links = [...document.querySelectorAll("#hits .hit")];
  const at = links.indexOf(active);
  if (event.key === "?" && (!writing || (active === $("query") && !$("query").value))) {
    $("helper").showModal();
  } else if (event.key === "/" && !writing) {
    $("query").focus();
    $("query").select();
  } else if (event.key === "f" && !writing && state.fields.length) {
    toggleFilter(true);
  } else if (event.key === "m" && !writing && !$("more").hidden) {
    $("more").click();
  } else if ((event.key === "ArrowDown" && (at >= 0 || active === $("query"))) || (event.key === "j" && !writing)) {
    links[Math.min(at + 1, links.length - 1)]?.focus();
  } else if ((event.key === "ArrowUp" || (event.key === "k" && !writing)) && at >= 0) {
    (links[at - 1] ?? $("query")).focus();
  } else if (event.key === "Escape") {
    if (active === $("query")) {
      $("query").value = "";
      search();
    } else if (active?.matches("#filters *")) toggleFilter(false);
    $("query").focus();
  } else return;
  event.preventDefault();
}

/** Go to the next place in the open document that matched, or the one before. */
function step(by) {
  const text = $("reader-text");
  const places = [...text.querySelectorAll("mark.lit, .passage")].length
    ? [...text.querySelectorAll(document.body.classList.contains("focused") ? "mark.lit" : ".passage")]
    : [...text.querySelectorAll("mark")];
  if (!places.length) return;
  const now = Number(text.dataset.at ?? 0) + by;
  const next = ((now % places.length) + places.length) % places.length;
  text.dataset.at = next;
  places[next].scrollIntoView({ block: "center" });
}
