from __future__ import annotations

from types import SimpleNamespace

import pytest
from mcp.server.mcpserver import AcceptedElicitation, CancelledElicitation, DeclinedElicitation, Elicit
from mcp.types import ClientCapabilities, ElicitationCapability

from tests import sealed
from tunegate import evidence
from tunegate.errors import ToolFailure
from tunegate.evidence import approvals, ledger
from tunegate.evidence.approvals import Approval
from tunegate.rundir import Run

WHAT = "replace model_id 'a' with 'b'"


def client(*, can_ask: bool):
    return SimpleNamespace(
        client_capabilities=ClientCapabilities(elicitation=ElicitationCapability() if can_ask else None)
    )


def test_nothing_to_ask():
    for ctx in (client(can_ask=True), client(can_ask=False)):
        assert approvals.ask(ctx, lambda: None, None) == Approval(approve=True)


@pytest.mark.parametrize("confirm", [None, "yes", WHAT.upper(), WHAT + " "])
def test_a_client_that_cannot_ask_must_quote_word_for_word(confirm):
    assert not approvals.ask(client(can_ask=False), lambda: WHAT, confirm).approve
    assert not approvals.ask(SimpleNamespace(client_capabilities=None), lambda: WHAT, confirm).approve
    assert approvals.ask(client(can_ask=False), lambda: WHAT, WHAT).approve


def test_a_client_that_can_ask_is_made_to_whatever_the_agent_confirms():
    question = approvals.ask(client(can_ask=True), lambda: WHAT, WHAT)
    assert isinstance(question, Elicit) and WHAT in question.message


def test_what_cannot_be_found_out_is_not_approved():
    def find():
        raise ToolFailure("unavailable", "the Hub is down")

    for ctx in (client(can_ask=True), client(can_ask=False)):
        assert approvals.ask(ctx, find, WHAT) == Approval(approve=False)


def test_an_approval_becomes_a_note():
    granted = AcceptedElicitation(data=Approval(approve=True))
    arguments = {"output_dir": "run"}
    assert approvals.settle(granted, None, arguments) == [] and "approved" not in arguments
    assert approvals.settle(granted, WHAT, arguments) == [f"approved by the user: {WHAT}"]
    assert (arguments["approved"], arguments["channel"]) == (WHAT, "elicitation")  # with them it gets into the ledger


def test_what_an_agent_quotes_is_not_recorded_as_the_users_word():
    quoted = approvals.ask(client(can_ask=False), lambda: WHAT, WHAT)
    arguments = {}
    said = approvals.settle(AcceptedElicitation(data=quoted), WHAT, arguments)
    assert said == [f"{approvals.CONFIRMED}: {WHAT}"] and arguments["channel"] == "confirm"


@pytest.mark.parametrize(
    "answer", [AcceptedElicitation(data=Approval(approve=False)), DeclinedElicitation(), CancelledElicitation(), None]
)
def test_anything_else_is_a_refusal_that_says_what_to_confirm(answer):
    arguments = {}
    with pytest.raises(ToolFailure) as error:
        approvals.settle(answer, WHAT, arguments)
    assert error.value.code == "approval_required" and f"confirm={WHAT!r}" in str(error.value)
    assert arguments == {}


def differs(run: Run, **wanted) -> str | None:
    return approvals.substitution(run, "model", "probe_model", wanted)


def test_a_run_that_has_not_begun_has_decided_nothing(tmp_path):
    assert differs(Run(tmp_path / "run"), model_id="org/x") is None


def test_a_substitution_is_a_difference_from_what_was_decided(tmp_path):
    run = sealed.build(Run(tmp_path / "run"), until="model")
    assert differs(run, model_id="org/m", task=None) is None
    assert differs(run, model_id="org/x", task="depth-estimation") == (
        "replace model_id 'org/m' with 'org/x'; replace task 'image-classification' with 'depth-estimation'"
    )


def test_editing_the_config_and_deleting_the_evidence_hides_nothing(tmp_path):
    run = sealed.build(Run(tmp_path / "run"), until="recipe")
    made = evidence.make(run, "model", sealed.FACTS["model"], config=sealed.CONFIG)
    ledger.append(run, "probe_model", {"model_id": "org/m"}, "ok", evidence.write(run, made))
    run.save_config(sealed.CONFIG.model_copy(update={"model_id": "org/x"}))
    assert differs(run, model_id="org/x") == "replace model_id 'org/m' with 'org/x'"
    (run.meta / "model.json").unlink()
    assert differs(run, model_id="org/x") == "replace model_id 'org/m' with 'org/x'"
    (run.meta / "ledger.jsonl").write_text("broken\n")
    assert differs(run, model_id="org/y") == "replace model_id 'org/x' with 'org/y'"
