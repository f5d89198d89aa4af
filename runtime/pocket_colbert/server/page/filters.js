// Filters: between the address, what people see of them, and what the API takes. No page is needed.

const SIGNS = { $eq: "is", $ne: "is not", $gte: "≥", $lte: "≤", $gt: ">", $lt: "<", $prefix: "begins with" };

/** Return what a field may be asked: [operator, words for it, whether it takes a value]. */
export function operators(field) {
  const found = [["$eq", "is", true], ["$ne", "is not", true]];
  if (field.kind !== "text") found.push(["$gte", "is at least", true], ["$lte", "is at most", true]);
  if (field.kind !== "number") found.push(["$prefix", "begins with", true]);
  return [...found, ["exists", "is there", false], ["missing", "is missing", false]];
}

/** Make a condition of what was chosen and typed; null when the value is none. */
export function condition(field, operator, value) {
  if (operator === "exists" || operator === "missing") {
    return { [field.name]: { $exists: operator === "exists" } };
  }
  if (typeof value === "string") {
    const number = value.trim() === "" ? NaN : Number(value);
    if (field.kind === "number" && !Number.isFinite(number)) return null;
    const numeric = field.kind === "number" || (operator !== "$prefix" && field.kind === "mixed");
    if (numeric && Number.isFinite(number)) value = number;
    if (value === "") return null;
  }
  return { [field.name]: { [operator]: value } };
}

/** Take a filter apart into conditions, all of which must hold. */
export function conditionsOf(where) {
  if (where === null || typeof where !== "object" || Array.isArray(where)) return [];
  return Object.entries(where).flatMap(([name, value]) =>
    name === "$and" && Array.isArray(value) ? value.flatMap(conditionsOf) : [{ [name]: value }]);
}

/** Put conditions together; null for none. */
export function whereOf(conditions) {
  if (conditions.length < 2) return conditions[0] ?? null;
  return { $and: conditions };
}

/** Say what a condition asks for. */
export function label(condition) {
  const [[name, asked]] = Object.entries(condition);
  if (name.startsWith("$") && name !== "$id") return JSON.stringify(condition);
  if (asked === null || typeof asked !== "object") return `${name} is ${asked}`;
  const parts = Object.entries(asked);
  if (parts.length !== 1) return JSON.stringify(condition);
  const [[operator, value]] = parts;
  if (operator === "$in" && Array.isArray(value) && value.every((each) => each === null || typeof each !== "object")) {
    return `${name} is ${value.join(" or ")}`;
  }
  if (operator === "$exists") return `${name} is ${value ? "there" : "missing"}`;
  if (!(operator in SIGNS) || typeof value === "object") return JSON.stringify(condition);
  return `${name} ${SIGNS[operator]} ${value}`;
}

const OF_FILES = ["lines", "pages", "layout", "path", "modified", "size", "page_count"]; // differ from file to file

/** Say whether a field is worth a list of its values beside the hits: one that parts `total` documents. */
export function isFacet(field, total) {
  if (!field.values || OF_FILES.includes(field.name) || !field.values.length) return false;
  return field.values.length > 1 || field.values[0].documents < Math.min(total, 1000);
}

/** Return the values of a condition on a field if it is one that facets make; otherwise null. */
function valuesOf(condition, name) {
  const entries = Object.entries(condition);
  if (entries.length !== 1 || entries[0][0] !== name) return null;
  const asked = entries[0][1];
  if (asked === null || typeof asked !== "object") return [asked];
  const operators = Object.keys(asked);
  if (operators.length !== 1) return null;
  if (operators[0] === "$eq") return [asked.$eq];
  return operators[0] === "$in" && Array.isArray(asked.$in) ? asked.$in : null;
}

/** Return the values of a field that are chosen. */
export function chosenValues(conditions, name) {
  return conditions.flatMap((condition) => valuesOf(condition, name) ?? []);
}

/** Return the conditions with a value of a field chosen or not: values of one field are alternatives. */
export function withValue(conditions, name, value, chosen) {
  const at = conditions.findIndex((condition) => valuesOf(condition, name));
  const before = at < 0 ? [] : valuesOf(conditions[at], name);
  const values = before.filter((each) => each !== value);
  if (chosen) values.push(value);
  const made = values.length === 0 ? [] : [{ [name]: values.length === 1 ? { $eq: values[0] } : { $in: values } }];
  if (at < 0) return [...conditions, ...made];
  return [...conditions.slice(0, at), ...made, ...conditions.slice(at + 1)];
}
