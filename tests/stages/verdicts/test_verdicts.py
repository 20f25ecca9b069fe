"""Each verdict, on reports that a stage could leave and on reports that someone could write by hand."""

from __future__ import annotations

import hashlib
import json

import pytest

from tests import sealed
from tests.tiny import WEIGHTS
from tunegate import evidence, jobs
from tunegate.config import RunConfig
from tunegate.rundir import Run
from tunegate.stages import summary, verdicts

CONFIG = RunConfig(
    platform="local-process",
    model_id="org/m",
    task="image-classification",
    n_train=8,
    n_eval=4,
    class_names=["a", "b"],
    per_device_train_batch_size=2,
    gradient_accumulation_steps=1,
)


META = {
    "n_train": 8,
    "n_eval": 4,
    "class_names": ["a", "b"],
    "train_histogram": {"a": 8, "b": 0},
    "eval_histogram": {"a": 4, "b": 0},
}
DRAWN = "<!doctype html><html><body><h1>Data</h1><p class=small>rows</p></body></html>"
TOLD = {"rows": {"train": 8, "eval": 4}, "without_rows": None, "problems": [], "drawn_with": {"image_size": 224}}
JPEG = b"\xff\xd8\xff\xe0" + bytes(300) + b"\xff\xd9"


def put(run: Run, name: str, content) -> None:
    path = run.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def lines(*rows: dict) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def judge(run: Run, stage: str, exit_code: int = 0) -> verdicts.Verdict:
    return verdicts.judge(run, CONFIG, jobs.Job(stage, "ended", {"id": "1"}, {"exit_code": exit_code}))


@pytest.fixture
def run(tmp_path) -> Run:
    found = Run(tmp_path)
    put(found, "data/meta.json", META)
    put(found, "reports/data.html", DRAWN)
    put(found, "reports/data.json", TOLD)
    for split in ("train", "eval"):
        put(found, f"data/{split}/data-00000-of-00001.arrow", "rows")
    return found


def test_no_report_is_no_pass(run):
    for stage in verdicts.JUDGES:
        if stage != "prepare":
            assert not judge(run, stage).passed, stage


def test_garbage_in_a_report_fails_the_stage_and_does_not_crash(run):
    for stage, name in (
        ("smoke", "smoke.json"),
        ("train", "train.json"),
        ("eval", "eval_results.json"),
        ("check_api", "check_api.json"),
        ("build", "build.json"),
    ):
        for garbage in ("[]", "null", '{"checks": 3}', "{", '{"packages": null}'):
            put(run, f"reports/{name}", garbage)
            assert not judge(run, stage).passed, (stage, garbage)


def test_a_good_report_with_a_bad_exit_code_fails_and_names_the_error(run):
    put(run, "logs/prepare.log", "Traceback (most recent call last):\n  x\nValueError: column 'img' not found\n")
    found = judge(run, "prepare", exit_code=1)
    assert not found.passed and "ValueError: column 'img' not found" in found.problems[0]


def test_a_refusal_of_ours_is_the_reason_and_not_the_output_that_it_quotes(run):
    put(
        run,
        "logs/build.log",
        "Step 1/9 : FROM x\nstage_failed: failed at Step 5/9: exit 1. Its last lines:\n ---> Removed\n",
    )
    assert "failed at Step 5/9" in judge(run, "build", exit_code=1).problems[0]


SMOKE = {
    "passed": True,
    "loss": 2.3,
    "grad_norm": 1.5,
    "checks": [{"name": name, "ok": True, "detail": ""} for name in verdicts.training.SMOKE_CHECKS],
}


def test_smoke_passes(run):
    put(run, "reports/smoke.json", SMOKE)
    assert judge(run, "smoke").facts["loss"] == 2.3 and judge(run, "smoke").passed


@pytest.mark.parametrize(
    "change",
    [
        {"loss": 0.0},
        {"loss": None},
        {"loss": "2.3"},
        {"grad_norm": 0},
        {"grad_norm": float("nan")},
        {"loss": float("inf")},
        {"checks": []},
        {"checks": SMOKE["checks"][:-1]},
        {"checks": [{**SMOKE["checks"][0], "ok": False}, *SMOKE["checks"][1:]]},
    ],
)
def test_smoke_fails(run, change):
    put(run, "reports/smoke.json", {**SMOKE, **change})
    assert not judge(run, "smoke").passed


def smoke_memory(run: Run, memory: object) -> verdicts.Verdict:
    put(run, "reports/smoke.json", {**SMOKE, "memory": memory})
    return judge(run, "smoke")


