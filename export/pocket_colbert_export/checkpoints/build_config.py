"""From what a layout says to a `ModelConfig`; nothing is read from disk here."""

from __future__ import annotations

from typing import Any

from pocket_colbert.errors import InvalidInputError
from pocket_colbert.model.recipe import ModelConfig
from pocket_colbert_export.checkpoints.settings import CheckpointSettings
from pocket_colbert_export.errors import CheckpointError

_PREFIX_PROBES = (
    "", "a", " leading space", "Ünïcode 東京 text", "UPPER case", "[CLS] nested", "1 2 3.",
)  # fmt: skip


def build_config(
    settings: CheckpointSettings, tokenizer: Any, positions: int, dim: int, name: str
) -> tuple[ModelConfig, tuple[str, ...]]:
    """Turn settings into a recipe, checking them against tokenizer and backbone.

    Args:
        settings: What the layout says.
        tokenizer: The transformers tokenizer.
        positions: Positions that the backbone has for tokens.
        dim: Width of a token vector.
        name: Where the model comes from, for people.

    Returns:
        The recipe, and what a reader of the model card should know besides.

    Raises:
        CheckpointError: A length is beyond the backbone, or a token is not in the vocabulary.
    """
    query_length, query_max_length = _query_lengths(settings, tokenizer, positions)
    document_length = _tokens(settings, settings.document_length, tokenizer, positions)
    _check_length(settings, "document_length", document_length, positions)
    _check_markers(settings, tokenizer)
    ids = {word: _token_id(tokenizer, word) for word in settings.skiplist_words}
    skiplist = [
        (word, token_id) for word in settings.skiplist_words if (token_id := ids[word]) is not None
    ]
    unknown = [word for word, token_id in ids.items() if token_id is None]
    expansion, prefixes = settings.expansion, settings.prefixes
    try:
        config = ModelConfig(
            embedding_dim=dim,
            query_length=query_length,
            document_length=document_length,
            query_prefix=prefixes["query"],
            document_prefix=prefixes["document"],
            query_prefix_id=_prefix_id(tokenizer, prefixes["query"]),
            document_prefix_id=_prefix_id(tokenizer, prefixes["document"]),
            do_query_expansion=expansion is not None,
            query_expansion_strategy=expansion.strategy if expansion else "fixed",
            query_max_length=query_max_length,
            attend_to_expansion_tokens=expansion is not None and expansion.attend,
            mask_token_id=_mask_token_id(settings, tokenizer),
            skiplist_words=tuple(word for word, _ in skiplist),
            skiplist_ids=tuple(token_id for _, token_id in skiplist),
            skiplist_tasks=settings.skiplist_tasks,
            keep_only_token_ids=settings.keep_only_token_ids,
            pool_factor=settings.pool_factor,
            num_protected_tokens=settings.num_protected_tokens,
            matryoshka_dims=settings.matryoshka_dims,
            model_name=name,
        )
    except InvalidInputError as error:
        raise CheckpointError(f"{settings.described_in}: {error}") from error
    if not unknown:
        return config, ()
    return config, (
        f"Skiplist words that are no tokens of this tokenizer were left out: {unknown}.",
    )


def _query_lengths(
    settings: CheckpointSettings, tokenizer: Any, positions: int
) -> tuple[int, int | None]:
    """Return how long queries are at least, and at most where that is more."""
    least = most = _tokens(settings, settings.query_length, tokenizer, positions)
    if settings.expansion is not None:
        least = settings.expansion.length
        most = max(most, least) if settings.expansion.strategy == "min" else least
    _check_length(settings, "query_length", most, positions)
    return least, most if most > least else None


def _tokens(
    settings: CheckpointSettings, length: int | None, tokenizer: Any, positions: int
) -> int:
    """Return a length; what tokenizer and backbone take where the checkpoint does not say."""
    if length is None:
        return int(min(tokenizer.model_max_length, positions))
    return min(length, positions) if settings.cut_lengths else length


def _check_length(settings: CheckpointSettings, key: str, length: int, positions: int) -> None:
    if not 1 <= length <= positions:
        raise CheckpointError(
            f"{settings.described_in}: key {key!r} is {length!r}; the backbone has {positions} "
            "positions."
        )


def _check_markers(settings: CheckpointSettings, tokenizer: Any) -> None:
    for key, marker in (settings.required_markers or {}).items():
        if tokenizer.convert_tokens_to_ids(marker) in (None, tokenizer.unk_token_id):
            raise CheckpointError(
                f"{settings.described_in}: key {key!r} is {marker!r}, which the tokenizer does "
                "not know."
            )


def _token_id(tokenizer: Any, token: str) -> int | None:
    """Return a token's id, None where the vocabulary lacks it."""
    token_id = tokenizer.convert_tokens_to_ids(token)
    if token_id == tokenizer.unk_token_id and token != tokenizer.unk_token:
        return None
    return None if token_id is None else int(token_id)


def _mask_token_id(settings: CheckpointSettings, tokenizer: Any) -> int | None:
    """Return the id of expansion tokens; where there are none, that of the mask token if any."""
    if settings.expansion is None:
        return None if tokenizer.mask_token_id is None else int(tokenizer.mask_token_id)
    token = settings.expansion.token or tokenizer.mask_token or tokenizer.eos_token
    token_id = None if token is None else _token_id(tokenizer, token)
    if token_id is None:
        raise CheckpointError(
            f"{settings.described_in}: query expansion token {token!r} is not known."
        )
    return token_id


def _prefix_id(tokenizer: Any, text: str) -> int | None:
    """Return the token id to put in for a prefix, None when it must be tokenised with the text.

    An id may stand for the prefix when putting it second gives the tokens that putting the
    prefix before the text gives; that is tried, not assumed.
    """
    if not text:
        return None
    pieces = tokenizer.encode(text, add_special_tokens=False)
    if len(pieces) != 1 or pieces[0] == tokenizer.unk_token_id:
        return None
    for probe in _PREFIX_PROBES:
        plain = tokenizer.encode(probe)
        if tokenizer.encode(text + probe) != [*plain[:1], pieces[0], *plain[1:]]:
            return None
    return int(pieces[0])
