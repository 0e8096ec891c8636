"""A stand-in for a language model: it picks words and quotes text, all from its prompt.

`reply(messages)` is a function without I/O: the same messages give the same reply. It knows the
tasks of `prompts.py`; without one it chats, by quoting what the person has told it before.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath

_STOP_WORDS = """
a about after all also am an and any are as at be because been before being between both but by
can could did do does doing done each either else ever every find for from gets give given gives
go had happen happens has have having he her here him his how i if in into is it its just know let
like made make makes many may me mean means might more most much must my no nor not of off on one
only or other our out over own please say says shall she should show so some such tell than that
the their them then there these they this those to too under until up upon us use used uses using
very want was way we were what when where whether which while who whom whose why will with within
without work works would yes yet you your
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
QUOTE_LENGTH = 240
PROSE = {"", ".md", ".rst", ".txt"}  # quoted by the sentence; everything else by the line
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n\s*\n|\n(?=\s*(?:[-*#>|]|\d+[.)])\s)")


def reply(messages: Sequence[Mapping[str, str]]) -> str:
    """Return the whole reply to `messages`, each with a `role` and a text `content`."""
    said = [message["content"] for message in messages if message["role"] == "user"]
    task = messages[0]["content"].partition("\n")[0] if messages[0]["role"] == "system" else ""
    try:
        given = json.loads(said[-1])
        question, searched = str(given["question"]), " ".join(map(str, given.get("searched", ())))
        passages = [(str(each["file"]), str(each["text"])) for each in given.get("passages", ())]
        wishes = [str(each) for each in given.get("wishes", ())]
    except (ValueError, TypeError, LookupError, AttributeError):
        return _chat(said)
    match task:
        case "Task: plan":
            return _plan(question, searched, passages)
        case "Task: summary":
            return _summary(question, passages)
        case "Task: answer":
            return _answer(question, passages)
        case "Task: draft":
            return _draft(question, wishes)
        case "Task: tell":
            return _tell(question, passages)
        case _:
            return _chat(said)


def terms(text: str) -> list[str]:
    """Return the words of `text` worth a search, in order, each once: no stop words or letters."""
    unique: dict[str, str] = {}
    for word in re.findall(r"\w+", text):
        if len(word) > 1 and word.lower() not in STOP_WORDS:
            unique.setdefault(stem(word), word)
    return list(unique.values())


def stem(word: str) -> str:
    """Return what `word` shares with its other forms: `streaming` and `streams` become one."""
    return re.sub(r"(?<=\w{3})(?:ing|ied|ies|ed|es|e|s|y)$", "", word.lower())


def _stems(text: str) -> set[str]:
    return {stem(part) for word in re.findall(r"\w+", text) for part in (word, *word.split("_"))}


def _plan(question: str, searched: str, passages: Sequence[tuple[str, str]]) -> str:
    known = _stems(" ".join([searched, *(text for _, text in passages)]))
    missing = [term for term in terms(question) if stem(term) not in known]
    longest = sorted(missing, key=len, reverse=True)[:2]
    words = " ".join(term for term in missing if term in longest)
    return f"search: {words}" if words else "answer"


def _summary(question: str, passages: Sequence[tuple[str, str]]) -> str:
    quotes = _quotes(question, passages)
    return quotes[0] if quotes else "None of these passages helps with the question."


def _answer(question: str, passages: Sequence[tuple[str, str]]) -> str:
    known = _stems(" ".join(text for _, text in passages))
    missing = [term for term in terms(question) if stem(term) not in known]
    lines = [f"- {quote}" for quote in _quotes(question, passages, most=3)]
    if lines:
        lines = ["The files say:", *lines]
    if missing or not lines:
        lines.append(f"Nothing was found about {', '.join(missing) or 'this'}.")
    return "\n".join(lines)


def _draft(question: str, wishes: Sequence[str]) -> str:
    said = [text[:1].upper() + text[1:].rstrip(".") + "." for text in (question, *wishes) if text]
    return "\n".join(["Dear Ada,", *said, "Yours, Bo"])


def _tell(question: str, passages: Iterable[tuple[str, str]]) -> str:
    asked = {stem(term) for term in terms(question)}
    sentences = [each for file, text in passages for each in _sentences(file, text)]
    about = [each for each in sentences if _stems(each) & asked]
    if asked and not about:
        return f"Nothing is said about {', '.join(terms(question))}."
    return "\n".join(about or sentences)


def _chat(said: Sequence[str]) -> str:
    *earlier, last = said or [""]
    quotes = _quotes(last, [("You said", text) for text in earlier])
    if quotes:
        return quotes[0]
    return f'I have noted "{_clip(last, ())}". I am a stand-in: ask me about what you told me.'


def _quotes(question: str, passages: Iterable[tuple[str, str]], most: int = 1) -> list[str]:
    """Return the sentences that say most of what is asked, each with its file, best first."""
    asked = {stem(term) for term in terms(question)}
    sentences = {
        (file, sentence): words
        for file, text in passages
        for sentence in _sentences(file, text)
        if (words := _stems(sentence) & asked)
    }
    found = Counter(word for words in sentences.values() for word in words)
    weight = {word: math.log(1 + len(sentences) / count) for word, count in found.items()}

    def score(quote: tuple[str, str]) -> float:
        prose = sum(letter.isalpha() or letter == " " for letter in quote[1]) / len(quote[1])
        length = 60 + abs(len(quote[1]) - 100)  # a heading says less, a page too much
        return prose**2 / math.log(length) * sum(weight[word] for word in sentences[quote])

    quotes: list[str] = []
    while sentences and len(quotes) < most:
        file, sentence = best = max(sentences, key=score)
        quotes.append(f'{file}: "{_clip(sentence, asked)}"')
        for word in sentences.pop(best):
            weight[word] /= 2  # said once: what else was asked?
    return quotes


def _sentences(file: str, text: str) -> Iterator[str]:
    parts = _SENTENCE_END.split(text) if PurePath(file).suffix in PROSE else text.split("\n")
    return filter(
        None, (" ".join(part.replace('"""', "").split()).lstrip("-#* ") for part in parts)
    )


def _clip(sentence: str, asked: Collection[str]) -> str:
    """Return at most QUOTE_LENGTH characters of `sentence`, around its first asked word."""
    if len(sentence) <= QUOTE_LENGTH:
        return sentence
    words = re.finditer(r"[^\W_]+", sentence)
    place = next((word.start() for word in words if stem(word[0]) in asked), 0)
    start = min(max(0, place - QUOTE_LENGTH // 4), len(sentence) - QUOTE_LENGTH)
    end = start + QUOTE_LENGTH
    before, after = "… " if start else "", " …" if end < len(sentence) else ""
    return before + sentence[start:end].strip() + after
