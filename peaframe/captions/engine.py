"""The engine: clips in, captions out, batch by batch; every answer is kept at once, so a run that was killed goes on.

For each clip (stage 1 of the paper's data engine): captions of its sound by several captioners, each with a
confidence; one of its pictures; then a language model writes what is heard, what is seen, and both together. What it
writes is checked, asked for once more if it is of no use, and refused with its reasons if it still is.

A clip without sound has a visual caption alone, one without pictures an audio caption alone: nothing is made up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from peaframe.captions.answers import Answers, key
from peaframe.captions.captioned import UNKNOWN, Captioned, Failed, Heard
from peaframe.captions.checks import Checks
from peaframe.captions.clips import Clip, OpenClip
from peaframe.captions.parts import Failure, Parts
from peaframe.captions.prompts import Prompt, load_prompts
from peaframe.captions.run import Captions, Rewriting, Unit, caption
from peaframe.captions.writing import Pen
from peaframe.errors import AudioError, OptionError, VideoError
from peaframe.version import __version__


@dataclass(frozen=True)
class CaptionOptions:
    """How the engine works.

    Attributes:
        batch: clips that are worked on at a time.
        jobs: threads that decode them.
        pictures: taken from each clip.
        longest_seconds: longer clips are left out.
        checks: what captions must be.
    """

    batch: int = 8
    jobs: int = 2
    pictures: int = 4
    longest_seconds: float = 60.0
    checks: Checks = field(default_factory=Checks)

    def __post_init__(self) -> None:
        for name in ("batch", "jobs", "pictures"):
            if getattr(self, name) < 1:
                raise OptionError(f"got {name} {getattr(self, name)}, expected 1 or more")
        if not self.longest_seconds > 0:
            raise OptionError(f"got longest_seconds {self.longest_seconds}, expected more than 0")


class Engine:
    """Captions clips with given parts."""

    def __init__(
        self,
        parts: Parts,
        answers: Answers,
        options: CaptionOptions | None = None,
        prompts: dict[str, Prompt] | None = None,
    ) -> None:
        """Put it together.

        Args:
            parts: what makes captions.
            answers: where theirs are kept.
            options: None means the usual ones.
            prompts: None means the package's.

        Raises:
            OptionError: no captioner at all, or two of one name.
        """
        names = [part.name for part in parts.audio]
        if not names and parts.video is None:
            raise OptionError("got no captioner; expected one of sound or of pictures, or more")
        if len(set(names)) < len(names):
            raise OptionError(
                f"got two captioners of sound of one name ({', '.join(names)}); expected different ones"
            )
        self.parts, self.answers = parts, answers
        self.options = options or CaptionOptions()
        self.prompts = prompts or load_prompts()
        self._pen = Pen(parts.writer, answers, self.prompts, self.options.checks)

    @property
    def made_by(self) -> dict[str, Any]:
        """See `made_by`."""
        return made_by(self.parts, self.prompts, self.options.checks)

    def run(
        self, clips: Iterable[Clip], progress: Callable[[int], object] | None = None, whole: bool = True
    ) -> tuple[list[Captioned], list[Failed]]:
        """Caption clips.

        Args:
            clips: in the order wanted.
            progress: told how many clips were finished since it was told last.
            whole: false if these are only some of the clips, so that nothing can be said yet about captions that too
                many of them have.

        Returns:
            Those that have captions, and those that could not be opened, decoded or captioned, in order.

        Raises:
            ModelError: a part cannot work at all; the same call goes on from there once it can.
            FormatError: answers cannot be kept.
        """
        return caption(
            clips,
            lambda units: map(self.do, units),
            self.options.batch,
            self.options.checks,
            progress,
            whole,
        )

    def do(self, unit: Unit) -> Captions:
        """Do one batch; errors as those of `run`."""
        if isinstance(unit, Rewriting):
            return Captions(
                unit.first, tuple(self._pen.without(unit.clips, unit.kind, unit.counts, unit.again))
            )
        with ThreadPoolExecutor(self.options.jobs) as pool:
            return Captions(unit.first, tuple(self._batch(unit.clips, pool)))

    # -- one batch

    def _batch(self, clips: Sequence[Clip], pool: ThreadPoolExecutor) -> list[Captioned | Failed]:
        bad: dict[int, str] = {}
        opened: dict[int, OpenClip] = {}
        for i, clip in enumerate(pool.map(self._open, clips)):
            if isinstance(clip, str):
                bad[i] = clip
            else:
                opened[i] = clip
        sounding = [i for i, clip in opened.items() if clip.streams.sound and self.parts.audio]
        moving = [i for i, clip in opened.items() if clip.streams.pictures and self.parts.video]
        said: dict[int, list[Heard]] = {i: [] for i in sounding}
        for part in self.parts.audio:
            work = _Work(opened, bad, "sound", pool)
            for i, answer in self._kept(
                part.identity, work, [(i, ()) for i in sounding], part.caption
            ).items():
                if isinstance(answer, Failure):
                    said[i].append(Heard(part.name, "", failure=answer.reason))
                else:
                    said[i].append(Heard(part.name, " ".join(answer.split())))
        self._trust(said, _Work(opened, bad, "sound", pool))
        seen: dict[int, str] = {}
        if self.parts.video is not None:
            work = _Work(opened, bad, "pictures", pool)
            look = self.parts.video
            for i, answer in self._kept(look.identity, work, [(i, ()) for i in moving], look.caption).items():
                if isinstance(answer, Failure):
                    bad[i] = answer.reason
                else:
                    seen[i] = " ".join(answer.split())
        events: dict[int, tuple[str, ...]] = {}
        if (ear := self.parts.ear) is not None:
            work = _Work(opened, bad, "sound", pool)
            found = self._kept(
                ear.identity, work, [(i, ()) for i in opened if opened[i].streams.sound], ear.hear
            )
            events = {i: tuple(labels) for i, labels in found.items()}
        made: list[Captioned] = []
        for i, one in opened.items():
            own = said.get(i, [])
            if own and all(h.failure for h in own):
                bad.setdefault(i, own[0].failure)
            if own and i not in seen and not any(h.caption for h in own):
                bad.setdefault(i, "captioners had no words for it")
            if i not in said and i not in seen:
                bad.setdefault(i, "has no sound or pictures that any captioner was given for")
            if i not in bad:
                made.append(Captioned(clips[i], one.digest, tuple(own), seen.get(i), {}, events.get(i)))
            one.forget()
        good = iter(self._pen.write(made))
        return [Failed(clips[i], bad[i]) if i in bad else next(good) for i in range(len(clips))]

    def _open(self, clip: Clip) -> OpenClip | str:
        try:
            opened = OpenClip(clip, self.options.pictures)
            seconds = opened.seconds
        except (AudioError, VideoError) as error:
            return str(error)
        longest = self.options.longest_seconds
        if seconds > longest:
            return f"{clip.media}: is {seconds:.1f} s long, expected {longest:g} s or less; cut it, or raise the limit"
        return opened

    def _trust(self, said: dict[int, list[Heard]], work: _Work) -> None:
        """Give what was said its confidence."""
        if (scorer := self.parts.scorer) is None:
            return
        for place in range(len(self.parts.audio)):
            asked = [
                (i, (own[place].caption,)) for i, own in said.items() if own[place:] and own[place].caption
            ]
            for i, score in self._kept(scorer.identity, work, asked, scorer.score).items():
                if isinstance(score, Failure):
                    said[i][place] = replace(said[i][place], level=UNKNOWN)
                else:
                    said[i][place] = replace(said[i][place], score=score, level=scorer.level(score))

    def _kept(
        self,
        identity: str,
        work: _Work,
        asked: Sequence[tuple[int, tuple[str, ...]]],
        answer: Callable[..., Sequence[Any]],
    ) -> dict[int, Any]:
        """Answers by clip, from those kept or from a part; clips that cannot be decoded turn bad."""
        asked = [(i, more) for i, more in asked if i not in work.bad]
        keys = {i: key(identity, work.opened[i].digest, *more) for i, more in asked}
        known = dict(zip(keys, self.answers.get(list(keys.values())), strict=True))
        first = {keys[i]: i for i, _ in reversed(asked) if known[i] is None}  # the same clip twice: once
        missing = work.decoded([i for i, _ in asked if first.get(keys[i]) == i])
        if missing:
            more = dict(asked)
            others = [list(column) for column in zip(*(more[i] for i in missing), strict=True)]
            new = dict(zip(missing, answer([work.opened[i] for i in missing], *others), strict=True))
            kept = [(keys[i], value) for i, value in new.items() if not isinstance(value, Failure)]
            self.answers.put(kept)
            by_key = {keys[i]: value for i, value in new.items()}
            known |= {i: by_key[keys[i]] for i in known if known[i] is None and keys[i] in by_key}
        for i, one in keys.items():
            if known[i] is None and i not in work.bad:  # a clip like one that could not be decoded
                work.bad[i] = work.bad[first[one]]
        return {i: value for i, value in known.items() if value is not None}


def made_by(parts: Parts, prompts: Mapping[str, Prompt], checks: Checks) -> dict[str, Any]:
    """What all captions have in common: parts, versions of prompts, checks."""
    video, scorer = parts.video, parts.scorer
    return {
        "peaframe": __version__,
        "writer": parts.writer.name,
        "audio": [part.name for part in parts.audio],
        "video": None if video is None else video.name,
        "scorer": None if scorer is None else scorer.name,
        "prompts": {name: prompt.digest for name, prompt in prompts.items()},
        "checks": asdict(checks),
    }


@dataclass(frozen=True)
class _Work:
    """Clips of a batch by number, those that turned bad, and what has to be decoded."""

    opened: dict[int, OpenClip]
    bad: dict[int, str]
    needs: str
    pool: ThreadPoolExecutor

    def decoded(self, numbers: Sequence[int]) -> list[int]:
        """Those whose sound or pictures are there now; the others turn bad."""
        reasons = list(self.pool.map(self._decode, numbers))
        self.bad.update((i, reason) for i, reason in zip(numbers, reasons, strict=True) if reason)
        return [i for i, reason in zip(numbers, reasons, strict=True) if not reason]

    def _decode(self, number: int) -> str:
        try:
            getattr(self.opened[number], self.needs)
        except (AudioError, VideoError) as error:
            return str(error)
        return ""
