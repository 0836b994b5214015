"""BLEU, as sacrebleu computes it."""

from collections.abc import Sequence

from warmup_jax import registry
from warmup_jax.data.text.languages import BLEU_TOKENIZERS


def bleu(hypotheses: Sequence[str], references: Sequence[str], tokenize: str) -> tuple[float, str]:
    r"""Returns the corpus BLEU of detokenised text, with one reference for each sentence.

    .. math:: 100 \cdot \min(1, e^{1 - r/c}) \exp(\tfrac14 \sum_{n=1}^4 \log p_n)

    with the precisions p_n of n-grams and the numbers c and r of tokens in hypotheses and references.

    Args:
      hypotheses: sentences; an empty one scores nothing.
      references: the same number of sentences.
      tokenize: sacrebleu's tokenizer: "13a" (what WMT uses), "char", "intl", "zh" or "none".

    Returns:
      The score, 0 to 100, and sacrebleu's signature, without which scores cannot be compared.

    Raises:
      ValueError: for no sentences, unequal numbers of them, or another tokenizer.

    Examples:
      >>> score, signature = bleu(["the cat sat on the mat"], ["a cat sat on the mat"], "13a")
      >>> round(score, 1)
      76.0

    References:
      Papineni et al., `BLEU <https://aclanthology.org/P02-1040>`_, 2002; Post, `A call for clarity in
      reporting BLEU scores <https://arxiv.org/abs/1804.08771>`_, 2018
    """
    registry.one_of("tokenize", tokenize, BLEU_TOKENIZERS)
    if len(hypotheses) != len(references) or not len(references):
        raise ValueError(
            f"{len(hypotheses)} hypotheses for {len(references)} references; allowed: equal numbers, at least 1"
        )
    from sacrebleu.metrics import BLEU

    metric = BLEU(tokenize=tokenize)
    score = metric.corpus_score(list(hypotheses), [list(references)]).score
    return float(score), str(metric.get_signature())