def test_smoke_sets_predicted_beside_measured(run):
    sealed.build(run, until="host", facts={"model": {"model_type": "resnet", "parameters": 25_000_000}})
    found = smoke_memory(run, {"device": "NVIDIA H100", "peak_gb": 1.0, "room_gb": 80.0, "rows": 128})
    memory = found.facts["memory"]
    assert found.passed and memory["measured_gb"] == 1.0 and 0.4 < memory["predicted_gb"] < 1.0
    assert memory["room_gb"] == 80.0 and not memory["over"] and "nothing was changed" in memory["note"]
    on_cpu = smoke_memory(run, {"device": "cpu", "peak_gb": 7.9, "rows": 128}).facts["memory"]
    assert on_cpu["room_gb"] == 8.0 and on_cpu["split"] == [1, 2] and "is close to" in on_cpu["note"]


def test_smoke_fails_where_the_peak_is_above_what_there_is(run):
    sealed.build(run, until="host", facts={"model": {"model_type": "novel", "parameters": None}})
    found = smoke_memory(run, {"device": "NVIDIA H100", "peak_gb": 8.0, "room_gb": 7.0, "rows": 128})
    assert not found.passed and found.problems[0].startswith(
        "[out-of-memory] peak memory of training, 8.00 GB, is above"
    )
    assert found.facts["memory"]["split"] == [1, 2]


@pytest.mark.parametrize("memory", [None, {}, [], {"peak_gb": "1"}, {"peak_gb": float("nan")}, {"peak_gb": -1}])
def test_smoke_without_a_measured_peak_is_a_smoke_all_the_same(run, memory):
    assert smoke_memory(run, memory).passed and "memory" not in judge(run, "smoke").facts


ROWS = [{"index": i, "label": "a", "prediction": "b" if i == 3 else "a", "score": 1.0} for i in range(4)]
RESULT = {
    "accuracy": 0.75,
    "kind": "fine-tuned",
    "interval": [0.3, 1],
    "difference": {"value": 0.5, "low": 0.0, "high": 0.9},
    "eval_sha256": "e",
}


def evaluated(run: Run, rows=ROWS, **change) -> verdicts.Verdict:
    """eval, after a baseline that got one of the four rows right."""
    before = [{**row, "prediction": "a" if row["index"] == 0 else "b"} for row in ROWS]
    put(run, "reports/baseline_predictions.jsonl", lines(*before))
    put(run, "reports/eval_predictions.jsonl", lines(*rows))
    put(run, "reports/eval_results.json", {**RESULT, **change})
    return judge(run, "eval")


def test_evaluation_recomputes_the_metric_from_the_predictions(run):
    found = evaluated(run)
    assert found.passed and found.facts["outcome"].startswith("no improvement shown: accuracy +0.5000")
    for lie in (0.95, "0.75", None, True, float("nan")):
        assert not evaluated(run, accuracy=lie).passed, lie


def test_evaluation_is_on_the_labels_that_were_prepared(run):
    rows = [{"index": i, "label": "b", "prediction": "b"} for i in range(4)]
    assert "other labels" in evaluated(run, rows, accuracy=1.0).problems[0]


def test_evaluation_covers_every_row_once(run):
    for indices in ((0, 1, 2), (0, 1, 2, 2)):
        rows = [{"index": i, "label": "a", "prediction": "a"} for i in indices]
        assert not evaluated(run, rows, accuracy=1.0).passed


def test_the_difference_is_that_of_the_two_sets_of_predictions(run):
    for forged in (
        None,
        {"value": 0.75, "low": 0.0, "high": 0.9},  # other than the predictions give
        {"value": 0.5, "low": 0.9, "high": 0.1},
    ):
        assert not evaluated(run, difference=forged).passed, forged
    assert evaluated(run).passed
    run.path.joinpath("reports/baseline_predictions.jsonl").unlink()
    assert not judge(run, "eval").passed
    put(run, "reports/baseline_predictions.jsonl", lines(*({**row, "index": row["index"] + 1} for row in ROWS)))
    assert "no difference to a baseline of the same rows" in judge(run, "eval").problems[0]
    skipped = CONFIG.model_copy(update={"skip_baseline": True})
    ended = jobs.Job("eval", "ended", {"id": "1"}, {"exit_code": 0})
    assert verdicts.judge(run, skipped, ended).passed


@pytest.mark.parametrize(("score", "passes"), [(0.73, False), (1.0, True), (None, True)])
def test_a_model_that_answers_as_before_to_the_last_digit_was_not_trained(run, score, passes):
    """Without a score, or where each is at the end of its scale, another model may well have the same rows."""
    rows = [row | ({"score": score} if score is not None else {}) for row in ROWS]
    value = sum(row["label"] == row["prediction"] for row in rows) / len(rows)
    put(run, "reports/eval_predictions.jsonl", lines(*rows))
    put(run, "reports/baseline_predictions.jsonl", lines(*rows))
    same = {"value": 0.0, "low": 0.0, "high": 0.0}
    put(run, "reports/eval_results.json", {**RESULT, "accuracy": value, "difference": same})
    found = judge(run, "eval")
    assert any("the model is unchanged" in problem for problem in found.problems) != passes, found.problems


