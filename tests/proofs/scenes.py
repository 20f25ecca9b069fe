"""`python scenes.py FORMAT OUT --fashion DIR --photos DIR... [...]`, run in the stage environment: the proofs' data as files.

Real: Fashion-MNIST's photographs of clothes (28 px, gray), and boxes that people drew around tree crowns in aerial photographs.
Derived: scenes composed of those clothes, colored and enlarged, on crops of real photographs. Who composed a picture knows every box,
mask, segment and distance in it. Training and evaluation share neither a piece of clothing nor a pixel of a photograph.
"""

import argparse
import gzip
import io
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

NAMES = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot"]
THINGS = ["trouser", "dress", "sneaker", "bag"]  # of different outlines
GROUNDS = ["grass", "gravel", "brick"]
PHOTOS = ["astronaut", "coffee", "chelsea", "rocket", "hubble_deep_field", "retina", *GROUNDS, "china", "flower"]
TRAINING_SHARE = 0.7  # of each photograph, its left part; the rest is for evaluation
SPLITS = (("train", True), ("val", False))


def fashion(folder, train):
    """(pictures (n, 28, 28) uint8, labels (n)) of Fashion-MNIST's own training or test set."""
    name = "train" if train else "t10k"
    images, labels = (
        gzip.decompress((folder / f"{name}-{part}-ubyte.gz").read_bytes()) for part in ("images-idx3", "labels-idx1")
    )
    return np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28), np.frombuffer(labels, np.uint8, offset=8)


class Source:
    """Clothes and photographs of one split, and the dice."""

    def __init__(self, options, train):
        pictures, labels = fashion(options.fashion, train)
        self.clothes = {name: pictures[labels == NAMES.index(name)] for name in THINGS}
        self.photos = {
            path.stem: part(Image.open(path).convert("RGB"), train)
            for folder in options.photos
            for path in sorted(folder.rglob("*"))
            if path.stem in PHOTOS and path.suffix in (".png", ".jpg")
        }
        self.rng, self.size = np.random.default_rng([options.seed, train]), options.size
        self.count = options.train if train else options.eval

    def crop(self, name, size):
        """A random square of a photograph, at `size` (width, height)."""
        photo = self.photos[name]
        side = int(self.rng.integers(100, min(300, *photo.shape[:2]) + 1))
        top, left = (int(self.rng.integers(length - side + 1)) for length in photo.shape[:2])
        return np.asarray(
            Image.fromarray(photo[top : top + side, left : left + side]).resize(size, Image.Resampling.BILINEAR),
            np.float32,
        )

    def piece(self, side):
        """(class, colors (side, side, 3), its outline (side, side) bool) of a piece of clothing in a color of its own."""
        name = THINGS[self.rng.integers(len(THINGS))]
        gray = self.clothes[name][self.rng.integers(len(self.clothes[name]))]
        gray = np.asarray(Image.fromarray(gray).resize((side, side), Image.Resampling.BILINEAR), np.float32)
        return name, (0.25 + 0.75 * gray / 255)[..., None] * self.rng.uniform(0.35, 1, 3) * 255, gray > 24

    def scene(self, least=28, most=56):
        """(picture, [(class, mask)]): one to three pieces of clothing on a photograph, none covering another."""
        names = list(self.photos)
        return self.clothed(self.crop(names[self.rng.integers(len(names))], (self.size, self.size)), least, most)

    def landscape(self, least=28, most=48):
        """(picture, [(class, mask)]): the same on two of three grounds, one above a straight edge and one below; first in the list."""
        above, below = self.rng.choice(GROUNDS, 2, replace=False)
        edge = (
            self.size / 2
            + self.rng.uniform(-0.15, 0.15) * self.size
            + self.rng.uniform(-0.2, 0.2) * (np.arange(self.size) - self.size / 2)
        )
        lower = np.arange(self.size)[:, None] > edge
        canvas = np.where(lower[..., None], self.crop(below, (self.size,) * 2), self.crop(above, (self.size,) * 2))
        picture, objects = self.clothed(canvas * self.rng.uniform(0.7, 1.1, 3), least, most)
        free = ~np.any([mask for _, mask in objects], 0)
        return picture, [(str(above), ~lower & free), (str(below), lower & free), *objects]

    def clothed(self, canvas, least, most):
        objects, taken = [], np.zeros((self.size, self.size), bool)
        wanted = self.rng.integers(1, 4)
        for _ in range(30):
            if len(objects) == wanted:
                break
            side = int(self.rng.integers(least, most + 1))
            top, left = self.rng.integers(self.size - side + 1, size=2)
            place = np.s_[top : top + side, left : left + side]
            name, colors, outline = self.piece(side)
            if taken[place].any() or outline.sum() < 40:
                continue
            canvas[place][outline], taken[place] = colors[outline], True
            mask = np.zeros((self.size, self.size), bool)
            mask[place] = outline
            objects.append((name, mask))
        return Image.fromarray(canvas.clip(0, 255).astype(np.uint8)), objects


