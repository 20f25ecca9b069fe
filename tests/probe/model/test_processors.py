from __future__ import annotations

import json

import pytest

from tests.tiny import PROCESSOR, model_files
from tunegate.probe import bounded
from tunegate.probe.model import chat_template, probe_model

LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
VLM = {"model_type": "idefics3", "architectures": ["Idefics3ForConditionalGeneration"], "vision_config": {}}


def probe(server, hub, config, **files):
    files = {"README__md": b"", "preprocessor_config__json": None, **files}
    server.add_repo("model", "me/m", model_files(config, **files))
    return probe_model(hub, "me/m")


@pytest.mark.parametrize(
    ("files", "template"),
    [
        ({"tokenizer_config.json": b'{"tokenizer_class": "GPT2Tokenizer", "chat_template": "{{ x }}"}'}, True),
        ({"tokenizer_config.json": b'{"chat_template": [{"name": "default", "template": "x"}]}'}, True),
        ({"tokenizer.json": b"{}", "chat_template.jinja": b"x"}, True),
        ({"tokenizer.json": b"{}", "chat_template.json": b"{}"}, True),
        ({"vocab.json": b"{}"}, False),
        ({"qwen.tiktoken": b""}, False),
    ],
)
def test_tokenizer_and_chat_template(server, hub, files, template):
    facts = probe(server, hub, LLAMA, **files)
    assert facts.chat_template is template and not any("tokenizer" in reason for reason in facts.reasons)
    assert any("no chat template" in warning for warning in facts.warnings) != template


def test_a_text_model_without_a_tokenizer(server, hub):
    assert any("no tokenizer" in reason for reason in probe(server, hub, LLAMA).reasons)


@pytest.mark.parametrize("content", [b"[]", b"{", b'{"tokenizer_class": "x y", "chat_template": ""}', b" " * 4_100_000])
def test_an_odd_tokenizer_config_does_not_stop_the_probe(server, hub, content):
    facts = probe(server, hub, LLAMA, **{"tokenizer.json": b"{}", "tokenizer_config.json": content})
    assert (facts.tokenizer_class, facts.chat_template) == (None, False)


def test_a_processor_of_images_and_text(server, hub):
    nested = {"processor_class": "Idefics3Processor", "image_processor": PROCESSOR, "chat_template": "x"}
    files = {"processor_config.json": json.dumps(nested).encode(), "tokenizer.json": b"{}"}
    facts = probe(server, hub, VLM, **files)
    assert (facts.processor_class, facts.chat_template) == ("Idefics3Processor", True)
    assert facts.processor["size"] == {"height": 32, "width": 32}
    assert any("preprocessor_config.json" in reason for reason in probe(server, hub, VLM).reasons) is False


def test_a_processor_with_code_of_its_own_is_told(server, hub):
    odd = json.dumps(PROCESSOR | {"auto_map": {"AutoImageProcessor": "p.P"}, "processor_class": "x\ny"}).encode()
    facts = probe(server, hub, None, preprocessor_config__json=odd)
    assert facts.processor_class is None and any("never run" in warning for warning in facts.warnings)


def test_numbers_that_are_none_are_left_out(server, hub):
    odd = (
        json.dumps(PROCESSOR)[:-1].encode()
        + b', "rescale_factor": 1e999, "crop_size": NaN, "resample": "'
        + b"x" * 300
        + b'"}'
    )
    facts = probe(server, hub, None, preprocessor_config__json=odd)
    assert facts.processor == PROCESSOR


TWO_WAYS = "{% for m in messages %}{{ loop.last and m.role == 'user' and 'LAST ' or '' }}{{ m.role }}: {{ m.content }}\n{% endfor %}"
TURNS = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}{% endfor %}"
WAITS = TURNS + "{% if add_generation_prompt %}<|assistant|>{% endif %}"


@pytest.mark.parametrize(
    ("template", "refused"),
    [
        (TWO_WAYS, True),
        (WAITS, False),
        (TURNS, False),  # nothing that waits: the answer begins with its role
        (WAITS.replace("<|assistant|>{%", "<|assistant|><think>{%"), False),  # as reasoning models: a common beginning
        ("{{ raise_exception('tools are needed') }}", False),  # what cannot be tried is not refused
        ("{% generation %}x{% endgeneration %}", False),
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", False),
        ("{{ ''.__class__.__mro__ }}{{ messages.append(1) }}", False),
    ],
)
def test_a_template_that_tells_no_answer_apart_is_refused(server, hub, monkeypatch, template, refused):
    if "range" in template:  # the one that does not end
        monkeypatch.setattr(chat_template, "LIMIT_S", 1)
    config = json.dumps({"eos_token": {"content": "</s>"}, "chat_template": "{{ messages[0].content }}"}).encode()
    files = {"tokenizer.json": b"{}", "tokenizer_config.json": config, "chat_template.jinja": template.encode()}
    reasons = probe(server, hub, LLAMA, **files).reasons
    assert any("told from what is given" in reason for reason in reasons) == refused


def test_of_several_templates_the_default_is_tried_and_no_secret_reaches_it(server, hub, monkeypatch):
    named = [{"name": "tool_use", "template": WAITS}, {"name": "default", "template": TWO_WAYS}]
    config = json.dumps({"chat_template": named}).encode()
    reasons = probe(server, hub, LLAMA, **{"tokenizer.json": b"{}", "tokenizer_config.json": config}).reasons
    assert any("told from what is given" in reason for reason in reasons)
    seen = []
    run = bounded.subprocess.run
    monkeypatch.setattr(bounded.subprocess, "run", lambda *a, **more: seen.append(more["env"]) or run(*a, **more))
    probe(server, hub, LLAMA, **{"tokenizer.json": b"{}", "tokenizer_config.json": config})
    assert [set(env) for env in seen] == [{"PATH"}]
