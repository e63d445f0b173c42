"""What users see, by the name they give to ``--symptom``."""

from __future__ import annotations

import difflib

from nodeportsim.errors import InputError

SYMPTOMS = {
    "timeout": "new connections or requests time out",
    "refused": "new connections are refused at once",
    "1s": "some connections take 1 s longer (then 2, 3 s or 3, 7 s)",
    "3s": "some connections take 3 s longer, or fail after 3 s",
    "5s": "some requests take 5 s longer",
    "one-hot-pod": "one or a few pods get most of the load",
    "some-nodes": "the NodePort answers on some nodes only",
    "reset": "connections are reset",
    "deploy-errors": "each deploy gives errors",
    "hang": "established connections hang for minutes",
    "2min": "a deploy gives errors for two minutes",
}
_LONGEST_WORD = 80


def known(name: str) -> str:
    """Return a symptom's name, or refuse it with the one that was meant.

    Raises
    ------
    InputError
        There is no such symptom.
    """
    if name in SYMPTOMS:
        return name
    near = difflib.get_close_matches(name[:_LONGEST_WORD], SYMPTOMS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(SYMPTOMS)}"
    raise InputError("is not a symptom", field="--symptom", got=name, hint=hint)
