"""Whatever a repository's files hold, the probe answers facts or a refusal; nothing else comes out of it."""

from __future__ import annotations

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tiny import PROCESSOR, VIT, model_files
from tunegate.errors import ToolFailure
from tunegate.probe.model import ModelFacts, probe_model

ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*VIT, "weights", "x"]), inner, max_size=4)
    ),
    max_leaves=8,
)
KEYS = [*VIT, "auto_map", "quantization_config", "text_config", "vision_config", "encoder", "depths", "num_labels"]
CARD_KEYS = ["license", "base_model", "pipeline_tag", "library_name", "tags"]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    config=st.dictionaries(st.sampled_from(KEYS), ODD, max_size=4),
    processor=st.dictionaries(st.sampled_from([*PROCESSOR, "image_processor", "processor_class", "auto_map"]), ODD),
    card=st.dictionaries(st.sampled_from(CARD_KEYS), ODD, max_size=3),
    extra=st.sampled_from(
        ["adapter_config.json", "modules.json", "tokenizer_config.json", "a.gguf", "chat_template.json"]
    ),
    content=ODD,
)
def test_odd_values_anywhere(server, hub, config, processor, card, extra, content):
    files = model_files(
        VIT | config,
        preprocessor_config__json=json.dumps(PROCESSOR | processor).encode(),
        README__md=b"---\n" + json.dumps(card).encode() + b"\n---\n",
    )
    server.add_repo("model", "me/odd", files | {extra: json.dumps(content).encode()})
    try:
        facts = probe_model(hub, "me/odd")
    except ToolFailure as failure:
        assert failure.code in ("rejected", "out_of_scope", "ambiguous")
    else:
        assert (
            ModelFacts.model_validate_json(facts.model_dump_json()) == facts and len(facts.model_dump_json()) < 20_000
        )
