"""Where preferences come from and how they become comparisons."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cosdpo.config.section import Finite, Location, NonNegative, Positive, Section, Share

Comparisons = Literal["pairwise", "listwise", "rankings"]


class DataConfig(Section):
    """Where preferences come from and how they become comparisons."""

    train: Location = ""
    """Training preferences: a hub dataset name or a local .jsonl, .json, .csv (each perhaps with .gz), .parquet or
    .arrow file, a pattern such as data/*.parquet, or a folder of datasets' save_to_disk; comma-separated OBJECTIVE=FILE
    pairs for sources with one objective per file, such as helpful=a.json,harmless=b.json. For rankers a
    LETOR file, a folder with train.txt, vali.txt and test.txt, or one with such folders Fold1, Fold2 and so on; plain
    or compressed by gzip or bzip2. A file whose lines name no queries has their sizes beside it, in FILE.query."""
    validation: Location = ""
    """Held-out preferences in the same form; empty holds out validation_share of the training contexts."""
    test: Location = ""
    """Test file of a ranker; empty takes the test.txt of the folder data.train, or else the validation data."""
    validation_share: Share = 0.1
    """Share of training contexts held out when data.validation is empty."""
    format: Literal["auto", "scored", "pku", "hh", "trl"] = "auto"
    """Schema of the rows; auto recognises it from the column names."""
    comparisons: Comparisons = "pairwise"
    """pairwise trains on every ordered pair of candidates, listwise on a target distribution (the default of rankers),
    rankings on the likelihood of the whole order, in which tied candidates are not compared. Rankers know the last
    two."""
    targets: Literal["argmax", "proportional", "gains", "softmax"] = "argmax"
    """Target distribution of listwise comparisons: all mass on the best candidate, scores normalised to sum 1,
    NDCG's gains 2^score - 1 normalised to sum 1 (the default of rankers), or the softmax of the standardised scores."""
    max_rows: NonNegative = 0
    """Use at most this many contexts of each file, prompts or queries; 0 uses all."""
    auxiliary: dict[str, int] = {
        "quality": 132,
        "quality2": 133,
        "query_url_click": 134,
        "url_click": 135,
        "url_dwell": 136,
    }
    """Feature number of each auxiliary objective of a ranker, as the files count. These features are no inputs, whether
    or not objectives names them all. The default is that of MSLR-WEB10K and WEB30K."""
    first_feature: Annotated[int, Field(ge=0, le=1)] = 1
    """Number of the first feature in a ranker's text files; 0 where they count from 0, as scikit-learn writes them."""
    missing: Finite | None = None
    """What a feature's missing value counts as: nan, an infinity, or a number beyond 1e30, which stands for one. null
    refuses such values."""
    folds: Positive = 1
    """Cut the queries of a source without folds of its own into this many folds for cross-validation."""
    fold: NonNegative = 0
    """Run this fold alone, counted from 1; 0 runs all folds one after another."""
    synthetic_queries: Positive = 600
    """Queries of the synthetic data set that a ranker is trained on when data.train is empty."""
    max_length: NonNegative = 0
    """Longest prompt plus response in tokens; 0 is the model's own context. Longer responses are cut at the end."""
    prompt_too_long: Literal["error", "drop", "truncate"] = "error"
    """What to do with a prompt that leaves no room for a response; truncate cuts its start, but for a token that marks
    the beginning."""
    prompt_template: str = "{prompt}"
    """Text around a prompt, with {prompt} where the prompt goes; chats have the tokenizer's template instead."""
    response_template: str = "{response}"
    """Text around a response, such as ' {response}' for tokenizers that mark words by a leading space; not in
    chats."""
    append_eos: bool = True
    """End every response: in a chat with the token that ends a turn in the tokenizer's template, otherwise with the
    tokenizer's end-of-sequence token, unless the response has such an end."""
