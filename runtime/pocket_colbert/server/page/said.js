// What is said to people when something does not work: what happened, and what to do.

import { Refused } from "./backend.js";

/** Say what an error means and what to do about it. */
export function said(error) {
  if (!(error instanceof Refused)) {
    console.error(error);
    return "Something in this page went wrong. Reload it and try again.";
  }
  if (error.status === 0) {
    return "The server cannot be reached. Check that it is running and that you are online, then try again.";
  }
  if (error.status === 401) return "This server asks for a token.";
  if (error.status === 404) {
    return "That document is not there any more. It may have been deleted or renamed: search for it again.";
  }
  if (error.status === 503) return "The server is busy. Wait a moment, then try again.";
  const message = sentence(error.message);
  if (error.status === 413) return `${message} Send less at a time.`;
  if (error.status === 422) return `${message} Change the question or the filters.`;
  if (error.status >= 500) return `${message} If it stays like this, tell whoever runs the server.`;
  return message;
}

function sentence(message) {
  const text = message.trim();
  return text[0]?.toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}
