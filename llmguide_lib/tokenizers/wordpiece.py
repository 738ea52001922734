"""WordPiece: BPE on characters in which a token knows whether it begins a word; encoding takes the longest first.

A token that continues a word is written with ## in front, so that no blank has to be stored. The merges find the
tokens and are then forgotten: ``encode`` takes the longest token that fits, again and again, and a word
of which some part fits nothing is [UNK] as a whole.

Google did not release the trainer of BERT's vocabulary. The paper of 2012 adds the unit that makes the texts most
likely under a language model; Hugging Face's trainer adds the most frequent pair, as BPE does. This one follows the
latter: it is the code of ``bpe``, a count can be checked by hand, and the tokens can be compared.

Source: Schuster and Nakajima 2012, "Japanese and Korean Voice Search", section 3; Devlin et al. 2019,
https://arxiv.org/abs/1810.04805
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from .base import Tokenizer, checked_special_tokens, checked_vocab_size
from .bpe import learn_merges
from .files import wordpiece_from_json, wordpiece_to_json
from .normalizing import UNCASED, Step, checked_steps, normalize
from .splitting import count_pieces, split_bert

UNKNOWN, CONTINUED = "[UNK]", "##"
LONGEST_WORD = 100  # longer ones are seldom words
BERT_SPECIAL_TOKENS = ("[PAD]", UNKNOWN, "[CLS]", "[SEP]", "[MASK]")


class WordPieceTokenizer(Tokenizer):
    """WordPiece, as in BERT.

    Args:
        tokens: all of them, the id of a token is its place.
        special_tokens: those that are special, [UNK] among them.
        normalizer: steps of ``normalizing``: ``UNCASED``, ``CASED``, or some of them.
        longest_word: longer words are [UNK].
    Raises:
        ValueError: tokens that occur twice, no [UNK], steps that a file could not name.

    Example:
        >>> tokenizer = WordPieceTokenizer(["[UNK]", "un", "##aff", "##able"], ["[UNK]"])
        >>> [tokenizer.tokens[id] for id in tokenizer.encode("Unaffable unicorn")]
        ['un', '##aff', '##able', '[UNK]']
    """

    def __init__(
        self,
        tokens: Sequence[str],
        special_tokens: Sequence[str] = BERT_SPECIAL_TOKENS,
        normalizer: Sequence[Step] = UNCASED,
        *,
        longest_word: int = LONGEST_WORD,
    ) -> None:
        super().__init__(tokens, special_tokens)
        if UNKNOWN not in self.special_tokens:
            raise ValueError(f"special_tokens ({list(special_tokens)}) must hold {UNKNOWN!r}")
        self.normalizer, self.longest_word = checked_steps(normalizer), longest_word

    @classmethod
    def train(
        cls,
        texts: str | Iterable[str],
        vocab_size: int,
        special_tokens: Sequence[str] = BERT_SPECIAL_TOKENS,
        *,
        normalizer: Sequence[Step] = UNCASED,
        alphabet_size: int = 1000,
    ) -> "WordPieceTokenizer":
        """Learns the tokens from texts.

        The special tokens get the first ids, then come the characters by their number in Unicode, then those that
        continue a word, then what was merged. A word that will be [UNK] is not learned from.

        Args:
            texts: one text, or any number of them, read once and one after the other.
            vocab_size: number of tokens; there are fewer where the texts have no pair left to merge.
            special_tokens: in the order of their ids, [UNK] among them.
            normalizer: steps of ``normalizing``.
            alphabet_size: how many characters, the most frequent ones, are kept.
        Raises:
            ValueError: too small a vocabulary, empty texts, a text that is no string, bad special tokens.
        """
        special, steps = checked_special_tokens(special_tokens), checked_steps(normalizer)
        if alphabet_size < 1:
            raise ValueError(f"alphabet_size ({alphabet_size}) must be positive")
        counts = count_pieces(texts, lambda text: split_bert(normalize(text, steps)))
        words, letters = _spell(counts, alphabet_size)
        clash = set(letters) & set(special)
        if clash:
            raise ValueError(f"special token {min(clash)!r} must be longer: it is a character of the texts")
        least = len(special) + len(letters)
        checked_vocab_size(vocab_size, least, f"{len(special)} special tokens and {len(letters)} characters")
        tokens = [*special, *letters]
        ids = {token: id for id, token in enumerate(tokens)}
        word_counts = {tuple(ids[letter] for letter in word): count for word, count in words.items()}
        learn_merges(word_counts, tokens, vocab_size, join=_join, reserved=special)
        return cls(tokens, special, steps)

    def decode(self, ids: Iterable[int], *, skip_special: bool = False) -> str:
        """The words of some ids with one blank between them, none before ``. , ! ?``."""
        tokens = self._tokens(ids, skip_special)
        return "".join(tokens[:1] + [_continued(token) for token in tokens[1:]])

    def _split(self, text: str) -> list[str]:
        return split_bert(normalize(text, self.normalizer))

    def _encode_piece(self, piece: str) -> list[int]:
        unknown = [self.special_tokens[UNKNOWN]]
        if len(piece) > self.longest_word:
            return unknown
        ids: list[int] = []
        start = 0
        while start < len(piece):
            prefix = CONTINUED if start else ""
            fitting = (end for end in range(len(piece), start, -1) if prefix + piece[start:end] in self._ordinary)
            end = next(fitting, None)
            if end is None:
                return unknown
            ids.append(self._ordinary[prefix + piece[start:end]])
            start = end
        return ids

    def _to_json(self) -> dict:
        return wordpiece_to_json(self.tokens, self.special_tokens, self.normalizer, self.longest_word)

    @classmethod
    def _from_json(cls, json: dict) -> "WordPieceTokenizer":
        tokens, special, steps, longest_word = wordpiece_from_json(json)
        return cls(tokens, special, steps, longest_word=longest_word)


def _spell(counts: Mapping[str, int], alphabet_size: int) -> tuple[dict[tuple[str, ...], int], list[str]]:
    """Words as the tokens that their characters are, and these tokens in the order of their ids."""
    characters: Counter[str] = Counter()
    for word, count in counts.items():
        for character in word:
            characters[character] += count
    alphabet = set(sorted(characters, key=lambda character: (-characters[character], character))[:alphabet_size])
    words = {
        (word[0], *(CONTINUED + character for character in word[1:])): count
        for word, count in counts.items()
        if len(word) <= LONGEST_WORD and alphabet.issuperset(word)
    }
    return words, sorted(alphabet) + sorted({token for word in words for token in word[1:]})


def _join(left: str, right: str) -> str:
    return left + right.removeprefix(CONTINUED)


def _continued(token: str) -> str:
    """What a token adds to the text before it."""
    if token.startswith(CONTINUED):
        return token.removeprefix(CONTINUED)
    return token if token in (".", ",", "!", "?") else f" {token}"
