/** SHA-256 of bytes: by the browser where it may, which it may only on secure pages. */

const K = roundConstants();

export async function sha256(bytes: Uint8Array): Promise<string> {
  const subtle = globalThis.crypto?.subtle;
  const digest = subtle
    ? new Uint8Array(await subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>))
    : sha256Plain(bytes);
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The same without the browser's help (FIPS 180-4). */
export function sha256Plain(bytes: Uint8Array): Uint8Array {
  const blocks = Math.ceil((bytes.length + 9) / 64);
  const tail = new Uint8Array(128);
  const whole = bytes.length - (bytes.length % 64);
  tail.set(bytes.subarray(whole));
  tail[bytes.length - whole] = 0x80;
  const tailLength = blocks * 64 - whole;
  const view = new DataView(tail.buffer);
  view.setUint32(tailLength - 8, Math.floor(bytes.length / 0x20000000));
  view.setUint32(tailLength - 4, (bytes.length << 3) >>> 0);
  const state = Uint32Array.from([2, 3, 5, 7, 11, 13, 17, 19], (prime) =>
    fraction(Math.sqrt(prime)),
  );
  const words = new Uint32Array(64);
  const body = new DataView(bytes.buffer, bytes.byteOffset, whole);
  for (let offset = 0; offset < whole; offset += 64) compress(state, words, body, offset);
  for (let offset = 0; offset < tailLength; offset += 64) compress(state, words, view, offset);
  const digest = new DataView(new ArrayBuffer(32));
  state.forEach((word, n) => {
    digest.setUint32(4 * n, word);
  });
  return new Uint8Array(digest.buffer);
}

function compress(state: Uint32Array, w: Uint32Array, block: DataView, offset: number): void {
  for (let n = 0; n < 16; n++) w[n] = block.getUint32(offset + 4 * n);
  for (let n = 16; n < 64; n++) {
    const a = w[n - 15]!;
    const b = w[n - 2]!;
    const small0 = turn(a, 7) ^ turn(a, 18) ^ (a >>> 3);
    const small1 = turn(b, 17) ^ turn(b, 19) ^ (b >>> 10);
    w[n] = w[n - 16]! + small0 + w[n - 7]! + small1;
  }
  let [a, b, c, d, e, f, g, h] = state as unknown as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  for (let n = 0; n < 64; n++) {
    const t1 =
      (h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + K[n]! + w[n]!) | 0;
    const t2 = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    [h, g, f, e, d, c, b, a] = [g, f, e, (d + t1) | 0, c, b, a, (t1 + t2) | 0];
  }
  [a, b, c, d, e, f, g, h].forEach((value, n) => {
    state[n] = state[n]! + value;
  });
}

function turn(value: number, by: number): number {
  return (value >>> by) | (value << (32 - by));
}

function fraction(value: number): number {
  return Math.floor((value % 1) * 2 ** 32) >>> 0;
}

function roundConstants(): Uint32Array {
  const primes: number[] = [];
  for (let n = 2; primes.length < 64; n++) if (primes.every((prime) => n % prime)) primes.push(n);
  return Uint32Array.from(primes, (prime) => fraction(Math.cbrt(prime)));
}
