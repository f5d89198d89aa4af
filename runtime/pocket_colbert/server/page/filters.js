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
  if (operator === "$exists") return `${name} is ${value ? "there" : "missing"}`;
  if (!(operator in SIGNS) || typeof value === "object") return JSON.stringify(condition);
  return `${name} ${SIGNS[operator]} ${value}`;
}
