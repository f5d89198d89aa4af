// The address: a search, its filters and the open document can be bookmarked and shared.

import { conditionsOf, whereOf } from "./filters.js";

const RANKS = ["auto", "off", "weighted", "keywords"];

/** Read an address: { query, conditions, rank, least, opened }; what makes no sense is left out. */
export function readAddress(address) {
  const asked = new URL(address).searchParams;
  let conditions = [];
  try {
    conditions = conditionsOf(JSON.parse(asked.get("where") ?? "null"));
  } catch {
    // an address that was cut off, say
  }
  const least = Number(asked.get("least"));
  return {
    query: asked.get("q") ?? "",
    conditions,
    rank: RANKS.includes(asked.get("by")) ? asked.get("by") : "auto",
    least: Number.isFinite(least) ? Math.min(Math.max(Math.round(least), 0), 95) : 0,
    opened: asked.get("doc"),
  };
}

/** Return an address with these things in it; what is empty is left out. */
export function writeAddress(address, { query, conditions, rank, least, opened }) {
  const written = new URL(address);
  const where = whereOf(conditions);
  const values = {
    q: query, where: where && JSON.stringify(where), by: rank === "auto" ? "" : rank,
    least: least ? String(least) : "", doc: opened,
  };
  for (const [name, value] of Object.entries(values)) {
    if (value) written.searchParams.set(name, value);
    else written.searchParams.delete(name);
  }
  written.hash = "";
  return written;
}
