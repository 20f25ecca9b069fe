"""The model card of a pushed run: metadata that the Hub reads, and the numbers in the words that they deserve."""

from __future__ import annotations

from typing import Any

from tunegate import __version__
from tunegate.config import RunConfig
from tunegate.quoting import code, printable, sentence
from tunegate.tasks import metrics

BASELINES_SAID = {
    "zero-shot": "the untuned model as it was published, with its own classes or its own words",
    "random-head": "the untuned backbone under a new head with random weights: about chance, whatever the backbone knows",
    "format-limited": "the untuned model, which often answers in another form than the metric accepts",
}


def dataset_name(config: RunConfig) -> str:
    return config.dataset_id or f"local data ({printable((config.local_dataset_path or '').rsplit('/', 1)[-1], 200)})"


def render(
    config: RunConfig,
    model: dict[str, Any],
    dataset: dict[str, Any],
    results: dict[str, dict],
    train: dict[str, Any],
    versions: dict[str, str],
    edited: list[str],
    remarks: list[str],
) -> str:
    """Markdown with YAML metadata. `results`: eval and (unless skipped) baseline facts, each {metric, <metric>, n, kind}.

    remarks: sentences that a reader of the numbers must know beside them.
    """
    from huggingface_hub import EvalResult, ModelCardData

    tuned = results["eval"]
    metric, value = tuned["metric"], tuned[tuned["metric"]]
    name = config.hf_model_repo.rsplit("/", 1)[-1] if config.hf_model_repo else f"{config.short_name}-finetuned"
    metadata = ModelCardData(
        model_name=name,
        base_model=config.model_id,
        datasets=[config.dataset_id] if config.dataset_id else None,
        license=model.get("licence"),
        library_name="transformers",
        pipeline_tag=config.task,
        tags=["tunegate", "fine-tuned"],
        metrics=[metric],
        eval_results=[
            EvalResult(
                task_type=config.task,
                dataset_type=config.dataset_id or "local",
                dataset_name=dataset_name(config),
                dataset_config=config.dataset_config,
                dataset_split=config.eval_split or f"held out of {config.train_split}",
                dataset_revision=config.dataset_revision,
                metric_type=metric,
                metric_value=round(value, 4),
            )
        ],
    )
    return f"---\n{metadata.to_yaml()}\n---\n\n{_body(config, name, results, train, versions, edited, remarks)}"


def certainty(tuned: dict[str, Any]) -> str:
    """In words, with numbers: how sure the tuned value and its distance from the baseline are, and what follows."""
    low, high = tuned["interval"]
    text = f"95 % interval of the tuned value, bootstrapped over the rows: {low:.4f} to {high:.4f}"
    if change := tuned.get("difference"):
        text += f"; of its difference to the baseline, paired: {change['low']:+.4f} to {change['high']:+.4f}"
        text += {
            "improved": "",
            "worse": ". **Worse than the baseline**",
            "not_shown": ". **No improvement shown**, for it includes no change at all",
        }[metrics.outcome(tuned["metric"], change)]
    if found := tuned.get("no_better_than"):
        text += f". **{metrics.controls_sentence(found).capitalize()}**"
    if seen := tuned.get("seen_in_training"):
        text += f". {seen} of the {tuned['n']} evaluation rows are among the training rows too"
    return f"{text}."


def _body(
    config: RunConfig,
    name: str,
    results: dict[str, dict],
    train: dict[str, Any],
    versions: dict[str, str],
    edited: list[str],
    remarks: list[str],
) -> str:
    tuned, base = results["eval"], results.get("baseline")
    metric, value, n = tuned["metric"], tuned[tuned["metric"]], tuned["n"]
    held_out = (
        f"{n} rows of {code(config.eval_split)}"
        if config.eval_split
        else f"{n} rows held out of {code(config.train_split)} (seed {config.seed})"
    )
    before = f"{base[metric]:.4f}" if base else "not measured (skip_baseline)"
    kind = f"Baseline: {base['kind']}, i.e. {BASELINES_SAID.get(base['kind'], base['kind'])}." if base else ""
    rows = "\n".join(f"| {key} | {shown} |" for key, shown in _settings(config, train).items())
    sure = certainty(tuned)
    revision = f" (revision `{config.dataset_revision}`)" if config.dataset_revision else ""
    known = "".join(f"\n\n{sentence(remark, 1500)}" for remark in remarks)
    scripts = f" Edited by hand after rendering: {', '.join(edited)}." if edited else ""
    scripts += "".join(f" {sentence}." for sentence in train.get("set_aside", []))
    return f"""# {name}

[{config.model_id}](https://huggingface.co/{config.model_id}) (revision `{config.model_revision}`), fine-tuned for {config.task}
on {sentence(dataset_name(config))}{revision}.

## Results

| | {metric} |
|---|---|
| baseline | {before} |
| tuned | {value:.4f} |

Measured on {held_out}, fixed before training. {sure} {kind}
The numbers are those in `results/`, as the evaluation script wrote them.{known}

## Training

| setting | value |
|---|---|
{rows}

Platform {config.platform}{f", {config.gpu_count}x {config.gpu_name}" if config.gpu_count else ", CPU"}; {_pins(versions)}. Everything is in `config.yaml`.
Made with tunegate {__version__}.{scripts}
"""


def _settings(config: RunConfig, train: dict[str, Any]) -> dict[str, Any]:
    """Row of the training table -> value."""
    settings = {
        "epochs": config.n_epochs,
        "steps": train["global_step"],
        "learning rate": config.learning_rate,
        "batch": f"{config.per_device_train_batch_size} x {config.gradient_accumulation_steps}",
        "schedule": config.lr_scheduler_type,
        "seed": config.seed,
        "training rows": f"up to {config.n_train}",
        "loss": f"{train.get('first_loss')} -> {train.get('last_loss')}",
    }
    if config.adapted:
        modules = config.lora_target_modules
        shown = modules if isinstance(modules, str) else ", ".join(modules or [])
        settings |= {
            "method": config.training_method,
            "LoRA": f"r {config.lora_r}, alpha {config.lora_alpha:g}, on {shown}; merged",
        }
    return settings


def _pins(versions: dict[str, str]) -> str:
    known = [name for name in ("torch", "transformers", "datasets", "accelerate") if name in versions]
    return ", ".join(f"{name} {versions[name]}" for name in known)
