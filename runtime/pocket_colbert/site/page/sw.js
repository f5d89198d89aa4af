// Answers from what is stored. Files that are named by what is in them never change; the others
// are asked for first, and stored for when there is no network.

const SITE = self.registration.scope;
const CACHE = `pocket-colbert-site ${SITE}`;
const LASTING = /\/(assets|data)\/[\w-]+-[0-9a-f]{16}\.\w+$/;
const PAGE = ["./", "app.webmanifest", "search.json", "%app.js%", "%worker.js%", "%style.css%", "%icon.svg%", "%ort.wasm.gz%"];

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(PAGE)).then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(removeOld().then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const address = request.url.replace(/[?#].*$/, "");
  if (request.method !== "GET" || !address.startsWith(SITE)) return;
  event.respondWith(LASTING.test(address) ? lasting(address, request) : changing(address));
});

async function lasting(address, request) {
  const cache = await caches.open(CACHE);
  const known = await cache.match(address);
  if (known) return known;
  const answer = await fetch(request);
  if (answer.ok) await cache.put(address, answer.clone()).catch(() => undefined);
  return answer;
}

async function changing(address) {
  const cache = await caches.open(CACHE);
  try {
    const answer = await fetch(address, { cache: "no-cache" });
    if (answer.ok) await cache.put(address, answer.clone()).catch(() => undefined);
    return answer;
  } catch (error) {
    const known = await cache.match(address);
    if (known) return known;
    throw error;
  }
}

/** Remove files of an index that was replaced: those that no page asks for any more. */
async function removeOld() {
  const cache = await caches.open(CACHE);
  const current = new Set(PAGE.map((name) => new URL(name, SITE).href));
  for (const request of await cache.keys()) {
    if (/\/assets\//.test(request.url) && !current.has(request.url)) await cache.delete(request);
  }
}
