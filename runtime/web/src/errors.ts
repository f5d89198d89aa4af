/** Whatever this package throws on purpose; the message says what to do. */
export class PocketColbertError extends Error {
  override name = "PocketColbertError";
}

/** An argument breaks its rule. */
export class InvalidInputError extends PocketColbertError {
  override name = "InvalidInputError";
}

/** A model folder is incomplete, damaged, or of another kind. */
export class ModelFormatError extends PocketColbertError {
  override name = "ModelFormatError";
}

/** An index is incomplete, damaged, or of another version. */
export class IndexFormatError extends PocketColbertError {
  override name = "IndexFormatError";
}

/** A file could not be fetched or read. */
export class FetchError extends PocketColbertError {
  override name = "FetchError";
}

/** The browser lacks what the runtime needs. */
export class UnsupportedError extends PocketColbertError {
  override name = "UnsupportedError";
}