def part(photo, train):
    edge = int(photo.width * TRAINING_SHARE)
    return np.asarray(photo)[:, :edge] if train else np.asarray(photo)[:, edge:]


def imagefolder(out, options):
    """<split>/<class>/<number>.png: Fashion-MNIST as it is."""
    for split, train, count in (("train", True, options.train), ("test", False, options.eval)):
        pictures, labels = fashion(options.fashion, train)
        for number in np.random.default_rng(options.seed).permutation(len(labels))[:count]:
            folder = out / split / NAMES[labels[number]]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pictures[number]).save(folder / f"{number}.png")


def coco(out, options):
    """annotations/instances_<split>.json with boxes and outlines, <split>/<number>.png."""
    for split, train in SPLITS:
        source, images, annotations = Source(options, train), [], []
        (out / split).mkdir(parents=True)
        for number in range(source.count):
            picture, objects = source.scene(round(0.28 * options.size), options.size // 2)
            picture.save(out / split / f"{number}.png")
            images.append(
                {"id": number, "file_name": f"{number}.png", "height": picture.height, "width": picture.width}
            )
            for name, mask in objects:
                outline = coco_mask.encode(np.asfortranarray(mask, np.uint8))
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": THINGS.index(name) + 1,
                        "iscrowd": 0,
                        "bbox": coco_mask.toBbox(outline).tolist(),
                        "area": int(coco_mask.area(outline)),
                        "segmentation": {"size": outline["size"], "counts": outline["counts"].decode()},
                    }
                )
        content = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": i, "name": name} for i, name in enumerate(THINGS, 1)],
        }
        (out / "annotations").mkdir(exist_ok=True)
        (out / f"annotations/instances_{split}.json").write_text(json.dumps(content))


def segfolder(out, options):
    """<split>/images and <split>/masks: 0 is the background."""
    for split, train in SPLITS:
        source = Source(options, train)
        for kind in ("images", "masks"):
            (out / split / kind).mkdir(parents=True)
        for number in range(source.count):
            picture, objects = source.scene()
            ids = np.zeros((source.size, source.size), np.uint8)
            for name, mask in objects:
                ids[mask] = THINGS.index(name) + 1
            picture.save(out / split / f"images/{number}.png")
            Image.fromarray(ids).save(out / split / f"masks/{number}.png")
    (out / "classes.txt").write_text("\n".join(["background", *THINGS]) + "\n")


