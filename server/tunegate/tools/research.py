"""Step 3: fetch_recipe."""

from __future__ import annotations

from typing import Annotated, Any

from mcp.server.mcpserver import Context
from mcp.types import CallToolResult
from pydantic import Field

from tunegate import evidence, gates, workarounds
from tunegate.rundir import atomic_write
from tunegate.tools.answer import answer
from tunegate.tools.base import OutputDir, Result, keep, next_for, recorded, tool, workspace


class RecipeReport(Result):
    slots: dict[str, str] = Field(description="slot -> where its value comes from: a URL, or 'scaffold'")
    conflicts: list[str]
    tried: list[str] = Field(description="sources that could not be read, and why")
    recipe: str = Field(description="the page to read: meta/recipe.md")


@tool("Fetch the recipe", open_world=True)
def fetch_recipe(
    ctx: Context,
    output_dir: OutputDir,
    slots: Annotated[
        dict[str, Any] | None,
        Field(description="slot -> {value, url}: what you found yourself; the url is fetched and must show the value"),
    ] = None,
) -> Annotated[CallToolResult, RecipeReport]:
    """Research how this model is trained, from card, example script, author's script, task docs, paper: every slot gets a URL or a logged fallback."""
    from tunegate import recipe

    ws = workspace(ctx)
    run = ws.run(output_dir)
    with recorded(run, "fetch_recipe", {"output_dir": output_dir, "slots": sorted(slots or {})}) as wrote:
        gates.require(run, 2, "fetch_recipe")
        config = run.config()
        model = evidence.read(run, "model").facts
        facts = recipe.research(
            ws.web,
            task=config.task,
            model_id=config.model_id,
            model_revision=config.model_revision,
            hub_endpoint=ws.hub.endpoint,
            versions=workarounds.pinned_versions(),
            method=config.training_method,
            card_links=model.get("tags"),
            model_type=model.get("model_type"),
            agent_slots=slots,
        )
        config = config.model_copy(
            update={
                "research_sources": [source.url for source in facts.sources],
                "notes": list(dict.fromkeys([*config.notes, *facts.notes])),
            }
        )
        atomic_write(run.meta / "recipe.md", recipe.recipe_markdown(facts))
        run.save_config(config)
        keep(run, "recipe", facts.model_dump(mode="json"), config, wrote, sources=facts.sources)
    return answer(
        RecipeReport(
            output_dir=str(run.path),
            notes=facts.notes,
            next=next_for(run),
            recipe=str(run.meta / "recipe.md"),
            conflicts=[c.note for c in facts.conflicts],
            slots={name: slot.source.url if slot.source else "scaffold" for name, slot in facts.slots.items()},
            tried=[f"{item.url}: {item.reason}" for item in facts.tried],
        )
    )