def test_an_interval_that_is_too_good_is_none(run):
    """400 rows, of which 10 more are right than before: about +0.025 +- 0.015, whatever the report says."""
    rows = [{"index": i, "label": "a", "prediction": "a"} for i in range(400)]
    before = [{**row, "prediction": "a" if row["index"] >= 10 else "b"} for row in rows]
    put(run, "data/meta.json", {**META, "n_eval": 400, "eval_histogram": {"a": 400}})
    put(run, "reports/eval_predictions.jsonl", lines(*rows))
    put(run, "reports/baseline_predictions.jsonl", lines(*before))
    for low, high, passes in ((0.01, 0.04, True), (0.02, 0.03, True), (0.0249, 0.2, False), (-0.2, 0.04, False)):
        change = {"value": 0.025, "low": low, "high": high}
        put(run, "reports/eval_results.json", {**RESULT, "accuracy": 1.0, "difference": change})
        assert judge(run, "eval").passed == passes, (low, high)


def test_evaluation_is_of_the_rows_that_prepare_chose(run):
    evidence.write(run, evidence.make(run, "stages/prepare", {"eval_sha256": "e"}, config=CONFIG))
    assert evaluated(run).passed
    assert "other evaluation rows than prepare chose" in evaluated(run, eval_sha256="f").problems[0]


def test_a_baseline_is_of_a_kind_that_there_is(run):
    put(run, "reports/baseline_predictions.jsonl", lines(*ROWS))
    for kind, passes in (
        ("zero-shot", True),
        ("random-head", True),
        ("format-limited", False),
        ("fine-tuned", False),
        (None, False),
    ):
        put(
            run,
            "reports/baseline_results.json",
            {"accuracy": 0.75, "kind": kind, "interval": [0.3, 1], "eval_sha256": "e"},
        )
        assert judge(run, "baseline").passed == passes, kind


def test_a_baseline_that_knows_and_does_not_say_it_shortly_is_format_limited(run):
    config = CONFIG.model_copy(update={"task": "image-text-to-text"})
    put(run, "data/meta.json", {**META, "class_names": []})
    wordy = [{"index": i, "answer": ["red"], "prediction": "The car is red, I think."} for i in range(4)]
    wrong = [{"index": i, "answer": ["red"], "prediction": "I cannot tell what color that car has."} for i in range(4)]
    for rows, kind in ((wordy, "format-limited"), (wrong, "zero-shot")):
        put(run, "reports/baseline_predictions.jsonl", lines(*rows))
        for label in ("format-limited", "zero-shot"):
            put(run, "reports/baseline_results.json", {"exact_match": 0.0, "kind": label, "interval": [0, 0.5]})
            found = verdicts.judge(run, config, jobs.Job("baseline", "ended", {"id": "1"}, {"exit_code": 0}))
            assert found.passed == (label == kind), (label, kind, found.problems)


def trained(run: Run, losses: list, steps: int = 20, of: int = 20) -> verdicts.Verdict:
    put(run, "reports/train.json", {"global_step": steps, "max_steps": of})
    put(run, "logs/train.jsonl", lines(*({"step": i + 1, "loss": loss} for i, loss in enumerate(losses))))
    put(run, "logs/steps.jsonl", rows_of(*range(1, steps + 1)))
    (run.path / "checkpoints/final").mkdir(parents=True, exist_ok=True)
    (run.path / "checkpoints/final/model.safetensors").write_bytes(WEIGHTS)
    return judge(run, "train")


def test_training_needs_a_falling_loss(run):
    assert trained(run, [2.0 - 0.05 * i for i in range(20)]).passed
    assert "did not fall" in trained(run, [2.0] * 20).problems[0]
    assert "did not fall" in trained(run, [1.0 + 0.05 * i for i in range(20)]).problems[0]
    assert "fewer than two" in trained(run, [2.0]).problems[0]
    assert "not finite" in trained(run, [2.0, float("nan"), 1.0]).problems[0]
    assert "step 12 of 20" in trained(run, [2.0, 1.0], steps=12).problems[0]


def test_a_training_that_watch_ended_says_why_and_how_it_goes_on(run):
    report = {"global_step": 60, "max_steps": 100, "stopped": False, "ended_for": "the loss did not fall: 1.1 -> 1.1"}
    put(run, "reports/train.json", report)
    put(run, "logs/train.jsonl", lines({"step": 60, "loss": 1.1}))
    put(run, "logs/train.log", "the loss did not fall: 1.1 -> 1.1\n")
    checkpoint(run, 60)
    for code in (1, 0):
        found = judge(run, "train", code)
        assert not found.passed and not found.stopped and found.problems[0] == "the loss did not fall: 1.1 -> 1.1"
        assert "goes on and does not end for this again" in found.problems[1] and "ended" not in found.facts
    assert judge(run, "train", 1).problems[2] == "when it is run again, it resumes from checkpoint-60"


