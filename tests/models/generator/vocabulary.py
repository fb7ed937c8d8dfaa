"""tokenizer.json and the chat template out of the GGUF file's metadata."""

SPECIAL = 3  # token_type of ggml
# `tokenizer.ggml.pre` names the pre-tokenizer; this is the one of SmolLM2: every digit is a word.
PRE_TOKENIZERS = {
    "smollm": [
        {"type": "Digits", "individual_digits": True},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    ]
}


def tokenizer(facts):
    fact = lambda name: facts[f"tokenizer.ggml.{name}"]  # noqa: E731
    if fact("model") != "gpt2":
        raise ValueError(f"the tokenizer is {fact('model')}, not a byte-level BPE")
    tokens = list(enumerate(fact("tokens")))
    added = [added_token(index, text) for index, text in tokens if fact("token_type")[index] == SPECIAL]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": PRE_TOKENIZERS[fact("pre")]},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {text: index for index, text in tokens},
            "merges": [merge.split(" ", 1) for merge in fact("merges")],
        },
    }


def added_token(index, text):
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": index, "content": text, **flags, "special": True}


def end_token(facts):
    return facts["tokenizer.ggml.tokens"][facts["tokenizer.ggml.eos_token_id"]]


def chat_template(facts):
    return facts["tokenizer.chat_template"]
