"""Languages of translations: the tokenizer that BLEU needs for each."""

import re

# Those of sacrebleu that never need the network. "13a", which WMT uses, takes what stands between spaces and
# punctuation for a word.
BLEU_TOKENIZERS = ("13a", "char", "intl", "none", "zh")

# Languages written without spaces, by their codes in ISO 639: a sentence would be one word for "13a".
UNSPACED = {
    "zh": ("zh", "zho", "chi", "cmn", "yue", "chinese"),
    "char": ("ja", "jpn", "japanese", "th", "tha", "thai", "lo", "lao", "km", "khm", "khmer", "my", "mya", "bo", "bod"),
}


def bleu_tokenizer(language: str) -> str:
    """Returns sacrebleu's tokenizer for a target language, by its code or name as a data set spells it.

    Examples:
      >>> bleu_tokenizer("zh-CN"), bleu_tokenizer("jpn_Jpan"), bleu_tokenizer("de"), bleu_tokenizer("target")
      ('zh', 'char', '13a', '13a')
    """
    code = re.split(r"[^a-z]", language.lower())[0]
    return next((tokenizer for tokenizer, codes in UNSPACED.items() if code in codes), "13a")