def merged(run: Run, **report) -> verdicts.Verdict:
    given = {"modules": 2, "idle": [], "effect": 1.0, "difference": 1e-6, "dtype": "float32", **report}
    put(run, "reports/merge.json", given)
    (run.path / "checkpoints/merged").mkdir(parents=True, exist_ok=True)
    (run.path / "checkpoints/merged/model.safetensors").write_bytes(WEIGHTS)
    return judge(run, "merge")


def test_merged_weights_are_those_that_were_trained(run):
    assert merged(run).passed
    assert "have no effect, such as q_proj" in merged(run, idle=["q_proj"]).problems[0]
    for report in ({"difference": 0.5}, {"effect": 0.0}, {"effect": float("nan")}, {"difference": -1.0}):
        assert "not the trained ones" in merged(run, **report).problems[0], report
    (run.path / "checkpoints/merged/model.safetensors").unlink()
    put(run, "reports/merge.json", {**json.loads((run.path / "reports/merge.json").read_text()), "difference": 0.0})
    assert "checkpoints/merged holds no .safetensors weights" in judge(run, "merge").problems


def training_of(run: Run, training: dict | None, seconds: float = 60.0) -> verdicts.Verdict:
    spec = {"id": "1", "training": training, "resting_on": {}, "files": {}}
    job = jobs.Job("train", "ended", spec, {"exit_code": 0, "seconds": seconds})
    return verdicts.judge(run, CONFIG, job)


def test_steps_that_no_job_of_this_run_did_are_not_believed(run):
    began = {"step": 0, "finished": False, "sessions": [], "set_aside": []}
    assert trained(run, [2.0, 1.0]).passed and training_of(run, began).passed
    found = training_of(run, {**began, "sessions": ["a"]})  # what lay there when the job began is not what it did
    assert not found.passed and "claims 20 steps, of which 20 were done by no job" in found.problems[0]
    put(run, "logs/steps.jsonl", rows_of(*range(1, 13)) + rows_of(*range(14, 21), session="b"))
    assert "of which 1 were done by no job" in training_of(run, {**began, "step": 12, "sessions": ["a"]}).problems[0]
    assert training_of(run, {**began, "step": 13, "sessions": ["a"]}).passed  # after a sealed checkpoint of step 13
    for left in ("", "[1]\n{}\nnonsense\n", '{"session": "c", "step": "20"}\n'):
        put(run, "logs/steps.jsonl", left)
        assert "of which 20 were done by no job" in training_of(run, began).problems[0]
    put(run, "reports/train.json", {"global_step": 10**12, "max_steps": 10**12})
    assert f"of which {10**12} were done by no job" in training_of(run, began).problems[0]


def test_a_job_that_was_over_too_soon_has_not_trained(run):
    began = {"step": 0, "finished": False, "sessions": [], "set_aside": []}
    trained(run, [2.0, 1.0])
    sealed.write(run, "stages/smoke", {**sealed.FACTS["stages/smoke"], "step_seconds": 2.0})
    found = training_of(run, began, seconds=1.5)  # 20 steps of 2 s each
    assert not found.passed and "20 steps are claimed of a job that took 1.5 s" in found.problems[0]
    assert training_of(run, began, seconds=2.5).passed  # compiled and warmed up, it may be many times as fast
    assert training_of(run, {**began, "rejoined": True}, seconds=1.5).passed
    assert training_of(run, {**began, "step": 19, "sessions": []}, seconds=1.5).passed


def test_what_was_set_aside_is_among_the_facts(run):
    said = ["checkpoints/final was not trained by this run: set aside as checkpoints.old-1/final"]
    trained(run, [2.0, 1.0])
    assert (
        training_of(run, {"step": 0, "finished": False, "sessions": [], "set_aside": said}).facts["set_aside"] == said
    )


def test_training_needs_weights(run):
    trained(run, [2.0, 1.0])
    path = run.path / "checkpoints/final/model.safetensors"
    for broken in (WEIGHTS[:-1], b"", b"x" * 40, WEIGHTS + b"more"):
        path.write_bytes(broken)
        assert not judge(run, "train").passed, broken[:20]
    path.unlink()
    assert not judge(run, "train").passed


def test_training_has_the_steps_that_the_config_asks_for(run):
    """8 rows in batches of 2, 3 epochs: 12 steps."""
    assert trained(run, [2.0, 1.0], steps=12, of=12).passed
    assert "at least 12" in trained(run, [2.0, 1.0], steps=9, of=9).problems[0]


def test_prepare(run):
    assert judge(run, "prepare").passed
    for change in (
        {"n_train": 0},
        {"n_eval": 0},
        {"n_train": 9},
        {"class_names": ["b", "a"]},
        {"train_histogram": {"a": 1}},
    ):
        put(run, "data/meta.json", {**META, **change})
        assert not judge(run, "prepare").passed, change
    put(run, "data/meta.json", META)
    (run.path / "data/train/data-00000-of-00001.arrow").unlink()
    assert "no Arrow file" in judge(run, "prepare").problems[0]


