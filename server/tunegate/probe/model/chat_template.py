"""A language model's chat template, tried on a question and its answer: can what is learned be told from what is given?"""

from __future__ import annotations

from typing import Any

from tunegate.clients.hub import Hub, RepoInfo
from tunegate.errors import ToolFailure
from tunegate.probe import bounded
from tunegate.probe.model.repo_files import MAX_CONFIG, json_file

LIMIT_S = 10  # of the trial, which takes a tenth of a second
MEMORY = 2**30  # bytes
# As transformers renders templates (utils/chat_template_utils.py), and as the project's data.py tells answers apart.
# A stranger's template runs here: in jinja's sandbox, in a process without our environment and with bounds of its own.
TRIAL = """
import os
from jinja2 import ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

def refuse(message):
    raise ValueError(message)

environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[ext.loopcontrols])
environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False)
environment.globals |= {"raise_exception": refuse, "strftime_now": lambda form: "1 January 2026"}
template = environment.from_string(given["template"])
asked = [{"role": "user", "content": "Which color has the sky?"}]
answer = {"role": "assistant", "content": "Blue, as far as one can see."}

def written(turns, waits):
    return template.render(messages=turns, add_generation_prompt=waits, tools=None, documents=None, **given["tokens"])

before, whole = written(asked, True), written([*asked, answer], False)
shared = os.path.commonprefix([before, whole])
print(json.dumps(whole.startswith(before) or shared.startswith(written(asked, False).rstrip())))
"""


def problem(hub: Hub, info: RepoInfo, tokenizer: dict[str, Any]) -> str | None:
    """Why nothing could be trained through the model's template; None where it can, and where the trial cannot tell.

    tokenizer: tokenizer_config.json.
    """
    found = _template(hub, info, tokenizer)
    if not found or _tells_apart(found, _tokens(tokenizer)) is not False:
        return None
    return (
        "its chat template writes a question otherwise once it is answered, so that no answer could be told from what is "
        "given: choose another model, or one of its family with another template"
    )


def _template(hub: Hub, info: RepoInfo, tokenizer: dict[str, Any]) -> str | None:
    """The template's text, from where transformers takes it; of several named ones the default."""
    try:
        if "chat_template.jinja" in info.files:
            return hub.read_text("model", info.id, info.sha, "chat_template.jinja", MAX_CONFIG)
        found = tokenizer.get("chat_template")
        if "chat_template.json" in info.files:
            found = json_file(hub, info, "chat_template.json").get("chat_template")
    except ToolFailure as failure:
        if failure.code != "rejected":
            raise
        return None
    if isinstance(found, list):
        named = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
        found = named.get("default")
    return found if isinstance(found, str) else None


def _tokens(tokenizer: dict[str, Any]) -> dict[str, str]:
    """bos_token and its like, which templates write."""
    found = {name: value for name, value in tokenizer.items() if name.endswith("_token")}
    found = {name: value.get("content") if isinstance(value, dict) else value for name, value in found.items()}
    return {name: value for name, value in found.items() if isinstance(value, str)}


def _tells_apart(template: str, tokens: dict[str, str]) -> bool | None:
    """None: the template asks for more than a question and an answer, or does not end."""
    return bounded.run(TRIAL, {"template": template, "tokens": tokens}, MEMORY, LIMIT_S).value
