"""Step 3, research: walk six priorities of sources and fill the recipe's slots with what they say."""

from tunegate.recipe.ladder import research
from tunegate.recipe.markdown import numbered, recipe_markdown
from tunegate.recipe.slots import RecipeFacts, gate_problems

__all__ = ["RecipeFacts", "gate_problems", "numbered", "recipe_markdown", "research"]