def test_prepare_draws_its_rows_and_the_page_runs_nothing(run):
    found = judge(run, "prepare")
    assert found.passed and found.facts["page"] == "reports/data.html" and "notes" not in found.facts
    put(run, "reports/data.json", {**TOLD, "without_rows": "OSError: no such model", "problems": ["row 3 of train: x"]})
    assert [note.partition(" ")[2] for note in judge(run, "prepare").facts["notes"]] == [
        "shows no rows: OSError: no such model",
        "could not draw all: row 3 of train: x",
    ]
    for wrong, said in (
        (DRAWN.replace("<p class=small>", "<script>x()</script><p>"), "<script>"),
        (DRAWN.replace("<h1>", '<h1 onclick="x()">'), "onclick"),
        (DRAWN.replace("rows", '<img src="https://example.org/a.png">'), "src="),
        (DRAWN[:40], "not a whole"),
    ):
        put(run, "reports/data.html", wrong)
        assert said in judge(run, "prepare").problems[0], wrong
    (run.path / "reports/data.html").unlink()
    assert "reports/data.html is missing" in judge(run, "prepare").problems[0]


def counted(rows: int, *, classes=None, left_out=None, classes_left_out=None, objects_left_out=None, **more) -> dict:
    """One split's part of `read` in data/meta.json."""
    left_out = left_out or {}
    return {
        "split": "train",
        "rows": rows,
        "usable": rows - sum(left_out.values()),
        "left_out": left_out,
        "objects_left_out": objects_left_out or {},
        "classes": classes or {},
        "classes_left_out": classes_left_out or {},
        **more,
    }


def prepared(run: Run, read: dict, probed: dict, meta=None, **config) -> verdicts.Verdict:
    evidence.write(run, evidence.make(run, "dataset", probed, config=CONFIG))
    put(run, "data/meta.json", {**META, "read": {"eval": None, **read}, **(meta or {})})
    config = CONFIG.model_copy(update={"train_split": "train", **config})
    return verdicts.judge(run, config, jobs.Job("prepare", "ended", {"id": "1"}, {"exit_code": 0}))


def test_prepare_may_not_leave_rows_out(run):
    probed = {"splits": {"train": 100}}
    found = prepared(run, {"train": counted(100)}, probed, {"n_train": 1, "train_histogram": {"a": 1}})
    assert "1 training rows were prepared where the dataset has 8 that could be used" in found.problems[0]
    put(run, "data/meta.json", META)
    assert "how many rows were read" in judge(run, "prepare").problems[0]  # an edit that leaves the counts out


def test_prepare_may_choose_fewer_rows_than_there_are_and_not_more(run):
    assert prepared(
        run, {"train": counted(100)}, {"splits": {"train": 100}}
    ).passed  # n_train and n_eval ask for 8 and 4
    assert prepared(run, {"train": counted(12)}, {"splits": {"train": None}}).problems  # 10 % is held out: 2, not 4
    both = {"train": counted(8), "eval": counted(4, split="test")}
    probed = {"splits": {"train": 8, "test": 4}}
    assert prepared(run, both, probed, eval_split="test").passed
    assert (
        "nothing about the rows of eval_split"
        in prepared(run, {"train": counted(8)}, probed, eval_split="test").problems[0]
    )


@pytest.mark.parametrize(
    ("probed", "wrong"),
    [
        (
            {"splits": {"train": 120}},
            "prepare read 100 rows of split 'train' where the probe counted 120: 20 are missing",
        ),
        ({"splits": {"train": 90}}, "prepare read 100 rows of split 'train' where the probe counted 90: 10 are more"),
    ],
)
def test_prepare_reads_the_rows_that_the_probe_counted(run, probed, wrong):
    read = {"train": counted(100, left_out={"no label": 3})}
    found = prepared(run, read, probed)
    assert not found.passed and wrong in found.problems[0]
    assert prepared(run, read, {**probed, "rows_partial": True}).passed


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(
    ("part", "wrong"),
    [
        ({"classes": {"a": 50}}, "class 'b' of split '{}' vanished: the probe counted 50, prepare read none"),
        ({"classes": {"a": 50, "b": 40}}, "class 'b' of split '{}': the probe counted 50, prepare read 40"),
        ({"classes": {"a": 50, "b": 90}}, "class 'b' of split '{}': the probe counted 50, prepare read 90"),
        ({"classes": {"a": 50, "b": 50, "c": 1}}, "class 'c' of split '{}': the probe counted none, prepare read 1"),
        (
            {"classes": {"a": 50, "b": 50}, "classes_left_out": {"b": {"no label": 50}}},
            "class 'b' of split '{}' vanished: all 50 are left out (50 no label)",
        ),
    ],
)
def test_prepare_reads_every_class_that_the_probe_counted(run, split, part, wrong):
    parts = {"train": counted(8), "eval": counted(4, split="test")}
    parts["train" if split == "train" else "eval"].update(part)
    counts = {split: {"counts": {"a": 50, "b": 50}, "complete": True, "whole_list": True}}
    found = prepared(run, parts, {"splits": {}, "class_counts": counts}, eval_split="test")
    assert not found.passed and wrong.format(split) in found.problems[0]


