/** `where`: which documents a search may return, by their metadata. The same rules as in Python. */

import { InvalidInputError } from "./errors.js";

const OPERATORS = ["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$prefix"];
const NEGATED: Record<string, string> = { $ne: "$eq", $nin: "$in" };
const DEPTH = 32;
const CONDITIONS = 1000;

/** Stands for the document's id where a field is named. */
export const ID = "$id";

export type Value = string | number;

/** A filter, such as `{"year": {"$gte": 2020}, "lang": "en"}`. */
export type Where = { readonly [name: string]: unknown };

interface Condition {
  field: string;
  operator: string;
  values: Value[];
}

export type Filter =
  | { kind: "condition"; condition: Condition }
  | { kind: "and" | "or" | "not"; parts: Filter[] };

/** Values of a field, each with the documents that have it, ascending. */
export type FieldValues = readonly (readonly [value: Value, documents: readonly number[]])[];

export function parseFilter(where: unknown): Filter {
  return parse(where, 0, { left: CONDITIONS });
}

/** Say for which of `size` documents a filter holds. */
export async function matching(
  filter: Filter,
  size: number,
  valuesOf: (field: string) => Promise<FieldValues>,
): Promise<Uint8Array> {
  if (filter.kind === "condition") {
    const { condition } = filter;
    const mask = new Uint8Array(size);
    for (const [value, documents] of await valuesOf(condition.field)) {
      if (holds(condition, value)) for (const document of documents) mask[document] = 1;
    }
    return mask;
  }
  const masks: Uint8Array[] = [];
  for (const part of filter.parts) masks.push(await matching(part, size, valuesOf));
  if (filter.kind === "not") return masks[0]!.map((bit) => 1 - bit);
  const either = filter.kind === "or";
  const result = new Uint8Array(size).fill(either ? 0 : 1);
  for (const mask of masks) {
    for (let n = 0; n < size; n++) {
      result[n] = either ? result[n]! | mask[n]! : result[n]! & mask[n]!;
    }
  }
  return result;
}

function holds({ operator, values }: Condition, value: Value): boolean {
  if (operator === "$exists") return true;
  if (operator === "$in") return values.includes(value);
  const wanted = values[0]!;
  if (typeof wanted !== typeof value) return false;
  if (operator === "$prefix") return (value as string).startsWith(wanted as string);
  const order = compare(value, wanted);
  switch (operator) {
    case "$eq":
      return order === 0;
    case "$gt":
      return order > 0;
    case "$gte":
      return order >= 0;
    case "$lt":
      return order < 0;
    default:
      return order <= 0;
  }
}

/** Compare two values of one kind; texts by code points, as their UTF-8 does. */
function compare(one: Value, other: Value): number {
  if (typeof one === "number") return one - (other as number);
  const [left, right] = [Array.from(one), Array.from(other as string)];
  for (let n = 0; n < Math.min(left.length, right.length); n++) {
    const step = left[n]!.codePointAt(0)! - right[n]!.codePointAt(0)!;
    if (step) return step;
  }
  return left.length - right.length;
}

function parse(where: unknown, depth: number, budget: { left: number }): Filter {
  if (!isObject(where))
    throw new InvalidInputError(`a filter must be an object, got ${shown(where)}.`);
  if (depth > DEPTH)
    throw new InvalidInputError(`filters must not be nested deeper than ${DEPTH}.`);
  const entries = Object.entries(where);
  if (!entries.length) spend(budget);
  const parts = entries.flatMap(([name, value]): Filter[] => {
    if (name === "$and" || name === "$or") {
      if (!Array.isArray(value) || !value.length) {
        throw new InvalidInputError(`${name} takes a list of filters, got ${shown(value)}.`);
      }
      const inner = value.map((item) => parse(item, depth + 1, budget));
      return [{ kind: name === "$and" ? "and" : "or", parts: inner }];
    }
    if (name === "$not") return [{ kind: "not", parts: [parse(value, depth + 1, budget)] }];
    if (name.startsWith("$") && name !== ID) {
      throw new InvalidInputError(
        `a filter has names of fields, ${ID}, $and, $or and $not, got ${shown(name)}.`,
      );
    }
    const operators = Object.entries(isObject(value) ? value : { $eq: value });
    if (!operators.length) throw new InvalidInputError(`the filter on ${shown(name)} is empty.`);
    return operators.map(([operator, operand]) => {
      spend(budget);
      return condition(name, operator, operand);
    });
  });
  return parts.length === 1 ? parts[0]! : { kind: "and", parts };
}

function spend(budget: { left: number }): void {
  budget.left -= 1;
  if (budget.left < 0)
    throw new InvalidInputError(`a filter has at most ${CONDITIONS} conditions.`);
}

function condition(field: string, operator: string, operand: unknown): Filter {
  const negate = (leaf: Filter): Filter => ({ kind: "not", parts: [leaf] });
  const leaf = (name: string, values: Value[]): Filter => ({
    kind: "condition",
    condition: { field, operator: name, values },
  });
  if (!OPERATORS.includes(operator)) {
    throw new InvalidInputError(
      `the filter on ${shown(field)} must use ${OPERATORS.join(", ")}, got ${shown(operator)}.`,
    );
  }
  if (operator === "$exists") {
    if (typeof operand !== "boolean") {
      throw new InvalidInputError(`$exists of ${shown(field)} must be true or false.`);
    }
    return operand ? leaf("$exists", []) : negate(leaf("$exists", []));
  }
  const many = operator === "$in" || operator === "$nin";
  if (many && !Array.isArray(operand)) {
    throw new InvalidInputError(
      `${operator} of ${shown(field)} takes a list, got ${shown(operand)}.`,
    );
  }
  const items = many ? (operand as unknown[]) : [operand];
  const found = leaf(
    NEGATED[operator] ?? operator,
    items.map((item) => checked(field, operator, item)),
  );
  return operator in NEGATED ? negate(found) : found;
}

function checked(field: string, operator: string, value: unknown): Value {
  const textsOnly = field === ID || operator === "$prefix";
  if (typeof value === "string") return value;
  if (!textsOnly && typeof value === "boolean") return Number(value);
  if (!textsOnly && typeof value === "number" && Number.isFinite(value)) return value;
  const kind = textsOnly ? "a text" : "a text, a finite number, true or false";
  const hint = value === null ? ' Ask for absence with {"$exists": false}.' : "";
  throw new InvalidInputError(
    `${operator} of ${shown(field)} must be ${kind}, got ${shown(value)}.${hint}`,
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function shown(value: unknown): string {
  return (JSON.stringify(value) ?? String(value)).slice(0, 60);
}
