"""The install plans: every distribution that the page names gets complete commands, any other a place to read."""

from __future__ import annotations

import platform
import re

import pytest

from tunegate.hardware import install_plan
from tunegate.hardware.install_plan import INSTALL_PARTS, steps
from tunegate.knowledge.reference_pages import sections


@pytest.fixture
def on(tmp_path, monkeypatch):
    """on(ID, VERSION_ID, ID_LIKE): a machine with this os-release."""

    def machine(
        id: str, version: str = "", like: str = "", arch: str = "x86_64", kernel: str = "6.8.0-generic"
    ) -> None:
        quoted = f'NAME="{id}"\nID={id}\nVERSION_ID="{version}"\n' + (f'ID_LIKE="{like}"\n' if like else "")
        (tmp_path / "os-release").write_text("# a comment\n" + quoted)
        monkeypatch.setattr(install_plan, "OS_RELEASE", (tmp_path / "absent", tmp_path / "os-release"))
        monkeypatch.setattr(platform, "machine", lambda: arch)
        monkeypatch.setattr(platform, "release", lambda: kernel)

    return machine


@pytest.mark.parametrize(
    ("release", "driver", "engine"),
    [
        (("debian", "12"), "repos/debian12/x86_64/cuda-keyring", "linux/debian"),
        (("ubuntu", "24.04", "debian"), "repos/ubuntu2404/x86_64/cuda-keyring", "linux/ubuntu"),
        (("rhel", "9.4", "fedora"), "repos/rhel9/x86_64/cuda-rhel9.repo", "linux/rhel/docker-ce.repo"),
        (
            ("rocky", "10.1", "rhel centos fedora"),
            "repos/rhel10/x86_64/cuda-rhel10.repo",
            "linux/centos/docker-ce.repo",
        ),
        (("fedora", "44"), "repos/fedora44/x86_64/cuda-fedora44.repo", "linux/fedora/docker-ce.repo"),
        (("sles", "15.6", "suse"), "repos/sles15/x86_64/cuda-sles15.repo", "zypper install -y docker"),
        (("opensuse-leap", "15.6", "suse opensuse"), "repos/opensuse15/x86_64/", "zypper install -y docker"),
        (("opensuse-leap", "16.0", "suse opensuse"), "repos/suse16/x86_64/", "zypper install -y docker"),
        (("opensuse-tumbleweed", "20261120", "opensuse suse"), "repos/suse16/", "zypper install -y docker"),
        (("ubuntu", "24.04", "debian", "aarch64"), "repos/ubuntu2404/sbsa/", "linux/ubuntu"),
    ],
)
def test_known_distributions(on, release, driver, engine):
    on(*release)
    said = steps(INSTALL_PARTS)
    text = "\n".join(said)
    assert driver in text and engine in text and "1.19.0-1" in text and "580" in text
    assert not re.search(r"(?<!\$)\{\w+\}", text) and "install the " not in text
    order = [
        next(i for i, line in enumerate(said) if word in line) for word in ("reboot", "docker", "1.19.0", "nvidia-ctk")
    ]
    assert order == sorted(order) and said[-1].startswith("sudo systemctl restart docker")


def test_only_what_is_missing(on):
    on("debian", "12")
    assert steps([]) == []
    assert (
        steps(["configure"])[0] == "sudo nvidia-ctk runtime configure --runtime=docker"
        and len(steps(["configure"])) == 2
    )
    assert steps({"configure", "toolkit"})[-1].startswith("sudo systemctl restart docker")
    assert not any("cuda-keyring" in line for line in steps({"toolkit", "engine", "configure"}))


def test_rootless(on):
    on("debian", "12")
    said = steps(["configure"], rootless=True)
    assert any("no-cgroups" in line for line in said) and said[-1] == "systemctl --user restart docker"


def test_a_derivative_has_its_parents_docker_and_reads_the_drivers_guide(on):
    on("linuxmint", "22", "ubuntu debian")
    said = steps(["driver", "engine"])
    assert "driver-installation-guide" in said[0] and "580" in said[0]
    assert any("linux/ubuntu" in line for line in said)


def test_amazon_linux_has_no_docker_packages_of_dockers(on):
    on("amzn", "2023", "fedora")
    assert any("repos/amzn2023/" in line for line in steps(["driver"]))
    assert any("linux/fedora" in line or "engine/install" in line for line in steps(["engine"]))


@pytest.mark.parametrize("release", [("arch",), ("",), ("nixos", "26.05")])
def test_an_unknown_distribution_gets_links(on, release):
    on(*release)
    said = steps(INSTALL_PARTS)
    assert len([line for line in said if line.startswith("install the ") and "https://" in line]) == 3
    assert "nvidia-ctk" in said[-2]


def test_no_driver_inside_wsl(on):
    on("ubuntu", "24.04", "debian", kernel="6.6.87.2-microsoft-standard-WSL2")
    assert steps(["driver"])[0].startswith("Windows: ") and len(steps(["driver"])) == 1


def test_every_family_of_the_page_is_whole():
    page = {section.id: section for section in sections(install_plan.PAGE)}
    common = page.pop("every-family")
    assert set(page) == {"debian", "rhel", "suse"}
    assert (
        common.data["configure"]
        and common.data["configure_rootless"]
        and set(common.data["guides"]) == set(INSTALL_PARTS[:3])
    )
    for family in page.values():
        assert all(family.data[part] for part in INSTALL_PARTS[:3]) and set(family.data["repositories"]) <= {
            *family.data["ids"]
        }
        assert all(isinstance(line, str) for part in INSTALL_PARTS[:3] for line in family.data[part])