def test_a_class_that_was_only_sampled_may_occur_more_often(run):
    counts = {"train": {"counts": {"a": 5, "crowd": 2}, "complete": False}}
    part = {"classes": {"a": 50, "crowd": 2}, "classes_left_out": {"crowd": {"box of a crowd": 2}}}
    assert prepared(run, {"train": counted(100, **part)}, {"splits": {}, "class_counts": counts}).passed


def test_prepare_says_what_is_left_out_and_why(run):
    read = counted(
        100,
        left_out={"longer than 64 tokens": 85},
        objects_left_out={"box without area": 1},
        classes={"a": 40},
        fits_95=300,
    )
    found = prepared(
        run, {"train": read}, {"splits": {"train": 100}}, {"n_eval": 3, "eval_histogram": {"a": 3}}, max_length=64
    )
    assert found.passed, found.problems
    assert found.facts["train_rows"]["left_out"] == {"longer than 64 tokens": 85}
    assert found.facts["notes"] == [
        "85 of 100 rows of split 'train' are left out: 85 longer than 64 tokens; max_length 300 would keep 95 %",
        "1 of 41 objects of split 'train' are left out: 1 box without area",
        "3 evaluation rows are few: the 95 % interval of a share would reach 0.57 to either side; 25 rows or more need a "
        "larger n_eval, or more data to measure on",
    ]
    few = "it is measured on 3 rows only, so that a share is known to +-0.57 at best"
    assert found.facts["asks"] == f"train although {found.facts['notes'][0]}; {few}" and "accepted" not in found.facts


ENOUGH = {"n_eval": 25, "eval_histogram": {"a": 25}}


def test_a_small_loss_asks_nothing(run):
    read = {"train": counted(200, left_out={"no label": 20})}
    found = prepared(run, read, {"splits": {"train": 200}}, ENOUGH, n_eval=25)
    assert found.passed and "asks" not in found.facts and len(found.facts["notes"]) == 1


@pytest.mark.parametrize(("rows", "asked"), [(3, True), (24, True), (25, False)])
def test_few_evaluation_rows_are_for_the_user_to_accept(run, rows, asked):
    meta = {"n_eval": rows, "eval_histogram": {"a": rows}}
    found = prepared(run, {"train": counted(200)}, {"splits": {"train": 200}}, meta, n_eval=rows)
    assert found.passed and ("asks" in found.facts) is asked


@pytest.mark.parametrize(("seen", "asked"), [(12, False), (13, True), (25, True)])
def test_evaluation_rows_of_which_half_are_trained_on_are_for_the_user_to_accept(run, seen, asked):
    meta = {**ENOUGH, "seen_in_training": seen, "seen_anew": 4}
    found = prepared(run, {"train": counted(200)}, {"splits": {"train": 200}}, meta, n_eval=25)
    assert found.passed and found.facts["seen_anew"] == 4 and ("asks" in found.facts) is asked
    said = f"{seen} of 25 evaluation rows are training rows too"
    assert (said in found.facts.get("asks", "")) is asked and said in summary.notes(found.facts)[0]


def test_prepare_names_columns_that_nothing_reads(run):
    probed = {"splits": {}, "unused_columns": ["id", "history"], "task": "text-generation"}
    assert "columns that are not read: id, history" in prepared(run, {"train": counted(100)}, probed).facts["notes"]


def test_check_api_must_have_seen_the_files_as_they_are(run):
    put(run, "train.py", "print(1)\n")
    row = {
        "sha256": hashlib.sha256(b"print(1)\n").hexdigest(),
        "imports": 0,
        "calls": 1,
        "keywords": 0,
        "unverified": 0,
    }
    put(run, "reports/check_api.json", {"passed": True, "versions": {}, "files": {"train.py": row}, "problems": []})
    assert judge(run, "check_api").passed
    put(run, "train.py", "print(2)\n")
    assert "not checked as it is now" in judge(run, "check_api").problems[0]


def test_build_compares_pins_with_what_is_installed(run):
    put(run, "requirements.txt", "transformers==5.23.0\n")
    put(run, "requirements-local.txt", "torch==2.13.0\n")
    put(run, "reports/build.json", {"python": "/p", "packages": {"transformers": "5.23.0", "torch": "2.13.0+cpu"}})
    assert judge(run, "build").passed
    put(run, "reports/build.json", {"python": "/p", "packages": {"transformers": "5.22.0", "torch": "2.13.0"}})
    assert "transformers==5.23.0 was asked for, 5.22.0 is installed" in judge(run, "build").problems


