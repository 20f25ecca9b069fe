"""Step 3, research: walk six priorities of sources (ladder.py) and fill the recipe's slots (slots.py) with what they say.

Nothing is imported here: renames.py and slots.py are read at start-up, the rest only by fetch_recipe.
"""
