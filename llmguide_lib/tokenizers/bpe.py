"""Byte-level BPE: a text is bytes, and the most frequent pair of neighbours becomes a token, again and again.

All 256 bytes are tokens, so every text can be encoded, and decoding gives it back. Texts are split into pieces
before (``splitting``); no token spans two of them.

Source: Gage 1994, "A New Algorithm for Data Compression"; Sennrich et al. 2016, https://arxiv.org/abs/1508.07909
(in words); Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.2 (on bytes).
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise
from operator import add

from .base import Tokenizer, checked_special_tokens, checked_vocab_size
from .files import BYTES, bpe_from_json, bpe_to_json, spelled_bytes
from .splitting import count_pieces, splitter

Pair = tuple[int, int]  # the ids of two neighbours


def merge(ids: Sequence[int], pair: Pair, merged: int) -> list[int]:
    """Puts ``merged`` where the pair stands, from left to right.

    Example:
        >>> merge([5, 5, 5, 7, 5, 5], (5, 5), 9)
        [9, 5, 7, 9]
    """
    result, at = [], 0
    while at < len(ids):
        if ids[at] == pair[0] and at + 1 < len(ids) and ids[at + 1] == pair[1]:
            result.append(merged)
            at += 2
        else:
            result.append(ids[at])
            at += 1
    return result


class _CountedWords:
    """Words, and how often each pair occurs in them, kept up to date while pairs are merged.

    Counting anew after each merge would read everything each time; here only the words that hold the pair are read.
    """

    def __init__(self, word_counts: Mapping[Sequence[int], int]) -> None:
        self.words = [list(word) for word in word_counts]
        self.repeats = list(word_counts.values())
        self.pair_counts: Counter[Pair] = Counter()
        self.places: defaultdict[Pair, set[int]] = defaultdict(set)  # of the words that hold, or held, a pair
        for place, word in enumerate(self.words):
            for pair in pairwise(word):
                self.pair_counts[pair] += self.repeats[place]
                self.places[pair].add(place)

    def merge(self, pair: Pair, merged: int) -> set[Pair]:
        """Merges a pair everywhere and returns the pairs that may have become more frequent."""
        grown = set()
        for place in self.places.pop(pair):
            for old in pairwise(self.words[place]):
                self.pair_counts[old] -= self.repeats[place]
            self.words[place] = merge(self.words[place], pair, merged)
            for new in pairwise(self.words[place]):
                self.pair_counts[new] += self.repeats[place]
                if merged in new:
                    self.places[new].add(place)
                    grown.add(new)
        return grown


def learn_merges(
    word_counts: Mapping[Sequence[int], int],
    tokens: list,
    vocab_size: int,
    *,
    join: Callable = add,
    reserved: Collection = (),
) -> list[Pair]:
    """Merges the most frequent pair into a new token until there are ``vocab_size`` tokens or no pair is left.

    Of equally frequent pairs, the one whose left token has the smaller id comes first, then the one whose right
    token has. (Hugging Face's trainer has the same rule, so that the merges are the same.)

    Args:
        word_counts: how often each word, a sequence of ids, occurs; no pair spans two words.
        tokens: what the ids mean; new tokens are appended.
        vocab_size: number of tokens at the end.
        join: makes a new token out of two.
        reserved: tokens that must not come into being.
    Returns:
        the merged pairs, in order.

    Example:
        >>> learn_merges({(0, 1, 0, 1): 3, (1, 0): 2}, tokens := ["a", "b"], 4)
        [(0, 1), (2, 2)]
        >>> tokens
        ['a', 'b', 'ab', 'abab']
    """
    words = _CountedWords(word_counts)
    ids = {token: id for id, token in enumerate(tokens)}
    # An entry may promise too much, because its pair has become rarer since, but never too little.
    queue = [(-count, pair) for pair, count in words.pair_counts.items()]
    heapify(queue)
    merges = []
    while queue and len(tokens) < vocab_size:
        promised, pair = heappop(queue)
        count = words.pair_counts[pair]
        if count != -promised:
            if count:
                heappush(queue, (-count, pair))
            continue
        token = join(tokens[pair[0]], tokens[pair[1]])
        if token in reserved:
            continue
        if token not in ids:  # "ab" + "c" may make what "a" + "bc" has made before
            ids[token] = len(tokens)
            tokens.append(token)
        merges.append(pair)
        for grown in words.merge(pair, ids[token]):
            heappush(queue, (-words.pair_counts[grown], grown))
    return merges


def apply_merges(ids: Sequence[int], ranks: Mapping[Pair, int], merged: Sequence[int]) -> list[int]:
    """Merges pairs in the order in which they were learned, equal pairs from left to right.

    The neighbours are a linked list and the pairs wait in a queue, so that n ids take n log n steps.

    Args:
        ids: of one piece.
        ranks: the place of each pair in the order.
        merged: the id that the pair of each rank becomes.

    Example:
        >>> apply_merges([0, 1, 0, 1, 0], {(0, 1): 0, (2, 2): 1}, [2, 3])
        [3, 0]
    """
    end = len(ids)
    ids = [*ids, None]  # what stands at the end, and by index -1 also before the start, is part of no pair
    after, before = list(range(1, end + 1)), list(range(-1, end))
    queue = [(ranks[pair], at) for at, pair in enumerate(pairwise(ids)) if pair in ranks]
    heapify(queue)
    while queue:
        rank, left = heappop(queue)
        if ids[left] is None or ranks.get((ids[left], ids[after[left]])) != rank:
            continue  # one of the two has been merged with another since
        right = after[left]
        ids[left], ids[right] = merged[rank], None
        after[left] = after[right]
        before[after[left]] = left
        for at in (before[left], left):
            if at >= 0 and (pair := (ids[at], ids[after[at]])) in ranks:
                heappush(queue, (ranks[pair], at))
    return [id for id in ids if id is not None]


class BPETokenizer(Tokenizer):
    """Byte-level BPE, as in GPT-2 and Llama 3.

    Ordinary tokens are bytes, special tokens are strings; the id of a token is its place.

    Args:
        tokens: all of them. A byte that is no token by itself cannot be encoded.
        merges: pairs of tokens, in the order in which they are applied.
        pattern: how texts are split, "gpt2" or "llama3".
        whole_pieces: whether a piece that is a token is taken before any merge is tried (Llama 3).
    Raises:
        ValueError: tokens that occur twice, a merge of or into something that is no token, an unknown pattern.

    Example:
        >>> tokenizer = BPETokenizer.train("aaabdaaabac", vocab_size=259)
        >>> tokenizer.tokens[256:], tokenizer.encode("aaab")
        ([b'aa', b'ab', b'aaab'], [258])
    """

    def __init__(
        self,
        tokens: Sequence[bytes | str],
        merges: Sequence[tuple[bytes, bytes]],
        pattern: str = "gpt2",
        *,
        whole_pieces: bool = False,
    ) -> None:
        super().__init__(tokens, [token for token in tokens if isinstance(token, str)])
        splitter(pattern)  # is there one?
        self.merges, self.pattern, self.whole_pieces = list(merges), pattern, whole_pieces
        self._ranks: dict[Pair, int] = {}
        self._merged: list[int] = []
        for rank, (left, right) in enumerate(self.merges):
            for token in (left, right, left + right):
                if token not in self._ordinary:
                    raise ValueError(f"merges: {left!r} and {right!r} need {token!r} to be a token, it is not")
            self._ranks[self._ordinary[left], self._ordinary[right]] = rank
            self._merged.append(self._ordinary[left + right])

    @classmethod
    def train(
        cls,
        texts: str | Iterable[str],
        vocab_size: int,
        special_tokens: Sequence[str] = (),
        *,
        pattern: str = "gpt2",
    ) -> "BPETokenizer":
        """Learns the merges from texts.

        The special tokens get the first ids, in their order, then come the 256 bytes in GPT-2's order, then what
        was merged, the first merge first. A special token that a text spells counts as ordinary characters.

        Args:
            texts: one text, or any number of them, read once and one after the other; only the counts of their
                different pieces are kept.
            vocab_size: number of tokens; there are fewer where the texts have no pair left to merge.
            special_tokens: that ``encode`` never makes out of ordinary characters.
            pattern: how texts are split, "gpt2" or "llama3".
        Raises:
            ValueError: too small a vocabulary, empty texts, a text that is no string, bad special tokens.
        """
        special = checked_special_tokens(special_tokens)
        least = len(special) + 256
        checked_vocab_size(vocab_size, least, f"{len(special)} special tokens and 256 bytes")
        reserved = {spelled_bytes(token) for token in special}  # a file has one name for both
        for token in special:
            if spelled_bytes(token) in BYTES:
                raise ValueError(f"special token {token!r} must be longer: it is how a file spells a byte")
        byte_ids = {byte[0]: id for id, byte in enumerate(BYTES, start=len(special))}
        pieces = count_pieces(texts, splitter(pattern))
        words = {tuple(byte_ids[byte] for byte in piece.encode()): count for piece, count in pieces.items()}
        tokens = [*special, *BYTES]
        merges = learn_merges(words, tokens, vocab_size, reserved=reserved)
        return cls(tokens, [(tokens[left], tokens[right]) for left, right in merges], pattern)

    def decode(self, ids: Iterable[int], *, skip_special: bool = False) -> str:
        """The text of some ids; bytes that are not UTF-8, as when a character is cut, become U+FFFD."""
        tokens = [token.encode() if isinstance(token, str) else token for token in self._tokens(ids, skip_special)]
        return b"".join(tokens).decode(errors="replace")

    def _split(self, text: str) -> list[str]:
        return splitter(self.pattern)(text)

    def _encode_piece(self, piece: str) -> list[int]:
        data = piece.encode()
        if self.whole_pieces and data in self._ordinary:
            return [self._ordinary[data]]
        return apply_merges([self.token_to_id(bytes([byte])) for byte in data], self._ranks, self._merged)

    def _to_json(self) -> dict:
        return bpe_to_json(self.tokens, self.merges, self.pattern, self.whole_pieces)

    @classmethod
    def _from_json(cls, json: dict) -> "BPETokenizer":
        tokens, merges, pattern, whole_pieces = bpe_from_json(json)
        return cls(tokens, merges, pattern, whole_pieces=whole_pieces)