def test_five_samples_that_are_pictures(run):
    for i in range(4):
        for name in ("input.jpg", "pred.jpg"):
            put(run, f"reports/inference_samples/{i}_{name}", "x")
            (run.path / f"reports/inference_samples/{i}_{name}").write_bytes(JPEG)
        put(run, f"reports/inference_samples/{i}_meta.json", {"prediction": "a"})
    assert judge(run, "infer").passed  # four evaluation rows, four samples
    (run.path / "reports/inference_samples/0_pred.jpg").write_bytes(b"GIF8")
    assert "not a JPEG" in judge(run, "infer").problems[0]


# -- stopped, killed


def rows_of(*numbers: int, session: str = "a") -> str:
    return lines(*({"session": session, "step": number} for number in numbers))


def checkpoint(run: Run, step: int) -> None:
    put(run, f"checkpoints/checkpoint-{step}/trainer_state.json", {"global_step": step})


@pytest.mark.parametrize("code", [75, 143, 1])  # 1: torchrun's, whatever its workers' was
def test_a_stopped_training_neither_passed_nor_failed(run, code):
    put(run, "reports/train.json", {"global_step": 7, "max_steps": 20, "resumed_from": None, "stopped": True})
    put(run, "logs/steps.jsonl", rows_of(1, 2, 3, 4) + rows_of(5, 6, 7, session="b"))
    checkpoint(run, 7)
    found = judge(run, "train", code)
    assert found.stopped and not found.passed and "at step 7 of 20, with everything saved" in found.problems[0]
    assert "goes on with step 8" in found.problems[0] and found.facts["steps_repeated"] == 0
    assert found.facts["sessions"] == 2


def test_a_training_that_was_ended_without_saving_does_not_say_that_it_saved(run):
    put(run, "logs/steps.jsonl", rows_of(*range(1, 8)))
    checkpoint(run, 4)
    found = judge(run, "train", 143)
    assert found.stopped and "without saving" in found.problems[0] and "steps 5 to 7 a second time" in found.problems[0]


def test_a_stop_before_the_first_step(run):
    found = judge(run, "train", 75)
    assert found.stopped and "before its first step" in found.problems[0] and "goes on with step 1" in found.problems[0]


def test_other_stages_that_were_stopped(run):
    assert judge(run, "prepare", 143).stopped and not judge(run, "prepare", 137).stopped


def test_a_killed_training_says_which_steps_it_costs(run):
    put(run, "logs/train.log", "step 6/20\n")
    put(run, "logs/steps.jsonl", rows_of(*range(1, 7)))
    first = judge(run, "train", 137)
    assert not first.stopped and first.problems[0].startswith("exit code 137: ")
    assert "no checkpoint yet" in first.problems[1] and "steps 1 to 6 a second time" in first.problems[1]
    checkpoint(run, 6)
    assert judge(run, "train", 137).problems[1] == "when it is run again, it resumes from checkpoint-6"


def test_repeated_steps_are_counted_in_what_was_written_down(run):
    assert verdicts.ended.steps_done(run) == {}
    put(run, "logs/steps.jsonl", rows_of(1, 2, 3) + rows_of(2, 3, 4, session="b"))
    assert verdicts.ended.steps_done(run) == {"sessions": 2, "steps_repeated": 2}


JUNIT = """<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests"><testsuite name="pytest" tests="2">
<testcase classname="tests.test_data" name="test_a[x]" time="0.1"/><testcase classname="tests.test_data" name="test_b" time="0.1">%s</testcase>
</testsuite></testsuites>"""
TOO_LARGE = '<skipped type="pytest.skip" message="too-large: 7.6 billion parameters">x</skipped>'


@pytest.fixture
def tested(run):
    put(run, "tests/test_data.py", "def test_a(x): pass\ndef test_b(): pass\ndef helper(): pass\n")
    put(run, "reports/tests.xml", JUNIT % "")
    return run


def test_unit_tests_pass_where_each_of_them_ran_and_passed(tested):
    found = judge(tested, "test")
    assert found.passed and found.facts == {"tests": 2, "skipped": []}
    put(tested, "reports/tests.xml", JUNIT % TOO_LARGE)
    found = judge(tested, "test")
    assert found.passed and found.facts["tests"] == 1 and "7.6 billion" in found.facts["skipped"][0]


@pytest.mark.parametrize(
    ("inside", "says"),
    [
        ('<failure message="assert 1 == 2&#10;more">trace</failure>', "test_data::test_b failed: assert 1 == 2"),
        ('<error message="fixture broke">trace</error>', "test_data::test_b could not run: fixture broke"),
        ('<skipped message="no reason of ours">x</skipped>', "test_data::test_b skipped: no reason of ours"),
        ('<skipped message="">x</skipped>', "test_data::test_b skipped: ?"),
        ("<failure/>", "test_data::test_b failed"),
    ],
)
def test_a_unit_test_that_failed_or_was_left_out_fails_the_stage_whatever_the_exit_code(tested, inside, says):
    put(tested, "reports/tests.xml", JUNIT % inside)
    found = judge(tested, "test")
    assert not found.passed and found.problems[0].startswith(says), found.problems


