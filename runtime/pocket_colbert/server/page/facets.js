// Filters: the facets beside the hits, the form for any other condition, and the chips of those in force.

import * as backend from "./backend.js";
import { $, button, make, options } from "./dom.js";
import { chosenValues, condition, isFacet, label, operators, withValue } from "./filters.js";
import { search } from "./search.js";
import { state } from "./state.js";

const SHOWN = 6; // values of a facet, until more are asked for

/** Learn what can be filtered by, and show it. */
export async function showFields(info) {
  state.fields = info.fields ? await backend.facets() : [];
  $("open-filter").hidden = !state.fields.length;
  const chosen = $("filter-field").value;
  options($("filter-field"), state.fields.map((field) => [field.name, field.name]));
  if (state.fields.some((field) => field.name === chosen)) $("filter-field").value = chosen;
  fieldChosen();
  showFacets();
}

const more = new Set(); // names of facets that show all their values

function showFacets() {
  const facets = state.fields.filter((field) => isFacet(field, state.info?.documents ?? 0));
  document.body.classList.toggle("faceted", facets.length > 0);
  $("facets").replaceChildren(...facets.map((field, number) => {
    const chosen = chosenValues(state.conditions, field.name);
    const group = make("fieldset", "facet", make("legend", "", field.name));
    const values = more.has(field.name) ? field.values
      : field.values.filter(({ value }, n) => n < SHOWN || chosen.includes(value));
    values.forEach(({ value, documents }, n) => {
      const box = make("input", "");
      box.type = "checkbox";
      box.id = `facet-${number}-${n}`;
      box.checked = chosen.includes(value);
      box.addEventListener("change", () => {
        state.conditions = withValue(state.conditions, field.name, value, box.checked);
        showChips();
        showFacets();
        $(box.id)?.focus();
        search();
      });
      const name = make("label", "", make("span", "value", String(value)), make("span", "count", count(documents)));
      name.htmlFor = box.id;
      group.append(make("div", "choice", box, name));
    });
    if (values.length < field.values.length) {
      group.append(button("link", `${field.values.length - values.length} more`, () => {
        more.add(field.name);
        showFacets();
        $(`facet-${number}-${SHOWN}`)?.focus();
      }));
    }
    return group;
  }));
}

const count = (documents) => (documents === 1000 ? "1000+" : String(documents));

// ---- any other condition

const chosenField = () => state.fields.find((field) => field.name === $("filter-field").value);

export function fieldChosen() {
  const field = chosenField();
  if (!field) return;
  const before = $("filter-operator").value;
  const possible = operators(field);
  options($("filter-operator"), possible);
  if (possible.some(([operator]) => operator === before)) $("filter-operator").value = before;
  options($("filter-choice"), (field.values ?? []).map(({ value, documents }, n) =>
    [n, `${value} (${count(documents)})`]));
  $("filter-value").value = "";
  $("filter-value").inputMode = field.kind === "number" ? "decimal" : "text";
  $("filter-value").placeholder = field.kind === "number" ? `${field.least} to ${field.greatest}` : "";
  operatorChosen();
}

export function operatorChosen() {
  const field = chosenField();
  const operator = $("filter-operator").value;
  const [, , takesValue] = operators(field).find(([name]) => name === operator);
  const chosen = Boolean(field.values) && (operator === "$eq" || operator === "$ne");
  $("filter-choice").hidden = !takesValue || !chosen;
  $("filter-value").hidden = !takesValue || chosen;
}

export function addFilter(event) {
  event.preventDefault();
  const field = chosenField();
  const choice = $("filter-choice");
  const value = choice.hidden ? $("filter-value").value : field.values[choice.value].value;
  const made = condition(field, $("filter-operator").value, value);
  $("filter-value").setAttribute("aria-invalid", String(made === null));
  if (made === null) {
    $("status").textContent = field.kind === "number" ? "The value must be a number." : "A value is missing.";
    $("filter-value").focus();
    return;
  }
  state.conditions.push(made);
  $("filter-value").value = "";
  showChips();
  showFacets();
  search();
}

/** Show the filters in force. */
export function showChips() {
  $("chips").replaceChildren(...state.conditions.map((each, n) => {
    const chip = button("chip", label(each), () => {
      state.conditions.splice(n, 1);
      showChips();
      showFacets();
      ($("chips").children[Math.min(n, state.conditions.length - 1)] ?? $("query")).focus();
      search();
    });
    chip.setAttribute("aria-label", `Remove the filter ${label(each)}`);
    return chip;
  }));
}

export function toggleFilter(open) {
  $("filters").classList.toggle("open", open);
  $("filter").hidden = !open;
  $("open-filter").setAttribute("aria-expanded", String(open));
  if (open) $("filter-field").focus();
}
