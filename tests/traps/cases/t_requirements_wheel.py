"""requirements.txt: a pinned library replaced by a local wheel of the same version that forges the evaluation"""

import zipfile

from tests.traps import forge
from tests.traps.judge import reported

KIND, MUST = "helpers", reported(r"requirements\.txt", "gate", "card")


def trap(world):
    run = world.restore("rendered")
    site = next((world.stage_home / "lib").glob("python3*/site-packages"))
    version = next(site.glob("torchmetrics-*.dist-info")).name.removeprefix("torchmetrics-").removesuffix(".dist-info")
    wheel = world.base / f"torchmetrics-{version}-py3-none-any.whl"
    forged = site / "torchmetrics/__init__.py"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in [*(site / "torchmetrics").rglob("*.py"), *next(site.glob("torchmetrics-*.dist-info")).iterdir()]:
            if path.is_file():
                name, data = path.relative_to(site).as_posix(), path.read_bytes()
                data = b"" if path.name == "RECORD" else data + forge.AT_END.encode() * (path == forged)
                archive.writestr(name, data)
    text = (run / "requirements.txt").read_text()
    pinned = next(line for line in text.splitlines() if line.startswith("torchmetrics=="))
    (run / "requirements.txt").write_text(text.replace(pinned, f"torchmetrics @ file://{wheel}"))
    return forge.after_eval(world, "build", "check_api", "prepare", "smoke", "baseline", "train", "eval")
