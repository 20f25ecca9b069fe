from __future__ import annotations

import anyio
import pytest
from mcp import Client
from mcp.types import ElicitResult

from tests.tiny import DATASET, TOKEN, VIT, dataset_files, model_files, parquet, server  # noqa: F401
from tunegate import mcp_server
from tunegate.clients.hub import Hub
from tunegate.clients.web import HttpWeb
from tunegate.embedded import web as recorded_web
from tunegate.tools.answer import content_of
from tunegate.tools.base import Workspace

LABELS = ["cat", "dog"] * 6


@pytest.fixture
def workspace(server, tmp_path) -> Workspace:  # noqa: F811
    """A server root whose Hub is the embedded one: two models, two datasets, and everything that can be wrong with them."""
    server.add_repo("model", "me/vit", model_files())
    server.add_repo("model", "me/other", model_files())
    server.add_repo("model", "me/gated", model_files(), gated=True)
    server.add_repo("model", "you/private", model_files(), private=True)
    server.add_repo(
        "model",
        "me/speech",
        model_files(
            {**VIT, "model_type": "whisper", "architectures": ["WhisperForConditionalGeneration"]},
            README__md=b"---\npipeline_tag: automatic-speech-recognition\n---\n",
        ),
    )
    server.add_repo("model", "me/code", model_files({**VIT, "auto_map": {"AutoModel": "modeling.M"}}))
    server.add_repo("dataset", "me/pets", dataset_files(parquet(LABELS), test=parquet(LABELS[:4])))
    server.add_repo("dataset", "me/other-pets", dataset_files(parquet(LABELS)))
    server.add_repo("dataset", "me/one-class", dataset_files(parquet(["cat"] * 8)))
    server.add_repo("dataset", "me/text", dataset_files(parquet(LABELS, image="picture_of", label="sentence")))
    server.add_repo("dataset", "me/empty", DATASET)
    return Workspace(
        tmp_path / "root",
        make_hub=lambda: Hub(server.url, token=TOKEN, read_s=5),
        make_web=lambda: HttpWeb(endpoint=server.url, web_map={}, cache=tmp_path / "web"),
    )


@pytest.fixture
def call(workspace):
    """call(tool, ..., user=None | True | False): the answer's structured content. `user` answers an elicitation, if there is one."""
    workspace.root.mkdir(parents=True)
    built = mcp_server.build(workspace)

    def ask(tool: str, user: bool | None = None, mode: str = "auto", **arguments):
        asked = []

        async def answer(context, params):
            asked.append(params.message)
            return ElicitResult(action="accept" if user else "decline", content={"approve": True} if user else None)

        async def go():
            async with Client(built, mode=mode, elicitation_callback=answer if user is not None else None) as client:
                return await client.call_tool(tool, arguments)

        content = content_of(anyio.run(go))
        return {**content, "asked": asked} if user is not None else content

    ask.workspace, ask.recorded_web = workspace, recorded_web
    return ask
