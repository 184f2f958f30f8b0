"""Is a caption in the language asked for? By its letters and its commonest words, nothing cleverer.

A caption of the right script that has more of another language's commonest words than of its own is in that language.
Two languages of one script that are not listed cannot be told apart, nor nonsense from sense.
"""

from __future__ import annotations

import re
import unicodedata

_WORDS = {
    "English": "the a an and of in is are with to on at while by then as it its from over",
    "German": "der die das und ein eine einer einem ist sind mit zu auf im während dann von den dem nicht",
    "French": "le la les et un une des est sont avec dans sur pendant puis de du au qui en pas",
    "Spanish": "el la los las y un una es son con en sobre mientras luego de del al que se por",
    "Italian": "il lo la gli le e un una è sono con in su mentre poi di del al che per",
    "Portuguese": "o a os as e um uma é são com em no na enquanto depois de do da que por",
    "Dutch": "de het een en is zijn met in op terwijl dan van naar bij die dat niet aan er",
}
_SCRIPTS = {
    **dict.fromkeys(_WORDS, ("LATIN",)),
    "Chinese": ("CJK",),
    "Japanese": ("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"),
    "Korean": ("HANGUL",),
    "Russian": ("CYRILLIC",),
    "Greek": ("GREEK",),
    "Arabic": ("ARABIC",),
    "Hebrew": ("HEBREW",),
    "Hindi": ("DEVANAGARI",),
    "Thai": ("THAI",),
}
_STOPWORDS = {language: frozenset(words.split()) for language, words in _WORDS.items()}
LANGUAGES = tuple(_SCRIPTS)
LEAST_SCRIPT = 0.8  # of all letters; names and units may be foreign


def words_of(text: str, language: str) -> list[str]:
    """The words of a text in lower case; single signs where a language puts no spaces between words."""
    if language in ("Chinese", "Japanese", "Thai"):
        return re.findall(r"\w", text)
    return re.findall(r"[^\W_]+(?:['’\-][^\W_]+)*", text.lower())


def wrong_language(text: str, language: str) -> str | None:
    """Why a text is not in one of `LANGUAGES`, or None."""
    letters = [letter for letter in text if letter.isalpha()]
    if letters:
        scripts = _SCRIPTS[language]
        fit = sum(unicodedata.name(letter, "?").split()[0] in scripts for letter in letters) / len(letters)
        if fit < LEAST_SCRIPT:
            return f"only {fit:.0%} of its letters are of {language}"
    if language not in _STOPWORDS:
        return None
    words = words_of(text, language)
    hits = {name: sum(word in common for word in words) for name, common in _STOPWORDS.items()}
    best = max(hits, key=lambda name: hits[name])
    if hits[best] >= 2 and hits[best] > 2 * hits[language]:
        return f"reads like {best}, not {language}"
    return None
