"""The half of throughput.py that runs inside a rendered project, with its modules.

    throughput_stage.py repeat COPIES
    throughput_stage.py MODE STEPS WARM_UP BATCH ACCUMULATION

On the GPU where there is one. On the CPU it runs the same code, which tries it out: `peak_gb` is null there.
"""

import functools
import json
import os
import sys
import time
import warnings

from harness.project import DATA, load_config, load_meta, write_json


def repeat(copies):
    """data/train, `copies` times over."""
    import shutil

    from datasets import concatenate_datasets, load_from_disk

    rows = concatenate_datasets([load_from_disk(str(DATA / "train"))] * copies)
    rows.save_to_disk(str(DATA / "more"))
    shutil.rmtree(DATA / "train")
    (DATA / "more").rename(DATA / "train")
    write_json(DATA / "meta.json", {**load_meta(), "n_train": len(rows)})


def synchronize():
    """Waits for what the GPU has been given to do."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_gb():
    """The most that torch had in use on the GPU, in 1e9 bytes; None without one."""
    import torch

    return round(torch.cuda.max_memory_allocated() / 1e9, 2) if torch.cuda.is_available() else None


def measured(trainer, steps, warm_up, began):
    """Train for so many steps, of which the first `warm_up` are not counted; {samples_per_second, peak_gb, first_step_s}."""
    import torch
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step in (1, warm_up, steps):
                synchronize()
                self.at[state.global_step] = time.monotonic()

    clock = Clock()
    clock.at = {}
    args = trainer.args
    args.max_steps, args.save_strategy, args.num_train_epochs = steps, "no", 1000
    trainer.add_callback(clock)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    trainer.train()
    batch = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    return {
        "samples_per_second": round(batch * (steps - warm_up) / (clock.at[steps] - clock.at[warm_up]), 1),
        "peak_gb": peak_gb(),
        "first_step_s": round(clock.at[1] - began, 1),
        "batch": f"{args.train_batch_size} x {args.gradient_accumulation_steps} x {args.world_size}",
        "workers": args.dataloader_num_workers,
    }


def its_turn():
    """All processes import at once, then one measures after the other. -> when it began"""
    import datasets  # noqa: F401
    import torch  # noqa: F401
    import train  # noqa: F401

    while os.environ.get("TURN") and not os.path.exists(os.environ["TURN"]):
        time.sleep(0.02)
    return time.monotonic()


def ours(cfg):
    import train
    from harness.training import prepared

    return prepared(train.build_trainer(cfg))


def compiled(cfg):
    trainer = ours(cfg)
    trainer.model.compile(dynamic=False)  # in place, as torch_compile does
    return trainer


def plain(cfg, batch, accumulation):
    """The same model and rows; each picture goes through the processor, in 4 workers, and travels as floats."""
    import torch
    from transformers import Trainer, TrainingArguments

    theirs = ours(cfg)
    args = TrainingArguments(
        output_dir="plain", per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation, learning_rate=1e-5, bf16=torch.cuda.is_available(),
        dataloader_num_workers=4, remove_unused_columns=False, save_strategy="no", disable_tqdm=True, report_to="none",
    )  # fmt: skip
    rows, collate = VIEWS[cfg["task"]](cfg, theirs.processing_class, theirs.model)
    return Trainer(model=theirs.model, args=args, train_dataset=rows, data_collator=collate)


def classification(cfg, processor, model):
    """As run_image_classification.py: torchvision's transforms, picture by picture."""
    from data import collate
    from harness.pixels import input_size
    from harness.project import load_split
    from torchvision import transforms

    width, height = input_size(processor)
    steps = transforms.Compose([
        transforms.RandomResizedCrop((height, width)), transforms.RandomHorizontalFlip(), transforms.ToTensor(),
        transforms.Normalize(processor.image_mean, processor.image_std),
    ])  # fmt: skip

    def view(rows):
        return {"pixel_values": [steps(image.convert("RGB")) for image in rows["image"]], "labels": rows["label"]}

    return load_split("train").with_transform(view), collate


def segmentation(cfg, processor, model):
    """Cropped and mirrored by PIL as in the project, then the processor for each picture."""
    import data
    from data import collate, train_view
    from harness.project import load_split

    rows = train_view(load_split("train"), cfg, processor)
    data.to_bytes = functools.partial(floats, processor)  # instead of bytes

    def batch(examples):
        found = collate(examples)
        return {**found, "labels": found["labels"].long()}

    return rows, batch


def detection(cfg, processor, model):
    import data
    from data import train_view
    from harness.project import load_split

    data.to_bytes = functools.partial(floats, processor)

    def batch(examples):
        import torch

        images = [example["pixel_values"] for example in examples]
        height, width = (max(image.shape[side] for image in images) for side in (1, 2))
        pixels, mask = (
            torch.zeros(len(images), 3, height, width),
            torch.zeros(len(images), height, width, dtype=torch.long),
        )
        for i, image in enumerate(images):
            pixels[i, :, : image.shape[1], : image.shape[2]] = image
            mask[i, : image.shape[1], : image.shape[2]] = 1
        return {"pixel_values": pixels, "pixel_mask": mask, "labels": [example["labels"] for example in examples]}

    return train_view(load_split("train"), cfg, processor, model), batch


def questions(cfg, processor, model):
    from data import Collate, train_view
    from harness.project import load_split

    return train_view(load_split("train"), processor), Collate(processor)


def floats(processor, image):
    return processor(
        image, return_tensors="pt", do_resize=False, **({"do_pad": False} if hasattr(processor, "do_pad") else {})
    )["pixel_values"][0]


VIEWS = {
    "image-classification": classification,
    "semantic-segmentation": segmentation,
    "object-detection": detection,
    "image-text-to-text": questions,
}


def alone(cfg, steps, warm_up):
    """Steps on one batch that lies on the device: no loader, no Trainer."""
    import torch

    trainer = ours(cfg)
    device = trainer.args.device.type
    model, args = trainer.model.to(device).train(), trainer.args
    batch = getattr(trainer, "converted", dict)(next(iter(trainer.get_train_dataloader())))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5, fused=device == "cuda")
    for step in range(steps):
        if step == warm_up:
            synchronize()
            began = time.monotonic()
        with torch.autocast(device, torch.bfloat16):
            loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    synchronize()
    rate = args.train_batch_size * (steps - warm_up) / (time.monotonic() - began)
    return {
        "samples_per_second": round(rate, 1),
        "peak_gb": peak_gb(),
        "batch": f"{args.train_batch_size}",
    }


def main(mode, *numbers):
    if mode == "repeat":
        return repeat(*map(int, numbers))
    warnings.filterwarnings("ignore")
    steps, warm_up, batch, accumulation = map(int, numbers)
    cfg, began = load_config(), its_turn()
    if mode == "alone":
        found = alone(cfg, steps, warm_up)
    else:
        trainer = (
            {"ours": ours, "compiled": compiled}[mode](cfg) if mode != "plain" else plain(cfg, batch, accumulation)
        )
        found = measured(trainer, steps, warm_up, began)
    if int(os.environ.get("RANK", 0)):
        return
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
