// What the page shows now. One object, so that every part sees the same.

export const state = {
  hits: [],
  words: [], // of the query: { start, end, text, stop }
  pinned: -1, // number of the word whose matches are shown, -1 for none
  opened: null, // the document that is open: { document, hit }
  info: null, // what /api/info says
  fields: [], // what can be filtered by
  conditions: [], // filters in force, all of which must hold
};

export const WEAK = 0.25; // hits of less relevance are weak matches, as on the command line

export const weak = (hit) => typeof hit.relevance === "number" && hit.relevance < WEAK;
