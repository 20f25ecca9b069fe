"""tunegate: fine-tune a Hugging Face model through gates that only evidence on disk can open."""

__version__ = "0.1.0"