def panoptic(out, options):
    """annotations/panoptic_<split>.json beside a folder of that name with pictures of segment ids; <split>/<number>.png."""
    names = [*GROUNDS, *THINGS]
    for split, train in SPLITS:
        source, images, annotations = Source(options, train), [], []
        for folder in (split, f"annotations/panoptic_{split}"):
            (out / folder).mkdir(parents=True)
        for number in range(source.count):
            picture, objects = source.landscape()
            picture.save(out / split / f"{number}.png")
            images.append(
                {"id": number, "file_name": f"{number}.png", "height": picture.height, "width": picture.width}
            )
            ids, segments = np.zeros((source.size, source.size, 3), np.uint8), []
            for k, (name, mask) in enumerate(objects, 1):
                ids[mask] = (10 * k, k, 0)
                segments.append(
                    {
                        "id": 10 * k + 256 * k,
                        "category_id": names.index(name) + 1,
                        "iscrowd": 0,
                        "area": int(mask.sum()),
                    }
                )
            Image.fromarray(ids).save(out / f"annotations/panoptic_{split}/{number}.png")
            annotations.append({"image_id": number, "file_name": f"{number}.png", "segments_info": segments})
        categories = [{"id": i, "name": name, "isthing": int(name in THINGS)} for i, name in enumerate(names, 1)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (out / f"annotations/panoptic_{split}.json").write_text(json.dumps(content))


FOCAL = 1.0  # in sides of the picture
EYES = 1.5  # meters that the camera is above the ground
TALL = 1.1  # meters that every piece of clothing measures


def distances(out, options):
    """data/<split>.parquet with image and depth_map (16 bit, millimeters): clothes as tall as a child on a plain before a wall.

    The camera stands at a man's eye height; its tilt and the wall's distance differ from picture to picture, so a pixel's place alone does not
    tell its depth.
    """
    from datasets import Dataset, Features
    from datasets import Image as ImageFeature

    (out / "data").mkdir(parents=True)
    for split, train in (("train", True), ("validation", False)):
        source = Source(options, train)
        rows = [
            {
                name: {"bytes": png(picture), "path": None}
                for name, picture in zip(("image", "depth_map"), view(source), strict=True)
            }
            for _ in range(source.count)
        ]
        features = Features({"image": ImageFeature(), "depth_map": ImageFeature()})
        Dataset.from_list(rows, features=features).to_parquet(out / f"data/{split}-00000-of-00001.parquet")
    (out / "README.md").write_text(
        "---\ntask_categories:\n- depth-estimation\n---\n# Derived: clothes on a plain, composed of photographs\n"
    )


def view(source):
    """(picture, depth in millimeters) as a pinhole camera sees them."""
    rng, size = source.rng, source.size
    height, horizon, wall = EYES, rng.uniform(0.1, 0.6) * size, rng.uniform(4, 13)
    focal = FOCAL * size
    lines, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    ground = focal * height / np.maximum(lines + 0.5 - horizon, 1e-3)
    depth = np.minimum(ground, wall).astype(np.float32)
    floor, behind = rng.choice(GROUNDS, 2, replace=False)
    sideways = (columns - size / 2) * depth / focal
    canvas = np.where(
        (ground < wall)[..., None],
        sampled(source.photos[floor], sideways, depth, rng),
        sampled(source.photos[behind], sideways, (lines - horizon) * wall / focal, rng),
    )
    canvas *= rng.uniform(0.7, 1.1, 3)
    for away in sorted(
        rng.uniform(2.0, wall, rng.integers(2, 5)), reverse=True
    ):  # the nearest last: it covers the others
        side, foot = round(focal * TALL / away), horizon + focal * height / away
        _, colors, outline = source.piece(max(4, side))
        top, left = round(foot) - side, int(rng.integers(-side // 2, size - side // 2))
        inside = (slice(max(0, top), min(size, top + side)), slice(max(0, left), min(size, left + side)))
        cut = tuple(
            slice(place.start - start, place.stop - start) for place, start in zip(inside, (top, left), strict=True)
        )
        if inside[0].start < inside[0].stop and inside[1].start < inside[1].stop:
            shown = outline[cut]
            canvas[inside][shown], depth[inside][shown] = colors[cut][shown], away
    return Image.fromarray(canvas.clip(0, 255).astype(np.uint8)), Image.fromarray((depth * 1000).astype(np.uint16))


def sampled(photo, across, along, rng):
    """A photograph laid on a plane, 16 pixels a metre, repeated; looked up at the plane's meters."""
    small = Image.fromarray(photo).resize((photo.shape[1] // 4, photo.shape[0] // 4), Image.Resampling.BOX)
    small = np.asarray(small, np.float32)
    rows, columns = (
        (16 * meters + rng.uniform(0, 500)).astype(int) % length
        for meters, length in zip((along, across), small.shape[:2], strict=True)
    )
    return small[rows, columns]


def png(picture):
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


TREES = {
    "train": ["2019_YELL_2_528000_4978000_image_crop2", "OSBS_029"],
    "val": ["2019_YELL_2_541000_4977000_image_crop"],
}


def voc(out, options):
    """JPEGImages, Annotations and ImageSets/Main: squares of real aerial photographs with the tree crowns that people boxed.

    Training and evaluation are different photographs.
    """
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (out / folder).mkdir(parents=True)
    rng = np.random.default_rng(options.seed)
    folder = next(options.photos[0].rglob(f"{TREES['val'][0]}.png")).parent
    for split, names in TREES.items():
        stems = []
        for name in names:
            photo = Image.open(folder / f"{name}.png").convert("RGB")
            boxes = np.array(
                [
                    [float(one.find(f"bndbox/{side}").text) for side in ("xmin", "ymin", "xmax", "ymax")]
                    for one in ElementTree.parse(folder / f"{name}.xml").getroot().iter("object")
                ]
            )
            for left, top in corners(photo.size, options, split, len(names), rng):
                kept = within(boxes, left, top, options.size)
                if len(kept):
                    stems.append(f"{split}{len(stems)}")
                    photo.crop((left, top, left + options.size, top + options.size)).save(
                        out / f"JPEGImages/{stems[-1]}.jpg", quality=95
                    )
                    (out / f"Annotations/{stems[-1]}.xml").write_text(described(stems[-1], kept, options.size))
        (out / f"ImageSets/Main/{split}.txt").write_text("\n".join(stems) + "\n")


def corners(size, options, split, photos, rng):
    """Where squares begin: for training anywhere, for evaluation side by side."""
    if split == "train":
        return [
            tuple(int(rng.integers(length - options.size + 1)) for length in size)
            for _ in range(options.train // photos)
        ]
    return [
        (x, y)
        for y in range(0, size[1] - options.size + 1, options.size)
        for x in range(0, size[0] - options.size + 1, options.size)
    ]


def within(boxes, left, top, side):
    """The boxes that lie in the square by more than two fifths, cut off at its edges, in its pixels."""
    moved = boxes - [left, top, left, top]
    cut = moved.clip(0, side)
    area, rest = ((one[:, 2] - one[:, 0]) * (one[:, 3] - one[:, 1]) for one in (moved, cut))
    return cut[(rest > 0.4 * area) & (rest > 40)]


def described(stem, boxes, side):
    """Pascal VOC's XML."""
    objects = "".join(
        f"<object><name>tree</name><difficult>0</difficult><bndbox><xmin>{a:.0f}</xmin><ymin>{b:.0f}</ymin><xmax>{c:.0f}</xmax><ymax>{d:.0f}</ymax></bndbox></object>"
        for a, b, c, d in boxes
    )
    return f"<annotation><filename>{stem}.jpg</filename><size><width>{side}</width><height>{side}</height><depth>3</depth></size>{objects}</annotation>\n"


FORMATS = {
    "imagefolder": imagefolder,
    "coco": coco,
    "segfolder": segfolder,
    "panoptic": panoptic,
    "distances": distances,
    "voc": voc,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("format", choices=FORMATS)
    parser.add_argument("out", type=Path)
    parser.add_argument("--fashion", type=Path, help="Fashion-MNIST's four files")
    parser.add_argument("--photos", type=Path, nargs="*", default=[], help="folders that hold the photographs")
    parser.add_argument("--train", type=int, default=2000, help="pictures to train on")
    parser.add_argument("--eval", type=int, default=200, help="pictures to evaluate on")
    parser.add_argument("--size", type=int, default=96, help="pixels of a side")
    parser.add_argument("--seed", type=int, default=0, help="of the data")
    chosen = parser.parse_args()
    FORMATS[chosen.format](chosen.out, chosen)
