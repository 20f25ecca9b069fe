"""Names that the dataset pages may use: those of the tables that probe_dataset reads, and of other people's formats."""

from __future__ import annotations

from typing import get_args

from tunegate import config, tasks
from tunegate.probe.dataset import boxes, recommend
from tunegate.readers import conversations, image_folder, pairs, splits

FORMS = [form for spec in tasks.VARIANTS.values() for form in spec.forms]
MASKS = config.RunConfig.model_fields["mask_values"].annotation
NAMES = {
    *(role for form in FORMS for role in form.roles),
    *(alias for form in FORMS for role in form.roles.values() for alias in role.aliases),
    *get_args(config.Reshape),
    *get_args(get_args(MASKS)[0]),
    *boxes.BOX_FORMATS,
    *tasks.LOCAL_FORMATS,
    *splits.KEYWORDS,
    *conversations.ROLES,
    *conversations.SPEAKERS,
    *(
        f"{name}/"
        for name in (*pairs.IMAGE_FOLDERS, *(name for names in pairs.TARGET_FOLDERS.values() for name in names))
    ),
    *image_folder.METADATA,
    *pairs.NAME_FILES,
    *recommend.Recommendation.model_fields,
    # of COCO, VOC, imagefolder, trl, and of this server's command line
    *("objects", "objects.bbox", "_annotations.coco.json", "JPEGImages/", "SegmentationClass", "ImageSets/Main"),
    *("file_name", "mask_file_name", ".csv", ".json", ".arrow", "..", "save_to_disk", "datasets", "default"),
    *("train_sft", "test_sft", "--data-root"),
    # of files: examples of names that say a split, and what other programs leave
    *("val2017/", "data_test", "data_test.csv", "__MACOSX", "Thumbs.db"),
}