@pytest.mark.parametrize(
    "report",
    [
        "<testsuites/>",
        "",
        '<!DOCTYPE x [<!ENTITY a "b">]>' + JUNIT % "",
        JUNIT.replace("test_b", "test_a") % "",  # fewer than there are
        JUNIT.replace("tests.test_data", "elsewhere") % "",
    ],
)
def test_a_report_that_does_not_name_every_unit_test_is_none(tested, report):
    put(tested, "reports/tests.xml", report)
    assert not judge(tested, "test").passed


def test_an_empty_tests_folder_is_no_pass(run):
    put(run, "reports/tests.xml", JUNIT % "")
    assert not judge(run, "test").passed


PAGE = "<!doctype html>\n<html lang=en><body><p class=big>0.2500 → 0.7500</p>%s</body></html>\n"
PAPER = b"%PDF-1.4\n1 0 obj\n<< /Subject (accuracy: baseline \\(random-head\\) 0.2500; tuned 0.7500) /Title (x) >>\ntrailer\n%%EOF\n"


@pytest.fixture
def reported(run):
    put(run, "reports/eval_results.json", {"accuracy": 0.75})
    put(run, "reports/baseline_results.json", {"accuracy": 0.25})
    put(
        run,
        "reports/report.html",
        PAGE % '<img alt="" src="data:image/png;base64,AA"><a href="https://x.org/">&lt;script&gt; src=http://y</a>',
    )
    (run.path / "reports/report.pdf").write_bytes(PAPER)
    return run


def test_a_report_that_tells_the_numbers_passes(reported):
    assert judge(reported, "report").problems == [] and judge(reported, "report").passed


@pytest.mark.parametrize(
    "inside",
    [
        "<script>alert(1)</script>",
        '<img src="https://elsewhere.org/pixel.png">',
        '<img src="data:image/png;base64,AA" onerror="alert(1)">',
        '<a href="javascript:alert(1)">x</a>',
        "<style>body{background:url(https://elsewhere.org)}</style>",
        "<svg/onload=alert(1)>",
        '<p style="background:url(//x)">',
    ],
)
def test_a_report_runs_and_fetches_nothing(reported, inside):
    put(reported, "reports/report.html", PAGE % inside)
    assert "runs nothing and fetches nothing" in judge(reported, "report").problems[0]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("report.html", PAGE.replace("0.7500", "0.9500") % ""),
        ("report.html", PAGE.replace("0.2500", "0.0000") % ""),
        ("report.html", (PAGE % "")[:40]),
        ("report.html", "0.2500 0.7500"),
        ("report.pdf", PAPER.replace(b"0.7500", b"0.7501").decode()),
        ("report.pdf", PAPER.replace(b"0.7500", b"10.75001").decode()),
        ("report.pdf", PAPER[:-8].decode()),
        ("report.pdf", PAPER[5:].decode()),
        ("report.pdf", "%PDF- accuracy 0.2500 0.7500 %%EOF"),
    ],
)
def test_a_report_with_another_number_or_half_of_one_fails(reported, name, content):
    put(reported, f"reports/{name}", content)
    found = judge(reported, "report")
    assert not found.passed and name in found.problems[0]


LANGUAGE = CONFIG.model_copy(
    update={"task": "text-generation", "training_method": "lora", "class_names": [], "skip_baseline": True}
)


def test_the_exact_match_beside_a_loss_is_recomputed_too(run):
    rows = [
        {"index": i, "loss": 1.0, "tokens": 2, "prediction": "Ham." if i else "spam", "answer": ["ham"]}
        for i in range(4)
    ]
    put(run, "reports/eval_predictions.jsonl", lines(*rows))
    change = {"value": 0.5, "low": 0.1, "high": 0.9}
    report = {"eval_loss": 0.5, "kind": "fine-tuned", "interval": [0, 1], "exact_match": 0.75,
              "exact_match_difference": change, "controls": {"majority_answer_exact_match": 1.0}}  # fmt: skip
    put(run, "reports/eval_results.json", report)
    job = jobs.Job("eval", "ended", {"id": "1"}, {"exit_code": 0})
    found = verdicts.judge(run, LANGUAGE, job)
    assert found.passed and found.facts["exact_match"] == 0.75 and found.facts["exact_match_difference"] == change
    assert found.facts["controls"] == report["controls"]
    put(run, "reports/eval_results.json", {**report, "exact_match": 1.0})
    told = verdicts.judge(run, LANGUAGE, job)
    assert not told.passed and "its own predictions give 0.7500" in told.problems[0]


def test_grpo_has_a_step_for_so_many_answers_not_prompts(run):
    config = LANGUAGE.model_copy(update={"training_method": "grpo", "num_generations": 4, "n_epochs": 1})
    assert verdicts.training.fewest_steps(config, 8) == 16 and verdicts.training.fewest_steps(LANGUAGE, 8) == 3 * 4
