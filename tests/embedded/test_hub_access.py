"""Who may see and change what, with huggingface_hub, unmodified."""

from __future__ import annotations

from functools import partial

import pytest
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

from tests.embedded.conftest import OTHER, OWNER, READER
from tests.tiny import model_files


def test_whoami_and_bad_tokens(hub, api):
    assert api.whoami()["name"] == "me" and api.whoami()["auth"]["accessToken"]["role"] == "write"
    assert api.whoami(token=READER)["auth"]["accessToken"]["role"] == "read"
    for token in ("hf_wrong", "hf_owner2"):
        with pytest.raises(HfHubHTTPError) as caught:
            api.whoami(token=token)
        assert caught.value.response.status_code == 401


@pytest.mark.parametrize(
    ("token", "repo_id", "status"),
    [(READER, "me/a", 403), (OWNER, "other/a", 403), (False, "me/a", 401), ("hf_wrong", "me/a", 401)],
)
def test_who_may_not_create(api, token, repo_id, status):
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_repo(repo_id, token=token)
    assert caught.value.response.status_code == status


def test_private(hub, api, download):
    hub.add_repo("model", "me/secret", model_files(), private=True)
    assert download("me/secret", "config.json").exists() and api.model_info("me/secret", token=READER).private
    for token, status in ((False, 401), (OTHER, 404)):
        for call in (api.model_info, partial(download, name="config.json")):
            with pytest.raises(RepositoryNotFoundError) as caught:
                call("me/secret", token=token)
            response = caught.value.response
            assert (response.status_code, response.headers["x-error-code"]) == (status, "RepoNotFound")
    api.update_repo_settings("me/secret", private=False)
    assert not api.model_info("me/secret", token=False).private


def test_gated(hub, api, download):
    hub.add_repo("model", "me/tiny", model_files())
    api.update_repo_settings("me/tiny", gated="manual")
    assert api.model_info("me/tiny", token=False).gated == "manual", "the description is public"
    assert download("me/tiny", "config.json").exists()
    api.auth_check("me/tiny")
    for token, status in ((False, 401), (OTHER, 403)):
        for call in (api.auth_check, partial(download, name="config.json")):
            with pytest.raises(GatedRepoError) as caught:
                call("me/tiny", token=token)
            assert caught.value.response.status_code == status
    api.update_repo_settings("me/tiny", gated=False)
    assert download("me/tiny", "config.json", OTHER).exists()


def test_who_may_not_write(hub, api):
    hub.add_repo("model", "me/tiny", model_files())
    for token, status in ((READER, 403), (OTHER, 403), (False, 401)):
        with pytest.raises(HfHubHTTPError) as caught:
            api.upload_file(repo_id="me/tiny", path_or_fileobj=b"x", path_in_repo="x", token=token)
        assert caught.value.response.status_code == status
        with pytest.raises(HfHubHTTPError):
            api.delete_repo("me/tiny", token=token)
    hub.add_repo("model", "team/tiny", model_files(), owner="me")
    assert api.upload_file(repo_id="team/tiny", path_or_fileobj=b"x", path_in_repo="x").oid
